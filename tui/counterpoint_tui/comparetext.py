"""What is said of two runs or evaluations besides their answers: figures beside each other, notes, and what was asked. No Textual."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from counterpoint.printable import plain
from counterpoint_tui.examples import Examples
from counterpoint_tui.state.compare import FigureRow
from counterpoint_tui.texts import one_line


def figures_table(rows: Sequence[FigureRow], styles: Mapping[str, str], *, two: bool = True) -> Table:
    """Figures, each pair with its ratio and which is better; a figure that neither has is left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=two, header_style="bold")
    table.add_column()
    table.add_column("A", justify="right")
    if two:
        table.add_column("B", justify="right")
        table.add_column("A / B", justify="right")
        table.add_column("better")
    for row in rows:
        if row.a in ("–", "") and row.b in ("–", ""):
            continue
        if not two:
            table.add_row(row.name, Text(one_line(row.a)))
            continue
        ratio = row.ratio if row.ratio is not None and math.isfinite(row.ratio) else None
        table.add_row(
            Text(one_line(row.name)),
            Text(one_line(row.a), style="bold" if row.better == "A" else ""),
            Text(one_line(row.b), style="bold" if row.better == "B" else ""),
            "" if ratio is None else f"{ratio:.2f} ×",
            Text(row.better, style=styles.get("good", "")),
        )
    return table


def figures_text(
    tables: Sequence[tuple[str, Table]], styles: Mapping[str, str], *, notes: Sequence[str] = (), remarks: Sequence[str] = ()
) -> Group:
    """Notes, tables under their headings, and after the first of them what else there is to say of it."""
    shown: list[Text | Table] = [Text(plain(note), style=styles.get("warning", "")) for note in notes]
    for place, (heading, table) in enumerate(tables):
        if heading:
            shown.append(Text(("\n" if shown else "") + plain(heading), style="bold underline"))
        shown.append(table)
        shown += [Text(plain(remark)) for remark in remarks if place == 0]
    return Group(*shown)


def asked_text(parts: Sequence[tuple[str, str]]) -> Text:
    """What was asked, each part under what it is called."""
    text = Text()
    for name, said in parts:
        if text:
            text.append("\n\n")
        if name:
            text.append(f"{one_line(name)}\n", style="bold underline")
        text.append(plain(said))
    return text


def headline(examples: Examples) -> Text:
    """Which evaluations are compared, and how it came out."""
    text = Text()
    labels = ("A ", "B ") if len(examples.names) == 2 else ("",)
    for label, name in zip(labels, examples.names, strict=True):
        text.append(f"{'  ' if text else ''}{label}")
        text.append(one_line(name), style="bold")
    if examples.scorer:
        text.append(f"  by {examples.scorer}")
    if len(examples.names) == 2:
        counts = examples.counts
        text.append(f": A wins {counts.get('win', 0)}, loses {counts.get('loss', 0)}, ties {counts.get('tie', 0)}")
    return text

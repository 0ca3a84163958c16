"""What each node of a run did and cost, in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from counterpoint.cli.console import flops_text, seconds_text
from counterpoint_tui.state import LegendEntry, NodeRow
from counterpoint_tui.state.spans import base_path
from counterpoint_tui.texts import fitted, one_line
from counterpoint_tui.themes import node_mark

_COLUMNS = {"tokens/s": 8, "accepted": 8, "passes": 7, "tokens": 7, "FLOPs": 9, "time": 9}
_LEAST = ("passes", "tokens", "time")
"""What is left out first where there is no room for all."""
_NAME = 8
"""Fewest columns of a node's name."""


class NodeTable(VerticalScroll, can_focus=False):
    """A line for each node that has anything to show; those at work are marked."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._rows: Sequence[NodeRow] = ()
        self._legend: Mapping[str, LegendEntry] = {}
        self._size_shown = (0, 0)

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(classes="table")

    def show(self, rows: Sequence[NodeRow], legend: Mapping[str, LegendEntry]) -> None:
        """Shows nodes as they are now."""
        rows = [row for row in rows if row.busy or row.active]
        if rows != self._rows or legend != self._legend:
            self._rows, self._legend = rows, legend
            self._paint()

    def on_mount(self) -> None:
        """Colours follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._paint())

    def on_resize(self) -> None:
        """Names get what room there is."""
        self._paint()

    def _paint(self) -> None:
        room = self.scrollable_content_region.width - 4
        columns = dict(_COLUMNS)
        for head in _LEAST:
            if room - sum(width + 1 for width in columns.values()) < _NAME:
                del columns[head]
        longest = max([len("node"), *(cell_len(one_line(row.path)) for row in self._rows)])
        name = max(_NAME, min(longest, room - sum(width + 1 for width in columns.values())))
        text = Text(no_wrap=True)
        heads = "".join(f" {head:>{width}}" for head, width in columns.items())
        text.append(f"    {fitted('node', name)}{heads}", style="bold")
        for row in self._rows:
            text.append("\n")
            self._line(text, row, name, columns)
        size = (text.cell_len, len(self._rows))
        self.query_one(".table", Static).update(text, layout=size != self._size_shown)
        self._size_shown = size

    def _line(self, text: Text, row: NodeRow, name: int, columns: Mapping[str, int]) -> None:
        entry = self._legend.get(base_path(row.path))
        mark = node_mark(entry.index, dark=self.app.current_theme.dark) if entry is not None else None
        text.append("▶ " if row.active else "  ", style="bold")
        text.append(f"{mark.letter if mark else ' '} ", style=f"bold {mark.colour}" if mark else "")
        text.append(fitted(one_line(row.path), name), style=mark.style if mark and entry and entry.speaks else "")
        cells = _cells(row)
        for head, width in columns.items():
            text.append(f" {cells[head]:>{width}}", style="" if cells[head] != "–" else "dim")


def _cells(row: NodeRow) -> dict[str, str]:
    figures = row.figures
    tokens = figures.tokens or figures.emitted
    return {
        "tokens/s": _rate(row.rate) if row.rate is not None else "–",
        "accepted": f"{figures.acceptance:.0%}" if figures.acceptance is not None else "–",
        "passes": f"{figures.passes:,}" if figures.passes else "–",
        "tokens": f"{tokens:,}" if tokens else "–",
        "FLOPs": flops_text(figures.flops) if figures.flops else "–",
        "time": seconds_text(figures.share) if figures.share else "–",
    }


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"

"""Answers that compete: candidates and their scores, stages one after the other, and the hand-over from a weak model to a strong one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from counterpoint.registry import Registry
from counterpoint_tui.plotting import BELOW, plot_text
from counterpoint_tui.state import (
    CandidateRow,
    LegendEntry,
    RunState,
    StageRow,
    WindowPlot,
    candidate_table,
    contests,
    in_stages,
    stage_steps,
    verifiers,
    window_plots,
)
from counterpoint_tui.state.spans import base_path
from counterpoint_tui.texts import fitted, one_line, shortened
from counterpoint_tui.widgets.rows import Row, RowList

_BARS = 8
"""Most lines of a plot's bars."""
_TAIL = 400
"""Characters of a text's end that are looked at."""
_SIGNS = {
    "selected": "✓",
    "accepted": "✓",
    "failed": "✗",
    "cut": "✂",
    "cancelled": "✂",
    "writing": "…",
    "judging": "?",
    "passed on": "↓",
}


class ContestView(Vertical):
    """A table for each call that has candidates, and a plot for each that hands over."""

    class Chosen(Message):
        """A candidate was chosen."""

        def __init__(self, span: int) -> None:
            super().__init__()
            self.span = span
            """The call that makes it."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._rows: list[Row] = []
        self.title = ""
        """What is shown, in a word."""
        self._plots: Sequence[WindowPlot] = ()
        self._beside = False
        self._size_shown = (0, 0)
        self._shown: tuple[RunState, Registry | None, Mapping[str, LegendEntry], int | None] | None = None

    def compose(self) -> ComposeResult:
        """The plots, and the candidates in a list."""
        yield Static(classes="plots")
        yield RowList(widest=40)

    def show(
        self, state: RunState, registry: Registry | None, legend: Mapping[str, LegendEntry], *, span: int | None = None
    ) -> bool:
        """Shows what competes at one point of a run; returns whether there is anything to show.

        Args:
            state: the run.
            registry: plugins, which know thresholds that a recipe leaves at their defaults.
            legend: how nodes are shown.
            span: only this call's.
        """
        self._shown = (state, registry, legend, span)
        rows: list[Row] = []
        stages = True
        calls = [number for number in contests(state) if span in (None, number)]
        for number in calls:
            stages = stages and in_stages(state, number, registry)
            rows += self._table(state, number, registry, legend, alone=len(calls) == 1)
        plots = [plot for plot in window_plots(state, registry) if span in (None, plot.span)]
        if rows != self._rows:
            self._rows = rows
            self.query_one(RowList).show(rows)
        self.query_one(RowList).display = bool(rows)
        self.title = "Hand-over" if not rows else "Stages" if stages else "Candidates"
        if plots != self._plots or bool(rows) != self._beside:
            self._plots, self._beside = plots, bool(rows)
            self._paint()
        return bool(rows or plots)

    def on_mount(self) -> None:
        """Colours follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._paint())

    def on_resize(self) -> None:
        """Texts and plots get what room there is."""
        if self._shown is not None:
            state, registry, legend, span = self._shown
            self.show(state, registry, legend, span=span)
            self._paint()

    @on(RowList.Opened)
    def _opened(self, event: RowList.Opened) -> None:
        event.stop()
        self.post_message(self.Chosen(int(event.key.partition("/")[2])))

    # --- plots --------------------------------------------------------------------------------------------------------------

    def _paint(self) -> None:
        theme = self.app.current_theme
        styles = {
            "over": theme.success or "",
            "under": theme.secondary or "",
            "threshold": theme.warning or "",
            "switch": f"bold {theme.primary}",
        }
        region = self.scrollable_content_region
        room = (region.height // 2 if self._rows else region.height) // max(1, len(self._plots))
        bars = max(2, min(_BARS, room - BELOW))
        text = Text("\n", no_wrap=True).join(plot_text(plot, region.width - 2, bars, styles) for plot in self._plots)
        self.set_class(bool(self._rows), "-both")
        area = self.query_one(".plots", Static)
        area.display = bool(self._plots)
        size = (region.width, text.plain.count("\n"))
        area.update(text, layout=size != self._size_shown)
        self._size_shown = size

    # --- tables -------------------------------------------------------------------------------------------------------------

    def _table(
        self, state: RunState, span: int, registry: Registry | None, legend: Mapping[str, LegendEntry], *, alone: bool
    ) -> list[Row]:
        call = state.spans[span]
        head = one_line(base_path(call.node)) or f"call {span}"
        text = "text" if alone else f"text, for {head}"
        if in_stages(state, span, registry):
            steps = stage_steps(state, span, registry)
            cells = [_step_cells(step, legend) for step in steps]
            candidates = [step.candidate for step in steps]
            names = ["", "stage", "", "tokens", "score", text]
        else:
            table = candidate_table(state, span)
            judges = verifiers(table)
            cells = [_candidate_cells(row, judges, legend) for row in table]
            candidates = list(table)
            names = ["", "by", "", "tokens", *(one_line(base_path(name)) for name in judges), text]
        return self._aligned(span, names, cells, candidates)

    def _aligned(
        self, span: int, names: Sequence[str], cells: Sequence[Sequence[str]], candidates: Sequence[CandidateRow | None]
    ) -> list[Row]:
        """Rows in columns under their names; the last cell takes what room there is, and shows the end of a growing text."""
        columns = len(names) - 1
        widths = [max(cell_len(shortened(row[place], 24)) for row in [names, *cells]) for place in range(columns)]
        room = max(8, self.scrollable_content_region.width - 2 - sum(width + 2 for width in widths))
        rows = [Row((*(fitted(names[place], widths[place]) for place in range(columns)), names[-1]))]
        for row, candidate in zip(cells, candidates, strict=True):
            text = _end_of(candidate.text, room) if candidate is not None and candidate.status == "writing" else row[-1]
            key = f"{span}/{candidate.span}" if candidate is not None and candidate.span is not None else ""
            bad = candidate is not None and candidate.status == "failed"
            # a row that cannot be chosen needs a key all the same: without one it would be a heading
            rows.append(Row((*(fitted(row[place], widths[place]) for place in range(columns)), text), key or f"{span}/0", bad))
        return rows


def _candidate_cells(row: CandidateRow, judges: Sequence[str], legend: Mapping[str, LegendEntry]) -> list[str]:
    scores = {score.verifier: score.score for score in row.scores}
    said = one_line(row.problem) if row.problem else one_line(row.text[:_TAIL])
    if row.reason:
        said = f"{one_line(row.reason)} | {said}"
    return [
        f"{_SIGNS.get(row.status, ' ')} {row.number}",
        _named(row.generator, legend),
        row.status,
        f"{row.tokens:,}",
        *(_score(scores.get(judge)) for judge in judges),
        said,
    ]


def _step_cells(step: StageRow, legend: Mapping[str, LegendEntry]) -> list[str]:
    row = step.candidate
    score = _score(step.score)
    if step.threshold is not None:
        met = step.score is not None and step.score >= step.threshold
        sign = " of " if step.score is None else " ≥ " if met else " < "
        score = f"{score}{sign}{step.threshold:.3g}"
    said = "" if row is None else one_line(row.problem) if row.problem else one_line(row.text[:_TAIL])
    return [
        f"{_SIGNS.get(step.status, ' ')} {step.number + 1}",
        _named(step.generator, legend),
        step.status,
        f"{row.tokens:,}" if row is not None else "",
        score,
        said,
    ]


def _named(path: str, legend: Mapping[str, LegendEntry]) -> str:
    entry = legend.get(path)
    return f"{entry.letter} {one_line(path)}" if entry is not None else one_line(path)


def _score(score: float | None) -> str:
    if score is None:
        return "–"
    return "abstains" if math.isnan(score) else f"{score:.4g}"


def _end_of(text: str, room: int) -> str:
    """The end of a text that grows, on one line."""
    line = one_line(text[-_TAIL:])
    if len(text) <= _TAIL and cell_len(line) <= room:
        return line
    return "…" + line[-(room - 1) :]

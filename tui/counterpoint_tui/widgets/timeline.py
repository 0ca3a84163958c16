"""The calls of a run as a tree that folds, with a bar for each: who ran when, inside what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.message import Message

from counterpoint_tui.state import LegendEntry, RunState, SpanRow, timeline
from counterpoint_tui.state.spans import base_path
from counterpoint_tui.texts import one_line
from counterpoint_tui.themes import node_mark
from counterpoint_tui.widgets.lines import LineList

_NAMES = 44
"""Most columns for names; the bars have the rest."""


class Timeline(LineList):
    """All calls of a run. What has happened by the time one stands at is drawn strong, what is to come light."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"timeline--ahead", "timeline--now", "timeline--shown"}

    class Opened(Message):
        """A call was chosen."""

        def __init__(self, row: SpanRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self.rows: Sequence[SpanRow] = ()
        self.empty = "no call has been recorded"
        self._state: RunState | None = None
        self._legend: Mapping[str, LegendEntry] = {}
        self._collapsed: set[int] = set()
        self._now = 0.0
        self._shown = 0
        self._bounds = (0.0, 1.0)

    def show(self, state: RunState, legend: Mapping[str, LegendEntry]) -> None:
        """Shows the calls of a run, as they were at its end."""
        self._state, self._legend = state, legend
        self._build()

    def stand(self, now: float, shown: int) -> None:
        """Marks a time, in seconds since the run started, and the call whose text is shown."""
        if (now, shown) != (self._now, self._shown):
            self._now, self._shown = now, shown
            self.refresh()

    @property
    def span(self) -> int | None:
        """The call under the cursor."""
        return self.rows[self.cursor].span if self.cursor < len(self.rows) else None

    def fold(self, number: int | None = None) -> None:
        """Folds away what is below a call (by default the one under the cursor), or shows it again."""
        row = self.rows[self.cursor if number is None else number] if self.rows else None
        if row is not None and row.collapsible:
            self._collapsed ^= {row.span}
            self._build()

    def fold_all(self) -> None:
        """Folds away what is below every call that the run's own has made; or shows everything again."""
        self._collapsed = set() if self._collapsed else {row.span for row in self.rows if row.collapsible and row.depth > 0}
        self._build()

    def _build(self) -> None:
        if self._state is None:
            return
        under = self.span
        self.rows = timeline(self._state, self._collapsed)
        start = min((row.start for row in self.rows), default=0.0)
        end = max((row.end for row in self.rows), default=0.0)
        self._bounds = (start, max(end - start, 1e-9))
        self.resize(len(self.rows), next((place for place, row in enumerate(self.rows) if row.span == under), 0))

    def chosen(self, number: int) -> None:
        """A call was chosen."""
        self.post_message(self.Opened(self.rows[number]))

    def pressed(self, number: int, x: int) -> bool:
        """A click on the sign before a call folds."""
        row = self.rows[number]
        if row.collapsible and x + self.scroll_offset.x <= 2 * row.depth + 2:
            self.fold(number)
            return True
        return False

    # --- drawing --------------------------------------------------------------------------------------------------------------

    def line(self, number: int, width: int) -> Text:
        """A call: its place in the tree, who it is, how many tokens came of it, and when it was."""
        row = self.rows[number]
        names = min(_NAMES, width // 2)
        sign = "▸" if row.collapsed else "▾" if row.collapsible else " "
        entry = self._legend.get(row.node) or self._legend.get(base_path(row.node))
        text = Text(f"{'  ' * row.depth}{sign} ")
        if entry is not None:
            text.append(f"{entry.letter} ", node_mark(entry.index, dark=self.app.current_theme.dark).style)
        hidden = f" +{row.hidden}" if row.hidden else ""
        style = self._style("timeline--shown") if row.span == self._shown else ""
        text.append(f"{one_line(row.node) or f'call {row.span}'}{hidden}", style)
        text.append(f"  {one_line(row.kind)}" if row.kind and not row.node.endswith(row.kind) else "", "dim")
        figures = f" {row.tokens:>5} tok "
        room = names - len(figures)
        text.truncate(room, overflow="ellipsis", pad=True)
        text.append(figures if row.tokens else " " * len(figures), "dim")
        text.append_text(self._bar(row, width - names, entry))
        return text

    def _bar(self, row: SpanRow, width: int, entry: LegendEntry | None) -> Text:
        start, length = self._bounds
        left, right, now = (
            max(0, min(width - 1, int((when - start) / length * width))) for when in (row.start, row.end, self._now)
        )
        colour = node_mark(entry.index, dark=self.app.current_theme.dark).colour if entry is not None else ""
        ahead, mark = self._style("timeline--ahead"), self._style("timeline--now")
        text = Text()
        for column in range(width):
            inside = left <= column <= right
            if column == now:
                text.append("┿" if inside else "│", mark)
            elif inside:
                text.append("━" if column < now else "╌", colour if column < now else ahead)
            else:
                text.append(" ")
        return text

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(name, partial=True)

"""All that is known of a place in a trace besides the answer: a part at a time, and the details beside them where there is room."""

from __future__ import annotations

from collections.abc import Mapping

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Tab, Tabs

from counterpoint.registry import Registry
from counterpoint_tui.scrubbing import Position
from counterpoint_tui.state import LegendEntry, TraceView, budget_bars, node_rows
from counterpoint_tui.widgets.budget import BudgetBars
from counterpoint_tui.widgets.contest import ContestView
from counterpoint_tui.widgets.details import DetailsView, Shown
from counterpoint_tui.widgets.events import EventsPane
from counterpoint_tui.widgets.nodes import NodeTable
from counterpoint_tui.widgets.notes import NotesPane
from counterpoint_tui.widgets.timeline import Timeline

PARTS = {
    "details": "Details",
    "timeline": "Timeline",
    "events": "Events",
    "contest": "Candidates",
    "nodes": "Nodes",
    "notes": "Notes",
}
_FOCUSED = {
    "details": "DetailsView",
    "timeline": "Timeline",
    "events": "EventList",
    "contest": "RowList",
    "nodes": "NodeTable",
    "notes": "NotesPane",
}
"""What gets the focus of each."""


class Around(Vertical):
    """The parts. Only those in sight are drawn."""

    class Turned(Message):
        """Another part is shown."""

        def __init__(self, part: str) -> None:
            super().__init__()
            self.part = part

    def __init__(self, registry: Registry, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._registry = registry
        self._legend: Mapping[str, LegendEntry] = {}
        self._part = "details"
        self._there = [*PARTS][:-1]
        """The parts in which there may be something to see."""

    def compose(self) -> ComposeResult:
        """The details, the names of the parts, and these."""
        yield _part("details", DetailsView(id="details"))
        yield Tabs(*(Tab(label, id=f"tab-{name}") for name, label in PARTS.items()), id="parts-tabs")
        yield _part("timeline", Timeline(id="timeline"))
        yield _part("events", EventsPane(id="events"))
        yield _part("contest", ContestView(id="contest"))
        figures = NodeTable(id="nodes")
        figures.can_focus = True  # so that it scrolls
        yield _part("nodes", BudgetBars(id="budget"), figures)
        yield _part("notes", NotesPane(self._registry, id="notes"))

    # --- what is shown --------------------------------------------------------------------------------------------------------

    def open(self, trace: TraceView, legend: Mapping[str, LegendEntry]) -> None:
        """Takes a trace that has been read."""
        self._legend = legend
        self.query_one(Timeline).show(trace.last, legend)
        self.query_one(EventsPane).show(trace, legend)
        state = trace.last
        rivals = bool(state.contests or state.windows or state.switches)
        self.query_one("#tab-contest", Tab).label = PARTS["contest"] if state.contests else "Hand-over"
        notes = self.query_one(NotesPane).open(trace)
        self._there = [name for name in PARTS if (name != "contest" or rivals) and (name != "notes" or notes)]
        for name in PARTS:
            self.query_one(f"#tab-{name}", Tab).display = name in self._there
        if self._part not in self._there:
            self.turn_to("details", focus=False)

    def show(self, position: Position) -> None:
        """Shows a place."""
        self.query_one(Timeline).stand(position.time, position.span)
        self.query_one(EventsPane).events.stand(position.place - 1)
        if self._in_sight("details"):
            details = position.details
            shown = Shown(details, position.call, position.origin(details), position.event)
            self.query_one(DetailsView).show(shown, self._legend)
        if self._in_sight("contest"):
            self.query_one(ContestView).show(position.state, self._registry, self._legend)
        if self._in_sight("nodes"):
            rows = [row for row in node_rows(position.state) if row.busy or row.active]
            self.query_one(NodeTable).show(rows, self._legend)
            self.query_one(BudgetBars).show(budget_bars(position.state))
        if self._in_sight("notes"):
            self.query_one(NotesPane).show(position.trace, position.place)

    def _in_sight(self, name: str) -> bool:
        return bool(self.query_one(f"#part-{name}").display)

    # --- which part -----------------------------------------------------------------------------------------------------------

    def turn_to(self, part: str, *, focus: bool = True) -> None:
        """Shows a part (the details where there is nothing to see of it)."""
        part = part if part in self._there else "details"
        for name in PARTS:
            self.query_one(f"#part-{name}").set_class(name == part, "-shown")
        self._part = part
        self.query_one(Tabs).active = f"tab-{part}"
        if focus:
            first = self.query_one(f"#part-{part}").query(_FOCUSED[part]).first()
            self.call_after_refresh(self.screen.set_focus, first)
        self.post_message(self.Turned(part))

    def step(self, step: int) -> None:
        """Shows the next part, or the one before."""
        self.turn_to(self._there[(self._there.index(self._part) + step) % len(self._there)])

    @on(Tabs.TabActivated)
    def _tab_chosen(self, event: Tabs.TabActivated) -> None:
        event.stop()
        name = (event.tab.id or "").removeprefix("tab-")
        if event.tab.id == event.tabs.active and name != self._part:  # otherwise another one has been chosen meanwhile
            self.turn_to(name, focus=False)


def _part(name: str, *widgets: Widget) -> Vertical:
    part = Vertical(*widgets, id=f"part-{name}", classes="part")
    part.border_title = PARTS[name]
    return part

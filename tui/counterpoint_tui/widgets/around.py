"""All that is known of a place in a trace besides the answer: a part at a time, and the details beside them where there is room."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.containers import Vertical

from counterpoint.registry import Registry
from counterpoint_tui.scrubbing import Position
from counterpoint_tui.state import LegendEntry, TraceView, budget_bars, node_rows
from counterpoint_tui.widgets.budget import BudgetBars
from counterpoint_tui.widgets.contest import ContestView
from counterpoint_tui.widgets.details import DetailsView, Shown
from counterpoint_tui.widgets.events import EventsPane
from counterpoint_tui.widgets.nodes import NodeTable
from counterpoint_tui.widgets.notes import NotesPane
from counterpoint_tui.widgets.parts import PartTabs, part
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

    def __init__(self, registry: Registry, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._registry = registry
        self._legend: Mapping[str, LegendEntry] = {}

    def compose(self) -> ComposeResult:
        """The details, the names of the parts, and these."""
        yield part("details", PARTS["details"], DetailsView(id="details"))
        yield PartTabs(PARTS)
        yield part("timeline", PARTS["timeline"], Timeline(id="timeline"))
        yield part("events", PARTS["events"], EventsPane(id="events"))
        yield part("contest", PARTS["contest"], ContestView(id="contest"))
        figures = NodeTable(id="nodes")
        figures.can_focus = True  # so that it scrolls
        yield part("nodes", PARTS["nodes"], BudgetBars(id="budget"), figures)
        yield part("notes", PARTS["notes"], NotesPane(self._registry, id="notes"))

    # --- what is shown --------------------------------------------------------------------------------------------------------

    def open(self, trace: TraceView, legend: Mapping[str, LegendEntry]) -> None:
        """Takes a trace that has been read."""
        self._legend = legend
        self.query_one(Timeline).show(trace.last, legend)
        self.query_one(EventsPane).show(trace, legend)
        state = trace.last
        rivals = bool(state.contests or state.windows or state.switches)
        self.tabs.label("contest", PARTS["contest"] if state.contests else "Hand-over")
        notes = self.query_one(NotesPane).open(trace)
        self.tabs.offer(*(name for name in PARTS if (name != "contest" or rivals) and (name != "notes" or notes)))

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

    @property
    def tabs(self) -> PartTabs:
        """The names of the parts."""
        return self.query_one(PartTabs)

    def on_part_tabs_turned(self, event: PartTabs.Turned) -> None:
        """Another part is shown."""
        if event.focus:
            first = self.query_one(f"#part-{event.name}").query(_FOCUSED[event.name]).first()
            self.call_after_refresh(self.screen.set_focus, first)

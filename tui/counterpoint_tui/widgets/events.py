"""The events of a trace: all of them, those that filters let through, or those in which a text is."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Button, Input, Select

from counterpoint.printable import plain
from counterpoint_tui.state import Filter, Hit, LegendEntry, TraceView, below, filtered, search
from counterpoint_tui.state.spans import base_path
from counterpoint_tui.texts import fitted, one_line
from counterpoint_tui.themes import node_mark
from counterpoint_tui.widgets.lines import LineList

_PAUSE = 0.2
"""Seconds without a key after which is searched."""
_HITS = 1000
_PASSES = "without passes"
_EVERY_TYPE, _EVERY_NODE = "all types", "all nodes"


class EventList(LineList):
    """Events, a line each, which is made when it comes into sight."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"events--here", "events--found", "events--rest", "events--failure"}

    class Opened(Message):
        """An event was chosen; where something was searched for, what was found in it."""

        def __init__(self, event: int, hit: Hit | None) -> None:
            super().__init__()
            self.event, self.hit = event, hit

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self.trace: TraceView | None = None
        self.indices: Sequence[int] = ()
        self._hits: Sequence[Hit] = ()
        self._legend: Mapping[str, LegendEntry] = {}
        self._here = -1

    def show(
        self, trace: TraceView, legend: Mapping[str, LegendEntry], indices: Sequence[int], hits: Sequence[Hit] = ()
    ) -> None:
        """Shows some events of a trace by their places in it, in order.

        Args:
            trace: the trace.
            legend: the letters of nodes.
            indices: the events.
            hits: what was found in each of them, where something was searched for.
        """
        self.trace, self._legend, self.indices, self._hits = trace, legend, indices, hits
        self.resize(len(indices), self.nearest(self._here))

    def nearest(self, index: int) -> int:
        """The line of the last event at or before one."""
        return max(0, bisect_right(self.indices, index) - 1)

    def stand(self, index: int) -> None:
        """Marks the event that happened last; the cursor goes with it, unless it is somebody's who looks around here."""
        if index != self._here:
            self._here = index
            if not self.has_focus and self.indices:
                self.cursor = self.nearest(index)
            self.refresh()

    def chosen(self, number: int) -> None:
        """An event was chosen."""
        self.post_message(self.Opened(self.indices[number], self._hits[number] if self._hits else None))

    def line(self, number: int, width: int) -> Text:
        """An event: number, time, type, node, what happened."""
        assert self.trace is not None
        row = self.trace.row(self.indices[number])
        here = row.index == self._here
        rest = self.get_component_rich_style("events--rest", partial=True)
        text = Text()
        text.append("▸" if here else " ", self.get_component_rich_style("events--here", partial=True))
        text.append(f"{row.index + 1:>6} {row.t:>8.3f} ", rest)
        failed = row.type in ("failed", "unreadable", "budget_spent")
        text.append(fitted(row.type, 18), self.get_component_rich_style("events--failure", partial=True) if failed else "")
        entry = self._legend.get(row.node) or self._legend.get(base_path(row.node))
        mark = node_mark(entry.index, dark=self.app.current_theme.dark) if entry is not None else None
        text.append(f" {mark.letter if mark else ' '} ", mark.style if mark else "")
        if width > 100:
            text.append(fitted(one_line(row.node), 18) + " ", rest)
        if self._hits:
            text.append_text(self._found(self._hits[number]))
        else:
            text.append(plain(row.text))
        return text

    def _found(self, hit: Hit) -> Text:
        text = Text(plain(hit.excerpt))
        text.stylize(self.get_component_rich_style("events--found", partial=True), hit.at, hit.at + hit.length)
        return text


class EventsPane(Vertical):
    """The list with what is searched for and filtered by above it."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._trace: TraceView | None = None
        self._legend: Mapping[str, LegendEntry] = {}
        self._call: int | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """A line of filters, and the list."""
        with Horizontal(id="filters"):
            yield Input(placeholder="search", id="event-search", compact=True, select_on_focus=False)
            yield Select([(_EVERY_TYPE, "")], value="", allow_blank=False, compact=True, id="event-type")
            yield Select([(_EVERY_NODE, "")], value="", allow_blank=False, compact=True, id="event-node")
            yield Button("", id="event-call", compact=True)
        yield EventList(id="event-list")

    @property
    def events(self) -> EventList:
        """The list."""
        return self.query_one(EventList)

    @property
    def searching(self) -> bool:
        """Whether anything is searched for or filtered out."""
        return bool(self._query or self.filter)

    @property
    def _query(self) -> str:
        return self.query_one("#event-search", Input).value

    @property
    def filter(self) -> Filter:
        """What is let through."""
        kind, node = (str(self.query_one(f"#event-{name}", Select).value) for name in ("type", "node"))
        calls = frozenset[int]()
        if self._trace is not None and self._call is not None:
            calls = frozenset(span.id for span in below(self._trace.last, self._call))
        return Filter(
            types={kind} if kind and kind != _PASSES else (),
            nodes={node} if node else (),
            spans=calls,
            without={"forward", "progress"} if kind == _PASSES else (),
        )

    def show(self, trace: TraceView, legend: Mapping[str, LegendEntry]) -> None:
        """Shows the events of a trace that has been read."""
        self._trace, self._legend = trace, legend
        types, nodes = Counter(trace.columns.types), {base_path(node) for node in set(trace.columns.nodes)}
        kinds = [(_EVERY_TYPE, ""), (_PASSES, _PASSES), *((f"{kind} {count:,}", kind) for kind, count in types.most_common())]
        paths = [(_EVERY_NODE, ""), *((one_line(path), path) for path in sorted(nodes) if path)]
        for name, options in (("type", kinds), ("node", paths)):
            select: Select[str] = self.query_one(f"#event-{name}", Select)
            kept = select.value
            with select.prevent(Select.Changed):
                select.set_options([(Text(label), value) for label, value in options])
                select.value = kept if any(value == kept for _, value in options) else ""
        self._look()

    def only(self, call: int | None) -> None:
        """Shows events of a call and of those below it only; None: of all."""
        self._call = call
        button = self.query_one("#event-call", Button)
        button.label = Text(f"in call {call} ✕")
        button.display = call is not None
        self._look()

    def clear(self) -> None:
        """Shows all events again."""
        for name in ("type", "node"):
            self.query_one(f"#event-{name}", Select).value = ""
        self.query_one("#event-search", Input).value = ""
        self.only(None)

    # --- looking --------------------------------------------------------------------------------------------------------------

    @on(Select.Changed)
    def _filter_chosen(self, event: Select.Changed) -> None:
        event.stop()
        self._look()

    @on(Button.Pressed, "#event-call")
    def _every_call(self, event: Button.Pressed) -> None:
        event.stop()
        self.only(None)
        self.events.focus()

    @on(Input.Changed, "#event-search")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_PAUSE, self._look)

    @on(Input.Submitted, "#event-search")
    def _to_the_list(self, event: Input.Submitted) -> None:
        event.stop()
        self._look()
        self.events.focus()

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        trace, query, chosen = self._trace, self._query, self.filter
        if trace is None:
            return
        indices: Sequence[int] = range(len(trace))
        hits: Sequence[Hit] = ()
        if chosen:
            indices = await asyncio.to_thread(filtered, trace, chosen)
        if query:
            hits = await asyncio.to_thread(search, trace, query, _HITS)
            if chosen:
                let_through = frozenset(indices)
                hits = [hit for hit in hits if hit.event in let_through]
            indices = [hit.event for hit in hits]
        if not self.is_attached:
            return
        found = self.events
        found.empty = f"'{query}' is nowhere" if query else "no event is let through"
        found.show(trace, self._legend, indices, hits)
        more = " and more" if len(hits) >= _HITS else ""
        self.border_subtitle = (
            f"{len(hits):,} found{more}" if query else f"{len(indices):,} of {len(trace):,}" if chosen else ""
        )

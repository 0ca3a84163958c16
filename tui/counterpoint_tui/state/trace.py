"""A trace opened for looking around in it: the state after any number of its events, jumps, search, filters, lines of a list.

Events are kept as the lines they were written in and parsed when somebody looks. One fold over all of them when the trace is opened
leaves behind a checkpoint every :data:`STEP` events, from which any state is a short replay, and a few columns by which lists are
filtered; states share what they have in common, so checkpoints cost little.
"""

from __future__ import annotations

import gc
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from counterpoint.errors import RunError
from counterpoint.events import EventBase, dump_event
from counterpoint.recording import EVENTS
from counterpoint_tui.state.data import RunState, Status
from counterpoint_tui.state.marks import MARKS, Mark, mark_of
from counterpoint_tui.state.reading import Problem, Unreadable, read_event, split_lines, version_problem
from counterpoint_tui.state.reducer import reduce
from counterpoint_tui.state.rows import EventRow, event_row

STEP, NEAR = 512, 32
"""Events between two checkpoints, and between two states that are kept of the stretch looked at last."""
_MANY = 10_000
"""Events from which on what a fold has made is a burden to the garbage collector."""


class TraceView:
    """A trace, stored or live.

        trace = TraceView.open(store.path("last"))
        state = trace.at(100)                  # after 100 events
        place = trace.next("rejection", 100)   # how many events bring one to the next rejected draft

    A *place* k stands between events: k of them have happened, and event number k - 1 was the last.

    Args:
        lines: events, a line of JSON each.
        folder: the folder of a stored run.
        problems: what is wrong with it.
    """

    def __init__(self, lines: Iterable[bytes] = (), folder: Path | None = None, problems: Iterable[Problem] = ()) -> None:
        self.folder = folder
        self._given = list(problems)
        self._lines: list[bytes] = list(lines)
        self._state = RunState()  # after all events that have been folded
        self._checkpoints = [self._state]
        self._stretch: tuple[int, list[RunState]] = (0, [self._state])  # a checkpoint's place, and states from there on
        self._recent = self._state  # what was asked for last
        self._unreadable: list[int] = []
        self._marks: dict[Mark, array[int]] = {mark: array("L") for mark in MARKS}
        self.columns = Columns()

    @classmethod
    def open(cls, folder: Path, *, lazily: bool = False) -> TraceView:
        """A stored run.

        Args:
            folder: the run's folder (:meth:`counterpoint.runstore.RunStore.path`).
            lazily: fold no event yet; :meth:`prepare` does so in steps, for who wants to draw in between.

        Raises:
            RunError: there is no trace that could be read.
        """
        try:
            data = (folder / EVENTS).read_bytes()
        except OSError as error:
            raise RunError(
                f"run {folder.name} cannot be read: {error.strerror}: {EVENTS}",
                hint=f"`counterpoint runs rm {folder.name}` deletes it",
            ) from None
        lines, cut = split_lines(data)
        view = cls(lines, folder, [cut] if cut else [])
        if not lines or all(isinstance(read_event(line), Unreadable) for line in lines[:8]):
            raise RunError(
                f"run {folder.name}: {EVENTS} holds no events", hint=f"`counterpoint runs rm {folder.name}` deletes it"
            )
        if not lazily:
            view.prepare()
        return view

    @classmethod
    def of(cls, events: Iterable[EventBase]) -> TraceView:
        """A trace of events at hand."""
        view = cls()
        for event in events:
            view.append(event)
        return view

    # --- events and states ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._lines)

    def event(self, index: int) -> EventBase:
        """An event by its place in the trace.

        Raises:
            IndexError: there is none.
        """
        return read_event(self._lines[index])

    def line(self, index: int) -> bytes:
        """An event as it was written."""
        return self._lines[index]

    def row(self, index: int) -> EventRow:
        """An event as a list shows it."""
        return event_row(index, self.event(index))

    def append(self, event: EventBase, line: bytes | None = None) -> RunState:
        """Takes the next event of a live run and gives the state after it.

        Args:
            event: the event.
            line: the event as it was written, where it is at hand.
        """
        self.prepare()
        self._lines.append(dump_event(event).encode() if line is None else line)
        self._fold(event)
        return self._state

    def prepare(self, limit: int | None = None) -> bool:
        """Folds on; whether all events have been.

        Args:
            limit: at most so many events.
        """
        start = self._state.count
        end = len(self._lines) if limit is None else min(len(self._lines), start + limit)
        if start < end:
            with _no_collections():
                for index in range(start, end):
                    self._fold(read_event(self._lines[index]))
            if end - start >= _MANY:
                gc.collect()  # once and now; else it would be done three times, generation by generation, while somebody types
        return end == len(self._lines)

    @property
    def prepared(self) -> int:
        """How many events have been folded."""
        return self._state.count

    @property
    def last(self) -> RunState:
        """The state after all events."""
        self.prepare()
        return self._state

    def at(self, place: int) -> RunState:
        """The state after so many events (as many as there are, where that is more)."""
        place = max(0, min(place, len(self._lines)))
        if place >= self._state.count:
            self.prepare(place - self._state.count)
            return self._state
        start = place - place % STEP
        if self._stretch[0] != start:
            self._stretch = (start, [self._checkpoints[place // STEP]])
        states = self._stretch[1]
        with _no_collections():
            while len(states) <= (place - start) // NEAR:
                states.append(self._replayed(states[-1], start + len(states) * NEAR))
            near = states[(place - start) // NEAR]
            self._recent = self._replayed(self._recent if near.count <= self._recent.count <= place else near, place)
        return self._recent

    def _replayed(self, state: RunState, place: int) -> RunState:
        for index in range(state.count, place):
            state = reduce(state, read_event(self._lines[index]))
        return state

    def _fold(self, event: EventBase) -> None:
        index = self._state.count
        self._state = reduce(self._state, event)
        if (index + 1) % STEP == 0:
            self._checkpoints.append(self._state)
        columns = self.columns
        columns.types.append(event.type)  # type: ignore[attr-defined]
        columns.nodes.append(columns.names.setdefault(event.node, event.node))
        columns.spans.append(event.span)
        columns.times.append(event.t)
        mark = mark_of(event)
        if mark is not None:
            self._marks[mark].append(index + 1)
            if isinstance(event, Unreadable):
                self._unreadable.append(index)

    # --- what is wrong with it --------------------------------------------------------------------------------------

    @property
    def status(self) -> Status | Literal["interrupted"]:
        """How the run ended, or what it does; ``interrupted`` for a stored one that has no end."""
        status = self._state.status
        over = self.folder is not None and self._state.count == len(self._lines)
        return "interrupted" if over and not self._state.finished else status

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with it, as far as it has been read; none for a trace that is whole."""
        found = list(self._given)
        if newer := version_problem(self._state.schema_version):
            found.append(newer)
        if self._unreadable:
            count, first = len(self._unreadable), self._unreadable[0]
            event = self.event(first)
            reason = event.reason if isinstance(event, Unreadable) else ""
            lines = (
                f"line {first + 1} is no event" if count == 1 else f"{count} lines are no events, line {first + 1} the first"
            )
            found.append(Problem(f"{lines}: {reason}; the others are shown"))
        if self.status == "interrupted":
            found.append(Problem("the run was interrupted: its trace has no end, and what it had made by then is shown"))
        return tuple(found)

    # --- jumps ------------------------------------------------------------------------------------------------------

    def next(self, mark: Mark, place: int) -> int | None:
        """The first place after this one to which an event of a kind leads; None where there is none.

        Args:
            mark: ``emission`` (of the answer), ``draft``, ``rejection`` (a draft of which not all stands), ``switch``,
                ``candidate``, ``selection``, ``note`` or ``failure``.
            place: how many events have happened.
        """
        self.prepare()
        found = self._marks[mark]
        index = bisect_right(found, place)
        return found[index] if index < len(found) else None

    def previous(self, mark: Mark, place: int) -> int | None:
        """The last place before this one to which an event of a kind leads; None where there is none."""
        self.prepare()
        found = self._marks[mark]
        index = bisect_left(found, place)
        return found[index - 1] if index > 0 else None

    def marks(self, mark: Mark) -> array[int]:
        """All places to which events of a kind lead, in order (for marks on a scrubber)."""
        self.prepare()
        return self._marks[mark]


class Columns:
    """What lists of events are filtered by, and when each event was: a column each, a value for every event."""

    def __init__(self) -> None:
        self.types: list[str] = []
        self.nodes: list[str] = []
        self.spans: list[int] = []
        self.times: array[float] = array("d")
        self.names: dict[str, str] = {}  # one text for all events of a node


@contextmanager
def _no_collections() -> Iterator[None]:
    """Without garbage collections: a fold makes much and leaves no circles, and looking for them would double its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

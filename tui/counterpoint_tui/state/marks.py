"""What one jumps to in a trace."""

from __future__ import annotations

from typing import Literal, TypeAlias

from counterpoint.events import (
    BudgetSpent,
    CandidateFinished,
    CandidateSelected,
    Drafted,
    Emitted,
    EventBase,
    Failed,
    Note,
    Switched,
    Verified,
)
from counterpoint.tally import ROOT_SPAN
from counterpoint_tui.state.reading import Unreadable

Mark: TypeAlias = Literal["emission", "draft", "rejection", "switch", "candidate", "selection", "note", "failure"]
MARKS: tuple[Mark, ...] = ("emission", "draft", "rejection", "switch", "candidate", "selection", "note", "failure")


def mark_of(event: EventBase) -> Mark | None:
    """What one jumps to an event for; None where one does not."""
    kind = type(event)
    if kind is Emitted:
        return "emission" if event.span == ROOT_SPAN else None
    if isinstance(event, Verified):
        return "rejection" if event.accepted < event.proposed else None
    if isinstance(event, Note):
        return "failure" if isinstance(event.data.get("error"), str) else "note"
    return _MARKED.get(kind)


_MARKED: dict[type[EventBase], Mark] = {
    Drafted: "draft",
    Switched: "switch",
    CandidateFinished: "candidate",
    CandidateSelected: "selection",
    Failed: "failure",
    BudgetSpent: "failure",
    Unreadable: "failure",
}

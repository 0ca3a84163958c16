"""An event in one line, for lists of events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from counterpoint.cli.console import flops_text, seconds_text
from counterpoint.events import (
    BudgetSpent,
    CandidateFinished,
    CandidateScored,
    CandidateSelected,
    Drafted,
    Emitted,
    EventBase,
    Failed,
    Forward,
    NodeFinished,
    NodeStarted,
    Note,
    Progress,
    RunFinished,
    RunStarted,
    Switched,
    Verified,
)
from counterpoint_tui.state.reading import Unreadable

_LONG = 160


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event as a list shows it."""

    index: int
    """Its place in the trace, from 0."""
    t: float
    type: str
    span: int
    node: str
    text: str
    """What happened, on one line."""


def event_row(index: int, event: EventBase) -> EventRow:
    """The line of an event."""
    kind: str = getattr(event, "type", "")
    return EventRow(index, event.t, kind, event.span, event.node, shortened(describe(event)))


def shortened(text: str, length: int = _LONG) -> str:
    """Text on one line, not longer than so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def quoted(text: str) -> str:
    """Text of a model between quotation marks, line breaks and spaces visible."""
    return f"“{text}”".replace("\n", "⏎").replace("\t", "⇥")


def describe(event: EventBase) -> str:
    """What an event says, in words."""
    match event:
        case RunStarted():
            return f"{event.recipe.get('name', '')}, seed {event.seed}: {quoted(_asked(event))}"
        case RunFinished():
            return f"{event.completion.finish_reason}, {_tokens(len(event.completion.ids))}"
        case NodeStarted():
            return f"{event.kind} begins as {event.role}"
        case NodeFinished():
            reason = event.finish_reason or "done"
            return f"{reason}, {_tokens(event.tokens)}" if event.tokens else reason
        case Progress():
            total = f" of {event.total:g}" if event.total is not None else ""
            return f"{event.phase} {event.item}: {event.done:g}{total} {event.unit}".rstrip()
        case Forward():
            return _pass(event)
        case Drafted():
            more = f", {event.discarded} more discarded" if event.discarded else ""
            return f"{event.proposer} drafts {_tokens(len(event.ids))} at {event.position}: {quoted(event.text)}{more}"
        case Verified():
            return f"{event.accepted} of {event.proposed} drafted by {event.proposer} stand at {event.position}"
        case Emitted():
            return f"{quoted(event.text)}{_by(event)}"
        case Switched():
            why = f": {event.reason}" if event.reason else ""
            return f"{event.giver} hands over to {event.taker} at {event.position}{why}"
        case CandidateFinished():
            return f"candidate {event.candidate} {event.completion.finish_reason}: {quoted(event.completion.text)}"
        case CandidateScored():
            score = "abstains" if math.isnan(event.score) else f"{event.score:.4g}"
            return f"candidate {event.candidate}: {event.verifier} {score} {event.detail}".rstrip()
        case CandidateSelected():
            return f"candidate {event.candidate} is the answer{': ' if event.reason else ''}{event.reason}"
        case BudgetSpent():
            return f"{event.spent:.4g} of {event.limit:.4g} {event.unit} spent, {event.needed:.3g} needed"
        case Note():
            return f"{event.name}: {_brief(event.data)}"
        case Failed():
            return f"{event.error}: {event.message}"
        case Unreadable():
            return f"not readable: {event.head} ({event.reason})"
    return ""


def _asked(event: RunStarted) -> str:
    prompt = event.prompt
    return prompt.text if prompt.text is not None else prompt.messages[-1].content


def _pass(event: Forward) -> str:
    prefill = " of the prompt" if event.prefill else ""
    shared = f", {event.pass_rows} rows share it" if event.pass_rows > 1 else ""
    name = f"pass {event.pass_id}" if event.passes == 1 else f"{event.passes} passes"
    return f"{name}: {_tokens(event.tokens)}{prefill}, {flops_text(event.flops)}, {seconds_text(event.seconds)}{shared}"


def _by(event: Emitted) -> str:
    if not event.proposer:
        return ""
    return f" by {event.proposer}" + (f", {event.decider} agrees" if event.decider not in ("", event.proposer) else "")


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"


def _brief(data: dict[str, Any]) -> str:
    return ", ".join(f"{name}={shortened(str(value), 60)}" for name, value in data.items())

"""Folds over the events of a run: costs, spans, and who wrote what. Everything shown anywhere comes from here.

All of them are pure and take live or replayed events alike; nothing here needs a model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from counterpoint.events import Emitted, EventBase, NodeFinished, NodeStarted, RunFinished
from counterpoint.tally import ROOT_SPAN, NodeSummary, Summary, Tally

__all__ = ["ROOT_SPAN", "NodeSummary", "Segment", "Span", "Summary", "Tally", "segments", "spans", "summarize"]


@dataclass(frozen=True)
class Span:
    """One call of a node, and the calls it made."""

    id: int
    parent: int | None
    node: str = ""
    kind: str = ""
    role: str = ""
    start: float = 0.0
    """Seconds since the run started."""
    end: float = 0.0
    """When it finished, or the last thing heard of it or of a call below it."""
    finished: bool = False
    """Whether its end was recorded (drafters' and compositions' spans have none: they last as long as their caller's)."""
    finish_reason: str = ""
    tokens: int = 0
    children: tuple[Span, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "children": [child.as_dict() for child in self.children]}


@dataclass(frozen=True)
class Segment:
    """A stretch of text with one proposer and one decider."""

    text: str
    proposer: str = ""
    decider: str = ""
    ids: tuple[int, ...] = ()
    logprobs: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Per node path, each token's log-probability (natural log)."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def summarize(events: Iterable[EventBase]) -> Summary:
    """What a run did and cost, per node and in all."""
    tally = Tally()
    for event in events:
        tally.add(event)
    return tally.summary()


def spans(events: Iterable[EventBase]) -> Span:
    """The calls of a run as a tree; the root (span 0) is the run itself."""
    found: dict[int, Span] = {0: Span(0, None, kind="run")}
    for event in events:
        span = found.get(event.span) or Span(event.span, event.parent, event.node, start=event.t)
        match event:
            case NodeStarted():
                span = replace(span, node=event.node, kind=event.kind, role=event.role, start=event.t)
            case NodeFinished():
                span = replace(span, finished=True, finish_reason=event.finish_reason, tokens=event.tokens)
            case RunFinished():
                completion = event.completion
                span = replace(span, finished=True, finish_reason=completion.finish_reason, tokens=len(completion.ids))
        found[event.span] = replace(span, end=max(span.end, event.t))
    children: dict[int, list[int]] = {}
    for span in found.values():
        if span.id != 0:
            parent = span.parent if span.parent in found else 0
            children.setdefault(parent or 0, []).append(span.id)

    def built(number: int) -> Span:
        below = tuple(built(child) for child in sorted(children.get(number, ())))
        return replace(found[number], children=below, end=max([found[number].end, *(child.end for child in below)]))

    return built(0)


def segments(events: Iterable[EventBase], span: int = ROOT_SPAN) -> list[Segment]:
    """What a span emitted (by default the answer), in stretches of one proposer and one decider."""
    found: list[Segment] = []
    for event in events:
        if not isinstance(event, Emitted) or event.span != span:
            continue
        last = found[-1] if found else None
        if last and (last.proposer, last.decider, set(last.logprobs)) == (event.proposer, event.decider, set(event.logprobs)):
            found[-1] = replace(
                last,
                text=last.text + event.text,
                ids=last.ids + event.ids,
                logprobs={path: values + event.logprobs[path] for path, values in last.logprobs.items()},
            )
        else:
            found.append(Segment(event.text, event.proposer, event.decider, event.ids, event.logprobs))
    return found

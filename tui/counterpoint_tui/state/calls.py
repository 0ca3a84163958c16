"""The calls of a run as frozen data: what each has emitted and drafted, and a persistent map of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from pyrsistent import PMap, PVector, pmap, pvector

from counterpoint_tui.state.persistent import Log

Choice: TypeAlias = tuple[int, str, float]
"""A token that might have been: id, text, log-probability."""
_GAP = 256
"""How many calls may not have been heard of before one that is."""


class Piece(NamedTuple):
    """What one ``emitted`` event said."""

    text: str
    ids: tuple[int, ...]
    proposer: str
    decider: str
    logprobs: Mapping[str, tuple[float, ...]]
    """Per node path, each token's log-probability (natural log)."""
    alternatives: tuple[tuple[Choice, ...], ...]
    """Per token, the most probable tokens in its place; empty where they were not recorded."""
    event: int
    """Place of the event in the trace."""
    token: int
    """Number of its first token in the call's text."""


class Draft(NamedTuple):
    """A draft: what was proposed, how much of it stands, and how much of what stands is in the answer by now."""

    event: int
    position: int
    """Response position of its first token, the prompt's prefix counted."""
    after: int
    """Tokens that its span had emitted before."""
    ids: tuple[int, ...]
    text: str
    proposer: str
    confidence: tuple[float, ...] = ()
    discarded: int = 0
    verdict: int | None = None
    """Place of the ``verified`` event; None before."""
    accepted: int = 0
    emitted: int = 0
    """Tokens that its span has emitted since the verdict."""
    characters: int = 0
    """Characters of ``text`` that have come into the answer since."""

    @property
    def waiting(self) -> bool:
        """Whether tokens of it that stand, or may, are not in the answer yet."""
        return self.verdict is None or self.emitted < self.accepted

    @property
    def rest(self) -> str:
        """What of its text is not in the answer."""
        return self.text[self.characters :]


@dataclass(frozen=True)
class SpanState:
    """One call of a node."""

    id: int
    parent: int | None = None
    node: str = ""
    kind: str = ""
    role: str = ""
    first: int = 0
    """Place in the trace of the first event of it."""
    start: float = 0.0
    """Seconds since the run started."""
    end: float = 0.0
    """When it finished, or the last thing heard of it (not of calls below it)."""
    started: bool = False
    finished: bool = False
    finish_reason: str = ""
    tokens: int = 0
    """Tokens of its completion, once it has finished."""
    generated: int = 0
    """Tokens drawn from models in this call, once it has finished."""
    pieces: Log[Piece] = field(default_factory=Log)
    emitted: int = 0
    """Tokens it has emitted."""
    draft: Draft | None = None
    """Its last draft."""
    earlier_drafts: Log[Draft] = field(default_factory=Log)
    """Those before, as they ended."""
    rejected: int = 0
    """Drafted tokens that were verified and did not stand."""
    flops: float = 0.0
    """Floating-point operations of its own passes, those of calls below it not."""
    prefill_flops: float = 0.0
    share: float = 0.0
    """Seconds of passes that were its own, by its share of the rows."""

    @property
    def drafts(self) -> list[Draft]:
        """All its drafts."""
        return [*self.earlier_drafts, self.draft] if self.draft is not None else []

    @property
    def text(self) -> str:
        """What it has emitted."""
        return "".join([piece.text for piece in self.pieces])


class Spans(Mapping[int, SpanState]):
    """The calls of a run by number: a persistent map.

    A vector of calls, for they are numbered from 0 and nearly every event changes one: a place in a vector is set at a tenth of what
    a key in a map costs. A number far beyond all others, which no engine gives, stands in a map.
    """

    __slots__ = ("_far", "_near")

    def __init__(self, near: PVector[SpanState | None] | None = None, far: PMap[int, SpanState] | None = None) -> None:
        self._near: PVector[SpanState | None] = pvector() if near is None else near
        self._far: PMap[int, SpanState] = pmap() if far is None else far

    def set(self, number: int, span: SpanState) -> Spans:
        """The same with another state of a call."""
        count = len(self._near)
        if self._far and number in self._far:
            return Spans(self._near, self._far.set(number, span))
        if 0 <= number < count:
            return Spans(self._near.set(number, span), self._far)
        if count <= number < count + _GAP:
            return Spans(self._near.extend([None] * (number - count)).append(span), self._far)
        return Spans(self._near, self._far.set(number, span))

    def get(self, number: int, default: Any = None) -> Any:
        """The call of a number, or ``default`` (quicker than the one that a mapping brings)."""
        if 0 <= number < len(self._near) and (found := self._near[number]) is not None:
            return found
        return self._far.get(number, default)

    def __getitem__(self, number: int) -> SpanState:
        found: SpanState | None = self.get(number)
        if found is None:
            raise KeyError(number)
        return found

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.get(number) is not None

    def __iter__(self) -> Iterator[int]:
        yield from (number for number, span in enumerate(self._near) if span is not None)
        yield from self._far

    def __len__(self) -> int:
        return sum(span is not None for span in self._near) + len(self._far)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

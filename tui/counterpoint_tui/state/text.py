"""The text of a call as coloured stretches, the draft under way, what was rejected, and single tokens."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

from counterpoint.tally import ROOT_SPAN
from counterpoint_tui.state.calls import Choice, Draft, Piece, SpanState
from counterpoint_tui.state.data import RunState
from counterpoint_tui.state.spans import base_path, children, writer

_WHO = attrgetter("proposer", "decider")
_EVENT = attrgetter("event")
_TOKEN = attrgetter("token")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Text with one proposer and one decider."""

    text: str
    proposer: str
    decider: str
    first: int
    """The first of the call's pieces in it (:attr:`SpanState.pieces`)."""
    last: int
    """The last of them; a later stretch may continue this one until another begins."""
    token: int
    """Number of its first token in the call."""
    tokens: int
    event: int
    """Place in the trace of its first event."""
    span: int
    """The call that said so: another one below, where a whole answer was adopted."""


def answer_stretches(state: RunState, span: int = ROOT_SPAN, after: int = 0, *, adopted: bool = False) -> tuple[Stretch, ...]:
    """What a call has emitted (by default the answer), in stretches of one proposer and one decider.

    What has been emitted never changes, so whoever shows a growing text need not start anew: give the ``first`` of the last
    stretch shown, and replace all that begin there by what comes.

    Args:
        state: the run.
        span: the call.
        after: leave out pieces before this one.
        adopted: whether an answer of another call that was adopted as a whole, a chosen candidate say, is shown as that call wrote
            it: in its stretches, whose tokens are numbered on.
    """
    found = state.spans.get(span)
    if found is None:
        return ()
    pieces, stretches = found.pieces, list[Stretch]()
    first = after
    for _, group in groupby(pieces[after:], key=_WHO):
        run = list(group)
        head, tail = run[0], run[-1]
        text = "".join([piece.text for piece in run])
        tokens = tail.token + len(tail.ids) - head.token
        last = first + len(run) - 1
        source = adopted_from(state, found, head) if adopted and len(run) == 1 else None
        if source is None:
            stretches.append(Stretch(text, head.proposer, head.decider, first, last, head.token, tokens, head.event, span))
        else:
            inner = answer_stretches(state, source.id, adopted=True)
            stretches += [replace(one, first=first, last=last, token=one.token + head.token) for one in inner]
        first = last + 1
    return tuple(stretches)


def adopted_from(state: RunState, span: SpanState, piece: Piece) -> SpanState | None:
    """The call below whose whole answer a piece is; None where the call has written it itself or handed it on while it came."""
    if piece.decider != span.node or piece.proposer == span.node or not piece.text:
        return None
    made = [one for one in children(state, span.id) if base_path(one.node) == piece.proposer and one.first < piece.event]
    return next((one for one in made if one.emitted == len(piece.ids) and one.text == piece.text), None)


def answer_text(state: RunState, span: int = ROOT_SPAN) -> str:
    """What a call has emitted, by default the answer."""
    found = state.spans.get(span)
    return found.text if found else ""


@dataclass(frozen=True, slots=True)
class Overlay:
    """Text shown behind an answer that is no part of it."""

    text: str
    proposer: str
    position: int
    """Response position of its first token."""
    event: int
    """Place in the trace of the draft."""


def pending(state: RunState, span: int = ROOT_SPAN) -> Overlay | None:
    """The draft that waits for its verdict, or what of it still has to come into the answer; of the call that writes the text."""
    found = writer(state, span)
    draft = _last_draft(found)
    if found is None or draft is None or found.finished or not draft.waiting:
        return None
    rest = draft.rest
    newest = state.spans[span].pieces[-1] if state.spans[span].pieces else None
    if newest is not None and found.id != span and newest.event > found.pieces[-1].event:
        rest = rest.removeprefix(newest.text)  # in the answer already, and about to be said of the call that wrote it
    return Overlay(rest, draft.proposer, draft.position + draft.emitted, draft.event) if rest else None


def rejected(state: RunState, span: int = ROOT_SPAN) -> Overlay | None:
    """The rest of the last draft, which did not stand: shown struck through until the next draft, or the next step without one."""
    found = writer(state, span)
    draft = _last_draft(found)
    if found is None or draft is None or found.finished or draft.waiting or not draft.rest:
        return None
    if draft.accepted >= len(draft.ids) or draft.emitted > draft.accepted + 1:  # one more token comes with every verdict
        return None
    return Overlay(draft.rest, draft.proposer, draft.position + draft.accepted, draft.event)


def _last_draft(span: SpanState | None) -> Draft | None:
    return span.draft if span is not None else None


# --- tokens -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drafting:
    """What a draft had to say of a token."""

    proposer: str
    confidence: float | None
    """The drafter's own estimate that the token would stand."""
    stood: bool
    """Whether the token is the draft's; else it came in place of the one that the draft had there."""
    text: str
    """The whole draft."""
    proposed: int
    accepted: int
    event: int


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a call's text."""

    number: int
    id: int
    text: str
    """Of its piece: where characters span tokens, several tokens share it."""
    shared: int
    """How many tokens share that text."""
    proposer: str
    decider: str
    probabilities: Mapping[str, float]
    """Per node path, its probability there."""
    alternatives: tuple[Choice, ...]
    drafting: Drafting | None
    event: int
    """Place in the trace of its event."""


def token_at(state: RunState, number: int, span: int = ROOT_SPAN) -> Token | None:
    """A token by its number in a call's text; None where there is none.

    Of an answer that was adopted as a whole, it is as the call that wrote it has it.
    """
    found = state.spans.get(span)
    if found is None or not 0 <= number < found.emitted:
        return None
    pieces = found.pieces
    # of several pieces with the same number, those before the last have no tokens
    piece = pieces[bisect.bisect_right(pieces, number, key=_TOKEN) - 1]
    source = adopted_from(state, found, piece)
    inner = token_at(state, number - piece.token, source.id) if source is not None else None
    if inner is not None:
        return replace(inner, number=number)
    return _token(state, found, piece, number, number - piece.token)


def token_of_event(state: RunState, event: int, span: int = ROOT_SPAN) -> int | None:
    """The number of the last token of a call's text at or before an event; None before the first."""
    found = state.spans.get(span)
    if found is None:
        return None
    count = bisect.bisect_right(found.pieces, event, key=_EVENT)
    if count == 0:
        return None
    tokens = found.pieces[count - 1].token + len(found.pieces[count - 1].ids)
    return tokens - 1 if tokens else None


def event_of_token(state: RunState, number: int, span: int = ROOT_SPAN) -> int | None:
    """Place in the trace of the event with which a token came into a call's text; None where there is no such token.

    Of an answer that was adopted as a whole, when it was; :func:`token_at` tells when it was written.
    """
    found = state.spans.get(span)
    if found is None or not 0 <= number < found.emitted:
        return None
    piece: Piece = found.pieces[bisect.bisect_right(found.pieces, number, key=_TOKEN) - 1]
    return piece.event


def _token(state: RunState, span: SpanState, piece: Piece, number: int, index: int) -> Token:
    logprobs = {path: values[index] for path, values in piece.logprobs.items() if index < len(values)}
    return Token(
        number=number,
        id=piece.ids[index],
        text=piece.text,
        shared=len(piece.ids),
        proposer=piece.proposer,
        decider=piece.decider,
        probabilities={path: math.exp(value) for path, value in logprobs.items()},
        alternatives=piece.alternatives[index] if index < len(piece.alternatives) else (),
        drafting=_drafting(state, span, piece, number),
        event=piece.event,
    )


def _drafting(state: RunState, span: SpanState, piece: Piece, number: int) -> Drafting | None:
    """The draft that a token was in or came instead of: the last before its event, of the call that wrote the text."""
    found = (span, number) if span.draft is not None else _written_below(state, span, piece, number)
    if found is None:
        return None
    drafts, number = found[0].drafts, found[1]
    place = bisect.bisect_left(drafts, piece.event, key=_EVENT) - 1
    if place < 0:
        return None
    draft = drafts[place]
    # a response may begin with the prompt's prefix, whose tokens count in positions and are not emitted
    prefix = min(one.position - one.after for one in drafts)
    offset = number + prefix - draft.position
    if draft.verdict is None or not 0 <= offset < min(draft.accepted + 1, len(draft.ids)):
        return None  # not verified; or all of it stood, and this is the target's own token after it
    confidence = draft.confidence[offset] if offset < len(draft.confidence) else None
    stood = offset < draft.accepted
    return Drafting(draft.proposer, confidence, stood, draft.text, len(draft.ids), draft.accepted, draft.event)


def _written_below(state: RunState, span: SpanState, piece: Piece, number: int) -> tuple[SpanState, int] | None:
    """The call with drafts that wrote a piece and handed it on, which its own event follows at once; and the token's number there."""
    for child in (state.spans[below] for below in state.children.get(span.id, ())):
        place = bisect.bisect_left(child.pieces, piece.event + 1, key=_EVENT)
        found = child.pieces[place] if place < len(child.pieces) else None
        if found is not None and found.event == piece.event + 1 and found.ids == piece.ids:
            there = number - piece.token + found.token
            return (child, there) if child.draft is not None else _written_below(state, child, found, there)
    return None

"""Everything about one token: who proposed it, who let it stand, how probable it was, what else might have been, and the cost so far."""

from __future__ import annotations

from dataclasses import dataclass

from counterpoint.tally import ROOT_SPAN
from counterpoint_tui.state.figures import drawn_tokens, summary
from counterpoint_tui.state.text import Token, token_at, token_of_event
from counterpoint_tui.state.trace import TraceView


@dataclass(frozen=True, slots=True)
class TokenDetails:
    """A token, and what the run had cost when it came."""

    token: Token
    of: int
    """How many tokens the text has in the end."""
    t: float
    """When it came, in seconds since the run started."""
    flops: float
    """Floating-point operations of the whole run by then."""
    seconds: float
    """Wall time by then, with preparing."""
    model_seconds: float
    generated_tokens: int
    """Tokens drawn by then."""
    at_least: bool
    """Whether that is a lower bound: in calls under way, more may have been drawn than they had said by then."""


def token_details(trace: TraceView, number: int, span: int = ROOT_SPAN) -> TokenDetails | None:
    """What is known of a token; None where there is no such token.

    Args:
        trace: the trace.
        number: which token of the text, from 0.
        span: the call whose text it is, by default the answer.
    """
    last = trace.last
    token = token_at(last, number, span)
    if token is None:
        return None
    then = trace.at(token.event + 1)
    cost, drawn = summary(then), drawn_tokens(then)
    return TokenDetails(
        token=token,
        of=last.spans[span].emitted,
        t=then.last_t,
        flops=cost.flops,
        seconds=cost.seconds,
        model_seconds=cost.model_seconds,
        generated_tokens=drawn,
        at_least=any(call.pieces and not call.finished for call in then.spans.values()),
    )


def token_of_place(trace: TraceView, place: int, span: int = ROOT_SPAN) -> int | None:
    """The number of the token that came last at a place of the trace; None before the first."""
    return token_of_event(trace.last, place - 1, span)

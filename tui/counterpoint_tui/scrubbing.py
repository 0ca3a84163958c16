"""Where one stands in a trace: after how many events, in the text of which call, at which token. No Textual."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from counterpoint.tally import ROOT_SPAN
from counterpoint_tui.state import (
    EventRow,
    Mark,
    RunState,
    SpanState,
    TokenDetails,
    TraceView,
    event_of_token,
    token_details,
    token_of_place,
)


@dataclass
class Position:
    """A place in a trace, and what is looked at there."""

    trace: TraceView
    place: int = 0
    """How many events have happened."""
    span: int = ROOT_SPAN
    """The call whose text is read."""
    _token: int | None = None
    """The token that was chosen, where the place is its own; otherwise the last one counts."""

    # --- what is there --------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> RunState:
        """The run as it was."""
        return self.trace.at(self.place)

    @property
    def time(self) -> float:
        """Seconds since the run started."""
        return self.trace.columns.times[self.place - 1] if self.place else 0.0

    @property
    def token(self) -> int | None:
        """The number of the token one stands on; None before the first."""
        return self._token if self._token is not None else token_of_place(self.trace, self.place, self.span)

    @property
    def tokens(self) -> int:
        """How many the text has in the end."""
        found = self.trace.last.spans.get(self.span)
        return found.emitted if found else 0

    @property
    def event(self) -> EventRow | None:
        """What happened last."""
        return self.trace.row(self.place - 1) if self.place else None

    @property
    def details(self) -> TokenDetails | None:
        """All that is known of the token."""
        number = self.token
        return None if number is None else token_details(self.trace, number, self.span)

    @property
    def call(self) -> SpanState | None:
        """The call whose text is read, as it was; None for the answer's, and before it began."""
        return None if self.span == ROOT_SPAN else self.state.spans.get(self.span)

    def origin(self, details: TokenDetails | None = None) -> SpanState | None:
        """The call that wrote the token, where the text adopted it from there."""
        details = details or self.details
        if details is None:
            return None
        span = self.trace.columns.spans[details.token.event]
        return self.trace.last.spans.get(span) if span != self.span else None

    # --- going elsewhere ------------------------------------------------------------------------------------------------------

    def go(self, place: int) -> None:
        """Goes to a place."""
        self.place = max(0, min(place, len(self.trace)))
        self._token = None

    def choose(self, token: int) -> None:
        """Goes to the place at which a token came into the text."""
        event = event_of_token(self.trace.last, token, self.span)
        if event is not None:
            self.place, self._token = event + 1, token

    def step(self, by: int, *, tokens: bool) -> None:
        """Goes some events, or tokens, further or back."""
        if not tokens:
            self.go(self.place + by)
            return
        number = self.token
        target = by - 1 if number is None else number + by
        if target < 0:
            self.go(0)
        elif target >= self.tokens:
            self.go(len(self.trace))
        else:
            self.choose(target)

    def jump(self, marks: Collection[Mark], forward: bool) -> bool:
        """Goes to the next, or the previous, place that is marked so; whether there is one."""
        look = self.trace.next if forward else self.trace.previous
        found = [place for mark in marks if (place := look(mark, self.place)) is not None]
        if found:
            self.go(min(found) if forward else max(found))
        return bool(found)

    def read(self, span: int) -> None:
        """Reads the text of a call; where it has not begun by now, as it was in the end."""
        self.span, self._token = span, None
        call = self.trace.last.spans.get(span)
        if call is not None and call.first >= self.place:
            spans = self.trace.columns.spans
            last = next(index for index in range(len(spans) - 1, -1, -1) if spans[index] == span or index == call.first)
            self.go(last + 1)

    def to_origin(self) -> bool:
        """Goes to where the token was written, in the call that wrote it; whether it was another one."""
        details = self.details
        call = self.origin(details)
        if details is None or call is None:
            return False
        self.span = call.id
        self.go(details.token.event + 1)
        return True

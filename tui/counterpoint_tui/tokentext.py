"""The text of a call in lines, and which token stands where in it; as it grows, and as one goes back and forth. Pure: no Textual."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from rich.cells import cell_len

from counterpoint.printable import plain
from counterpoint_tui.state import LegendEntry, RunState, answer_stretches
from counterpoint_tui.state.calls import Piece
from counterpoint_tui.wrapping import Wrapped

_EVENT = attrgetter("event")
_START = attrgetter("start")
_TAB = "    "


class Part(NamedTuple):
    """A stretch of what is shown: a piece of the text, or a letter before it."""

    start: int
    """Place of its first character in what is shown."""
    token: int | None
    """Number of its first token; a letter has none."""
    proposer: str


class TokenText:
    """What a call has emitted, in lines.

    Args:
        width: columns of a line.
        span: the call.
        adopted: whether an answer that was adopted as a whole is shown as it was written
            (:func:`counterpoint_tui.state.answer_stretches`).
        letters: how the nodes are shown whose letters stand before their stretches; None for no letters.
    """

    def __init__(
        self, width: int, span: int = 1, *, adopted: bool = False, letters: Mapping[str, LegendEntry] | None = None
    ) -> None:
        self.span, self.adopted, self.letters = span, adopted, letters
        self.parts: list[Part] = []
        self.proposers: set[str] = set()
        """Paths of the nodes that have proposed any of it."""
        self._pieces: Sequence[Piece] = ()
        self._counts: list[int] = []  # parts up to each of the pieces
        self._wrapped = Wrapped(width)

    @property
    def width(self) -> int:
        """Columns of a line."""
        return self._wrapped.width

    @property
    def lines(self) -> list[str]:
        """The lines; joined, they are what is shown."""
        return self._wrapped.lines

    @property
    def starts(self) -> list[int]:
        """Place of each line's first character."""
        return self._wrapped.starts

    # --- growing ------------------------------------------------------------------------------------------------------------

    def bring_up(self, state: RunState) -> int:
        """Takes away and adds what is different in a state of the run; returns the first line that may be another one."""
        call = state.spans.get(self.span)
        pieces: Sequence[Piece] = call.pieces if call is not None else ()
        common = min(len(pieces), len(self._pieces))
        if common and pieces[common - 1] != self._pieces[common - 1]:
            common = 0  # another history
        changed = len(self.lines) - 1
        if common < len(self._counts):
            kept = self._counts[common - 1] if common else 0
            end = self.parts[kept].start if kept < len(self.parts) else len(self._wrapped)
            del self.parts[kept:], self._counts[common:]
            changed = min(changed, self._wrapped.cut(end))
        if common < len(pieces):
            changed = min(changed, self._wrapped.append("".join(self._more(state, common, len(self._wrapped)))))
            self._counts.extend([len(self.parts)] * (len(pieces) - len(self._counts)))  # those that were adopted
        self._pieces = pieces
        return changed

    def _more(self, state: RunState, after: int, end: int) -> Iterator[str]:
        """The texts of the pieces from one on, which are noted as parts."""
        for stretch in answer_stretches(state, self.span, after, adopted=self.adopted):
            own = stretch.span == self.span
            pieces = state.spans[stretch.span].pieces
            place = stretch.first if own else bisect_left(pieces, stretch.event, key=_EVENT)
            first, left = pieces[place].token, len(stretch.text)
            self.proposers.add(stretch.proposer)
            if (stretch.text or stretch.tokens) and (mark := self._letter(stretch.proposer)):
                self.parts.append(Part(end, None, stretch.proposer))
                yield mark
                end += len(mark)
            while place < len(pieces) and (left > 0 or pieces[place].token - first < stretch.tokens):
                piece = pieces[place]
                text = shown(piece.text)
                if piece.text or piece.ids:
                    self.parts.append(Part(end, stretch.token + piece.token - first, stretch.proposer))
                yield text
                end += len(text)
                left -= len(piece.text)
                place += 1
                if own:
                    self._counts.append(len(self.parts))
                    if place > stretch.last:
                        break

    def _letter(self, proposer: str) -> str:
        """What stands before a stretch, unless the stretch before is of the same proposer."""
        if self.letters is None or (self.parts and self.parts[-1].proposer == proposer):
            return ""
        entry = self.letters.get(proposer)
        return f"‹{entry.letter if entry is not None and entry.speaks else '–'}›"

    def rewrap(self, width: int) -> None:
        """Breaks the lines for another width."""
        self._wrapped = Wrapped(width, "".join(self.lines))

    def with_tail(self, text: str) -> list[str]:
        """The last line as it is with more text behind it, and the lines that follow."""
        return self._wrapped.with_tail(shown(text))

    # --- what stands where --------------------------------------------------------------------------------------------------

    def parts_between(self, start: int, end: int) -> Iterator[tuple[Part, int]]:
        """The parts with anything between two places, and where each ends."""
        place = max(0, bisect_right(self.parts, start, key=_START) - 1)
        while place < len(self.parts) and self.parts[place].start < end:
            place += 1
            yield self.parts[place - 1], self.parts[place].start if place < len(self.parts) else end

    def token_at(self, x: int, y: int) -> int | None:
        """Number of the token at a column and a line; None where there is none."""
        if not 0 <= y < len(self.lines) or not self.parts:
            return None
        column = 0
        for place, character in enumerate(self.lines[y]):
            column += cell_len(character)
            if x < column:
                return self.parts[bisect_right(self.parts, self.starts[y] + place, key=_START) - 1].token
        return None

    def place_of(self, number: int) -> tuple[int, int] | None:
        """Where a token begins and ends, or the last one before it; one without text takes a character's room."""
        after = bisect_right(range(len(self.parts)), number, key=self._number)
        if after == 0:
            return None
        start = self.parts[after - 1].start
        end = self.parts[after].start if after < len(self.parts) else len(self._wrapped)
        return start, max(end, start + 1)

    def _number(self, place: int) -> int:
        """The token of a part; a letter counts as what follows it."""
        token = self.parts[place].token
        return self._number(place + 1) if token is None else token

    def line_of(self, place: int) -> int:
        """The line with the character at a place."""
        return self._wrapped.line_at(place)


def shown(text: str) -> str:
    """Text as it is shown: nothing in it moves the cursor, tabs have a width."""
    return plain(text).replace("\t", _TAB)

"""A response in two vocabularies: one tokenizer's ids for what grows token by token in another's."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Collection
from typing import NamedTuple

from counterpoint.bridge import TokenizerBridge
from counterpoint.tokenizer import Tokenizer


def match_ends(bridge: TokenizerBridge, outer: Collection[int], inner: Collection[int]) -> dict[int, int | None]:
    """For each end-of-turn token of an outer model, the inner model's: that of the same name, else its first; None if it has none."""
    named = {bridge.inner.token(token_id): token_id for token_id in sorted(inner, reverse=True)}
    first = min(inner, default=None)
    return {token_id: named.get(bridge.outer.token(token_id), first) for token_id in sorted(outer)}


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text's ids without a control token: one that is spelled out in it is text here, and is cut after its first character."""
    ids = tokenizer.encode(text)
    if tokenizer.special_ids.isdisjoint(ids):
        return ids
    names = "|".join(re.escape(name) for name in map(tokenizer.token, sorted(tokenizer.special_ids)) if name)
    cuts = [found.start() + 1 for found in re.finditer(f"(?={names})", text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(text)])]
    return [token_id for piece in pieces if piece for token_id in tokenizer.encode(piece)]


class Alignment:
    """The inner tokenizer's ids for a response that grows token by token in the outer one's: a pure function of its ids.

    A token with an equal inner one is appended as that (so both models see the same cuts); any other has the response encoded
    again, as far as its characters are complete, and what is common with the ids before it stays. An end of turn is one by its
    role, whatever it is called; other control tokens are no text, and add nothing; and a text never becomes a control token.

    Args:
        bridge: between the two.
        ends: for each end-of-turn token of the outer model, that of the inner one (:func:`match_ends`).
    """

    def __init__(self, bridge: TokenizerBridge, ends: dict[int, int | None]) -> None:
        self._bridge = bridge
        self._ends = ends
        self.ids: list[int] = []
        """Inner ids of the response so far; another list whenever some of them are replaced."""
        self._spelled = bytearray()
        self._turn = _Turn()
        self._undo: list[tuple[int, list[int], _Turn, int]] = []

    @property
    def length(self) -> int:
        """Outer tokens so far."""
        return len(self._undo)

    def push(self, token_id: int) -> int:
        """Adds an outer token; returns how many of the inner ids stay as they were (those after them in :attr:`ids` are new)."""
        turn, spelled = self._turn, len(self._spelled)
        kept, new = self._next(token_id)
        self._undo.append((kept, self.ids[kept:], turn, spelled))
        self._replace(kept, new)
        if token_id in self._ends:
            self._turn = _Turn(len(self.ids), len(self._spelled))
        return kept

    def _next(self, token_id: int) -> tuple[int, list[int]]:
        """How many inner ids stay when a token is added, and those that follow them."""
        present = len(self.ids)
        if token_id in self._ends:
            end = self._ends[token_id]
            return present, [] if end is None else [end]
        if self._bridge.exact:
            return present, [token_id]
        own = self._bridge.outer_bytes[token_id]
        if not own:
            return present, []
        self._spelled += own
        equal = int(self._bridge.shared[token_id])
        if equal >= 0 and self._turn.in_step:
            return present, [equal]
        begin, spelled = self._turn.begin, self._spelled[self._turn.start :]
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(spelled, False)
        self._turn = self._turn._replace(in_step=text.encode() == spelled)
        wanted, held = encode_text(self._bridge.inner, text), self.ids[begin:]
        common = 0
        while common < min(len(held), len(wanted)) and held[common] == wanted[common]:
            common += 1
        return begin + common, wanted[common:]

    def rollback(self, length: int) -> int:
        """Takes outer tokens beyond ``length`` back; returns how many inner ids have stayed as they were all the while."""
        least = len(self.ids)
        while len(self._undo) > length:
            kept, removed, self._turn, spelled = self._undo.pop()
            del self._spelled[spelled:]
            self._replace(kept, removed)
            least = min(least, kept)
        return least

    def _replace(self, kept: int, new: list[int]) -> None:
        if kept < len(self.ids):
            self.ids = self.ids[:kept]
        self.ids += new

    def copy(self) -> Alignment:
        """An alignment of its own, at the same place."""
        twin = Alignment(self._bridge, self._ends)
        twin.ids, twin._turn, twin._undo = list(self.ids), self._turn, list(self._undo)
        twin._spelled = bytearray(self._spelled)
        return twin


class _Turn(NamedTuple):
    """A response since its last end of turn."""

    begin: int = 0
    """Inner ids before it."""
    start: int = 0
    """Bytes before it."""
    in_step: bool = True
    """Whether the inner ids spell all of it: not while a character is incomplete."""

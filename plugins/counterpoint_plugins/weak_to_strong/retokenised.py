"""A growing text as tokens of another model: only those that no further text can change."""

from __future__ import annotations

import re

from counterpoint.plugin import Tokenizer

_WORD_END = re.compile(r"(?<=\S)[ \t\r\n]\s*(?=\S)")
"""White space between two words: it begins where a word ends, and is complete, since something follows it."""


class RetokenisedText:
    """Text that comes in pieces, as tokens of ``tokenizer``: in the end ``tokenizer.encode`` of the whole, stripped.

    Tokens are given out only up to the end of the last word but one. What is held back: white space at the end and the last
    word, which further text may join or cut otherwise; and the word before it, since a few vocabularies have tokens across
    white space (Gemma's ``"> </"``), so that a word counts only with the whole of the next one in sight. Vocabularies of
    byte-level BPE decide on a word's tokens from the word, the white space after it and the character that follows; one
    without a pre-tokenizer (Gemma's) has no merge across the end of a word, but for such tokens.

    Should a tokenizer do otherwise and have other tokens for the whole text, those given out stay as they are, the rest is
    encoded by itself, and :attr:`recut` says so.

    Args:
        tokenizer: that of the model that reads the text.
        keep_start: whether white space at the start belongs to the text (it continues another one) or is stripped.
    """

    def __init__(self, tokenizer: Tokenizer, *, keep_start: bool = False) -> None:
        self.recut = False
        """Whether a token given out would have been another in the whole text."""
        self._tokenizer = tokenizer
        self._keep_start = keep_start
        self._text = ""
        self._given: list[int] = []
        self._given_end = 0  # characters that the tokens given out stand for
        self._ends = (0, 0)  # where the last two words ended so far, the very last not included

    def push(self, text: str) -> None:
        """Adds a piece."""
        self._text += text
        if not self._keep_start:
            self._text = self._text.lstrip()
        for match in _WORD_END.finditer(self._text, self._ends[1]):
            if match.start() > self._ends[1]:
                self._ends = (self._ends[1], match.start())

    @property
    def waiting(self) -> int:
        """About how many tokens can be taken: their text encoded by itself."""
        text = self._text[self._given_end : self._ends[0]]
        return len(self._tokenizer.encode(text)) if text else 0

    def take(self) -> list[int]:
        """The tokens that have become certain; none where a token still reaches across the word's end, or into what was given out."""
        end = self._ends[0]
        if end <= self._given_end:
            return []
        settled, whole = self._tokenizer.encode(self._text[:end]), self._tokenizer.encode(self._text)
        if whole[: len(settled)] != settled or settled[: len(self._given)] != self._given:
            return []
        return self._give(settled, end)

    def finish(self) -> list[int]:
        """The rest, when no more text comes: white space at the end is no part of it, nor is an incomplete character."""
        text = self._text.rstrip().rstrip("\ufffd").rstrip()
        whole = self._tokenizer.encode(text) if text else []
        if whole[: len(self._given)] != self._given:
            self.recut = True
            rest = text[self._given_end :]
            whole = [*self._given, *(self._tokenizer.encode(rest) if rest else [])]
        return self._give(whole, len(text))

    def _give(self, ids: list[int], end: int) -> list[int]:
        new = ids[len(self._given) :]
        self._given, self._given_end = ids, end
        return new

"""What the engine needs of a tokenizer, and incremental text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """Text to token ids and back."""

    @property
    def fingerprint(self) -> str:
        """A hash of the whole id→token mapping: equal fingerprints mean the same vocabulary."""

    @property
    def size(self) -> int:
        """Number of ids; a model's logits beyond it are padding."""

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens, which are no text."""

    def mapping(self) -> Mapping[str, int]:
        """Token string to id."""

    def token(self, token_id: int) -> str:
        """The token string of an id."""

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        """Ids of a text; ``add_special`` adds what the tokenizer puts around a sequence (a BOS, say), never twice."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens left out, nothing else changed."""

    def render_chat(self, messages: Sequence[Mapping[str, str]]) -> str | None:
        """Messages in the model's own chat template, with the header of the answer; None without a template."""


class IncrementalText:
    """Turns tokens into text as they come: what is returned is final, and joined it is the text of all tokens.

    Held back: bytes that do not yet make a character, and a tail that may become a stop string. After a stop string has
    appeared, :attr:`stopped` is true and the text ends right before it.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self._context = 0  # start of the decoded window: one settled stretch, so that joins decode as they do in the whole
        self._settled = 0  # tokens whose text has gone to `_held`
        self._held = ""
        self.stopped = False
        """Whether a stop string has appeared."""

    def push(self, token_id: int) -> str:
        """Adds a token and returns the text that is now final (often its own, possibly none)."""
        if self.stopped:
            return ""
        self._ids.append(token_id)
        before = self._tokenizer.decode(self._ids[self._context : self._settled])
        now = self._tokenizer.decode(self._ids[self._context :])
        if len(now) > len(before) and not now.endswith("\ufffd"):
            self._held += now[len(before) :]
            self._context, self._settled = self._settled, len(self._ids)
            return self._release()
        return ""

    def finish(self) -> str:
        """The rest, when no token follows."""
        if self.stopped:
            return ""
        before = self._tokenizer.decode(self._ids[self._context : self._settled])
        self._held += self._tokenizer.decode(self._ids[self._context :])[len(before) :]
        self._context = self._settled = len(self._ids)
        text = self._release()
        if not self.stopped:
            text, self._held = text + self._held, ""
        return text

    def _release(self) -> str:
        ends = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        if ends:
            self.stopped = True
            text, self._held = self._held[: min(ends)], ""
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0

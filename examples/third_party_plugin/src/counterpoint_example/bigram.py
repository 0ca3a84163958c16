"""The `bigram` drafter: what has most often followed the last token."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from counterpoint.plugin import Draft, Drafter, DraftSession, Prompt, Purpose, Run, Session


class Bigram(Drafter):
    """Drafts, token by token, the most frequent successor of the last token in prompt and response so far.

    It costs no model pass, and it is right where a text repeats itself: names, indentation, lists.
    """

    kind: Literal["bigram"] = "bigram"
    min_count: int = Field(default=2, ge=1, description="How often a pair must have been seen to be drafted.")

    async def draft(self, prompt: Prompt, target: Session, run: Run) -> DraftSession:
        return BigramSession(run.path, target.prompt_ids, self.min_count)


class BigramSession(DraftSession):
    """Counts of token pairs; they grow with what is accepted, and what is accepted never shrinks."""

    def __init__(self, path: str, prompt_ids: Sequence[int], min_count: int) -> None:
        self.path = path
        self._min_count = min_count
        self._text: list[int] = []
        self._followers: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._prompt = len(prompt_ids)
        self._read(prompt_ids)

    def _read(self, ids: Sequence[int]) -> None:
        for token in ids:
            if self._text:
                self._followers[self._text[-1]][token] += 1
            self._text.append(token)

    async def propose(
        self,
        response: Sequence[int],
        limit: int,
        proceed: Callable[[float], bool],
        purpose: Purpose = "sample",
    ) -> Draft:
        self._read(response[len(self._text) - self._prompt :])
        ids: list[int] = []
        confidence: list[float] = []
        last = self._text[-1]
        while len(ids) < limit and (followers := self._followers.get(last)):
            token, count = followers.most_common(1)[0]
            if count < self._min_count:
                break
            ids.append(token)
            confidence.append(count / (followers.total() + 1))
            if not proceed(confidence[-1]):
                break
            last = token
        return Draft(tuple(ids), confidence=tuple(confidence))  # no logits: a point mass

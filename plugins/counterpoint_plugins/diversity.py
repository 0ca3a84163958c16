"""The verifiers `distinct_n` and `repetition`: how much answers repeat one another, and themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import Completion, Node, Prompt, Run, Score, Verifier, hookimpl

_WORD = re.compile(r"\w+|[^\w\s]")


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """The n-grams of a text's words and punctuation marks, in lower case."""
    words = _WORD.findall(text.lower())
    return [tuple(words[i : i + n]) for i in range(len(words) + 1 - n)]


def _counts(texts: Iterable[str], n: int) -> tuple[int, int]:
    """Distinct n-grams of texts, and all of them; none spans two texts."""
    distinct: set[int] = set()
    total = 0
    for text in texts:
        found, count = _hashed(text, n)
        distinct |= found
        total += count
    return len(distinct), total


@lru_cache(maxsize=16384)  # intervals ask for the same texts a thousand times
def _hashed(text: str, n: int) -> tuple[frozenset[int], int]:
    """The distinct n-grams of a text, each as a number, and how many there are in all."""
    found = ngrams(text, n)
    return frozenset(map(hash, found)), len(found)


class DistinctN(Verifier):
    """Distinct-n: different n-grams out of all (0 to 1).

    Source: Li et al. 2016 (arXiv 1510.03055, section 5.1). The score of one answer looks at that answer alone; the figure of an
    evaluation at the n-grams of all answers together, and so is no mean. An answer with fewer than n words abstains.
    """

    kind: Literal["distinct_n"] = "distinct_n"
    n: int = Field(default=2, ge=1, le=8, description="Length of the n-grams, in words.")

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        return [_share(completion.text, self.n, of_repeats=False) for completion in completions]

    def overall(self, scores: Sequence[Score], texts: Sequence[str]) -> float:
        """Different n-grams out of all those of the texts together."""
        distinct, total = _counts(texts, self.n)
        return distinct / total if total else float("nan")


class Repetition(Verifier):
    """The share of an answer's n-grams that stand in it earlier too (0 to 1, lower is better).

    Source: seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319, section 6), over words: 1 − distinct n-grams / n-grams. An answer
    with fewer than n words abstains.
    """

    kind: Literal["repetition"] = "repetition"
    lower_is_better: ClassVar[bool] = True
    n: int = Field(default=4, ge=1, le=8, description="Length of the n-grams, in words.")

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        return [_share(completion.text, self.n, of_repeats=True) for completion in completions]


def _share(text: str, n: int, *, of_repeats: bool) -> Score:
    distinct, total = _counts([text], n)
    if not total:
        return Score(float("nan"), f"fewer than {n} words")
    counted = total - distinct if of_repeats else distinct
    return Score(counted / total, f"{counted} of {total}")


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `distinct_n` and `repetition` nodes."""
    return [DistinctN, Repetition]

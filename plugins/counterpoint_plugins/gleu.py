"""The `gleu` verifier: corrections of a text, compared by n-grams with its source and with good versions of it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import Completion, Node, Prompt, Run, Score, Verifier, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ORDERS = range(1, 5)
"""Lengths of the n-grams."""
ITERATIONS = 120
"""How often every sentence draws one of its references; divisible by 1 to 6, 8, 10 and 12."""

_PENN = [
    (re.compile(pattern, re.IGNORECASE), put)
    for pattern, put in (
        ("[\u2018\u2019]", "'"),
        ("[\u201c\u201d]", '"'),
        (r"\.{3}|\u2026", " ... "),
        (r'[?!;()\[\]{}%"]|--|\u2013|\u2014', r" \g<0> "),
        (r"[,:](?![0-9])", r" \g<0> "),
        # a full stop ends a sentence unless it ends an abbreviation; where the text ends, it always does
        (r"(?<![.\s])\.(?=[\s'\"]*$)", " ."),
        (r"(?<![.\s])(?<!\b[a-z])(?<!\bmr)(?<!\bmrs)(?<!\bms)(?<!\bdr)(?<!\bst)(?<!\bvs)(?<!\betc)(?<!\bprof)\.(?=\s)", " ."),
        (r"\b(can)(not)\b", r"\1 \2"),
        (r"(?<=\w)n't\b", r" n't"),
        (r"(?<=\w)'(?=(?:s|m|d|re|ve|ll)\b)", " '"),
        (r"(?<=[\w.,])'(?=\s|$)", " '"),
        (r"(?<!\S)'(?=\w)(?!(?:s|m|d|t|re|ve|ll)\b)", "' "),
    )
]


def penn_tokens(text: str) -> list[str]:
    """Tokens as the Penn Treebank and the files of JFLEG have them: punctuation and contractions set apart.

    Text that is already so comes out as it is.
    """
    for pattern, put in _PENN:
        text = pattern.sub(put, text)
    return text.split()


def statistics(source: Sequence[str], answer: Sequence[str], reference: Sequence[str]) -> list[int]:
    """What GLEU counts of one answer beside one reference: the reference's length, and for n = 1 … 4 the matching n-grams.

    An n-gram of the answer matches as often as the reference has it. N-grams that the answer keeps from the source although the
    reference has none of them are subtracted; what is left is at least 0.
    """
    counts = [len(reference)]
    for n in ORDERS:
        of_answer, of_source, of_reference = (_ngrams(tokens, n) for tokens in (answer, source, reference))
        matches = sum((of_answer & of_reference).values())
        kept = sum(min(count, of_source[ngram]) for ngram, count in of_answer.items() if ngram not in of_reference)
        counts.append(max(0, matches - kept))
    return counts


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) + 1 - n))


class Gleu(Verifier):
    """GLEU: how close a correction is to good versions, less what it leaves uncorrected (0 to 1).

    Source: Napoles, Sakaguchi, Post and Tetreault 2015 (ACL), in the form without tuning of 2016 (arXiv 1605.02592), as their
    script counts; the measure of JFLEG, and not Google's measure of the same name. With c and r the lengths of answer and reference,

        GLEU = min(1, exp(1 − r/c)) · (p₁ p₂ p₃ p₄)^¼
        pₙ = (n-grams of the answer in the reference − those in the source and not in the reference) / n-grams of the answer

    Lengths and counts are summed over all answers first; an order of which no answer has an n-gram is left out. Of several
    references one is drawn for each sentence, again and again, and the figure is the mean. The authors draw 500 times
    independently; here a sentence meets each of its references equally often in 120 draws, which have the same expectation
    and far less noise. The score of one answer is the mean over its references with nought counted as one; it is for finding
    answers, not for averaging.
    """

    kind: Literal["gleu"] = "gleu"
    requires: ClassVar[tuple[str, ...]] = ("source", "references")
    tokenize: bool = Field(
        default=True,
        description="Whether punctuation and contractions are set apart first, in source, references and answers alike; "
        "else words are what white space separates.",
    )

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        split = penn_tokens if self.tokenize else str.split
        source = split(str(prompt.fields["source"]))
        references = [tokens for text in _texts(prompt.fields["references"]) if (tokens := split(text))]
        return [self._score(source, split(completion.text), references) for completion in completions]

    def _score(self, source: list[str], answer: list[str], references: list[list[str]]) -> Score:
        if not references:
            return Score(float("nan"), "there is no reference")
        counts = [statistics(source, answer, reference) for reference in references]
        values = [_sentence(len(answer), one) for one in counts]
        detail = "no words" if not answer else "by reference: " + ", ".join(f"{value:.2f}" for value in values)
        return Score(math.fsum(values) / len(values), detail, {"length": len(answer), "references": counts})

    def overall(self, scores: Sequence[Score], texts: Sequence[str]) -> float:
        """GLEU of all answers together, from the counts in the scores' ``data``."""
        import numpy as np

        lengths = np.array([score.data["length"] for score in scores], dtype=np.int64)
        counts = [score.data["references"] for score in scores]
        rows = np.array([row for of_answer in counts for row in of_answer], dtype=np.int64)
        drawn = _draws(tuple(map(len, counts)))
        # column by column, for that is quicker than rows and, unlike a product of matrices, needs no second core
        total = np.stack([column[drawn].sum(axis=0) for column in np.ascontiguousarray(rows.T)], axis=1)
        words = [int(np.maximum(lengths + 1 - n, 0).sum()) for n in ORDERS]
        if not words[0]:
            return 0.0
        orders = [n for n in ORDERS if words[n - 1]]
        with np.errstate(divide="ignore"):  # no match at all: log 0, and GLEU is 0
            logs = np.log(total[:, orders] / np.array([words[n - 1] for n in orders])).mean(axis=1)
        return float(np.exp(np.minimum(0.0, 1 - total[:, 0] / words[0]) + logs).mean())


@lru_cache(maxsize=2)  # a bootstrap asks for the same draws a thousand times
def _draws(references: tuple[int, ...]) -> NDArray[np.int64]:
    """Which reference each sentence draws in each iteration, as a number among all references: ``[sentences, iterations]``."""
    import numpy as np

    # the old generator, for its numbers are promised to stay the same
    noise = np.random.RandomState(0).random_sample((len(references), ITERATIONS))
    # of each sentence, a shuffle of the iterations: the first part of it draws the first reference, and so on
    order = np.argsort(noise, axis=1)
    counts = np.array(references)
    chosen: NDArray[np.int64] = (np.cumsum(counts) - counts)[:, None] + order * counts[:, None] // ITERATIONS
    return chosen


def _sentence(length: int, counts: Sequence[int]) -> float:
    """GLEU of one answer beside one reference, nought smoothed to one in numerators and denominators (the authors' script)."""
    if not length:
        return 0.0
    log_precision = sum(math.log(max(1, counts[n]) / max(1, length + 1 - n)) for n in ORDERS) / len(ORDERS)
    return math.exp(min(0.0, 1 - counts[0] / length) + log_precision)


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [text for text in value or () if isinstance(text, str)]


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `gleu` node."""
    return [Gleu]

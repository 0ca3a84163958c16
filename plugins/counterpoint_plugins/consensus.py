"""The `consensus` verifier: how far the answers of one prompt agree with one another."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from counterpoint.answers import check_pattern, extractor, normalised, refuse_without_rouge, rouge_l, rouge_words, shortened
from counterpoint.plugin import Completion, Node, NodePlan, Prompt, Run, Score, Verifier, hookimpl

_ALONE = "nothing to compare with"


class Consensus(Verifier):
    """How far an answer agrees with the other answers to its prompt (0 to 1).

    By text, number or pattern it is the share of the answers that say the same: majority voting (self-consistency, Wang et al.
    2022, arXiv 2203.11171). By `rouge_l` it is the mean ROUGE-L F1 with the other answers, highest for the medoid. `agreement` is
    the rule of Ensemble-Instruct (Lee et al. 2023, arXiv 2310.13961): answers that agree exactly win, and else the medoid.
    Scores depend on the answers that are given together, and not on their order.
    """

    kind: Literal["consensus"] = "consensus"
    compares: ClassVar[bool] = True
    by: Literal["text", "number", "rouge_l", "agreement"] | None = Field(
        default=None,
        description="What is compared: the whole `text`, its final `number`, or words in common (`rouge_l`); `agreement` is exact "
        "agreement, and where there is none, words in common.",
    )
    pattern: str | None = Field(
        default=None,
        description="In place of `by`: a regular expression that finds what is compared, its last match or that match's first group.",
    )
    least: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="With `agreement`: all abstain where two answers have less than this ROUGE-L in common and none agree.",
    )

    @field_validator("pattern")
    @classmethod
    def _valid(cls, value: str | None) -> str | None:
        check_pattern(value or "")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Consensus:
        if (self.by is None) == (self.pattern is None):
            raise ValueError("set exactly one of by (text, number, rouge_l, agreement) and pattern")
        if "least" in self.model_fields_set and self.by != "agreement":
            raise ValueError("least goes with by: agreement, and with nothing else")
        return self

    def check(self, plan: NodePlan) -> None:
        if self.by in ("rouge_l", "agreement"):
            refuse_without_rouge(plan)

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        answers = [prompt.prefix + completion.text for completion in completions]
        return await run.thread(self._scores, answers)

    def _scores(self, answers: Sequence[str]) -> list[Score]:
        if self.by == "rouge_l":
            return _by_likeness([normalised(answer) for answer in answers], stemmer=False)
        if self.by == "agreement":
            return _by_agreement([normalised(answer) for answer in answers], self.least)
        how = self.by or self.pattern or ""
        if self.by is None and how in ("number", "text"):  # patterns, too
            how = f"(?:{how})"
        extract = extractor(how)
        said = {answer: extract(answer) for answer in sorted(set(answers))}
        return _by_votes([said[answer] for answer in answers])


def _by_votes(said: Sequence[str | None]) -> list[Score]:
    """The share of the answers that say something which say the same."""
    votes = Counter(one for one in said if one is not None)
    return [
        Score(math.nan, "says nothing that can be compared")
        if one is None
        else Score(votes[one] / votes.total(), f"{votes[one]} of {votes.total()} say '{shortened(one)}'")
        for one in said
    ]


def _by_likeness(texts: Sequence[str], *, stemmer: bool) -> list[Score]:
    """The mean ROUGE-L with the other answers that have words."""
    wordy = [text for text in texts if rouge_words(text, stemmer=stemmer)]
    likeness = _likeness(wordy, stemmer=stemmer)
    return [_mean_likeness(text, wordy, likeness) for text in texts]


def _by_agreement(texts: Sequence[str], least: float) -> list[Score]:
    """Ensemble-Instruct: exact agreement decides; else the medoid, unless two answers have next to nothing in common."""
    votes = Counter(text for text in texts if text)
    most = max(votes.values(), default=0)
    if most > 1:
        return [
            Score(math.nan, "empty")
            if not text
            else Score(1.0, f"{most} of {votes.total()} agree")
            if votes[text] == most
            else Score(0.0, f"{most} others agree")
            for text in texts
        ]
    wordy = [text for text in texts if rouge_words(text, stemmer=True)]
    likeness = _likeness(wordy, stemmer=True)
    worst = min(likeness.values(), default=least)
    if worst < least:
        return [Score(math.nan, f"none agree, and two have a ROUGE-L of {worst:.3f}, below {least:g}")] * len(texts)
    return [_mean_likeness(text, wordy, likeness) for text in texts]


def _likeness(texts: Sequence[str], *, stemmer: bool) -> Mapping[tuple[str, str], float]:
    """ROUGE-L of all pairs of different texts, each in sorted order."""
    return {pair: rouge_l(*pair, stemmer=stemmer) for pair in itertools.combinations(sorted(set(texts)), 2)}


def _mean_likeness(text: str, texts: Sequence[str], likeness: Mapping[tuple[str, str], float]) -> Score:
    if text not in texts:
        return Score(math.nan, "no words of the letters a to z to compare" if text else "empty")
    others = list(texts)
    others.remove(text)
    if not others:
        return Score(math.nan, _ALONE)
    total = math.fsum(1.0 if other == text else likeness[min(text, other), max(text, other)] for other in others)
    return Score(total / len(others), f"mean ROUGE-L with {len(others)} other{'s' if len(others) > 1 else ''}")


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `consensus` node."""
    return [Consensus]

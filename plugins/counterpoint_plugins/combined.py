"""The verifiers `all_of`, `any_of` and `weighted_sum`: several verifiers as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from counterpoint.plugin import Completion, Node, NodePlan, Prompt, Ref, Run, Score, Verifier, hookimpl


class _Combined(Verifier):
    """What all have in common: the parts, which are asked through the run and read their own fields of the prompt."""

    verifiers: tuple[Ref[Verifier], ...] = Field(min_length=1, description="The verifiers that are combined, in this order.")

    def check(self, plan: NodePlan) -> None:
        for reference in self.verifiers:
            path, part = plan.resolve(reference)
            assert isinstance(part, Verifier)
            if part.lower_is_better:
                plan.refuse(
                    f"the lower the score of '{path}' ({part.kind}) the better, so that it goes with no other",
                    "leave it out, or take one of which more is better (likelihood in place of bits_per_byte)",
                )

    def named(self, index: int) -> str:
        """A part's name for readers: the node's name, or the kind of one written inline."""
        part = self.verifiers[index]
        return part if isinstance(part, str) else part.kind


class _Decided(_Combined):
    """Verdicts of the parts, until they decide; an abstention is neither yes nor no (Kleene's three-valued logic)."""

    verdicts: ClassVar[bool] = True
    deciding: ClassVar[bool]
    """The verdict of one part that decides for all."""
    thresholds: float | tuple[float, ...] = Field(
        default=0.5, description="From which score a part accepts: one number for all, or one for each."
    )

    @model_validator(mode="after")
    def _one_each(self) -> _Decided:
        if len(self.limits) != len(self.verifiers):
            raise ValueError(
                f"thresholds: {len(self.limits)} for {len(self.verifiers)} verifiers; give one number, or one for each"
            )
        if not all(map(math.isfinite, self.limits)):
            raise ValueError("thresholds: each is a finite number")
        return self

    @property
    def limits(self) -> tuple[float, ...]:
        """The threshold of each part."""
        return self.thresholds if isinstance(self.thresholds, tuple) else (self.thresholds,) * len(self.verifiers)

    def check(self, plan: NodePlan) -> None:
        super().check(plan)
        for reference in self.verifiers:
            if _compares(reference, plan):
                path, part = plan.resolve(reference)
                plan.refuse(
                    f"'{path}' ({part.kind}) compares answers with one another, and would see those alone on which earlier "
                    "verifiers have not decided",
                    "combine it in a weighted_sum, or let the strategy ask it by itself",
                )

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        decided: dict[int, bool] = {}
        silent: set[int] = set()
        said: list[list[str]] = [[] for _ in completions]
        for index, threshold in enumerate(self.limits):
            asked = [number for number in range(len(completions)) if number not in decided]
            if not asked:
                break
            numbers = [run.candidates[number] for number in asked]
            some = [completions[number] for number in asked]
            scores = await run.verify(self.verifiers[index], prompt, some, candidates=numbers)
            for number, score in zip(asked, scores, strict=True):
                said[number].append(_told(self.named(index), score))
                if math.isnan(score):
                    silent.add(number)
                elif (score >= threshold) is self.deciding:
                    decided[number] = self.deciding
        return [
            Score(
                math.nan if number in silent - decided.keys() else float(decided.get(number, not self.deciding)),
                ", ".join(said[number]),
            )
            for number in range(len(completions))
        ]


class AllOf(_Decided):
    """1 for an answer that all verifiers accept, 0 for one that any rejects; else, where one abstains, it abstains.

    Each is asked only about the answers that none before it has rejected: put what is cheap first.
    """

    kind: Literal["all_of"] = "all_of"
    deciding: ClassVar[bool] = False


class AnyOf(_Decided):
    """1 for an answer that any verifier accepts, 0 for one that all reject; else, where one abstains, it abstains.

    Each is asked only about the answers that none before it has accepted: put what is cheap first.
    """

    kind: Literal["any_of"] = "any_of"
    deciding: ClassVar[bool] = True


class WeightedSum(_Combined):
    """A weighted sum of the scores of several verifiers, each brought to a common scale if wanted."""

    kind: Literal["weighted_sum"] = "weighted_sum"
    compares: ClassVar[bool] = True
    weights: tuple[float, ...] | None = Field(default=None, description="A weight for each verifier; by default 1 for each.")
    normalize: Literal["none", "ranks", "zscore"] = Field(
        default="none",
        description="What is summed: the scores as they are (`none`); `ranks`, the share of the other answers that score less, ties "
        "half; or `zscore`, the distance from the mean of the answers in standard deviations.",
    )
    missing: Literal["abstain", "skip"] = Field(
        default="abstain",
        description="What becomes of an answer on which a verifier abstains: the sum abstains, or goes by the others, whose weights "
        "grow in proportion (`skip`).",
    )

    @model_validator(mode="after")
    def _one_each(self) -> WeightedSum:
        if self.weights is not None:
            if len(self.weights) != len(self.verifiers):
                raise ValueError(f"weights: {len(self.weights)} for {len(self.verifiers)} verifiers; give one for each")
            if not all(map(math.isfinite, self.weights)) or not any(self.weights):
                raise ValueError("weights: each is a finite number, and not all are 0")
        return self

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        if not completions:
            return []
        weights = self.weights or (1.0,) * len(self.verifiers)
        columns = await run.gather(
            *(run.verify(part, prompt, completions, candidates=run.candidates) for part in self.verifiers)
        )
        scaled = [_SCALES[self.normalize](column) for column in columns]
        return [
            Score(
                weighted(weights, [column[number] for column in scaled], skip=self.missing == "skip"),
                ", ".join(_told(self.named(index), column[number]) for index, column in enumerate(columns)),
            )
            for number in range(len(completions))
        ]


def _compares(reference: str | Node, plan: NodePlan) -> bool:
    """Whether a part's scores depend on the answers it is given together; those of a plain sum of others need not."""
    part = plan.resolve(reference)[1]
    if isinstance(part, WeightedSum) and part.normalize == "none":
        return any(_compares(below, plan) for below in part.verifiers)
    return isinstance(part, Verifier) and part.compares


def _told(name: str, score: float) -> str:
    said = "abstains" if math.isnan(score) else f"{score:.3g}"
    detail = score.detail if isinstance(score, Score) else ""
    return f"{name} {said} ({detail})" if detail else f"{name} {said}"


# --- sums -----------------------------------------------------------------------------------------------------------------


def weighted(weights: Sequence[float], scores: Sequence[float], *, skip: bool) -> float:
    """A weighted sum. With a NaN among the scores it is NaN, or goes by the others, in proportion to the weights they have; it is NaN
    where it is larger than any number."""
    try:
        return _weighted(weights, scores, skip=skip)
    except OverflowError:
        return math.nan


def _weighted(weights: Sequence[float], scores: Sequence[float], *, skip: bool) -> float:
    given = [(weight, score) for weight, score in zip(weights, scores, strict=True) if not math.isnan(score)]
    if len(given) < len(scores) and not skip:
        return math.nan
    present = math.fsum(abs(weight) for weight, _ in given)
    if not present:
        return math.nan
    terms = [weight * score for weight, score in given if weight]
    if len(set(filter(math.isinf, terms))) > 1:  # both infinities
        return math.nan
    total = math.fsum(terms)
    return total if len(given) == len(scores) else total * (math.fsum(map(abs, weights)) / present)


def ranks(scores: Sequence[float]) -> list[float]:
    """For each score the share of the others that are less, ties counting half: 0 to 1, and 0.5 for a single one. NaN stays."""
    given = [score for score in scores if not math.isnan(score)]
    others = len(given) - 1

    def rank(score: float) -> float:
        if math.isnan(score) or not others:
            return math.nan if math.isnan(score) else 0.5
        return (sum(other < score for other in given) + (sum(other == score for other in given) - 1) / 2) / others

    return [rank(score) for score in scores]


def zscores(scores: Sequence[float]) -> list[float]:
    """For each score its distance from the mean, in standard deviations (of these scores, not estimated for more); 0 where all are
    equal. NaN and infinities stay, and do not count for the others."""
    given = [float(score) for score in scores if math.isfinite(score)]
    if not given:
        return [float(score) for score in scores]
    mean = math.fsum(score / len(given) for score in given)  # not after the sum, nor squares, which large scores would overflow
    spread = math.hypot(*(score - mean for score in given)) / math.sqrt(len(given))
    if max(given) == min(given) or not spread:  # the mean of equal numbers may be off by a rounding
        return [0.0 if math.isfinite(score) else float(score) for score in scores]
    return [(score - mean) / spread if math.isfinite(score) else float(score) for score in scores]


_SCALES: dict[str, Callable[[Sequence[float]], list[float]]] = {"none": list, "ranks": ranks, "zscore": zscores}


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `all_of`, `any_of` and `weighted_sum` nodes."""
    return [AllOf, AnyOf, WeightedSum]

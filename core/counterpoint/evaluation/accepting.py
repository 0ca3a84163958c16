"""What scores are worth: folds over candidates that carry a strategy's own score and the truth.

For samples of one verifier, its completeness and soundness and the spread of difficulty; for stages, the thresholds that reach a
goal. Plain arrays go in, so that nothing here knows how they came about.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.resampling import statistic_interval
from counterpoint.evaluation.statistics import Estimate, mean_interval
from counterpoint.imperfect import ImperfectVerifier, Outcome, fit_difficulty
from counterpoint.verification import Verified

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

_ORDERS = 200
"""Random orders of the samples over which what is measured is averaged."""
_GRID = 40
_COMBINATIONS = 100_000
_FOLDS = 5
LEAST_EXAMPLES = 2 * _FOLDS
"""To choose thresholds from."""


# --- samples --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trust:
    """How far a verifier is to be trusted on samples of one strategy."""

    accept: float
    """The score from which it accepts."""
    completeness: Estimate
    """Share of right answers it accepts."""
    soundness: Estimate
    """Share of wrong answers it rejects."""
    right: Estimate
    """Share of samples that are right."""
    difficulty: tuple[float, float]
    """Beta distribution of the probability that a sample is right."""
    ceiling: float
    """Share of right answers among accepted ones, were the number of samples without bound."""
    predicted: tuple[Outcome, ...]
    """By the model, for growing numbers of samples."""
    measured: tuple[float, ...]
    """Share of prompts with a right answer, for these numbers: the first accepted sample, else the first."""

    @property
    def verified(self) -> Verified:
        """The parameters of the model."""
        return Verified(completeness=self.completeness.value, soundness=self.soundness.value, difficulty=self.difficulty)


def trust(right: Floats, scores: Floats, accept: float | None) -> Trust:
    """What a verifier's scores are worth.

    Args:
        right: ``[prompts, samples]``, 1 for a right answer, 0 for a wrong one, NaN where the truth is not known.
        scores: the verifier's, of that shape; NaN where it abstains, which accepts nothing.
        accept: the score from which it accepts; None: the one that tells right from wrong best (Youden's index).

    Raises:
        EvaluationError: the answers are all right, or all wrong; none has a score that could be accepted from; or scipy is not installed.
    """
    known = ~np.isnan(right)
    good, bad = known & (right >= 0.5), known & (right < 0.5)
    if not good.any() or not bad.any():
        which = "right" if good.any() else "wrong"
        raise EvaluationError(
            f"all {int(known.sum())} answers are {which}, so that nothing can be said of the verifier",
            hint="calibrate on data with answers of both kinds, or on more of it",
        )
    threshold = _youden(scores, good, bad) if accept is None else accept
    accepted = scores >= threshold  # NaN accepts nothing

    def share(among: Bools, of: Bools) -> Estimate:
        some = among.any(axis=1)
        alike = {float(value) for value in (among & of)[some].sum(axis=1) / among[some].sum(axis=1)}
        if len(alike) == 1:  # resampling equal numbers would give no width at all
            return mean_interval([*alike] * int(some.sum()), verdicts=True)

        def statistic(rows: npt.NDArray[np.intp]) -> float:
            total = among[rows].sum()
            return float((among & of)[rows].sum() / total) if total else float((among & of).sum() / among.sum())

        return statistic_interval(statistic, len(among))

    counts, totals = good.sum(axis=1), known.sum(axis=1)
    some = totals > 0
    difficulty = fit_difficulty(counts[some].tolist(), totals[some].tolist())
    completeness, soundness = share(good, accepted), share(bad, ~accepted)
    verifier = ImperfectVerifier(Verified(completeness=completeness.value, soundness=soundness.value, difficulty=difficulty))
    numbers = _doubling(right.shape[1])
    return Trust(
        threshold,
        completeness,
        soundness,
        mean_interval((counts[some] / totals[some]).tolist(), verdicts=True),
        difficulty,
        verifier.ceiling,
        tuple(verifier.outcome(number) for number in numbers),
        tuple(_measured(np.where(known, right, 0.0)[some], accepted[some], number) for number in numbers),
    )


def _youden(scores: Floats, good: Bools, bad: Bools) -> float:
    found = np.unique(scores[np.isfinite(scores)])
    if not len(found):
        raise EvaluationError("no answer has a finite score to accept from", hint="name another verifier, or set `accept`")
    if len(found) > 1000:
        found = np.unique(np.quantile(found, np.linspace(0, 1, 1000), method="nearest"))
    index = [(scores[good] >= value).mean() + (scores[bad] < value).mean() for value in found]
    return float(found[int(np.argmax(index))])


def _doubling(most: int) -> list[int]:
    return sorted({*(2**power for power in range(most.bit_length())), most})


def _measured(right: Floats, accepted: Bools, number: int) -> float:
    """Share of prompts that end with a right answer when the first accepted of ``number`` samples is taken, else the first."""
    rng = np.random.default_rng(0)
    prompts, samples = right.shape
    total = 0.0
    for _ in range(_ORDERS if number < samples or samples > 1 else 1):
        order = rng.permuted(np.tile(np.arange(samples), (prompts, 1)), axis=1)[:, :number]
        chosen = np.take_along_axis(accepted, order, axis=1).argmax(axis=1)  # 0 where none is accepted
        total += float(np.take_along_axis(right, np.take_along_axis(order, chosen[:, None], axis=1), axis=1).mean())
    return total / (_ORDERS if number < samples or samples > 1 else 1)


# --- stages ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """What thresholds are to reach: a quality at least cost, or the best quality at a cost. Relative figures are shares of what
    the last stage alone has; without any, it is the last stage's quality."""

    quality: float | None = None
    cost: float | None = None
    relative: bool = False

    def __post_init__(self) -> None:
        if self.quality is not None and self.cost is not None:
            raise EvaluationError("quality and cost are both given", hint="state one; the other is then made as good as can be")
        for name, value in (("quality", self.quality), ("cost", self.cost)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise EvaluationError(f"{name} {value:g} makes no sense", hint="a number above 0, or a percentage as in 95%")


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of stages, and what they bring."""

    thresholds: tuple[float, ...]
    quality: Estimate
    """On examples that did not choose the thresholds (cross-validation)."""
    cost: Estimate
    """Of one answer, likewise."""
    reached: bool
    """Whether the goal is reached on the examples that chose them."""
    answered_by: tuple[float, ...]
    """Share of the examples that each stage answers."""
    alone: tuple[tuple[float, float], ...]
    """Quality and cost of each stage alone."""


def fit_thresholds(scores: Floats, quality: Floats, cost: Floats, goal: Goal) -> Thresholds:
    """Thresholds that reach a goal.

    Args:
        scores: ``[examples, stages - 1]``, what each stage but the last got; NaN is never accepted.
        quality: ``[examples, stages]``, what each stage's answer is worth.
        cost: ``[examples, stages]``, what each stage costs, its verification included.
        goal: what is asked for.

    Raises:
        EvaluationError: there are too few examples, a stage has no score on any, or scipy is not installed.
    """
    count = len(scores)
    refuse_few(count)
    for stage in np.flatnonzero(np.isnan(scores).all(axis=0)):
        raise EvaluationError(
            f"no answer of stage {stage + 1} has a score, so that there is no threshold for it",
            hint="name another verifier for it, or see why with `counterpoint run`",
        )
    whole = _Cascade(scores, quality, cost)
    chosen, reached = whole.choose(goal)
    fold = np.random.default_rng(0).permutation(count) % _FOLDS
    values, costs = np.empty(count), np.empty(count)
    for number in range(_FOLDS):
        left_out = fold == number
        found, _ = _Cascade(scores[~left_out], quality[~left_out], cost[~left_out]).choose(goal)
        values[left_out], costs[left_out], _ = _Cascade(scores[left_out], quality[left_out], cost[left_out]).answers(found)
    answering = whole.answers(chosen)[2]
    stages = quality.shape[1]
    return Thresholds(
        chosen,
        mean_interval(values.tolist(), verdicts=bool(np.isin(quality, (0.0, 1.0)).all())),
        mean_interval(costs.tolist()),
        reached,
        tuple(float((answering == stage).mean()) for stage in range(stages)),
        tuple((float(quality[:, stage].mean()), float(cost[:, stage].mean())) for stage in range(stages)),
    )


def refuse_few(examples: int) -> None:
    """Says so where there are too few examples to choose thresholds from.

    Raises:
        EvaluationError: there are.
    """
    if examples < LEAST_EXAMPLES:
        raise EvaluationError(
            f"{examples} examples are too few to choose thresholds from", hint=f"use {LEAST_EXAMPLES} or more"
        )


@dataclass(frozen=True)
class _Cascade:
    scores: Floats
    quality: Floats
    cost: Floats

    def answers(self, thresholds: Sequence[float]) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
        """Per example: quality, cost, and which stage answers."""
        accepted = (self.scores >= np.asarray(thresholds)) & (np.asarray(thresholds) < math.inf)
        stage = np.where(accepted.any(axis=1), accepted.argmax(axis=1), self.quality.shape[1] - 1)
        spent = np.cumsum(self.cost, axis=1)
        at = np.arange(len(stage))
        return self.quality[at, stage], spent[at, stage], stage

    def choose(self, goal: Goal) -> tuple[tuple[float, ...], bool]:
        """The best thresholds on these examples, and whether they reach the goal."""
        alone, price = float(self.quality[:, -1].mean()), float(self.cost[:, -1].mean())
        points = []
        for thresholds in itertools.product(*self._grid()):
            quality, cost, _ = self.answers(thresholds)
            points.append((float(quality.mean()), float(cost.mean()), thresholds))
        if goal.cost is not None:
            limit = goal.cost * (price if goal.relative else 1.0) * (1 + 1e-9)
            within = [point for point in points if point[1] <= limit]
            best = max(within, key=lambda p: (p[0], -p[1])) if within else min(points, key=lambda p: (p[1], -p[0]))
            return best[2], bool(within)
        least = alone if goal.quality is None else goal.quality * (alone if goal.relative else 1.0)
        good = [point for point in points if point[0] >= least - 1e-12]
        best = min(good, key=lambda p: (p[1], -p[0])) if good else max(points, key=lambda p: (p[0], -p[1]))
        return best[2], bool(good)

    def _grid(self) -> list[list[float]]:
        stages = self.scores.shape[1]
        size = max(2, min(_GRID, int(_COMBINATIONS ** (1 / stages)) - 1))
        grid = []
        for column in self.scores.T:
            values = np.unique(column[~np.isnan(column)])
            if len(values) > size:
                values = np.unique(np.quantile(values, np.linspace(0, 1, size), method="nearest"))
            grid.append([*values.tolist(), math.inf])
        return grid

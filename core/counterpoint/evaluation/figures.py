"""The figures of one evaluation: what each scorer says of it, with intervals, and pass@k."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from counterpoint.evaluation.estimators import FrontierPoint, pass_at_k
from counterpoint.evaluation.outcomes import (
    Costs,
    Groups,
    Measure,
    Unit,
    attempts,
    costs,
    frontier,
    score_of,
    scored,
    single_verdicts,
    value_of,
    values,
)
from counterpoint.evaluation.records import Configuration
from counterpoint.evaluation.resampling import statistic_interval
from counterpoint.evaluation.statistics import RESAMPLES, Estimate, mean_interval
from counterpoint.node import Score


@dataclass(frozen=True)
class Settings:
    """How intervals and tests are made."""

    confidence: float = 0.95
    resamples: int = RESAMPLES
    """Of means; a measure that is computed from all answers each time has a tenth of them."""
    seed: int = 0

    @property
    def overall_resamples(self) -> int:
        """Resamples of a measure that is computed in Python from all answers each time."""
        return max(1, self.resamples // 10)


DEFAULT = Settings()


@dataclass(frozen=True)
class Figure:
    """What one scorer says of an evaluation."""

    scorer: str
    estimate: Estimate
    """The figure over ``estimate.n`` examples, and its interval."""
    answers: int
    """Answers that count."""
    failed: int
    """Answers that failed, or that the scorer failed on. Verdicts count the former as wrong; all else is left out."""
    abstained: int
    """Answers the scorer abstained on: left out."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "scorer": self.scorer,
            **self.estimate.as_dict(),
            "answers": self.answers,
            "failed": self.failed,
            "abstained": self.abstained,
        }


def figure(groups: Groups, measure: Measure, settings: Settings = DEFAULT) -> Figure:
    """The figure of an evaluation, with its interval.

    Args:
        groups: the answers, from :func:`~counterpoint.evaluation.outcomes.by_example`.
        measure: how they are scored.
        settings: confidence, resamples and seed.

    Where no answer has a score (the scorer abstained from all, say), it is NaN.

    Raises:
        EvaluationError: scipy is not installed.
    """
    answers = [record for samples in groups.values() for record in samples]
    if not any(value_of(record, measure) is not None for record in answers):  # it abstained from all, say
        estimate = Estimate(math.nan, math.nan, math.nan, 0, "none", settings.confidence)
    elif measure.overall is not None:
        pairs = list(scored(groups, measure).values())
        estimate = statistic_interval(
            lambda chosen: overall_of(chain.from_iterable(pairs[index] for index in chosen), measure),
            len(pairs),
            confidence=settings.confidence,
            resamples=settings.overall_resamples,
            seed=settings.seed,
        )
    else:
        estimate = mean_interval(
            list(values(groups, measure).values()),
            verdicts=measure.verdicts,
            confidence=settings.confidence,
            resamples=settings.resamples,
            seed=settings.seed,
        )
    silent = [record for record in answers if score_of(record, measure) is None]
    failed = sum(record.failed for record in silent)
    wrong = sum(value_of(record, measure) is not None for record in silent)
    return Figure(
        measure.name,
        estimate,
        answers=len(answers) - len(silent) + wrong,
        failed=failed,
        abstained=len(silent) - failed,
    )


def passes(groups: Groups, measure: Measure, settings: Settings = DEFAULT) -> tuple[tuple[int, Estimate], ...]:
    """pass@k with intervals over examples, for k = 1, 2, 4 … and the number of samples that every example has.

    Empty where the measure is no verdict, or every example has one answer.

    Raises:
        EvaluationError: scipy is not installed.
    """
    if not measure.verdicts or single_verdicts(groups, measure):
        return ()
    tried = list(attempts(groups, measure).values())
    most = min((example.n for example in tried), default=0)
    return tuple(
        (
            k,
            mean_interval(
                [pass_at_k(example.n, example.correct, k) for example in tried],
                verdicts=True,
                confidence=settings.confidence,
                resamples=settings.resamples,
                seed=settings.seed,
            ),
        )
        for k in doubling(most)
    )


def doubling(most: int) -> list[int]:
    """1, 2, 4 … and ``most``."""
    return sorted({2**power for power in range(most.bit_length())} | ({most} if most else set()))


@dataclass(frozen=True)
class RecipeResult:
    """One evaluation, on the examples that all have in common."""

    name: str
    configuration: Configuration = field(repr=False)
    figures: Mapping[str, Figure]
    """By scorer."""
    costs: Costs
    passes: Mapping[str, tuple[tuple[int, Estimate], ...]]
    """pass@k by scorer, for verdicts on several samples."""
    groups: Groups = field(repr=False)
    """The answers themselves, by example."""

    def frontier(self, measure: Measure, unit: Unit = "flops") -> tuple[FrontierPoint, ...]:
        """Quality against cost (:func:`~counterpoint.evaluation.outcomes.frontier`)."""
        return frontier(list(chain.from_iterable(self.groups.values())), measure, unit)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, without the answers."""
        return {
            "name": self.name,
            "figures": {name: one.as_dict() for name, one in self.figures.items()},
            "costs": self.costs.as_dict(),
            "passes": {name: [{"k": k, **one.as_dict()} for k, one in table] for name, table in self.passes.items()},
            "reads_references": self.configuration.reads_references,
        }


def recipe_result(
    name: str, configuration: Configuration, groups: Groups, measures: Sequence[Measure], settings: Settings
) -> RecipeResult:
    """The figures and costs of one evaluation.

    Args:
        name: what to call it.
        configuration: what was evaluated.
        groups: its answers, of the examples to count.
        measures: how they are scored.
        settings: confidence, resamples and seed.

    Raises:
        EvaluationError: scipy is not installed.
    """
    return RecipeResult(
        name=name,
        configuration=configuration,
        figures={measure.name: figure(groups, measure, settings) for measure in measures},
        costs=costs(groups),
        passes={measure.name: table for measure in measures if (table := passes(groups, measure, settings))},
        groups=groups,
    )


def overall_of(pairs: Iterable[tuple[Score, str]], measure: Measure) -> float:
    """The figure of these answers, for a measure defined over all at once."""
    assert measure.overall is not None, "the measure is no mean over examples"
    drawn = list(pairs)
    return float(measure.overall([score for score, _ in drawn], [text for _, text in drawn]))

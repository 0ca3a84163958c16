"""Two recipes under one scorer: the difference, how sure it is, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Any

from counterpoint.errors import EvaluationError
from counterpoint.evaluation import wording
from counterpoint.evaluation.figures import RecipeResult, Settings, overall_of
from counterpoint.evaluation.outcomes import Measure, scored, single_verdicts, values
from counterpoint.evaluation.resampling import statistic_interval, swap_test
from counterpoint.evaluation.statistics import Estimate, Test, holm, paired_difference, paired_test

_TIE = 1e-9  # means over samples that differ by less are the same


@dataclass(frozen=True)
class Pair:
    """Two recipes under one scorer, on the examples that both have a value of."""

    scorer: str
    a: str
    b: str
    difference: Estimate
    """The figure of ``a`` minus that of ``b``, in the scorer's own unit."""
    p: float
    """Of the test alone."""
    adjusted: float
    """Adjusted for the number of pairs (Holm)."""
    test: str
    wins: int
    """Examples on which ``a`` does better."""
    losses: int
    ties: int
    flops_ratio: float | None
    """FLOPs of an answer of ``a``, of those of ``b``; None where one of them is not known."""
    seconds_ratio: float | None
    """The same of wall time; None too where one has more samples of an example than the other."""
    better: str | None = None
    """The name of the better one, where a difference is shown."""
    verdict: str = ""
    """All of this in a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = dict(vars(self)) | {"difference": self.difference.as_dict()}
        return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in data.items()}


def compare_pairs(
    recipes: Sequence[RecipeResult], measures: Sequence[Measure], baseline: str | None, settings: Settings
) -> list[Pair]:
    """Every pair of recipes, or every other recipe with the ``baseline``, under every scorer; Holm's correction by scorer.

    Raises:
        EvaluationError: a scorer has scored no example of both, or scipy is not installed.
    """
    couples = [
        (b, a) if a.name == baseline else (a, b) for a, b in combinations(recipes, 2) if baseline in (None, a.name, b.name)
    ]
    pairs: list[Pair] = []
    for measure in measures:
        found = [_pair(a, b, measure, settings) for a, b in couples]
        adjusted = holm([pair.p for pair in found])
        pairs += [_judged(pair, value, measure, len(found), settings) for pair, value in zip(found, adjusted, strict=True)]
    return pairs


def _pair(a: RecipeResult, b: RecipeResult, measure: Measure, settings: Settings) -> Pair:
    left, right = values(a.groups, measure), values(b.groups, measure)
    both = [example for example in left if example in right]
    if not both:
        raise EvaluationError(
            f"'{measure.name}' has scored no example of both '{a.name}' and '{b.name}'", hint="see the errors of their records"
        )
    x, y = [left[example] for example in both], [right[example] for example in both]
    if measure.overall is not None:
        difference, test = _overall_pair(a, b, measure, settings)
    else:
        single = single_verdicts(a.groups, measure) and single_verdicts(b.groups, measure)
        difference = paired_difference(
            x,
            y,
            single_verdicts=single,
            verdicts=measure.verdicts,
            confidence=settings.confidence,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        test = paired_test(x, y, single_verdicts=single, resamples=settings.resamples, seed=settings.seed)
    sign = -1 if measure.lower_is_better else 1
    wins = sum(sign * (one - other) > _TIE for one, other in zip(x, y, strict=True))
    losses = sum(sign * (other - one) > _TIE for one, other in zip(x, y, strict=True))
    return Pair(
        scorer=measure.name,
        a=a.name,
        b=b.name,
        difference=difference,
        p=test.p,
        adjusted=test.p,
        test=test.name,
        wins=wins,
        losses=losses,
        ties=len(both) - wins - losses,
        flops_ratio=_ratio(a.costs.flops, b.costs.flops),
        # samples timed together and an answer timed alone are two things
        seconds_ratio=_ratio(a.costs.seconds, b.costs.seconds) if a.configuration.samples == b.configuration.samples else None,
    )


def _overall_pair(a: RecipeResult, b: RecipeResult, measure: Measure, settings: Settings) -> tuple[Estimate, Test]:
    left, right = scored(a.groups, measure), scored(b.groups, measure)
    both = [example for example in left if example in right]

    def of(chosen: Sequence[tuple[str, bool]]) -> float:
        """The difference on these examples, with the answers to some exchanged."""
        mine = chain.from_iterable((right if swapped else left)[example] for example, swapped in chosen)
        theirs = chain.from_iterable((left if swapped else right)[example] for example, swapped in chosen)
        return overall_of(mine, measure) - overall_of(theirs, measure)

    resamples, seed = settings.overall_resamples, settings.seed
    difference = statistic_interval(
        lambda chosen: of([(both[index], False) for index in chosen]),
        len(both),
        confidence=settings.confidence,
        resamples=resamples,
        seed=seed,
    )
    test = swap_test(
        lambda swapped: of(list(zip(both, map(bool, swapped), strict=True))), len(both), resamples=resamples, seed=seed
    )
    return difference, test


def _judged(pair: Pair, adjusted: float, measure: Measure, pairs: int, settings: Settings) -> Pair:
    better = None
    if adjusted <= 1 - settings.confidence + 1e-12 and pair.difference.value != 0:
        better = pair.a if (pair.difference.value > 0) != measure.lower_is_better else pair.b
    judged = replace(pair, adjusted=adjusted, better=better)
    return replace(judged, verdict=wording.verdict(judged, measure, pairs))


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None

"""Intervals and tests of measures that are defined over all answers at once, by computing them anew from resampled examples.

Corpus GLEU is no mean over examples, and neither is the share of distinct n-grams: what varies is which examples there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.statistics import Estimate, Test, normal_quantile

Indices: TypeAlias = npt.NDArray[np.intp]

OVERALL_RESAMPLES = 999
"""Resamples of a measure that is computed from all answers in Python each time."""


def statistic_interval(
    statistic: Callable[[Indices], float],
    n: int,
    *,
    confidence: float = 0.95,
    resamples: int = OVERALL_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The interval of any figure of ``n`` examples, by resampling these.

    The percentile bootstrap; but where the figure itself lies outside of it, as for the share of distinct n-grams, which
    falls when an example comes twice, the jackknife's standard error, for which no example comes twice (Tukey 1958).

    Args:
        statistic: the figure of the examples at these positions, of which some may come more than once.
        n: how many examples there are.

    Raises:
        EvaluationError: there are no examples, or scipy is not installed.
    """
    if n < 1:
        raise EvaluationError("there are no examples to resample", hint="evaluate at least one example")
    everything = np.arange(n)
    value = float(statistic(everything))
    if n == 1 or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan, n, "one example" if n == 1 else "not finite", confidence)
    rng = np.random.default_rng(seed)
    draws = np.array([statistic(rng.integers(0, n, n)) for _ in range(resamples)])
    low, high = (float(bound) for bound in np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2]))
    slack = 1e-12 * max(1.0, abs(value))
    if low - slack <= value <= high + slack:
        return Estimate(value, low, high, n, "bootstrap", confidence)
    groups = np.array_split(rng.permutation(n), min(n, max(2, resamples)))
    left_out = np.array([statistic(np.delete(everything, group)) for group in groups])
    count = len(groups)
    error = math.sqrt((count - 1) / count * float(np.sum((left_out - left_out.mean()) ** 2)))
    half = normal_quantile(confidence) * error
    return Estimate(value, value - half, value + half, n, "jackknife", confidence)


def swap_test(
    difference: Callable[[npt.NDArray[np.bool_]], float], n: int, *, resamples: int = OVERALL_RESAMPLES, seed: int = 0
) -> Test:
    """Approximate randomisation (Noreen 1989): were it all the same which of two recipes gave an answer, how often would a
    random exchange of answers make a difference as large?

    Args:
        difference: the figure of one minus that of the other, with the answers to these examples exchanged.
        n: how many examples there are.

    Raises:
        EvaluationError: there are no examples.
    """
    if n < 1:
        raise EvaluationError("there are no examples to exchange", hint="evaluate at least one example")
    observed = abs(difference(np.zeros(n, bool)))
    if not math.isfinite(observed):
        return Test(math.nan, "approximate randomisation")
    rng = np.random.default_rng(seed)
    least = observed - 1e-12 * max(1.0, observed)
    reached = sum(abs(difference(rng.random(n) < 0.5)) >= least for _ in range(resamples))
    return Test((1 + reached) / (1 + resamples), "approximate randomisation")

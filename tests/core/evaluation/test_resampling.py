"""Measures defined over all answers at once: resampled as a whole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.resampling import statistic_interval, swap_test
from counterpoint.evaluation.statistics import mean_interval


def test_a_statistic_that_is_a_mean_has_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(4).normal(size=60)
    whole = statistic_interval(lambda chosen: float(values[chosen].mean()), 60)
    assert whole.method == "bootstrap"
    mean = mean_interval(list(values), resamples=999)
    assert (whole.low, whole.high) == pytest.approx((mean.low, mean.high), abs=0.08)


def test_a_share_of_distinct_items_is_not_resampled() -> None:
    """Examples drawn twice are no news: all bootstrap values lie far below the figure."""
    items = np.random.default_rng(5).integers(0, 60, size=(50, 4))
    found = statistic_interval(lambda chosen: len(np.unique(items[chosen])) / items[chosen].size, 50, resamples=199)
    assert found.method == "jackknife"
    assert found.low < found.value < found.high


def test_statistics_without_spread_or_examples() -> None:
    assert statistic_interval(lambda chosen: 0.5, 5, resamples=19).low == 0.5
    assert math.isnan(statistic_interval(lambda chosen: 0.5, 1).low)
    with pytest.raises(EvaluationError):
        statistic_interval(lambda chosen: 0.5, 0)


def test_exchanging_answers_finds_a_difference_and_none() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(1, 1, 30), rng.normal(0, 1, 30)

    def difference(other: Any) -> Any:
        return lambda swapped: float(np.mean(np.where(swapped, -(a - other), a - other)))

    assert swap_test(difference(b), 30, resamples=199).p <= 0.02
    assert swap_test(difference(a), 30, resamples=199).p == 1

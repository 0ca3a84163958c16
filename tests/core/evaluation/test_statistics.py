"""Intervals cover, tests keep their level, and data without spread get honest answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.statistics import (
    Estimate,
    holm,
    mean_interval,
    paired_difference,
    paired_test,
)

VERDICTS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)
SCORES = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=12)
QUICK = settings(max_examples=25)


def columns(pairs: list[tuple[Any, Any]]) -> tuple[list[float], list[float]]:
    return [float(a) for a, _ in pairs], [float(b) for _, b in pairs]


# --- intervals ---


def test_verdicts_have_the_wilson_interval() -> None:
    found = mean_interval([1.0] * 15 + [0.0] * 5, verdicts=True)
    assert found.method == "Wilson"
    assert (found.value, found.n) == (0.75, 20)
    assert (found.low, found.high) == pytest.approx((0.531, 0.888), abs=5e-4)  # Newcombe's method 3


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_verdicts_that_are_all_alike_still_have_an_interval(value: float) -> None:
    found = mean_interval([value] * 10, verdicts=True)
    assert found.value == value
    assert found.low <= value <= found.high
    assert found.high - found.low == pytest.approx(0.278, abs=1e-3)
    half = mean_interval([0.5] * 10, verdicts=True)  # each right in half of its samples
    assert half.low < 0.5 < half.high


def test_scores_without_spread_say_so_and_one_example_has_no_bounds() -> None:
    assert mean_interval([0.3] * 5) == Estimate(pytest.approx(0.3), pytest.approx(0.3), pytest.approx(0.3), 5, "all alike")
    one = mean_interval([0.3])
    assert one.method == "one example"
    assert math.isnan(one.low)
    assert one.as_dict()["low"] is None
    endless = mean_interval([1.0, math.inf])
    assert endless.value == math.inf
    assert math.isnan(endless.high)
    with pytest.raises(EvaluationError, match="no examples"):
        mean_interval([])


def test_the_bootstrap_is_deterministic_and_its_seed_matters_little() -> None:
    values = list(np.random.default_rng(0).normal(size=50))
    first = mean_interval(values, resamples=999)
    assert first == mean_interval(values, resamples=999)
    other = mean_interval(values, resamples=999, seed=1)
    assert first.method == "BCa bootstrap"
    assert first != other
    assert (first.low, first.high) == pytest.approx((other.low, other.high), abs=0.1)


def test_intervals_of_means_cover() -> None:
    rng = np.random.default_rng(1)
    for verdicts, draw, truth in (
        (True, lambda: (rng.random(40) < 0.8).astype(float), 0.8),
        (False, lambda: rng.exponential(size=40), 1.0),
        (True, lambda: rng.binomial(4, rng.beta(1, 1, size=40)) / 4, 0.5),
    ):
        found = [mean_interval(draw(), verdicts=verdicts, resamples=199) for _ in range(300)]
        assert 0.90 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99


def test_intervals_of_differences_cover() -> None:
    rng = np.random.default_rng(2)

    def pairs(single: bool) -> tuple[list[float], list[float]]:
        hard = rng.random(40) * 0.4  # difficulty that both share
        n = 1 if single else 4
        return list(rng.binomial(n, 0.9 - hard) / n), list(rng.binomial(n, 0.7 - hard) / n)

    for single in (True, False):
        found = [paired_difference(*pairs(single), single_verdicts=single, verdicts=True, resamples=199) for _ in range(300)]
        assert 0.90 <= np.mean([one.low <= 0.2 <= one.high for one in found]) <= 0.99


@given(VERDICTS)
def test_tango_holds_the_difference_and_is_antisymmetric(pairs: list[tuple[bool, bool]]) -> None:
    a, b = columns(pairs)
    forth, back = (paired_difference(x, y, single_verdicts=True) for x, y in ((a, b), (b, a)))
    assert -1 <= forth.low <= forth.value + 1e-12
    assert forth.value - 1e-12 <= forth.high <= 1
    assert (forth.low, forth.high) == pytest.approx(((-back).low, (-back).high), abs=1e-8)
    assert forth.high > forth.low


def test_tango_of_verdicts_that_never_differ_is_as_wide_as_published() -> None:
    same = paired_difference([1.0] * 30, [1.0] * 30, single_verdicts=True)
    assert (same.low, same.high) == pytest.approx((-3.8415 / 33.8415, 3.8415 / 33.8415), abs=1e-4)  # z²/(n + z²)


@pytest.mark.parametrize(("wins", "losses", "ties"), [(12, 2, 36), (0, 5, 20), (3, 3, 1), (7, 0, 0)])
def test_tango_bounds_are_where_the_score_test_begins_to_reject(wins: int, losses: int, ties: int) -> None:
    """The same test, its nuisance parameter found by searching the likelihood instead of by a formula."""
    n = wins + losses + ties
    a, b = [1.0] * wins + [0.0] * losses + [1.0] * ties, [0.0] * wins + [1.0] * losses + [1.0] * ties
    found = paired_difference(a, b, single_verdicts=True)
    assert found.value == (wins - losses) / n
    for bound in (found.low, found.high):
        if abs(bound) == 1:
            continue
        q = np.linspace(max(0.0, -bound), (1 - bound) / 2, 400_001)[1:-1]  # of a loss; a win has q + bound
        likelihood = wins * np.log(q + bound) + losses * np.log(q) + ties * np.log1p(-2 * q - bound)
        best = q[np.argmax(likelihood)]
        z = (wins - losses - n * bound) / math.sqrt(n * (2 * best + bound - bound**2))
        assert abs(z) == pytest.approx(1.95996, abs=2e-3)


@QUICK
@given(SCORES)
def test_differences_and_tests_are_antisymmetric(pairs: list[tuple[float, float]]) -> None:
    a, b = columns(pairs)
    forth, back = (paired_difference(x, y, resamples=99) for x, y in ((a, b), (b, a)))
    assert forth.value == -back.value
    if forth.method != "one example":
        assert (forth.low, forth.high) == pytest.approx(((-back).low, (-back).high), abs=1e-6)
    assert paired_test(a, b, resamples=99).p == paired_test(b, a, resamples=99).p


def test_differences_that_are_all_alike() -> None:
    assert paired_difference([0.5] * 4, [0.2] * 4).method == "all alike"
    same = paired_difference([0.5] * 20, [0.5] * 20, verdicts=True)
    assert same.low < 0 < same.high
    assert paired_test([0.5] * 4, [0.5] * 4).p == 1
    with pytest.raises(EvaluationError, match="no pairs"):
        paired_difference([1], [1, 2])
    with pytest.raises(EvaluationError, match="no pairs"):
        paired_test([1], [1, 2])


# --- tests ---


def test_mcnemar_counts_the_examples_on_which_verdicts_differ() -> None:
    a, b = [1.0] * 9 + [0.0] + [1.0] * 50, [0.0] * 9 + [1.0] + [1.0] * 50
    found = paired_test(a, b, single_verdicts=True)
    assert found.name == "exact McNemar"
    assert found.p == pytest.approx(2 * 11 / 2**10)
    assert paired_test(a, a, single_verdicts=True).p == 1


def test_few_differences_are_permuted_exactly() -> None:
    found = paired_test([1.0, 2, 3, 4, 5, 7], [0.0, 0, 0, 0, 0, 7])
    assert found.name == "paired permutation"
    assert found.p == pytest.approx(2 / 2**5)  # only all signs one way are as extreme; the pair that agrees tells nothing


def test_tests_keep_their_level() -> None:
    rng = np.random.default_rng(3)
    p = [paired_test(rng.normal(size=25), rng.normal(size=25), resamples=199).p for _ in range(300)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09
    verdicts = [rng.random((2, 40)) < 0.6 for _ in range(300)]
    p = [paired_test(a.astype(float), b.astype(float), single_verdicts=True).p for a, b in verdicts]
    assert np.mean(np.array(p) <= 0.05) <= 0.06


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8))
def test_holm_is_monotone_and_never_below_the_raw_values(p: list[float]) -> None:
    adjusted = holm(p)
    assert [math.isnan(value) for value in adjusted] == [math.isnan(value) for value in p]
    known = sorted((raw, new) for raw, new in zip(p, adjusted, strict=True) if not math.isnan(raw))
    assert all(raw <= new <= 1 for raw, new in known)
    assert [new for _, new in known] == sorted(new for _, new in known)
    if known:
        assert known[0][1] == pytest.approx(min(1, len(known) * known[0][0]))


def test_holm_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

"""Estimators of pass@k and rank-score@k, against all subsets there are."""

from __future__ import annotations

from itertools import combinations, pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.estimators import (
    Attempts,
    exhausted,
    mean_pass_at_k,
    mean_rank_score_at_k,
    pass_at_budget,
    pass_at_k,
    pass_frontier,
    rank_score_at_k,
)

SAMPLES = st.lists(st.booleans(), min_size=1, max_size=8)
COSTS = st.floats(0.1, 10)
ATTEMPTS = st.builds(
    lambda right, shared, each: Attempts(len(right), sum(right), shared, each), SAMPLES, st.floats(0, 10), COSTS
)


@given(SAMPLES, st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(right: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(right)))
    expected = fmean(any(chosen) for chosen in combinations(right, k))
    assert pass_at_k(len(right), sum(right), k) == pytest.approx(expected)


def test_pass_at_k_of_nothing_is_nothing_and_of_many_does_not_overflow() -> None:
    assert pass_at_k(5, 5, 0) == 0
    assert pass_at_k(0, 0, 0) == 0
    assert pass_at_k(100_000, 1, 50_000) == pytest.approx(0.5)
    assert 0 < pass_at_k(10_000, 9_000, 1000) <= 1


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 6), (5, 2, -1)])
def test_pass_at_k_refuses_what_makes_no_sense(n: int, c: int, k: int) -> None:
    with pytest.raises(EvaluationError) as caught:
        pass_at_k(n, c, k)
    assert caught.value.hint


@given(ATTEMPTS, st.floats(0, 120))
def test_what_is_affordable_is_the_largest_k_whose_cost_fits(example: Attempts, budget: float) -> None:
    fitting = [k for k in range(example.n + 1) if example.cost(k) <= budget * (1 + 1e-9)]
    assert example.affordable(budget) == max(fitting)


@given(st.lists(ATTEMPTS, min_size=1, max_size=5), st.integers(1, 8))
def test_the_cost_of_k_samples_affords_k_samples(examples: list[Attempts], k: int) -> None:
    if k > min(example.n for example in examples):
        return
    budgets = [example.cost(k) for example in examples]
    assert [one.affordable(budget) for one, budget in zip(examples, budgets, strict=True)] == [k] * len(examples)
    assert pass_at_budget(examples, budgets) == pytest.approx(mean_pass_at_k(examples, k))


@given(st.lists(ATTEMPTS, min_size=1, max_size=5), st.floats(0, 100), st.floats(0, 100))
def test_a_larger_budget_passes_no_fewer(examples: list[Attempts], one: float, other: float) -> None:
    assert pass_at_budget(examples, min(one, other)) <= pass_at_budget(examples, max(one, other)) + 1e-12


def test_a_budget_below_one_sample_passes_nothing_and_one_above_all_is_exhausted() -> None:
    examples = [Attempts(4, 4, shared=2, each=1)]
    assert pass_at_budget(examples, 2.9) == 0
    assert pass_at_budget(examples, 3) == 1
    assert not exhausted(examples, 6.9)
    assert exhausted(examples, 7)
    assert Attempts(3, 1).affordable(0) == 3  # what costs nothing is always affordable
    with pytest.raises(EvaluationError, match="2 budgets for 1 examples"):
        pass_at_budget(examples, [1, 2])
    with pytest.raises(EvaluationError, match="no examples"):
        pass_at_budget([], 1)


@given(st.lists(ATTEMPTS, min_size=1, max_size=5))
def test_a_frontier_rises_in_cost_and_in_passes(examples: list[Attempts]) -> None:
    points = pass_frontier(examples)
    assert [point.k for point in points] == list(range(1, min(example.n for example in examples) + 1))
    for left, right in pairwise(points):
        assert right.cost > left.cost
        assert right.value >= left.value - 1e-12
    assert points[0].value == pytest.approx(fmean(example.correct / example.n for example in examples))


CANDIDATES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4)), min_size=1, max_size=7)


@given(CANDIDATES, st.booleans(), st.data())
def test_rank_score_is_the_mean_of_the_best_ranked_over_subsets(
    candidates: list[tuple[float, int]], lower: bool, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(candidates)))

    def best(chosen: tuple[tuple[float, int], ...]) -> float:
        top = (min if lower else max)(rank for _, rank in chosen)
        return fmean(value for value, rank in chosen if rank == top)

    # A tie within a subset is broken by chance: its expectation is the mean of the tied.
    expected = fmean(best(chosen) for chosen in combinations(candidates, k))
    values, ranks = zip(*candidates, strict=True)
    assert rank_score_at_k(values, ranks, k, lower_is_better=lower) == pytest.approx(expected)


def test_rank_score_of_all_is_the_first_and_truncated_candidates_are_dropped() -> None:
    assert rank_score_at_k([1, 0, 0], [0.1, 0.9, 0.5], 3) == 0
    assert rank_score_at_k([1, 0, 0], [0.1, 0.9, 0.5], 3, lower_is_better=True) == 1
    assert rank_score_at_k([1, 0, 0], [0.1, 0.9, 0.5], 3, truncated=[False, True, True]) == 1
    assert rank_score_at_k([1], [0.1], 1, truncated=[True]) == 0
    assert mean_rank_score_at_k([([1, 0], [2, 1]), ([1, 0], [1, 2])], 2) == 0.5


@pytest.mark.parametrize(
    ("passed", "ranks", "k", "message"),
    [
        ([1.0], [1.0, 2.0], 1, "do not belong together"),
        ([1.0, 0.0], [1.0, 2.0], 3, "cannot be estimated from 2"),
        ([1.0, 0.0], [1.0, float("nan")], 1, "no rank"),
    ],
)
def test_rank_score_refuses_what_makes_no_sense(passed: list[float], ranks: list[float], k: int, message: str) -> None:
    with pytest.raises(EvaluationError, match=message) as caught:
        rank_score_at_k(passed, ranks, k)
    assert caught.value.hint

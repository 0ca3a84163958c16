"""What k samples would have scored and cost, estimated without bias from n samples of every example.

Sources: Chen et al. (2021), "Evaluating Large Language Models Trained on Code", §2.1 for pass@k; Hassid et al. (COLM 2024),
"The Larger the Better? Improved LLM Code-Generation via Budget Reallocation", for pass@k under a budget and rank-score@k.
Plain counts and costs go in, so nothing here knows how they were recorded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from counterpoint.errors import EvaluationError

_ROUNDING = 1 + 1e-9
"""A cost that misses a budget by no more than this fits: a budget is often another evaluation's cost, summed otherwise."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that of ``k`` samples, drawn from the ``n`` there are, at least one is right.

    ``1 − C(n−c, k) / C(n, k)``, as a product that neither overflows nor cancels. Over repeated experiments its mean is the
    probability that k fresh samples hold a right one; ``1 − (1 − c/n)^k`` would be biased low.

    Args:
        n: samples of the example.
        c: how many of them are right.
        k: how many are drawn; 0 gives 0.

    Raises:
        EvaluationError: there are fewer than ``k`` samples, or more right ones than samples.
    """
    if not 0 <= c <= n:
        raise EvaluationError(f"{c} right answers among {n} samples make no sense", hint="c counts some of the n samples")
    if not 0 <= k <= n:
        raise EvaluationError(
            f"pass@{k} cannot be estimated from {n} sample{'' if n == 1 else 's'} of an example",
            hint=f"evaluate with at least {k} samples, or ask for a k up to {n}",
        )
    if n - c < k:
        return 1.0 if k else 0.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


@dataclass(frozen=True)
class Attempts:
    """The samples of one example: how many there are, how many are right, and what they cost."""

    n: int
    correct: int
    shared: float = 0.0
    """Cost that arises once however many samples are drawn: the prompt's, in FLOPs or seconds."""
    each: float = 0.0
    """Mean cost of one sample beyond that, in the same unit."""

    def cost(self, k: int) -> float:
        """What ``k`` samples cost; none cost nothing."""
        return self.shared + k * self.each if k else 0.0

    def affordable(self, budget: float) -> int:
        """The largest k, up to the samples there are, whose cost is within ``budget``."""
        room = budget * _ROUNDING - self.shared
        if self.each <= 0:
            return self.n if room >= 0 else 0
        return max(0, min(self.n, math.floor(room / self.each)))


def mean_pass_at_k(attempts: Sequence[Attempts], k: int) -> float:
    """pass@k: the mean of :func:`pass_at_k` over examples.

    Raises:
        EvaluationError: there are no examples, or one has fewer than ``k`` samples.
    """
    _some(attempts)
    return float(np.mean([pass_at_k(example.n, example.correct, k) for example in attempts]))


def pass_at_budget(attempts: Sequence[Attempts], budget: float | Sequence[float]) -> float:
    """pass_flops@f and pass_time@t: every example gets as many samples as its own costs allow, then pass@k of that many.

    Where not even one sample fits, the example counts 0; nothing is interpolated. No example gets more samples than it has,
    so above the cost of all samples the figure is a lower bound (:func:`exhausted` says whether).

    Args:
        attempts: an item per example, all in the unit of the budget.
        budget: what one example may cost, in FLOPs or seconds; or what each may.

    Raises:
        EvaluationError: there are no examples, or not as many budgets.
    """
    _some(attempts)
    given = _budgets(attempts, budget)
    return float(
        np.mean([pass_at_k(one.n, one.correct, one.affordable(limit)) for one, limit in zip(attempts, given, strict=True)])
    )


def exhausted(attempts: Sequence[Attempts], budget: float | Sequence[float]) -> bool:
    """Whether some example could have afforded one more sample than it has; what costs nothing (it failed) tells nothing.

    Raises:
        EvaluationError: there are not as many budgets as examples.
    """
    given = _budgets(attempts, budget)
    return any(one.each > 0 and one.cost(one.n + 1) <= limit * _ROUNDING for one, limit in zip(attempts, given, strict=True))


def _budgets(attempts: Sequence[Attempts], budget: float | Sequence[float]) -> list[float]:
    budgets = [float(budget)] * len(attempts) if isinstance(budget, (int, float)) else [float(one) for one in budget]
    if len(budgets) != len(attempts):
        raise EvaluationError(
            f"{len(budgets)} budgets for {len(attempts)} examples", hint="give one for all, or one for each example"
        )
    return budgets


@dataclass(frozen=True)
class FrontierPoint:
    """A figure, and what it costs."""

    k: int
    """Samples per example."""
    cost: float
    """Mean cost of that many samples of an example, in FLOPs or seconds."""
    value: float


def pass_frontier(attempts: Sequence[Attempts]) -> tuple[FrontierPoint, ...]:
    """pass@k against mean cost for k = 1 … n, n being the samples that every example has.

    Raises:
        EvaluationError: there are no examples.
    """
    _some(attempts)
    return tuple(
        FrontierPoint(k, float(np.mean([example.cost(k) for example in attempts])), mean_pass_at_k(attempts, k))
        for k in range(1, min(example.n for example in attempts) + 1)
    )


def rank_score_at_k(
    passed: Sequence[float],
    ranks: Sequence[float],
    k: int,
    *,
    truncated: Sequence[bool] | None = None,
    lower_is_better: bool = False,
) -> float:
    """Expected score of the candidate that a ranker puts first among ``k`` drawn from the n of one example.

    ``(1/C(n,k)) Σ_{i=1}^{n−k+1} C(n−i, k−1) · pass_(i)`` over candidates sorted best first. Candidates that the ranker scores
    alike are one as likely to be chosen as another: each counts with the mean of its ties, so no order of the data shows.

    Args:
        passed: what each candidate scores, 1 or 0 for verdicts.
        ranks: what the ranker says of each.
        k: how many are drawn.
        truncated: which candidates were cut at the length cap; given, these are dropped first, and ``k`` is no more than
            what is left. An example with none left scores 0.
        lower_is_better: whether the ranker's low scores are good ones (a negative log-likelihood).

    Raises:
        EvaluationError: the lengths differ, a rank is no number, or there are fewer than ``k`` candidates.
    """
    if len(passed) != len(ranks) or (truncated is not None and len(truncated) != len(passed)):
        raise EvaluationError(
            f"{len(passed)} candidates, {len(ranks)} ranks"
            + ("" if truncated is None else f" and {len(truncated)} cut flags")
            + " do not belong together",
            hint="give one of each per candidate",
        )
    if not 1 <= k <= len(passed):
        raise EvaluationError(
            f"rank-score@{k} cannot be estimated from {len(passed)} candidates", hint=f"ask for a k from 1 to {len(passed)}"
        )
    values, keys = np.asarray(passed, float), np.asarray(ranks, float)
    if np.isnan(keys).any():
        raise EvaluationError("a candidate has no rank (NaN)", hint="leave out the candidates that the ranker abstains on")
    if truncated is not None:
        whole = ~np.asarray(truncated, bool)
        values, keys = values[whole], keys[whole]
        k = min(k, len(values))
    n = len(values)
    if n == 0:
        return 0.0
    _, group = np.unique(keys if lower_is_better else -keys, return_inverse=True)
    means = np.bincount(group, values) / np.bincount(group)
    best_first = means[np.sort(group)]
    total = math.comb(n, k)
    weights = [math.comb(n - i, k - 1) / total for i in range(1, n - k + 2)]
    return float(np.dot(weights, best_first[: n - k + 1]))


def mean_rank_score_at_k(
    candidates: Sequence[tuple[Sequence[float], Sequence[float]]], k: int, *, lower_is_better: bool = False
) -> float:
    """rank-score@k: the mean of :func:`rank_score_at_k` over examples, each given as what candidates score and their ranks.

    Raises:
        EvaluationError: there are no examples, or one has too few candidates.
    """
    _some(candidates)
    return float(np.mean([rank_score_at_k(passed, ranks, k, lower_is_better=lower_is_better) for passed, ranks in candidates]))


def _some(examples: Sequence[object]) -> None:
    if not examples:
        raise EvaluationError("there are no examples to average over", hint="evaluate at least one example")

"""Intervals and tests over examples: how much of a figure, or of a difference, may be the luck of the draw.

Everything takes one number per example (samples of one averaged first) and is deterministic for a seed. What each is for
and where it is from: ``docs/evaluation-statistics.md``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.extras import require

Floats: TypeAlias = npt.NDArray[np.float64]

RESAMPLES = 9999
"""Resamples of a mean; with the data themselves ten thousand."""
_CELLS = 4_000_000  # numbers of resamples held at once


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval. Bounds that cannot be estimated are NaN."""

    value: float
    low: float
    high: float
    n: int
    """Examples it rests on."""
    method: str
    """How the interval was made."""
    confidence: float = 0.95

    def __neg__(self) -> Estimate:
        return Estimate(-self.value, -self.high, -self.low, self.n, self.method, self.confidence)

    def as_dict(self) -> dict[str, Any]:
        """Plain data; what is no number is None."""
        return {name: _plain(value) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Test:
    """A two-sided test of no difference."""

    p: float
    name: str

    __test__ = False  # no test case, whatever pytest thinks of its name


# --- figures ----------------------------------------------------------------------------------------------------------


def mean_interval(
    values: Sequence[float],
    *,
    verdicts: bool = False,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The mean over examples, with its interval.

    - Verdicts of 1 and 0: the Wilson score interval.
    - Verdicts averaged over samples that are alike for all examples: Wilson too, with as many trials as examples. Nothing in
      [0, 1] has more spread than a verdict, so it is wide enough; resampling equal numbers would give no width at all.
    - Else the BCa bootstrap over examples (Efron 1987).
    - Other scores that are alike for all: no width, and the method says so. A single example: no bounds.

    Raises:
        EvaluationError: there are no values, or scipy is not installed.
    """
    x = _array(values)
    n, mean = len(x), _mean(x)
    if verdicts and (bool(np.isin(x, (0.0, 1.0)).all()) or _alike(x)):
        return _wilson(mean, n, confidence)
    return _bootstrap_mean(x, mean, confidence, resamples, seed, bounds=(0.0, 1.0) if verdicts else None)


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    *,
    single_verdicts: bool = False,
    verdicts: bool = False,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The mean of ``a − b`` over the same examples, with its interval.

    For one verdict per example: Tango's score interval (1998), which stays honest where no or few examples differ. Else the
    BCa bootstrap of the differences over examples, of verdicts too unless all differences are alike.

    Raises:
        EvaluationError: there are no values, or not equally many; scipy is not installed.
    """
    x, y = _array(a), _array(b)
    if len(x) != len(y):
        raise EvaluationError(f"{len(x)} and {len(y)} values are no pairs", hint="give both for the same examples")
    d = _minus(x, y)
    mean = _mean(d)
    if single_verdicts:
        return _tango(x, y, confidence)
    if verdicts and _alike(d):
        # As in mean_interval: what lies in [-1, 1] has at most the spread of wins and losses.
        half = _wilson((mean + 1) / 2, len(d), confidence)
        return Estimate(mean, 2 * half.low - 1, 2 * half.high - 1, len(d), half.method, confidence)
    return _bootstrap_mean(d, mean, confidence, resamples, seed, bounds=(-1.0, 1.0) if verdicts else None)


def _wilson(mean: float, n: int, confidence: float) -> Estimate:
    z = normal_quantile(confidence)
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    # At 0 and 1 a bound is the figure itself, but for rounding.
    low, high = min(max(centre - half, 0.0), mean), max(min(centre + half, 1.0), mean)
    return Estimate(mean, low, high, n, "Wilson", confidence)


def _bootstrap_mean(
    x: Floats, mean: float, confidence: float, resamples: int, seed: int, bounds: tuple[float, float] | None
) -> Estimate:
    n = len(x)
    if n == 1 or not np.isfinite(x).all():
        low, high = bounds or (math.nan, math.nan)
        return Estimate(mean, low, high, n, "one example" if n == 1 else "not finite", confidence)
    if _alike(x):
        return Estimate(mean, mean, mean, n, "all alike", confidence)
    stats = _scipy_stats()
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # BCa of data that are nearly all alike: the percentiles follow
            interval = stats.bootstrap(
                (x,),
                np.mean,
                n_resamples=resamples,
                batch=max(1, _CELLS // n),
                confidence_level=confidence,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if math.isfinite(interval.low) and math.isfinite(interval.high):
            break
    return Estimate(mean, float(interval.low), float(interval.high), n, f"{method} bootstrap", confidence)


def _tango(x: Floats, y: Floats, confidence: float) -> Estimate:
    """Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17 (1998): the differences that a score test does not reject."""
    n, wins, losses = len(x), int(np.sum(x > y)), int(np.sum(x < y))
    z = normal_quantile(confidence)
    brentq = require("scipy.optimize", "intervals").brentq

    def score(delta: float) -> float:
        """How many standard errors the data lie above a true difference of ``delta``."""
        linear = -(wins + losses) + (2 * n - wins + losses) * delta
        root = math.sqrt(max(linear * linear + 8 * n * losses * delta * (1 - delta), 0.0))
        variance = n * (2 * (root - linear) / (4 * n) + delta * (1 - delta))
        above = wins - losses - n * delta
        if variance <= 0:
            return math.copysign(math.inf, above) if above else 0.0
        return above / math.sqrt(variance)

    def bound(sign: int) -> float:
        """The largest (or, by symmetry, smallest) difference that is not rejected."""
        edge = float(sign) * (1 - 1e-12)
        point = (wins - losses) / n
        if abs(point) >= 1 - 1e-12 and point * sign > 0:
            return float(sign)
        return float(brentq(lambda delta: min(max(score(delta), -1e6), 1e6) + sign * z, point, edge, xtol=1e-12))

    return Estimate((wins - losses) / n, bound(-1), bound(1), n, "Tango", confidence)


# --- tests ------------------------------------------------------------------------------------------------------------


def paired_test(
    a: Sequence[float],
    b: Sequence[float],
    *,
    single_verdicts: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Test:
    """Whether two recipes differ on the same examples.

    For one verdict per example the exact McNemar test: of the examples on which one is right and the other wrong, are more
    of one sort than a fair coin gives? Else the permutation test that flips signs of differences: exact where all flips can
    be counted, otherwise of ``resamples`` random ones, the data's own included, so that p is never 0.

    Raises:
        EvaluationError: there are no values, or not equally many; scipy is not installed.
    """
    x, y = _array(a), _array(b)
    if len(x) != len(y):
        raise EvaluationError(f"{len(x)} and {len(y)} values are no pairs", hint="give both for the same examples")
    stats = _scipy_stats()
    if single_verdicts:
        wins, losses = int(np.sum(x > y)), int(np.sum(x < y))
        p = float(stats.binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0
        return Test(p, "exact McNemar")
    d = _minus(x, y)
    d = d[d != 0]  # flipping a zero changes nothing
    if not np.isfinite(d).all():
        return Test(math.nan, "paired permutation")
    # One difference may have either sign; and none at all must not be made one by rounding.
    if len(d) < 2 or abs(math.fsum(d)) <= 1e-12 * float(np.abs(d).sum()):
        return Test(1.0, "paired permutation")
    result = stats.permutation_test(
        (d,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _CELLS // len(d)),
        rng=np.random.default_rng(seed),
    )
    return Test(float(result.pvalue), "paired permutation")


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for testing all of them (Holm 1979), in the order given; NaN stays and is not counted.

    Rejecting where an adjusted value is below α rejects any true null hypothesis with a probability of at most α.
    """
    adjusted = list(p)
    tested = sorted((index for index in range(len(p)) if not math.isnan(p[index])), key=lambda index: p[index])
    largest = 0.0
    for rank, index in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def normal_quantile(confidence: float) -> float:
    """How many standard errors to each side hold so much of a normal distribution: 1.96 for 0.95."""
    return float(_scipy_stats().norm.ppf(0.5 + confidence / 2))


def _scipy_stats() -> Any:
    return require("scipy.stats", "intervals and tests")


def _array(values: Sequence[float]) -> Floats:
    if not len(values):
        raise EvaluationError("there are no examples to average over", hint="evaluate at least one example")
    return np.asarray(values, dtype=np.float64)


def _minus(x: Floats, y: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # two infinite scores differ by no number
        return x - y


def _mean(x: Floats) -> float:
    """Exact but for one rounding, so that the order of examples changes nothing."""
    if np.isfinite(x).all():
        return math.fsum(x) / len(x)
    with np.errstate(invalid="ignore"):
        return float(np.mean(x))


def _alike(x: Floats) -> bool:
    """Whether all values are the same, but for rounding."""
    return bool(np.ptp(x) <= 1e-12 * max(1.0, float(np.abs(x).max()))) if np.isfinite(x).all() else False


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""What sampling against an imperfect verifier brings: the model behind when to stop, for plugins and for `counterpoint calibrate`.

Source: Stroebl, Kapoor and Narayanan 2024, "Inference Scaling fLaws: The Limits of LLM Resampling with Imperfect Verifiers"
(arXiv 2411.17501). Prompts differ in their difficulty: a sample is right with probability r, which varies over prompts. The
verifier accepts a right answer with probability ``completeness`` and rejects a wrong one with probability ``soundness``. Samples
are drawn until one is accepted, at most K. Rejected once more with probability β = (1 − completeness) r + soundness (1 − r).

With one r for all prompts the worth of another sample never changes its sign. What matters is the spread of r, here a Beta
distribution, whose two parameters are fitted to counts of right answers per prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.extras import require
from counterpoint.verification import Verified

if TYPE_CHECKING:
    Array: TypeAlias = npt.NDArray[np.float64]

_NODES = 96
"""Points of the quadrature over difficulties: exact for polynomials up to degree 191, so for every K up to that."""
_LEAST, _MOST = 1e-2, 1e3
"""Bounds of fitted Beta parameters: below, prompts are all or nothing to any precision; above, all alike."""


@dataclass(frozen=True)
class Outcome:
    """What at most K samples come to, as probabilities over prompts."""

    samples: int
    right: float
    """A right answer is accepted."""
    wrong: float
    """A wrong answer is accepted."""
    rejected: float
    """All samples are rejected."""
    right_if_kept: float
    """The answer is right when, where all were rejected, the first sample is the answer all the same."""
    drawn: float
    """Samples drawn on average."""


class ImperfectVerifier:
    """The model for one verifier and one spread of difficulty.

    Args:
        verified: its parameters.

    Raises:
        EvaluationError: scipy is not installed.
    """

    def __init__(self, verified: Verified) -> None:
        special = require("scipy.special", "numbers of samples for an imperfect verifier")
        a, b = (min(max(value, _LEAST), _MOST) for value in verified.difficulty)
        nodes, weights = special.roots_jacobi(_NODES, b - 1, a - 1)
        self._rate: Array = (np.asarray(nodes) + 1) / 2
        self._weight: Array = np.asarray(weights) / np.sum(weights)
        self._right: Array = verified.completeness * self._rate
        self._wrong: Array = (1 - verified.soundness) * (1 - self._rate)
        self._rejected: Array = np.clip(1 - self._right - self._wrong, 0.0, 1.0)

    @property
    def ceiling(self) -> float:
        """Share of right answers among accepted ones, were the number of samples without bound; NaN where none is accepted."""
        accepted = self._right + self._wrong
        some = accepted > 0
        passed = float(np.sum(self._weight[some]))
        return float(np.sum((self._weight * self._right)[some] / accepted[some])) / passed if passed else math.nan

    def outcome(self, samples: int) -> Outcome:
        """What at most ``samples`` (1 or more) come to."""
        tries = self._drawn(samples)
        right, wrong = (float(np.sum(self._weight * part * tries)) for part in (self._right, self._wrong))
        none = self._rejected**samples
        # β is nought only where everything is accepted, and then nothing is left to be rejected
        right_of_rejected = np.divide(
            self._rate - self._right, self._rejected, out=np.zeros_like(self._rate), where=self._rejected > 0
        )
        kept = float(np.sum(self._weight * none * right_of_rejected))
        return Outcome(
            samples, right, wrong, float(np.sum(self._weight * none)), right + kept, float(np.sum(self._weight * tries))
        )

    def gain(self, sample: int, right: float, wrong: float, price: float) -> float:
        """What a ``sample``-th sample (from 1) is worth: the values of what it may bring, less its price, if it comes to that."""
        reached = self._weight * self._rejected ** (sample - 1)
        return float(np.sum(reached * (right * self._right + wrong * self._wrong - price)))

    def best_number(self, most: int, *, right: float = 1.0, wrong: float = 0.0, price: float = 0.0) -> int:
        """How many samples are worth drawing (K_opt of the paper): of the numbers up to ``most`` the one with the highest expected
        reward, the smallest where several have it; 0 where none is worth anything, and it is better to abstain.

        Args:
            most: largest number.
            right: value of a right answer.
            wrong: value of a wrong answer that is accepted, usually below 0.
            price: of a sample, in the same unit.
        """
        rewards = np.cumsum([self.gain(sample, right, wrong, price) for sample in range(1, most + 1)])
        best = int(np.argmax(rewards > rewards.max() - 1e-12))
        return best + 1 if rewards[best] > 1e-12 else 0

    def _drawn(self, samples: int) -> Array:
        """Expected samples per difficulty: 1 + β + … + β^(K−1)."""
        return np.sum(self._rejected[None, :] ** np.arange(samples)[:, None], axis=0)  # type: ignore[no-any-return]


def fit_difficulty(right: Sequence[int], samples: Sequence[int]) -> tuple[float, float]:
    """The Beta distribution of the probability that a sample is right, by maximum likelihood of beta-binomial counts.

    Args:
        right: right samples per prompt.
        samples: samples per prompt.

    Raises:
        EvaluationError: there is nothing to fit, or scipy is not installed.
    """
    if not right or sum(right) in (0, sum(samples)):
        known = "no sample" if not right or not sum(right) else "every sample"
        raise EvaluationError(
            f"{known} is right, so that no spread of difficulty can be fitted",
            hint="calibrate on data with answers of both kinds",
        )
    stats, optimize = require("scipy.stats", "spreads of difficulty"), require("scipy.optimize", "spreads of difficulty")
    counts, totals = np.asarray(right), np.asarray(samples)

    def loss(logs: Array) -> float:
        return -float(np.sum(stats.betabinom.logpmf(counts, totals, *np.exp(logs))))

    mean = float(np.sum(counts) / np.sum(totals))
    bounds = [(math.log(_LEAST), math.log(_MOST))] * 2
    starts = [np.log([mean * size, (1 - mean) * size]).clip(*bounds[0]) for size in (0.5, 2.0, 20.0)]
    found = min((optimize.minimize(loss, start, bounds=bounds) for start in starts), key=lambda result: float(result.fun))
    a, b = (float(value) for value in np.exp(found.x))
    return a, b

"""The model of imperfect verifiers, against simulation and against what can be said without one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from counterpoint import EvaluationError
from counterpoint.verification import Verified

pytest.importorskip("scipy")
from counterpoint.imperfect import ImperfectVerifier, fit_difficulty

SHARES = st.floats(0.0, 1.0)
SPREADS = st.tuples(st.floats(0.05, 20), st.floats(0.05, 20))


def verifier(
    completeness: float = 0.9, soundness: float = 0.8, difficulty: tuple[float, float] = (0.6, 0.9)
) -> ImperfectVerifier:
    return ImperfectVerifier(Verified(completeness=completeness, soundness=soundness, difficulty=difficulty))


@pytest.mark.parametrize(("completeness", "soundness"), [(0.95, 0.8), (1.0, 1.0), (0.5, 0.4)])
def test_it_agrees_with_simulation(completeness: float, soundness: float) -> None:
    rng = np.random.default_rng(0)
    rate = rng.beta(0.6, 0.9, 100_000)
    model = verifier(completeness, soundness)
    right = rng.random((4, len(rate))) < rate
    accepted = np.where(right, rng.random(right.shape) < completeness, rng.random(right.shape) >= soundness)
    for samples in (1, 2, 4):
        some = accepted[:samples].any(axis=0)
        chosen = accepted[:samples].argmax(axis=0)
        answer = right[chosen, np.arange(len(rate))]
        outcome = model.outcome(samples)
        assert outcome.right == pytest.approx((answer & some).mean(), abs=0.006)
        assert outcome.wrong == pytest.approx((~answer & some).mean(), abs=0.006)
        assert outcome.rejected == pytest.approx((~some).mean(), abs=0.006)
        assert outcome.right_if_kept == pytest.approx(answer.mean(), abs=0.006)
        drawn = np.where(some, chosen + 1, samples)
        assert outcome.drawn == pytest.approx(drawn.mean(), abs=0.02)


@given(completeness=SHARES, soundness=SHARES, difficulty=SPREADS, samples=st.integers(1, 64))
def test_laws(completeness: float, soundness: float, difficulty: tuple[float, float], samples: int) -> None:
    model = verifier(completeness, soundness, difficulty)
    outcome = model.outcome(samples)
    assert outcome.right + outcome.wrong + outcome.rejected == pytest.approx(1.0, abs=1e-6)
    assert 1 - 1e-9 <= outcome.drawn <= samples + 1e-9
    more = model.outcome(samples + 1)
    assert more.right >= outcome.right - 1e-9
    assert more.wrong >= outcome.wrong - 1e-9
    mean = difficulty[0] / sum(difficulty)
    assert model.outcome(1).right_if_kept == pytest.approx(mean, abs=1e-6), "one sample is right as often as one is"
    gains = [model.gain(number, 1.0, -0.7, 0.01) for number in range(1, samples + 1)]
    assert math.fsum(gains) == pytest.approx(outcome.right - 0.7 * outcome.wrong - 0.01 * outcome.drawn, abs=1e-6)


@given(completeness=SHARES, soundness=SHARES, difficulty=SPREADS, wrong=st.floats(-10, 0), price=st.floats(0, 0.2))
def test_the_best_number_is_the_best(
    completeness: float, soundness: float, difficulty: tuple[float, float], wrong: float, price: float
) -> None:
    model = verifier(completeness, soundness, difficulty)
    best = model.best_number(20, wrong=wrong, price=price)
    rewards = [0.0, *np.cumsum([model.gain(number, 1.0, wrong, price) for number in range(1, 21)])]
    assert rewards[best] >= max(rewards) - 1e-9


def test_a_perfect_verifier_always_pays_and_a_costly_error_never() -> None:
    assert verifier(1.0, 1.0).best_number(64) == 64
    assert verifier(1.0, 1.0).ceiling == pytest.approx(1.0)
    assert verifier(0.95, 0.8).best_number(64, wrong=-10.0) == 0
    assert verifier(0.95, 0.8).best_number(64, wrong=-1.0) == 3
    assert verifier(0.95, 0.8).best_number(64, price=1.0) == 0


def test_with_one_difficulty_it_is_all_or_nothing() -> None:
    """Without a spread the worth of another sample never changes its sign (the paper, section 4)."""
    alike = (400.0, 600.0)
    assert verifier(0.9, 0.8, alike).best_number(50, wrong=-1.0) > 40  # until the worth is nothing to any precision
    assert verifier(0.9, 0.8, alike).best_number(50, wrong=-4.0) == 0


def test_the_ceiling_is_what_many_samples_reach() -> None:
    model = verifier()
    outcome = model.outcome(2000)
    assert outcome.right / (outcome.right + outcome.wrong) == pytest.approx(model.ceiling, abs=1e-3)
    assert math.isnan(verifier(0.0, 1.0).ceiling)


def test_difficulty_is_fitted() -> None:
    rng = np.random.default_rng(3)
    for a, b in ((0.4, 0.6), (2.0, 5.0)):
        right = rng.binomial(16, rng.beta(a, b, 1500))
        assert fit_difficulty(right.tolist(), [16] * 1500) == pytest.approx((a, b), rel=0.15)


@pytest.mark.parametrize(("right", "which"), [([0, 0], "no sample"), ([4, 4], "every sample"), ([], "no sample")])
def test_nothing_can_be_fitted_to_one_class(right: list[int], which: str) -> None:
    with pytest.raises(EvaluationError, match=which):
        fit_difficulty(right, [4] * len(right))


@pytest.mark.parametrize("difficulty", [(0.0, 1.0), (1.0, math.inf), (-1.0, 1.0)])
def test_difficulties_that_are_none(difficulty: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="above 0"):
        Verified(completeness=1, soundness=1, difficulty=difficulty)

"""How long to draft: compared with the best fixed length, where that can be computed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.plugin import Draft, PassCosts
from counterpoint_plugins.speculative.policy import Acceptance, DraftPolicy, StepCosts


def flat(cost: float, slope: float = 0.0) -> PassCosts:
    """A pass that costs the same whatever its size, or nearly."""
    return PassCosts(((1, cost), (33, cost * (1 + 32 * slope))))


def costs(draft: float = 0.1, slope: float = 0.01) -> StepCosts:
    return StepCosts(flat(1.0, slope), {"d": flat(draft)})


def simulate(
    policy: DraftPolicy, step_costs: StepCosts, chance: float, steps: int, seed: int = 0, calibrated: bool = True
) -> float:
    """Tokens per unit of cost, with drafts whose tokens stand with a constant chance."""
    generator = random.Random(seed)
    tokens, spent = 0, 0.0
    for _ in range(steps):
        drafted = 0
        confidence = chance if calibrated else 0.95
        if policy.worth_asking("d"):
            proceed = policy.asker("d")
            drafted = 1
            while drafted < policy._max_draft and proceed(confidence):
                drafted += 1
        draft = policy.trim("d", Draft(tuple(range(drafted)), None, (confidence,) * drafted))
        accepted = 0
        while accepted < len(draft.ids) and generator.random() < chance:
            accepted += 1
        policy.observe("d" if draft.ids else "", draft, accepted)
        tokens += accepted + 1
        spent += step_costs.target.at(len(draft.ids) + 1) + step_costs.drafters["d"].at(1) * drafted
    return tokens / spent


def best_fixed(step_costs: StepCosts, chance: float, most: int) -> float:
    """(1 − a^(γ+1)) / (1 − a) tokens for γ drafts and a pass over γ + 1, at the best γ; 0 is plain decoding."""
    return max(
        (length + 1 if chance == 1 else (1 - chance ** (length + 1)) / (1 - chance))
        / (step_costs.target.at(length + 1) + length * step_costs.drafters["d"].at(1))
        for length in range(most + 1)
    )


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("draft", [0.02, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("chance", [0.05, 0.3, 0.6, 0.8, 0.95])
def test_nearly_as_fast_as_the_best_fixed_length(chance: float, draft: float, calibrated: bool) -> None:
    step_costs = costs(draft)
    rate = simulate(DraftPolicy(step_costs, max_draft=16), step_costs, chance, 1500, calibrated=calibrated)
    best = best_fixed(step_costs, chance, 16)
    assert rate > 0.85 * best
    assert rate < 1.1 * best


def test_a_drafter_that_does_not_pay_is_left_and_tried_again() -> None:
    step_costs = costs(0.4)
    policy = DraftPolicy(step_costs, max_draft=8)
    simulate(policy, step_costs, 0.02, 200, calibrated=False)
    asked = []
    for step in range(64):
        asked.append(policy.worth_asking("d"))
        if asked[-1]:
            policy.asker("d")
            policy.observe("d", Draft((1, 2), None, (0.9, 0.9)), 0)
        else:
            policy.observe("", Draft(), 0)
        assert step < 64
    assert 1 <= sum(asked) <= 8


def test_not_adaptive_drafts_always_all() -> None:
    policy = DraftPolicy(costs(10.0), max_draft=7, adaptive=False)
    for _ in range(50):
        assert policy.worth_asking("d")
        assert policy.asker("d")(0.0)
        draft = Draft(tuple(range(7)), None, (0.0,) * 7)
        assert policy.trim("d", draft) is draft
        policy.observe("d", draft, 0)


@given(
    st.lists(st.tuples(st.lists(st.floats(0, 1), max_size=8), st.floats(0, 1)), max_size=40),
    st.floats(0.001, 10),
    st.floats(0, 1),
    st.integers(1, 40),
)
def test_whatever_happens_it_goes_on(steps: list[tuple[list[float], float]], draft: float, slope: float, rows: int) -> None:
    policy = DraftPolicy(StepCosts(flat(1.0, slope), {"d": flat(draft)}), max_draft=8)
    for confidences, share in steps:
        policy.rows = rows
        policy.worth_asking("d")
        proceed = policy.asker("d")
        for confidence in confidences:
            assert proceed(confidence) in (True, False)
        given_ = Draft(tuple(range(len(confidences))), None, tuple(confidences))
        kept = policy.trim("d", given_)
        assert kept.ids == given_.ids[: len(kept.ids)]
        assert kept.confidence == given_.confidence[: len(kept.ids)]
        policy.observe("d" if kept.ids else "", kept, int(share * len(kept.ids)))
        assert policy.worth > 0


def test_costs_of_nothing_are_no_obstacle() -> None:
    """A drafter without passes, and passes that cost nothing."""
    free = PassCosts(((1, 0.0), (2, 0.0)))
    policy = DraftPolicy(StepCosts(free, {"d": free}), max_draft=4)
    draft = policy.trim("l", Draft((1, 2), None, (0.5, 0.6)))
    policy.observe("l", draft, len(draft.ids))
    policy.asker("d")(0.5)


def test_confidence_is_corrected_by_experience() -> None:
    acceptance = Acceptance()
    assert acceptance.chance(0.95) > 0.9
    for _ in range(200):
        acceptance.observe(0.95, False)
    assert acceptance.chance(0.95) < 0.1
    assert acceptance.chance(0.55) == pytest.approx(0.55, abs=0.06), "other confidences are judged by themselves"
    for confidence in (0.0, 1.0, 1 + 1e-7):
        assert 0 <= acceptance.chance(confidence) <= 1


def test_a_free_draft_gives_way_to_one_that_usually_gains_more() -> None:
    policy = DraftPolicy(StepCosts(flat(1.0, 0.01), {"d": flat(0.01)}), max_draft=8)
    weak = Draft((1,), None, (0.3,))
    assert policy.trim("l", weak).ids == ()
    strong = Draft(tuple(range(8)), None, (0.99,) * 8)
    assert policy.trim("l", strong).ids == strong.ids
    alone = DraftPolicy(StepCosts(flat(1.0, 0.01), {}), max_draft=8)
    assert alone.trim("l", weak).ids == (1,)


def test_what_drafting_can_lose_is_bounded() -> None:
    """Drafts that look sure and never stand cost a step and a half, and one percent, however long the answer."""
    step_costs = StepCosts(PassCosts(((1, 1.0), (2, 1.8), (16, 8.0), (32, 14.0))), {})
    policy = DraftPolicy(step_costs, max_draft=16)
    spent = 0.0
    for _ in range(1000):
        draft = policy.trim("l", Draft(tuple(range(16)), None, (0.99,) * 16))
        policy.observe("l" if draft.ids else "", draft, 0)
        spent += step_costs.target.at(len(draft.ids) + 1)
    assert 1000 < spent <= 1000 * 1.01 + 1.5


def test_a_draft_that_was_not_verified_is_learned_from() -> None:
    policy = DraftPolicy(costs(), max_draft=8)
    before = policy._acceptance.setdefault("l", Acceptance()).chance(0.55)
    for step in range(20):
        position = 10 * step
        policy.remember("l", position, Draft((1, 2), None, (0.55, 0.55)), 0)
        policy.look_back([0] * position + [1])
        policy.look_back([0] * position + [1, 2])
    assert policy._acceptance["l"].chance(0.55) > before + 0.1
    assert not policy._unverified

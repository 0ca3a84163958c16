"""Keyed draws: pure functions of seed, span path, row, position and purpose, served in batches."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from counterpoint import Sampling, drawing, tensors
from counterpoint.draws import DrawRequest, draw_key

KEY_PARTS = st.tuples(
    st.integers(0, 2**63 - 1),
    st.lists(st.integers(0, 30), max_size=4),
    st.integers(0, 50),
    st.integers(0, 3000),
    st.sampled_from(["sample", "draft", "accept", "residual", "mine"]),
)


@given(KEY_PARTS, KEY_PARTS)
def test_keys_differ_where_anything_differs(one: Any, other: Any) -> None:
    assert (draw_key(*one) == draw_key(*other)) == (one == other)


def test_no_two_keys_of_a_run_are_equal() -> None:
    parts = itertools.product([0, 1, 10], [(), (0,), (1,), (1, 0), (10,), (0, 1)], range(11), range(120), ["sample", "accept"])
    keys = [draw_key(*part) for part in parts]
    assert len(set(keys)) == len(keys)


def test_keys_and_draws_are_the_same_everywhere() -> None:
    """Written down: what changed here would change what every recorded seed gives."""
    assert draw_key(7, (1, 2), 3, 4, "draft") == 4064372857840921483
    drawn = tensors.draw(torch.zeros(8, 1000), [draw_key(7, (), 0, at, "sample") for at in range(8)])
    assert drawn.tolist() == [481, 375, 683, 409, 341, 789, 521, 202]


def request(rows: torch.Tensor, sampling: Sampling, start: int = 0, **options: Any) -> DrawRequest:
    keys = [draw_key(5, (), 0, start + index, "sample") for index in range(len(rows))]
    return DrawRequest(rows, sampling, keys, **options)


ROWS = torch.randn(6, 9, generator=torch.Generator().manual_seed(3)) * 2


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.8), Sampling(temperature=1.2, top_k=4, top_p=0.8, repetition_penalty=1.5)],
)
def test_requests_served_together_are_served_as_alone(sampling: Sampling) -> None:
    def made() -> list[DrawRequest]:
        return [
            request(ROWS[:2], sampling, alternatives=3),
            request(ROWS[2:3], sampling, 40, seen=[[1, 2, 3]]),
            request(ROWS[3:], sampling, 80, forbidden=(0, 8), forbidden_rows=2),
        ]

    together = drawing.serve(made())
    alone = [drawing.serve([one])[0] for one in made()]
    for one, other in zip(together, alone, strict=True):
        assert one.ids == other.ids
        assert one.alternatives == other.alternatives
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-6)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_a_forbidden_token_is_not_drawn_in_the_first_rows_only() -> None:
    row = torch.tensor([[0.0, 5.0, 1.0]]).expand(3, -1)
    drawn = drawing.serve([request(row, Sampling(), forbidden=(1,), forbidden_rows=2)])[0]
    assert drawn.ids == (2, 2, 1)


@pytest.mark.parametrize("options", [{}, {"seen": [[1]]}, {"forbidden": (2,), "forbidden_rows": 1}])
@pytest.mark.parametrize(
    "sampling", [Sampling(repetition_penalty=3.0), Sampling(temperature=0.5, top_k=2, repetition_penalty=3.0)]
)
def test_logprobs_are_the_models_own(options: dict[str, Any], sampling: Sampling) -> None:
    """Before temperature and truncation, penalty and prohibitions: what an event says of the model."""
    row = torch.tensor([[0.0, 2.0, 1.0]])
    drawn = drawing.serve([request(row, sampling, alternatives=2, **options)])[0]
    expected = torch.log_softmax(row[0], -1)
    assert drawn.logprobs[0] == pytest.approx(expected[drawn.ids[0]].item(), abs=1e-6)
    assert drawn.alternatives[0] == ((1, pytest.approx(expected[1].item())), (2, pytest.approx(expected[2].item())))


def test_probabilities_are_those_after_the_settings() -> None:
    row = torch.tensor([[0.5, 0.3, 0.2]]).log()
    drawn = drawing.serve([request(row, Sampling(temperature=1, top_k=2))])[0]
    assert drawn.probabilities[0] == pytest.approx({0: 0.625, 1: 0.375}[drawn.ids[0]], abs=1e-6)
    greedy = drawing.serve([request(row, Sampling())])[0]
    assert greedy.ids == (0,)


def test_more_alternatives_than_tokens_are_all_tokens() -> None:
    drawn = drawing.serve([request(torch.tensor([[0.0, 1.0, 2.0]]), Sampling(), alternatives=5)])[0]
    assert [token for token, _ in drawn.alternatives[0]] == [2, 1, 0]


# --- rejection sampling -----------------------------------------------------------------------------------------------

SETTINGS = {
    "plain": Sampling(temperature=1.0),
    "temperature": Sampling(temperature=0.6),
    "top_k": Sampling(temperature=1.0, top_k=3),
    "top_p": Sampling(temperature=1.1, top_p=0.8),
    "min_p": Sampling(temperature=1.0, min_p=0.15),
    "penalty": Sampling(temperature=1.0, repetition_penalty=1.8, top_k=4),
    "greedy": Sampling(),
}
TARGET = torch.tensor([1.0, 0.2, -0.5, 0.7, -2.0])
DRAFT = torch.tensor([0.2, 1.0, -0.4, 0.6, 0.0])


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("proposer", ["model", "point"])
def test_rejection_loses_nothing(name: str, proposer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands at a position is distributed as the target's own draws there; as much is accepted as theory says."""
    monkeypatch.setattr(tensors, "exponentials", lambda keys, size, device: noise(tuple(keys), size).clone())
    sampling, count = SETTINGS[name], 12_000
    seen = [[1, 4]] * (count + 1) if sampling.repetition_penalty != 1 else None
    p = probabilities(TARGET, sampling)
    q = probabilities(DRAFT, sampling)
    draft = list(range(5)) * (count // 5)
    if proposer == "model":
        draft = tensors.draw(q.log().float().expand(count, -1), keys(count, "draft")).tolist()
    request = DrawRequest(
        TARGET.expand(count + 1, -1),
        sampling,
        keys(count + 1, "residual"),
        seen=seen,
        draft_ids=tuple(draft),
        draft_logits=DRAFT.expand(count, -1) if proposer == "model" else None,
        accept_keys=keys(count + 1, "accept"),
    )
    processed = tensors.process(drawing._prepare(request), sampling)
    chosen, accepted = drawing._verify([request], processed)
    assert (chosen[:count][accepted[:count]] == torch.tensor(draft)[accepted[:count]]).all()
    assert not accepted[-1]
    check(torch.bincount(chosen[:count], minlength=5).numpy(), p.numpy())
    overlap = torch.minimum(p, q).sum() if proposer == "model" else p.mean()
    assert scipy.stats.binomtest(int(accepted.sum()), count, min(1.0, float(overlap))).pvalue > 1e-4
    rejected = chosen[:count][~accepted[:count]]
    assert (rejected != torch.tensor(draft)[~accepted[:count]]).all(), "what was rejected is not drawn in its place"


@functools.cache
def noise(keys: tuple[int, ...], size: int) -> torch.Tensor:
    """The same for all of these tests, so made once."""
    return EXPONENTIALS(keys, size)


EXPONENTIALS = tensors.exponentials


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    penalized = tensors.penalize(logits[None], [[1, 4]], sampling.repetition_penalty)
    return tensors.process(penalized, sampling)[0].exp().double()


def keys(count: int, purpose: str) -> list[int]:
    return [draw_key(1, (), 0, index, purpose) for index in range(count)]


def check(found: np.ndarray, probabilities: np.ndarray) -> None:
    possible = probabilities > 0
    assert found[~possible].sum() == 0, "an impossible token was drawn"
    if found.sum() and possible.sum() > 1:
        expected = probabilities[possible] / probabilities[possible].sum() * found.sum()
        assert scipy.stats.chisquare(found[possible], expected).pvalue > 1e-4


def test_a_draft_of_the_target_itself_stands_whole() -> None:
    rows = torch.randn(4, 30, generator=torch.Generator().manual_seed(5))
    sampling = Sampling(temperature=0.9, top_p=0.9)
    for index in range(60):
        draft = tensors.draw(tensors.process(rows[:3], sampling), [draw_key(index, (), 0, at, "draft") for at in range(3)])
        made = DrawRequest(
            rows,
            sampling,
            [draw_key(index, (), 0, at, "residual") for at in range(4)],
            draft_ids=tuple(draft.tolist()),
            draft_logits=rows[:3],
            accept_keys=[draw_key(index, (), 0, at, "accept") for at in range(4)],
        )
        assert drawing.serve([made])[0].accepted == 3

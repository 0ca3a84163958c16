"""Sampling settings against a slow reference in float64, and the noise that draws are made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint import Sampling, tensors
from counterpoint.draws import draw_key

SIZES = st.integers(2, 12)


def reference(logits: list[float], sampling: Sampling, seen: list[int] = ()) -> list[float]:  # type: ignore[assignment]
    """Probabilities after penalty, temperature, top-k, top-p, min-p, by the book."""
    values = [
        (value / sampling.repetition_penalty if value > 0 else value * sampling.repetition_penalty) if index in seen else value
        for index, value in enumerate(logits)
    ]
    if sampling.greedy:
        best = max(range(len(values)), key=lambda index: (values[index], -index))
        return [float(index == best) for index in range(len(values))]
    top = max(values)
    weights = [math.exp((value - top) / sampling.temperature) for value in values]
    order = sorted(range(len(values)), key=lambda index: -weights[index])
    kept = set(order[: sampling.top_k or len(order)])
    if sampling.top_p is not None:
        total = sum(weights[index] for index in kept)
        mass, nucleus = 0.0, set()
        for index in order:
            if index in kept and mass < sampling.top_p:
                nucleus.add(index)
                mass += weights[index] / total
        kept = nucleus
    if sampling.min_p is not None:
        best_weight = max(weights)
        kept = {index for index in kept if weights[index] >= sampling.min_p * best_weight}
    total = sum(weights[index] for index in kept)
    return [weights[index] / total if index in kept else 0.0 for index in range(len(values))]


@st.composite
def rows(draw: st.DrawFn, size: int | None = None) -> list[float]:
    """Logits without near-ties, so that float32 and float64 see the same order."""
    size = size or draw(SIZES)
    gaps = draw(st.lists(st.floats(0.01, 3), min_size=size, max_size=size))
    shift = draw(st.floats(-10, 10))
    return draw(st.permutations([shift + float(value) for value in np.cumsum(gaps)]))


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.1, 0.7, 1.0, 1.5, 10.0]),
    top_k=st.none() | st.integers(1, 15),
    top_p=st.none() | st.floats(0.01, 1.0),
    min_p=st.none() | st.floats(0.0, 1.0),
    repetition_penalty=st.sampled_from([0.5, 1.0, 1.3, 5.0]),
) | st.builds(Sampling, temperature=st.just(0.0), repetition_penalty=st.sampled_from([1.0, 1.7]))


@settings(max_examples=400)
@given(rows(), SAMPLINGS, st.data())
def test_process_agrees_with_the_reference(logits: list[float], sampling: Sampling, data: st.DataObject) -> None:
    seen = data.draw(st.lists(st.integers(0, len(logits) + 3), max_size=6))
    expected = reference(logits, sampling, seen)
    penalized = tensors.penalize(torch.tensor([logits]), [seen], sampling.repetition_penalty)
    found = tensors.process(penalized, sampling)[0].exp().tolist()
    assert math.isclose(sum(found), 1.0, rel_tol=1e-5)
    cut = cumulative_near(logits, sampling, seen)
    if not cut:
        assert found == pytest.approx(expected, abs=2e-4)


def cumulative_near(logits: list[float], sampling: Sampling, seen: list[int]) -> bool:
    """Whether a cut falls so near a token that rounding decides."""
    plain = reference(logits, sampling.model_copy(update={"top_p": None, "min_p": None}), seen)
    ordered = sorted(plain, reverse=True)
    masses = np.cumsum(ordered)
    near_p = sampling.top_p is not None and bool(np.any(np.abs(masses - sampling.top_p) < 1e-5))
    best = max(plain)
    near_min = bool(sampling.min_p) and any(abs(value / best - sampling.min_p) < 1e-5 for value in plain)
    ties = any(abs(a - b) < 1e-5 for i, a in enumerate(plain) for b in plain[:i])
    return near_p or near_min or ties


def test_each_setting_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()

    def kept(**options: float) -> list[float]:
        probabilities = tensors.process(logits, Sampling(temperature=1.0, **options)).exp()[0]
        return [round(value, 4) for value in probabilities.tolist()]

    assert kept() == [0.5, 0.3, 0.15, 0.05]
    assert kept(top_k=2) == [0.625, 0.375, 0, 0]
    assert kept(top_p=0.79) == [0.625, 0.375, 0, 0]
    assert kept(top_p=0.49) == [1, 0, 0, 0]
    assert kept(top_p=0.51) == [0.625, 0.375, 0, 0]
    assert kept(min_p=0.25) == [0.5263, 0.3158, 0.1579, 0]
    assert kept(min_p=1.0) == [1, 0, 0, 0]
    assert kept(top_k=3, top_p=0.8) == [0.625, 0.375, 0, 0], "top-p counts the mass that top-k has left"
    assert tensors.process(logits, Sampling(temperature=0.5)).exp()[0].tolist() == pytest.approx(
        [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365], rel=1e-5
    )


def test_greedy_takes_the_first_of_equals() -> None:
    row = tensors.process(torch.tensor([[1.0, 3.0, 3.0]]), Sampling())
    assert row.exp().tolist() == [[0, 1, 0]]


def test_impossible_tokens_stay_impossible() -> None:
    row = torch.tensor([[-torch.inf, 0.0, 1.0]])
    for sampling in (
        Sampling(temperature=1, top_k=5),
        Sampling(temperature=2, top_p=0.99),
        Sampling(temperature=1, min_p=0.01),
    ):
        found = tensors.process(row, sampling)
        assert found[0, 0] == -torch.inf
        assert not found.isnan().any()


def test_top_p_looks_beyond_its_first_guess() -> None:
    """Flat over more tokens than the first guess holds."""
    size = 3 * tensors._TOP_P_GUESS
    rows = torch.stack([torch.zeros(size), torch.linspace(0, 30, size)])
    kept = tensors.process(rows, Sampling(temperature=1, top_p=0.9)) > -torch.inf
    for count, row in zip(kept.sum(-1).tolist(), rows, strict=True):
        probabilities = row.double().softmax(-1).sort(descending=True).values
        assert abs(count - (int((probabilities.cumsum(-1) < 0.9).sum()) + 1)) <= 1


def test_rows_do_not_influence_one_another() -> None:
    rows = torch.randn(5, 700, generator=torch.Generator().manual_seed(0)) * 3
    for sampling in (Sampling(temperature=0.7, top_p=0.9, top_k=600), Sampling(temperature=1.5, min_p=0.01), Sampling()):
        together = tensors.process(rows, sampling)
        alone = torch.cat([tensors.process(row[None], sampling) for row in rows])
        assert torch.equal(together, alone)


@given(rows(), st.lists(st.integers(0, 30), max_size=8), st.floats(0.1, 10))
def test_penalty_divides_positive_and_multiplies_negative_logits(logits: list[float], seen: list[int], penalty: float) -> None:
    found = tensors.penalize(torch.tensor([logits]), [seen], penalty)[0].tolist()
    for index, (before, after) in enumerate(zip(logits, found, strict=True)):
        factor = (1 / penalty if before > 0 else penalty) if index in seen else 1.0
        assert after == pytest.approx(before * factor, rel=1e-5, abs=1e-6)


def test_penalty_leaves_what_it_is_given() -> None:
    logits = torch.tensor([[1.0, -1.0]])
    tensors.penalize(logits, [[0, 1]], 2.0)
    assert logits.tolist() == [[1.0, -1.0]]


# --- noise ------------------------------------------------------------------------------------------------------------


def keys(count: int, start: int = 0, purpose: str = "sample") -> list[int]:
    return [draw_key(11, (0,), 0, start + index, purpose) for index in range(count)]


@pytest.mark.parametrize("probabilities", [[0.1, 0.2, 0.3, 0.4], [0.97, 0.01, 0.01, 0.01], [0.2] * 5, [0.5, 0.0, 0.5]])
def test_draws_follow_the_distribution(probabilities: list[float]) -> None:
    count = 20_000
    logprobs = torch.tensor(probabilities).log().expand(count, -1)
    found = torch.bincount(tensors.draw(logprobs, keys(count)), minlength=len(probabilities)).numpy()
    possible = np.array(probabilities) > 0
    assert found[~possible].sum() == 0
    assert scipy.stats.chisquare(found[possible], np.array(probabilities)[possible] * count).pvalue > 1e-4


def test_draws_at_neighbouring_positions_are_independent() -> None:
    count = 20_000
    logprobs = torch.tensor([0.5, 0.3, 0.2]).log().expand(count, -1)
    drawn = tensors.draw(logprobs, keys(count))
    other = tensors.draw(logprobs, keys(count, purpose="draft"))
    for left, right in ((drawn[:-1], drawn[1:]), (drawn, other)):
        table = torch.zeros(3, 3).index_put((left, right), torch.tensor(1.0), accumulate=True)
        assert scipy.stats.chi2_contingency(table.numpy()).pvalue > 1e-4


def test_draws_of_a_large_vocabulary_follow_the_distribution() -> None:
    """Mass in a few far-apart columns of many."""
    size, count = 40_000, 1000
    columns = [0, 1, 255, 256, 32_767, 32_768, 39_999]
    weights = [0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]
    row = torch.full((size,), -torch.inf)
    row[columns] = torch.tensor(weights).log()
    drawn = torch.cat([tensors.draw(row.expand(200, -1), keys(200, start)) for start in range(0, count, 200)])
    found = [int((drawn == column).sum()) for column in columns]
    assert sum(found) == count
    assert scipy.stats.chisquare(found, np.array(weights) * count).pvalue > 1e-4


def test_exponentials_are_exponential() -> None:
    noise = tensors.exponentials(keys(300), 300).flatten().numpy()
    assert scipy.stats.kstest(noise, "expon").pvalue > 1e-4
    assert scipy.stats.kstest(tensors.uniforms(keys(10_000)).numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("size", [50_257, 151_936, 262_144])
def test_no_two_columns_share_their_noise(size: int) -> None:
    """Two tokens with the same noise under every key would exclude one another."""
    assert len(tensors._columns(size, torch.device("cpu")).unique()) == size


@given(st.integers(0, 99), st.integers(0, 2**32 - 1))
def test_a_token_that_is_certain_is_drawn_whatever_the_noise(column: int, low: int) -> None:
    """Also where the noise is the largest there is."""
    inner = tensors._mix(tensors._columns(100, torch.device("cpu")) ^ tensors._signed(low))[column].item()
    row = torch.full((1, 100), -torch.inf)
    row[0, column] = 0.0
    for largest in (0x7FFFFFFF, 0x7FFFFFC0, 0, 1):
        key = low | ((largest - inner) & 0xFFFFFFFF) << 32
        noise = tensors.exponentials([key], 100)[0, column].item()
        assert 0 < noise < math.inf
        assert tensors.draw(row, [key]).tolist() == [column]


def test_draws_depend_on_their_key_alone() -> None:
    logprobs = torch.log_softmax(torch.randn(64, 40, generator=torch.Generator().manual_seed(1)), -1)
    together = tensors.draw(logprobs, keys(64))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(2)).tolist()
    shuffled = tensors.draw(logprobs[order], [keys(64)[index] for index in order])
    assert shuffled.tolist() == together[order].tolist()
    assert [tensors.draw(logprobs[i : i + 1], [keys(64)[i]]).item() for i in range(64)] == together.tolist()


def test_residual_is_what_the_target_has_more_of() -> None:
    p, q = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.2, 0.7, 0.1]])
    assert tensors.residual(p.log(), q.log()).exp()[0].tolist() == pytest.approx([0.75, 0, 0.25], abs=1e-6)
    point = torch.tensor([[0.0, 1.0, 0.0]])
    assert tensors.residual(p.log(), point.log()).exp()[0].tolist() == pytest.approx([5 / 7, 0, 2 / 7], abs=1e-6)
    assert tensors.residual(p.log(), p.log()).exp()[0].tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)

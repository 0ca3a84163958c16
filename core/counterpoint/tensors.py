"""Distributions as tensors: sampling settings, keyed noise, and the two lossless verification rules.

Torch-facing helpers for plugin authors; everything works on ``[rows, vocabulary]`` and on any device. The noise is a hash of
(key, token id) in 32-bit integer arithmetic, so that a draw is the same on every device, in every batch and in every order.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.settings import Sampling

_TOP_P_GUESS = 512
"""Candidates looked at before a full sort: their mass nearly always reaches top-p."""


def log_probs(logits: Tensor) -> Tensor:
    """Untempered log-probabilities (natural log), ``[rows, vocabulary]``."""
    return torch.log_softmax(logits.float(), dim=-1)


def penalize(logits: Tensor, seen: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """Repetition penalty of CTRL (arXiv 1909.05858, section 4.1), each row with the tokens it has seen."""
    if penalty == 1.0:
        return logits
    logits = logits.clone()
    for row, ids in enumerate(seen):
        index = torch.tensor(sorted({i for i in ids if i < logits.shape[-1]}), dtype=torch.long, device=logits.device)
        values = logits[row, index]
        logits[row, index] = torch.where(values > 0, values / penalty, values * penalty)
    return logits


def process(logits: Tensor, sampling: Sampling) -> Tensor:
    """Log-probabilities after temperature, top-k, top-p and min-p, in this order; dropped tokens are −inf.

    Greedy sampling is a point mass on the (first) most probable token.
    """
    logits = logits.float()
    if sampling.greedy:
        best = logits.argmax(dim=-1, keepdim=True)
        return torch.full_like(logits, -torch.inf).scatter(-1, best, 0.0)
    scaled = torch.log_softmax(logits / sampling.temperature, dim=-1)
    if sampling.top_k is None and sampling.top_p in (None, 1) and not sampling.min_p:
        return scaled
    if sampling.top_k is not None and sampling.top_k < scaled.shape[-1]:
        threshold = scaled.topk(sampling.top_k, dim=-1).values[..., -1:]
        scaled = scaled.masked_fill(scaled < threshold, -torch.inf)
    if sampling.top_p is not None and sampling.top_p < 1:
        scaled = _top_p(torch.log_softmax(scaled, dim=-1), sampling.top_p)
    if sampling.min_p:
        best = scaled.amax(dim=-1, keepdim=True)
        scaled = scaled.masked_fill(scaled < best + torch.tensor(sampling.min_p).log(), -torch.inf)
    return torch.log_softmax(scaled, dim=-1)


def _top_p(logprobs: Tensor, p: float) -> Tensor:
    """Keeps, per row, the smallest set of most probable tokens whose mass reaches ``p``."""
    size = logprobs.shape[-1]
    count = min(_TOP_P_GUESS, size)
    values, index = logprobs.topk(count, dim=-1)
    if count < size and bool((values.exp().sum(dim=-1) < p).any()):
        values, index = logprobs.sort(dim=-1, descending=True)
    mass_before = values.exp().cumsum(dim=-1) - values.exp()
    kept = values.masked_fill(mass_before >= p, -torch.inf)
    return torch.full_like(logprobs, -torch.inf).scatter(-1, index, kept)


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


_MULTIPLIER_1, _MULTIPLIER_2 = _signed(0x7FEB352D), _signed(0x846CA68B)


def _mix(x: Tensor) -> Tensor:
    """A 32-bit finaliser with low bias (C. Wellons' hash prospector), in place on int32.

    The shifts are arithmetic, which spares a masking pass over the vocabulary: numbers that are one another's complement mix
    to the same, so the sign bits of what goes in have to be equal.
    """
    x.bitwise_xor_(x >> 16).mul_(_MULTIPLIER_1)
    x.bitwise_xor_(x >> 15).mul_(_MULTIPLIER_2)
    return x.bitwise_xor_(x >> 16)


@functools.lru_cache(maxsize=8)
def _columns(size: int, device: torch.device) -> Tensor:
    """Every column's own number of 31 bits (each step is a bijection): two with the same would share their noise for ever."""
    x = torch.arange(1, size + 1, dtype=torch.int64, device=device)
    for multiplier in (_MULTIPLIER_1, _MULTIPLIER_2):
        x = ((x ^ (x >> 15)) * multiplier) & 0x7FFFFFFF
    return (x ^ (x >> 15)).int()


def _exponentials(columns: Tensor, key: int, out: Tensor | None = None) -> Tensor:
    """Exponential(1) noise of some columns (their numbers) under one key."""
    mixed = _mix(columns ^ _signed(key)).add_(_signed(key >> 32))
    # u/2^31 near 0 keeps its full relative precision in float32, and that is the end that decides a race; at the other
    # end, the bit left out of the mask keeps it from being rounded up to 1, which would be infinite noise
    uniform = mixed.bitwise_and_(0x7FFFFFBF).float().add_(0.5).mul_(-(2.0**-31))
    return torch.log1p(uniform, out=uniform if out is None else out).neg_()


def exponentials(keys: Sequence[int], size: int, device: torch.device | str = "cpu") -> Tensor:
    """Exponential(1) noise, ``[len(keys), size]`` float32, a pure function of (64-bit key, column)."""
    columns = _columns(size, torch.device(device))
    noise = torch.empty(len(keys), size, device=device)
    for row, key in enumerate(keys):  # row by row: one vocabulary of integers stays in the processor's cache
        _exponentials(columns, key, noise[row])
    return noise


def argmax(logits: Tensor) -> Tensor:
    """Index of the first largest value of each row, ``[rows]`` int64 (on a CPU by numpy, which is four times as fast)."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return torch.from_numpy(logits.detach().numpy().argmax(axis=-1))
    return logits.argmax(dim=-1)


def log_normalizer(logits: Tensor) -> Tensor:
    """Log of the sum of exponentials of each row, ``[rows]`` (in fewer passes over a vocabulary than ``logsumexp`` takes)."""
    best = logits.amax(dim=-1)
    if logits.device.type != "cpu" or not bool(best.isfinite().all()):
        return logits.logsumexp(dim=-1)
    return (logits - best[:, None]).exp_().sum(dim=-1).log_().add_(best)


_REACH = 25.1
"""No token this much (natural log) less probable than the best one can win a race: the noise has 31 bits, so that its logarithm
lies between −22.2 and 2.9."""


def draw(logprobs: Tensor, keys: Sequence[int]) -> Tensor:
    """One token per row, ``[rows]`` int64: the winner of an exponential race (Gumbel-max), noise keyed per row.

    Rows need not be normalised.
    """
    if logprobs.device.type != "cpu":
        noise = exponentials(keys, logprobs.shape[-1], logprobs.device)
        return noise.log_().neg_().add_(logprobs).argmax(dim=-1)
    columns = _columns(logprobs.shape[-1], logprobs.device)
    winners = torch.empty(len(keys), dtype=torch.long)
    for index, (row, key) in enumerate(zip(logprobs, keys, strict=True)):
        runners = (row >= row.amax() - _REACH).nonzero()[:, 0]  # mostly a few percent of the vocabulary
        race = row[runners] - _exponentials(columns[runners], key).log_()
        winners[index] = runners[race.argmax()]
    return winners


def uniforms(keys: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Uniform(0, 1) numbers, ``[len(keys)]`` float32, a pure function of the 64-bit key."""
    return torch.exp(-exponentials(keys, 1, device)[:, 0])


def residual(target: Tensor, draft: Tensor) -> Tensor:
    """Log of norm(max(0, p − q)), per row, from log-probabilities (methods: speculative sampling, arXiv 2211.17192)."""
    difference = (target.exp() - draft.exp()).clamp_min_(0)
    total = difference.sum(dim=-1, keepdim=True)
    # p = q to rounding: a rejection then has probability 0, and any distribution will do
    return torch.where(total > 0, difference.log() - total.log(), target)

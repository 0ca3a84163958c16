"""Keyed draws: every random choice is a pure function of (seed, span path, row, response position, purpose).

Neither batching, nor order, nor the device, nor how a strategy came to a position changes what is drawn there; exchanging a
strategy for an exact one gives the same tokens, and renaming nodes changes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from counterpoint.scheduler import Batch
from counterpoint.settings import Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from counterpoint.session import Session

Purpose = Literal["sample", "draft", "accept", "residual"] | str
"""What a draw is for; a plugin may name its own."""


def draw_key(seed: int, path: Sequence[int], row: int, position: int, purpose: Purpose) -> int:
    """The 64-bit key of one draw."""
    text = f"{seed}|{'.'.join(map(str, path))}|{row}|{position}|{purpose}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Drawn:
    """Tokens drawn from consecutive rows.

    ``logprobs`` are natural logs under the model itself, before temperature and truncation; ``probabilities`` are those after
    them, of the tokens drawn; ``alternatives`` the most probable ``(id, logprob)`` per row, when asked for.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    probabilities: tuple[float, ...]
    alternatives: tuple[tuple[tuple[int, float], ...], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Outcome of rejection sampling: how many draft tokens stand, and the token that follows them."""

    accepted: int
    drawn: Drawn


@dataclass
class DrawRequest:
    """Rows of one session to be drawn from, at consecutive positions."""

    logits: Tensor
    sampling: Sampling
    keys: list[int]
    seen: list[list[int]] | None = None
    """Tokens each row has seen, when a repetition penalty needs them."""
    forbidden: tuple[int, ...] = ()
    """Tokens that may not be drawn in the first ``forbidden_rows`` rows."""
    forbidden_rows: int = 0
    alternatives: int = 0
    draft_ids: tuple[int, ...] | None = None
    """With ``accept_keys``: verify these by rejection sampling instead of drawing every row."""
    draft_logits: Tensor | None = None
    accept_keys: list[int] = field(default_factory=list)
    future: asyncio.Future[Drawn | Verdict] | None = None

    @classmethod
    def on(
        cls,
        session: Session,
        rows: Tensor,
        keys: list[int],
        sampling: Sampling,
        response: Sequence[int],
        following: Sequence[int],
    ) -> DrawRequest:
        """Draws from rows of a session; row i is the distribution after ``response + following[:i]``."""
        request = cls(rows, sampling, keys)
        if sampling.repetition_penalty != 1.0:
            before = [*session.prompt_ids, *response]
            request.seen = [[*before, *following[:i]] for i in range(len(keys))]
        short = sampling.min_tokens + len(session.prefix_ids) - len(response)
        if sampling.ignore_stop or short > 0:
            request.forbidden = tuple(sorted(session.stop_ids))
            request.forbidden_rows = len(keys) if sampling.ignore_stop else min(len(keys), short)
        return request


class DrawBatch(Batch):
    """Draws of all rows at once: one device synchronisation per decoding step, however many rows there are."""

    cost = 0.0

    def __init__(self) -> None:
        self._requests: list[DrawRequest] = []

    @property
    def pending(self) -> int:
        return len(self._requests)

    async def submit(self, request: DrawRequest) -> Drawn | Verdict:
        """The draw: with those of others where that spares a synchronisation, at once on a CPU, where rows gain nothing together."""
        if request.logits.device.type == "cpu":
            from counterpoint import drawing

            return drawing.serve([request])[0]
        request.future = asyncio.get_running_loop().create_future()
        self._requests.append(request)
        return await request.future

    def fail(self, error: Exception) -> None:
        requests, self._requests = self._requests, []
        for request in requests:
            if request.future is not None and not request.future.done():
                request.future.set_exception(error)

    def execute(self) -> None:
        from counterpoint import drawing

        requests, self._requests = [r for r in self._requests if r.future and not r.future.done()], []
        groups: dict[object, list[DrawRequest]] = {}
        for request in requests:
            place = (request.logits.shape[-1], request.logits.device)
            groups.setdefault((request.sampling, place, request.accept_keys != []), []).append(request)
        for group in groups.values():
            try:
                results = drawing.serve(group)
            except Exception as error:  # noqa: BLE001 (whoever asked gets it)
                for request in group:
                    assert request.future is not None
                    request.future.set_exception(error)
                continue
            for request, result in zip(group, results, strict=True):
                assert request.future is not None
                request.future.set_result(result)

"""A loaded model in the engine: its slots, the passes that serve all runs, prefix reuse, metering."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from counterpoint.costs import PassCosts
from counterpoint.errors import ModelError
from counterpoint.scheduler import Batch
from counterpoint.session import Backend, Session, Step, StepResult

if TYPE_CHECKING:
    from counterpoint.leaf import LeafSession

PREFILL_CHUNK = 256
"""Most tokens of one row in one pass, so that a long prompt does not hold up rows that decode."""
PASS_TOKENS = 1024
"""Most tokens of all rows in one pass."""
PARKED_TOKENS = 32_768
"""Tokens kept in the cache for sessions that are closed, oldest given back first."""


@dataclass(frozen=True)
class PassShare:
    """One row's part in a pass, as the ledger sees it."""

    pass_id: int
    pass_rows: int
    tokens: int
    context: int
    logits_rows: int
    flops: float
    seconds: float
    share: float
    prefill: bool


class Meter(Protocol):
    """Who pays for a pass."""

    def admit(self, flops: float, seconds: float) -> None:
        """Raises BudgetSpent when an estimate does not fit."""

    def reserve(self, flops: float) -> None:
        """Counts (or, negative, uncounts) what is under way."""

    def charge(self, path: str, share: PassShare) -> None:
        """Records what was spent."""

    def keep(self, session: Session) -> None:
        """Takes over closing a session when the call it belongs to ends."""


@dataclass
class _Request:
    slot: int
    ids: Sequence[int]
    rows: int
    score: bool
    prompt_tokens: int
    meter: Meter
    path: str
    future: asyncio.Future[tuple[Tensor, Tensor | None]]
    estimate: float
    fed: int = 0
    collected: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    last_row: Tensor | None = None


class ModelHost(Batch):
    """A loaded model: its slots, the requests that wait for its next pass, and closed sessions worth resuming."""

    def __init__(self, backend: Backend, key: str, *, weight_bytes: int = 0) -> None:
        self.backend = backend
        self.key = key
        self.cost = float(backend.shape.parameters)
        self.users = 0
        """Runs that hold the model loaded."""
        self.pass_seconds = 0.0
        """Duration of the latest pass, the estimate for the next."""
        self.weight_bytes = weight_bytes
        self.costs: PassCosts | None = None
        """What passes cost here, once calibrated."""
        self._requests: list[_Request] = []
        self._held: dict[int, list[int]] = {}  # slot → tokens in the cache
        self._parked: OrderedDict[int, Tensor | None] = OrderedDict()  # closed sessions' slots → their last row
        self._opening: dict[tuple[int, ...], asyncio.Future[LeafSession]] = {}
        self._passes = 0

    @property
    def pending(self) -> int:
        return len(self._requests)

    @property
    def slots(self) -> int:
        """Slots in use by open sessions."""
        return len(self._held) - len(self._parked)

    async def open(self, session: LeafSession) -> None:
        """Fills a new session's slot with its prompt and prefix: from a session with the same beginning where there is one."""
        ids = session.prompt_ids + session.prefix_ids
        while (opening := self._opening.get(ids)) is not None:
            # the same prompt is being processed for someone else: one prefill serves both
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                donor = opening.result()
                if not donor.closed and tuple(self._held[donor.slot][: len(ids)]) == ids:
                    session.adopt(donor, len(ids))
                    return
        opening = asyncio.get_running_loop().create_future()
        self._opening[ids] = opening
        try:
            session.slot, row = self._slot_for(ids)
            have = len(self._held[session.slot])
            if row is None:
                if have == len(ids):
                    have -= 1
                    self.truncate(session.slot, have)
                rows, _ = await self.submit(session, ids[have:], 1)
                row = rows[-1:]
            session.set_rows(row, len(session.prefix_ids))
            opening.set_result(session)
        except BaseException:
            session.close()
            raise
        finally:
            opening.cancel()
            del self._opening[ids]

    def _slot_for(self, ids: tuple[int, ...]) -> tuple[int, Tensor | None]:
        """A slot that holds the longest known beginning of ``ids``, and the row after it if that is all of them."""
        best, length = None, 0
        for slot, held in self._held.items():
            common = _common_prefix(held, ids)
            if common > length or (common == length and common and slot in self._parked):
                best, length = slot, common
        if best is None or length < min(8, len(ids)):
            slot = self.backend.new_slot()
            self._held[slot] = []
            return slot, None
        if best in self._parked and 2 * length >= len(self._held[best]):
            row = self._parked.pop(best)
            complete = length == len(ids) == len(self._held[best])
            self.truncate(best, length)
            return best, row if complete else None
        return self.copy(best, length), None

    def truncate(self, slot: int, length: int) -> None:
        """Drops a slot's tokens beyond ``length``."""
        if length < len(self._held[slot]):
            self.backend.truncate(slot, length)
            del self._held[slot][length:]

    def copy(self, slot: int, length: int) -> int:
        """A new slot with the first ``length`` tokens of another."""
        new = self.backend.copy(slot, length)
        self._held[new] = self._held[slot][:length]
        return new

    def held(self, slot: int) -> int:
        """Tokens in a slot's cache."""
        return len(self._held[slot])

    def park(self, slot: int, row: Tensor | None) -> None:
        """Keeps a closed session's slot for who opens the same beginning again, as long as there is room."""
        for request in [r for r in self._requests if r.slot == slot]:
            self._drop(request)
        self._parked[slot] = row
        total = sum(len(self._held[parked]) for parked in self._parked)
        while total > PARKED_TOKENS or len(self._parked) > 16:
            oldest, _ = self._parked.popitem(last=False)
            total -= len(self._held[oldest])
            self.free(oldest)

    def free(self, slot: int) -> None:
        """Gives a slot back to the backend."""
        self._parked.pop(slot, None)
        del self._held[slot]
        self.backend.free(slot)

    async def submit(
        self, session: LeafSession, ids: Sequence[int], rows: int, *, score: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Feeds tokens in the coming passes; returns the last ``rows`` rows, and log-probabilities when scoring."""
        held = len(self._held[session.slot])
        if held + len(ids) > self.backend.context:
            raise ModelError(
                f"{session.path}: {held + len(ids)} tokens do not fit the context of {self.backend.context} tokens",
                hint="shorten the prompt, lower max_tokens, or use a model with a longer context",
            )
        estimate = self.backend.shape.flops(len(ids), _context(held, len(ids)), len(ids) if score else rows)
        session.meter.admit(estimate, self.pass_seconds)
        request = _Request(
            session.slot,
            ids,
            rows,
            score,
            max(0, len(session.prompt_ids) + len(session.prefix_ids) - held),
            session.meter,
            session.path,
            asyncio.get_running_loop().create_future(),
            estimate,
        )
        session.meter.reserve(estimate)
        self._requests.append(request)
        try:
            return await request.future
        finally:
            session.meter.reserve(-request.estimate)
            if request in self._requests:
                self._drop(request)

    def _drop(self, request: _Request) -> None:
        self._requests.remove(request)
        request.future.cancel()

    def fail(self, error: Exception) -> None:
        requests, self._requests = self._requests, []
        for request in requests:
            if not request.future.done():
                request.future.set_exception(as_model_error(request.path, error))

    def execute(self) -> None:
        chosen: list[tuple[_Request, int]] = []
        room = PASS_TOKENS
        for request in sorted(self._requests, key=lambda r: len(r.ids) - r.fed > PREFILL_CHUNK):
            count = min(len(request.ids) - request.fed, PREFILL_CHUNK, room)
            if count > 0:
                chosen.append((request, count))
                room -= count
        steps = [self._step(request, count) for request, count in chosen]
        started = time.perf_counter()
        try:
            results = self.backend.forward(steps)
            self.backend.synchronize()
            _check_results(steps, results)
        except Exception as error:  # noqa: BLE001 (whoever asked gets it)
            for request, _ in chosen:
                self._requests.remove(request)
                self.backend.truncate(request.slot, len(self._held[request.slot]))
                if not request.future.done():
                    request.future.set_exception(as_model_error(request.path, error))
            return
        seconds = self.pass_seconds = time.perf_counter() - started
        self._passes += 1
        total = sum(count for _, count in chosen)
        for (request, count), step, result in zip(chosen, steps, results, strict=True):
            held = self._held[request.slot]
            context = _context(len(held), count)
            logits_rows = count if step.score else step.rows
            held.extend(step.ids)
            request.fed += count
            if step.score:
                if request.last_row is not None:  # the chunk's first token is scored by the last row of the chunk before
                    row = torch.log_softmax(request.last_row, dim=-1)
                    request.scores.append(row[:, step.ids[0]])
                assert result.logprobs is not None
                request.scores.append(result.logprobs)
                request.last_row = result.rows[-1:]
            elif step.rows:
                request.collected.append(result.rows)
            share = PassShare(
                self._passes,
                len(chosen),
                count,
                context,
                logits_rows,
                self.backend.shape.flops(count, context, logits_rows),
                seconds,
                seconds * count / total,
                request.fed <= request.prompt_tokens,
            )
            request.meter.reserve(-share.flops)  # spent now, and no longer under way
            request.estimate -= share.flops
            request.meter.charge(request.path, share)
            if request.fed == len(request.ids):
                self._requests.remove(request)
                self._resolve(request)

    def _step(self, request: _Request, count: int) -> Step:
        """The next ``count`` tokens of a request, and which of its rows they bring."""
        end = request.fed + count
        first_row = len(request.ids) - request.rows
        rows = max(0, end - max(first_row, request.fed))
        return Step(request.slot, request.ids[request.fed : end], 1 if request.score else rows, request.score)

    def _resolve(self, request: _Request) -> None:
        if request.future.done():
            return
        if request.score:
            assert request.last_row is not None
            request.future.set_result((request.last_row, torch.cat(request.scores)))
        else:
            rows = request.collected
            request.future.set_result((torch.cat(rows) if len(rows) > 1 else rows[0], None))

    def close(self) -> None:
        """Frees the model."""
        self._held.clear()
        self._parked.clear()
        self.backend.close()


def _check_results(steps: Sequence[Step], results: Sequence[StepResult]) -> None:
    """A backend that returns something else than it was asked for fails who asked, not the thread of all runs."""
    if len(results) != len(steps):
        raise RuntimeError(f"the backend returned {len(results)} results for {len(steps)} steps")
    for step, result in zip(steps, results, strict=True):
        if len(result.rows) != step.rows:
            raise RuntimeError(f"the backend returned {len(result.rows)} rows where {step.rows} were asked for")
        if step.score and (result.logprobs is None or len(result.logprobs) != len(step.ids) - 1):
            raise RuntimeError("the backend returned no log-probability for each token it was asked to score")


def as_model_error(path: str, error: Exception) -> Exception:
    """A failure inside a pass as a ModelError with a hint."""
    if isinstance(error, ModelError):
        return error
    hint = "see the traceback with --debug"
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in str(error):
        hint = "not enough memory: run fewer prompts at once, shorten them, or use a smaller model or dtype"
    failure = ModelError(f"{path}: the forward pass failed: {type(error).__name__}: {error}", hint=hint)
    failure.__cause__ = error
    return failure


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))


def _context(held: int, tokens: int) -> int:
    """Positions attended to by ``tokens`` new tokens after ``held``, each including itself."""
    return tokens * held + tokens * (tokens + 1) // 2

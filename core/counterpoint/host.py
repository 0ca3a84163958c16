"""A loaded model in the engine: its slots, the passes that serve all runs, prefix reuse, metering."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from counterpoint.costs import PassCosts
from counterpoint.errors import ModelError
from counterpoint.scheduler import Batch
from counterpoint.session import Backend, CacheFull, Session, Step, StepResult
from counterpoint.slots import SlotTable

if TYPE_CHECKING:
    from counterpoint.leaf import LeafSession

PREFILL_CHUNK = 256
"""Most tokens of one row in one pass, so that a long prompt does not hold up rows that decode."""
PASS_TOKENS = 1024
"""Most tokens of all rows in one pass."""


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
    hidden: bool
    prompt_tokens: int
    meter: Meter
    path: str
    future: asyncio.Future[tuple[Tensor, Tensor | None]]
    estimate: float
    fed: int = 0
    collected: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    last_row: Tensor | None = None

    def take(self, part: _Part, result: StepResult) -> None:
        """Takes what a pass has brought."""
        if part.again:
            return
        self.fed += len(part.step.ids)
        if part.step.score:
            if self.last_row is not None:  # the chunk's first token is scored by the last row of the chunk before
                row = torch.log_softmax(self.last_row, dim=-1)
                self.scores.append(row[:, part.step.ids[0]])
            assert result.logprobs is not None
            self.scores.append(result.logprobs)
            self.last_row = result.rows[-1:]
        elif part.step.rows:
            self.collected.append(result.rows)


@dataclass
class _Part:
    """A request's share of one pass."""

    request: _Request
    step: Step
    again: bool
    """Whether it only feeds what the slot has lost."""

    @property
    def tokens(self) -> int:
        """New tokens, those of a prompt that the encoder reads included."""
        return len(self.step.ids) + len(self.step.prompt)


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
        self.calibrated: PassCosts | None = None
        """What passes that want every row cost here, once measured; it follows the machine."""
        self._requests: list[_Request] = []
        self.table = SlotTable(backend)
        """The slots of all sessions, open and closed."""
        self._opening: dict[tuple[str, tuple[int, ...], tuple[int, ...]], asyncio.Future[LeafSession]] = {}
        self._passes = 0

    @property
    def pending(self) -> int:
        return len(self._requests)

    @property
    def slots(self) -> int:
        """Slots in use by open sessions."""
        return self.table.open

    async def open(self, session: LeafSession) -> None:
        """Fills a new session's slot with its prompt and prefix: from a session with the same beginning where there is one."""
        ids = session.before + session.prefix_ids
        key = (session.scope, session.encoded, ids)
        while (opening := self._opening.get(key)) is not None:
            # the same prompt is being processed for someone else: one prefill serves both
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                donor = opening.result()
                if not donor.closed and tuple(self.table.tokens(donor.slot)[: len(ids)]) == ids:
                    session.adopt(donor, len(ids))
                    return
        opening = asyncio.get_running_loop().create_future()
        self._opening[key] = opening
        try:
            session.slot, row = self.table.open_on(ids, session.scope, session.encoded)
            have = self.table.length(session.slot)
            if row is None:
                if have == len(ids):
                    have -= 1
                    self.table.truncate(session.slot, have)
                rows, _ = await self.submit(session, ids[have:], 1)
                row = rows[-1:]
            session.set_rows(row, len(session.prefix_ids))
            opening.set_result(session)
        except BaseException:
            session.close()
            raise
        finally:
            opening.cancel()
            del self._opening[key]

    def park(self, slot: int, row: Tensor | None) -> None:
        """Keeps a closed session's slot for who opens the same beginning again, as long as there is room."""
        for request in [r for r in self._requests if r.slot == slot]:
            self._drop(request)
        self.table.park(slot, row)

    async def submit(
        self, session: LeafSession, ids: Sequence[int], rows: int, *, score: bool = False, hidden: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Feeds tokens in the coming passes; returns the last ``rows`` rows (of logits or of hidden states), and
        log-probabilities when scoring."""
        held = self.table.length(session.slot)
        if held + len(ids) > self.backend.context:
            raise ModelError(
                f"{session.path}: {held + len(ids)} tokens do not fit the context of {self.backend.context} tokens",
                hint="shorten the prompt, lower max_tokens, or use a model with a longer context",
            )
        context = _context(held, len(ids), self.table.prompt(session.slot))
        logits_rows = _logits_rows(len(ids), rows, score, hidden)
        estimate = self.backend.shape.flops(len(ids), context, logits_rows, len(self.table.unread(session.slot)))
        session.meter.admit(estimate, self.pass_seconds)
        request = _Request(
            session.slot,
            ids,
            rows,
            score,
            hidden,
            max(0, len(session.before) + len(session.prefix_ids) - held),
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
        while chosen := self._choose():
            started = time.perf_counter()
            try:
                results = self.backend.forward([part.step for part in chosen])
                self.backend.synchronize()
                _check_results([part.step for part in chosen], results)
            except CacheFull as error:
                self._make_room(min(part.request.slot for part in chosen), error)
                continue
            except Exception as error:  # noqa: BLE001 (whoever asked gets it)
                for part in chosen:
                    self.table.undo(part.request.slot)
                    self._fail(part.request, error)
                return
            self._account(chosen, results, time.perf_counter() - started)
            return

    def _choose(self) -> list[_Part]:
        """What the next pass feeds: long prompts last, and none that has to wait for room while others do not."""
        waiting = [request for request in self._requests if self.table.waits(request.slot)]
        ready = [request for request in self._requests if request not in waiting]
        # when all of them wait, the oldest session's goes on, and others give way to it
        requests = ready or sorted(waiting, key=lambda request: request.slot)[:1]
        chosen: list[_Part] = []
        room = PASS_TOKENS
        for request in sorted(requests, key=lambda r: len(r.ids) - r.fed > PREFILL_CHUNK):
            if room <= 0:
                break
            if not self._placed(request, alone=not ready):
                continue
            part = self._part(request, min(PREFILL_CHUNK, room))
            if chosen and len(part.step.prompt) > room:
                continue  # an encoder reads a prompt as a whole: in the next pass
            room -= part.tokens
            chosen.append(part)
        return chosen or (self._choose() if self._requests and ready else [])

    def _placed(self, request: _Request, *, alone: bool) -> bool:
        """Whether a request's slot has a place in the backend, or gets one; for one that is alone, others give way."""
        while True:
            try:
                self.table.place(request.slot)
                return True
            except CacheFull as error:
                if self.table.give_back_oldest() or (alone and self._make_room(request.slot, error)):
                    continue
                self.table.wait(request.slot)
                return False

    def _make_room(self, oldest: int, error: CacheFull) -> bool:
        """Frees what closed sessions hold, or has the youngest session give way; else the oldest cannot go on at all."""
        if self.table.give_back_oldest() or self.table.give_way(besides=oldest) is not None:
            return True
        for request in [request for request in self._requests if request.slot == oldest]:
            self._fail(request, error)
        return False

    def _fail(self, request: _Request, error: Exception) -> None:
        self._requests.remove(request)
        if not request.future.done():
            request.future.set_exception(as_model_error(request.path, error))

    def _part(self, request: _Request, most: int) -> _Part:
        """The next tokens of a request (those its slot has lost come first), and which of its rows they bring."""
        place, prompt = self.table.place(request.slot), self.table.unread(request.slot)
        if missing := self.table.missing(request.slot):
            return _Part(request, Step(place, missing[:most], 0, prompt=prompt), again=True)
        end = min(len(request.ids), request.fed + most)
        first_row = len(request.ids) - request.rows
        rows = 1 if request.score else max(0, end - max(first_row, request.fed))
        ids = request.ids[request.fed : end]
        return _Part(request, Step(place, ids, rows, request.score, request.hidden, prompt), again=False)

    def _account(self, chosen: list[_Part], results: list[StepResult], seconds: float) -> None:
        """Hands a pass's rows and costs to those who asked."""
        self.pass_seconds = seconds
        self._passes += 1
        total = sum(part.tokens for part in chosen)
        if self.calibrated is not None and all(part.step.rows == part.tokens and not part.step.hidden for part in chosen):
            self.calibrated = self.calibrated.observed(total, seconds)
        for part, result in zip(chosen, results, strict=True):
            request, step, count = part.request, part.step, len(part.step.ids)
            held = self.table.filled(request.slot)
            context = _context(held, count, self.table.prompt(request.slot))
            read = len(step.prompt)
            logits_rows = _logits_rows(count, step.rows, step.score, step.hidden)
            self.table.fed(request.slot, step.ids, again=part.again)
            request.take(part, result)
            share = PassShare(
                self._passes,
                len(chosen),
                part.tokens,
                context + read * read,
                logits_rows,
                self.backend.shape.flops(count, context, logits_rows, read),
                seconds,
                seconds * part.tokens / total,
                part.again or request.fed <= request.prompt_tokens,
            )
            if not part.again:  # spent now, and no longer under way
                request.meter.reserve(-share.flops)
                request.estimate -= share.flops
            request.meter.charge(request.path, share)
            if request.fed == len(request.ids):
                self._requests.remove(request)
                self._resolve(request)

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
        self.table.clear()
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
    if isinstance(error, CacheFull):
        return ModelError(f"{path}: {error}", hint="give the model a larger context, shorten the prompt, or lower max_tokens")
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in str(error):
        hint = "not enough memory: run fewer prompts at once, shorten them, or use a smaller model or dtype"
    failure = ModelError(f"{path}: the forward pass failed: {type(error).__name__}: {error}", hint=hint)
    failure.__cause__ = error
    return failure


def _logits_rows(tokens: int, rows: int, score: bool, hidden: bool) -> int:
    """For how many of a step's tokens the head computes logits."""
    return tokens if score else 0 if hidden else rows


def _context(held: int, tokens: int, prompt: Sequence[int]) -> int:
    """Positions attended to by ``tokens`` new tokens after ``held``, each including itself; and, where an encoder has read the
    prompt, all of that."""
    return tokens * (held + len(prompt)) + tokens * (tokens + 1) // 2

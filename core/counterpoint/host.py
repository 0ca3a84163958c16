"""A loaded model in the engine: its slots, the passes that serve all runs, prefix reuse, metering."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from counterpoint.costs import PassCosts
from counterpoint.errors import ModelError
from counterpoint.passrequest import PassPart, PassRequest, PassShare, attended, check_results, rows_of_head
from counterpoint.scheduler import Batch
from counterpoint.session import Backend, CacheFull, Step, StepResult
from counterpoint.slots import SlotTable

if TYPE_CHECKING:
    from counterpoint.leaf import LeafSession

PREFILL_CHUNK = 256
"""Most tokens of one row in one pass, so that a long prompt does not hold up rows that decode."""
PASS_TOKENS = 1024
"""Most tokens of all rows in one pass."""


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
        self._requests: list[PassRequest] = []
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
        context = attended(held, len(ids), self.table.prompt(session.slot))
        logits_rows = rows_of_head(len(ids), rows, score, hidden)
        estimate = self.backend.shape.flops(len(ids), context, logits_rows, len(self.table.unread(session.slot)))
        session.meter.admit(estimate, self.pass_seconds)
        request = PassRequest(
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

    def _drop(self, request: PassRequest) -> None:
        self._requests.remove(request)
        request.future.cancel()

    def fail(self, error: Exception) -> None:
        requests, self._requests = self._requests, []
        for request in requests:
            request.fail(error)

    def execute(self) -> None:
        while chosen := self._choose():
            started = time.perf_counter()
            try:
                results = self.backend.forward([part.step for part in chosen])
                self.backend.synchronize()
                check_results([part.step for part in chosen], results)
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

    def _choose(self) -> list[PassPart]:
        """What the next pass feeds: long prompts last, and none that has to wait for room while others do not."""
        waiting = [request for request in self._requests if self.table.waits(request.slot)]
        ready = [request for request in self._requests if request not in waiting]
        # when all of them wait, the oldest session's goes on, and others give way to it
        requests = ready or sorted(waiting, key=lambda request: request.slot)[:1]
        chosen: list[PassPart] = []
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

    def _placed(self, request: PassRequest, *, alone: bool) -> bool:
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

    def _fail(self, request: PassRequest, error: Exception) -> None:
        self._requests.remove(request)
        request.fail(error)

    def _part(self, request: PassRequest, most: int) -> PassPart:
        """The next tokens of a request (those its slot has lost come first), and which of its rows they bring."""
        place, prompt = self.table.place(request.slot), self.table.unread(request.slot)
        if missing := self.table.missing(request.slot):
            return PassPart(request, Step(place, missing[:most], 0, prompt=prompt), again=True)
        end = min(len(request.ids), request.fed + most)
        first_row = len(request.ids) - request.rows
        rows = 1 if request.score else max(0, end - max(first_row, request.fed))
        ids = request.ids[request.fed : end]
        return PassPart(request, Step(place, ids, rows, request.score, request.hidden, prompt), again=False)

    def _account(self, chosen: list[PassPart], results: list[StepResult], seconds: float) -> None:
        """Hands a pass's rows and costs to those who asked."""
        self.pass_seconds = seconds
        self._passes += 1
        total = sum(part.tokens for part in chosen)
        if self.calibrated is not None and all(part.step.rows == part.tokens and not part.step.hidden for part in chosen):
            self.calibrated = self.calibrated.observed(total, seconds)
        for part, result in zip(chosen, results, strict=True):
            request, step, count = part.request, part.step, len(part.step.ids)
            held = self.table.filled(request.slot)
            context = attended(held, count, self.table.prompt(request.slot))
            read = len(step.prompt)
            logits_rows = rows_of_head(count, step.rows, step.score, step.hidden)
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
                request.resolve()

    def close(self) -> None:
        """Frees the model."""
        self.table.clear()
        self.backend.close()

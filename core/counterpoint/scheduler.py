"""The loop that lets strategies be written for one sequence: when no coroutine can go on, it runs a batch.

Strategies are ordinary asyncio coroutines on one event loop in a thread of its own. Every model call submits a request to a
:class:`Batch` and awaits a future. An event loop asks its selector for input exactly when it has nothing left to do, and says
with the timeout whether that is so; :class:`_IdleSelector` uses that moment, and no other, to execute one batch. Whatever is
pending then shares it, whichever strategy, prompt or run it came from.

Which batch goes first changes only how well passes are shared, never a result: the cheapest one (so that rows still drafting
catch up before the expensive target runs once for all), except that no batch is overtaken more than :data:`PATIENCE` times.
The rule counts batches, not seconds, so that the same requests are shared in the same way on every machine.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from concurrent.futures import Future as ThreadFuture
from typing import Any, TypeVar

PATIENCE = 16
"""How many batches may overtake a pending one."""

T = TypeVar("T")


class Batch(ABC):
    """Requests that can be executed together; execution happens on the loop's thread when everything else waits."""

    cost: float = 0.0
    """Relative cost of an execution: cheaper batches go first."""

    overtaken: int = 0
    """How many batches went first since this one has had something pending."""

    @property
    @abstractmethod
    def pending(self) -> int:
        """How many requests wait."""

    @abstractmethod
    def execute(self) -> None:
        """Serves pending requests (all, or as many as fit) by resolving their futures; failures go into the futures."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Fails everything pending: the last resort when :meth:`execute` itself raises, so that nobody waits for ever."""


class _IdleSelector(selectors.DefaultSelector):
    """A selector that runs a pending batch before it would wait for input."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if (timeout is not None and timeout <= 0) or not self._scheduler.has_pending:
            return super().select(timeout)
        if ready := super().select(0):
            return ready  # cancellations and results of other threads come before the next pass
        self._scheduler.run_one_batch()
        return []


class Scheduler:
    """Owns the event loop's thread and the batches."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, batch: Batch) -> None:
        """Makes a batch known."""
        self._batches.append(batch)

    def remove(self, batch: Batch) -> None:
        """Forgets a batch."""
        self._batches.remove(batch)

    @property
    def has_pending(self) -> bool:
        """Whether any batch has requests waiting."""
        return any(batch.pending for batch in self._batches)

    def run_one_batch(self) -> None:
        """Executes the batch whose turn it is."""
        waiting = [batch for batch in self._batches if batch.pending]
        patient = [batch for batch in waiting if batch.overtaken < PATIENCE]
        chosen = min(waiting if len(patient) == len(waiting) else [b for b in waiting if b not in patient], key=_cost)
        for batch in waiting:
            batch.overtaken = 0 if batch is chosen else batch.overtaken + 1
        try:
            chosen.execute()
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 (it would end the loop, and with it every run)
            chosen.fail(error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}"))

    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, running in its thread (started at first use)."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.SelectorEventLoop(_IdleSelector(self))
                self._thread = threading.Thread(target=self._serve, name="counterpoint-engine", daemon=True)
                self._thread.start()
            return self._loop

    def _serve(self) -> None:
        loop = self._loop
        assert loop is not None
        asyncio.set_event_loop(loop)
        while True:
            try:
                return loop.run_forever()
            except (SystemExit, KeyboardInterrupt):  # a plugin's: its task has failed by it, and others go on
                continue

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> ThreadFuture[T]:
        """Starts a coroutine on the loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop())

    def close(self) -> None:
        """Cancels what runs and ends the thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return

        async def finish() -> None:
            await asyncio.sleep(0)  # what has only just been started still begins, and so ends in its own way
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await loop.shutdown_default_executor()

        if thread is not threading.current_thread():
            asyncio.run_coroutine_threadsafe(finish(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def _cost(batch: Batch) -> float:
    return batch.cost

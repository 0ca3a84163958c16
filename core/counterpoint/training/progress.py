"""How far a training is, as events; and blocking work that a cancelled run can stop between two steps."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from counterpoint.events import EventBase, Note, Progress
from counterpoint.running import Run

T = TypeVar("T")

NOTE: Final = "training"
"""Name of the notes that carry a training's figures."""


async def in_thread(run: Run, work: Callable[[Callable[[], bool]], T]) -> T:
    """Runs blocking work off the engine's thread, and waits for its orderly end when the run is cancelled.

    Args:
        run: the trainer's.
        work: gets a function that says whether to stop; it asks after each step, keeps what is worth keeping, and returns. If it
            returns ``True``, it has done all there was to do, and that stands although the run was cancelled meanwhile.
    """
    stop = threading.Event()
    task = asyncio.ensure_future(run.thread(work, stop.is_set))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error from None  # a checkpoint that could not be written is worth more than "cancelled"
        if not task.cancelled() and task.result() is True:
            return task.result()
        raise


class Reporter:
    """Tells a run how far its training is: a :class:`Progress` and a :class:`Note` a step (from any thread).

    Make it on the engine's thread, in the trainer's coroutine. The note, called ``training``, has ``step``, ``steps``, ``loss``,
    ``tokens_per_second`` (trained on, since this process began) and ``seconds_left``; and ``held_out`` after an evaluation.

    Args:
        run: the trainer's.
        name: of the artifact.
    """

    def __init__(self, run: Run, name: str) -> None:
        self._run = run
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._began = time.perf_counter()
        self._first = 0
        self._tokens = 0

    def begin(self, step: int, steps: int) -> None:
        """Training begins, or goes on, after ``step`` of ``steps``."""
        self._began, self._first = time.perf_counter(), step
        self._emit(Progress(phase="train", item=self._name, done=step, total=steps, unit="steps"))

    def step(self, step: int, steps: int, loss: float, tokens: int) -> None:
        """A step is done: its loss (natural log, a token) and how many tokens it was trained on."""
        self._tokens += tokens
        elapsed = max(time.perf_counter() - self._began, 1e-9)
        data = {
            "step": step,
            "steps": steps,
            "loss": loss,
            "tokens_per_second": self._tokens / elapsed,
            "seconds_left": (steps - step) * elapsed / (step - self._first),
        }
        self._emit(Progress(phase="train", item=self._name, done=step, total=steps, unit="steps"))
        self._emit(Note(name=NOTE, data=data))

    def held_out(self, step: int, steps: int, loss: float) -> None:
        """The loss on held-out examples after a step."""
        self._emit(Note(name=NOTE, data={"step": step, "steps": steps, "held_out": loss}))

    def _emit(self, event: EventBase) -> None:
        self._loop.call_soon_threadsafe(self._run.emit, event)

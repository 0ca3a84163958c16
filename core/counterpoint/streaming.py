"""A run as its caller sees it: events as they come, and the result at the end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from counterpoint.events import CandidateScored, Event
from counterpoint.node import Score
from counterpoint.prompt import Completion, FinishReason
from counterpoint.recipe import Recipe
from counterpoint.tally import ROOT_SPAN

if TYPE_CHECKING:
    from counterpoint.trace import Summary


@dataclass(frozen=True)
class RunResult:
    """What a run made, and its whole trace."""

    run_id: str
    completion: Completion
    trace: tuple[Event, ...] = field(repr=False)
    error: Exception | None = None

    @property
    def text(self) -> str:
        """The answer."""
        return self.completion.text

    @property
    def finish_reason(self) -> FinishReason:
        """Why it ended."""
        return self.completion.finish_reason

    @property
    def scores(self) -> list[Score]:
        """What the output node gave each answer, where it is a verifier (:meth:`Engine.verify`)."""
        return [
            Score(event.score, event.detail, event.data)
            for event in self.trace
            if isinstance(event, CandidateScored) and event.span == ROOT_SPAN
        ]

    @property
    def summary(self) -> Summary:
        """Tokens, acceptance, FLOPs and seconds, per node and in all."""
        from counterpoint.trace import summarize

        return summarize(self.trace)


class RunStream:
    """Events of one run. Iterate over it (``for`` or ``async for``), ``await`` it, or ask for its :meth:`result`.

    Several may listen; each sees all events from the first.
    """

    def __init__(self, run_id: str, recipe: Recipe) -> None:
        self.run_id = run_id
        self.recipe = recipe
        self.warnings: list[str] = []
        self._events: list[Event] = []
        self._result: RunResult | None = None
        self._changed = threading.Condition()
        self._over = threading.Event()  # who waits for the end is not woken by every event
        self._wakers: deque[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    # --- the engine's side ------------------------------------------------------------------------------------------

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Says which loop it will run in, so that it can be cancelled from now on."""
        self._loop = loop

    def start(self, life: Coroutine[Any, Any, None]) -> None:
        """Starts the run, in the loop's own thread."""
        self._task = asyncio.ensure_future(life)
        self._task.add_done_callback(self._ended)

    def deliver(self, event: Event) -> None:
        """Takes an event from the engine's thread; what comes after the end (a load that others wait for goes on) is dropped."""
        with self._changed:
            if self._result is None:
                self._events.append(event)
                self._wake()

    def finish(self, completion: Completion, error: Exception | None) -> None:
        """Ends the stream."""
        with self._changed:
            self._result = RunResult(self.run_id, completion, tuple(self._events), error)
            self._over.set()
            self._wake()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The run's task is over; normally :meth:`finish` has been called. It has not when it was cancelled before it began."""
        if self._result is None:
            cancelled = task.cancelled()
            error = None if cancelled else task.exception()
            completion = Completion(text="", finish_reason="cancelled" if cancelled else "failed")
            self.finish(completion, error if isinstance(error, Exception) else None)

    def _wake(self) -> None:
        self._changed.notify_all()
        while self._wakers:
            loop, event = self._wakers.popleft()
            with contextlib.suppress(RuntimeError):  # a listener whose loop is closed meanwhile hears no more
                loop.call_soon_threadsafe(event.set)

    # --- the caller's side ------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self._result is not None

    def cancel(self) -> None:
        """Stops the run within one pass, from any thread; what has been made is kept, with finish reason ``cancelled``."""
        if self._loop is not None and not self.done:
            with contextlib.suppress(RuntimeError):  # the engine was closed meanwhile, which has ended the run
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if (
            self._task is not None
        ):  # not at once: a run that has only just been started still begins, and so ends with its events
            asyncio.get_running_loop().call_soon(self._task.cancel)

    def wait(self) -> RunResult:
        """The result, whether the run succeeded or not."""
        self._over.wait()
        assert self._result is not None
        return self._result

    def result(self) -> RunResult:
        """The result.

        Raises:
            CounterpointError: the run failed; the partial result is the error's ``result`` attribute.
        """
        return _checked(self.wait())

    def __iter__(self) -> Iterator[Event]:
        """Events as they come; the last is ``RunFinished``. A failure is in the stream (``Failed``) and in :meth:`result`."""
        at = 0
        while True:
            with self._changed:
                while at >= len(self._events):
                    if self._result is not None:
                        return
                    self._changed.wait()
                event = self._events[at]
            at += 1
            yield event

    async def __aiter__(self) -> AsyncIterator[Event]:
        at = 0
        while True:
            with self._changed:
                event = self._events[at] if at < len(self._events) else None
                if event is None:
                    if self._result is not None:
                        return
                    waker = asyncio.Event()
                    self._wakers.append((asyncio.get_running_loop(), waker))
            if event is None:
                await waker.wait()
                continue
            at += 1
            yield event

    def __await__(self) -> Generator[Any, None, RunResult]:
        return self._awaited().__await__()

    async def _awaited(self) -> RunResult:
        async for _ in self:
            pass
        return self.result()  # the stream has ended, so this does not wait


def _checked(result: RunResult) -> RunResult:
    if result.error is not None:
        result.error.result = result  # type: ignore[attr-defined]
        raise result.error
    return result

"""A child's text while it is being made, and never faster than it is wanted (:meth:`counterpoint.running.Run.stream`)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from counterpoint.events import Emitted
from counterpoint.prompt import Completion


class Valve:
    """Lets draws pass while somebody waits for what they bring.

    Args:
        outer: the valve of a stream further up, which has to be open as well.
    """

    def __init__(self, outer: Valve | None = None) -> None:
        self._outer = outer
        self._open = asyncio.Event()

    def open(self) -> None:
        """Lets draws pass."""
        self._open.set()

    def shut(self) -> None:
        """Holds the next draw back."""
        self._open.clear()

    async def passing(self) -> None:
        """Waits until this valve and those outside it are open."""
        valve: Valve | None = self
        while valve is not None:
            if valve._open.is_set():
                valve = valve._outer
            else:
                await valve._open.wait()
                valve = self  # meanwhile another may have been shut


class ChildStream:
    """What a child emits, piece by piece, as its :class:`~counterpoint.events.Emitted` events.

    An async context manager and an async iterator. The child, and whatever works for it, draws its next token only while the
    next piece is waited for: nothing is drawn in vain, and how far the child has come never depends on time. Leaving the
    context ends the child: its span finishes as ``cancelled``, and its sessions are closed. What the child raises is raised
    to whoever waits for a piece.

    Attributes:
        completion: what the child made, once it has ended by itself and all of its pieces have been taken; None until then.
    """

    def __init__(self, call: Callable[[ChildStream], Coroutine[Any, Any, Completion]], outer: Valve | None) -> None:
        self.valve = Valve(outer)
        self.completion: Completion | None = None
        self._call = call
        self._pieces: deque[Emitted] = deque()
        self._task: asyncio.Task[Completion] | None = None
        self._wanted: asyncio.Future[None] | None = None

    def emit(self, event: Emitted) -> None:
        """Takes a piece from the child, which then goes no further than it has to (the engine calls this)."""
        self._pieces.append(event)
        self._wake()

    async def __aenter__(self) -> ChildStream:
        self._task = asyncio.get_running_loop().create_task(self._call(self))
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        stopped: asyncio.CancelledError | None = None
        if not self._task.done():
            self._task.cancel()
        while not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as also:  # no reason to leave the child behind, which is about to end
                stopped = also
        if stopped is not None:
            raise stopped

    def __aiter__(self) -> ChildStream:
        return self

    async def __anext__(self) -> Emitted:
        assert self._task is not None, "a child's stream is read inside `async with`"
        if not self._pieces and not self._task.done():
            self._wanted = asyncio.get_running_loop().create_future()
            self.valve.open()
            try:
                await self._wanted
            finally:
                self.valve.shut()
                self._wanted = None
        if self._pieces:
            return self._pieces.popleft()
        self.completion = self._task.result()
        raise StopAsyncIteration

    def _ended(self, task: asyncio.Task[Completion]) -> None:
        if not task.cancelled():
            task.exception()  # seen, also when nobody asks for another piece
        self._wake()

    def _wake(self) -> None:
        self.valve.shut()
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

"""A run under way: what the worker says of it, gathered as it comes. No Textual."""

from __future__ import annotations

import asyncio
import time

from counterpoint.errors import CounterpointError
from counterpoint_tui.state import RunState, TraceView
from counterpoint_tui.worker.client import Running, RunRequest, WorkerClient
from counterpoint_tui.worker.protocol import RunEnded


class LiveRun:
    """One run, from the request to its end, whichever that is.

    Args:
        client: who has it run.
        request: what is run.
    """

    def __init__(self, client: WorkerClient, request: RunRequest) -> None:
        self.request = request
        self.trace = TraceView()
        self.ended: RunEnded | None = None
        """Under which id it is stored, and what there is to warn of."""
        self.failure: CounterpointError | None = None
        """Why nothing more will come: it was refused, or the worker died."""
        self.over = False
        self.cancelled = False
        """Whether it was asked to end."""
        self._client = client
        self._start: asyncio.Future[Running] | None = None
        self._began: float | None = None

    @property
    def state(self) -> RunState:
        """What is known so far."""
        return self.trace.last

    @property
    def now(self) -> float | None:
        """Seconds since the run started, by the clock of whoever waits for the next event; None where the run is over or has not begun."""
        return None if self.over or self._began is None else time.monotonic() - self._began

    async def follow(self) -> None:
        """Starts the run and gathers what comes, to its end."""
        self._start = asyncio.ensure_future(self._client.run(self.request))
        try:
            # shielded: a run that has been asked for can be cancelled only after its start
            running = await asyncio.shield(self._start)
            async for batch in running:
                for event in batch:
                    self.trace.append(event)
                began = time.monotonic() - batch[-1].t
                self._began = began if self._began is None else min(began, self._began)
            self.ended = running.ended
        except CounterpointError as error:
            self.failure = error
        self.over = True

    def cancel(self) -> None:
        """Ends the run within one pass, also when it has not begun; it is stored as cancelled."""
        self.cancelled = True
        if self._start is not None:
            self._start.add_done_callback(_cancel)


def _cancel(start: asyncio.Future[Running]) -> None:
    if not start.cancelled() and start.exception() is None:
        start.result().cancel()

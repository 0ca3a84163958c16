"""Opening a stored run in steps, between which the keyboard is looked at. No Textual."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from counterpoint.runstore import RunStore
from counterpoint_tui.state import TraceView

_CHUNK = 500
"""Events that are read at once: some 6 ms."""
_PAUSE = 0.25
"""Seconds between two reports."""
MANY = 10_000
"""Events from which on it would be felt if the garbage collector looked through what is made of them."""


def folder_of(run: str) -> Path:
    """The folder of a stored run by its id, the beginning of that, ``last``, or its path.

    Raises:
        RunError: there is none.
    """
    return Path(run) if os.sep in run else RunStore().path(run)


async def open_run(run: str, report: Callable[[int, int], None]) -> TraceView:
    """Reads a stored run to its end.

    Args:
        run: as :func:`folder_of` takes it.
        report: is told now and then how many events have been read, and of how many.

    Raises:
        RunError: nothing of it can be read.
    """
    folder = await asyncio.to_thread(folder_of, run)
    trace = await asyncio.to_thread(partial(TraceView.open, folder, lazily=True))
    with untraced(enough=len(trace) >= MANY):
        reported = time.monotonic()
        while not trace.prepare(_CHUNK):
            if time.monotonic() - reported > _PAUSE:
                reported = time.monotonic()
                report(trace.prepared, len(trace))
            await asyncio.sleep(0)
    return trace


@contextmanager
def untraced(*, enough: bool = True) -> Iterator[None]:
    """What is made here is not looked through for garbage, now or later: of a long trace, that would stop the keyboard for 0.2 s.

    It holds no circles, so it goes when nobody uses it any more; what else is there by now goes after :func:`traced_again`. Nothing
    is different where there is not ``enough`` of it.
    """
    if not enough:
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()  # not where it came to nothing: nobody would unfreeze it
    finally:
        gc.enable()


def traced_again(trace: TraceView | None) -> None:
    """A trace that was opened is not shown any longer."""
    if trace is not None and len(trace) >= MANY:
        gc.unfreeze()
        gc.collect()
        gc.freeze()

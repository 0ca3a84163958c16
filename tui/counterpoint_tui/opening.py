"""Opening a stored run in steps, between which the keyboard is looked at. No Textual."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from counterpoint.runstore import RunStore
from counterpoint_tui.collecting import MANY, untraced
from counterpoint_tui.state import TraceView

_CHUNK = 500
"""Events that are read at once: some 6 ms."""
_PAUSE = 0.25
"""Seconds between two reports."""


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

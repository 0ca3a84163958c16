"""When garbage is collected: a full collection of all that an application holds keeps a key waiting for an eighth of a second."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

from counterpoint_tui.state import TraceView

MANY = 10_000
"""Events of a trace from which on it would be felt if the collector looked through what is made of them."""
_FULL_COLLECTIONS = 100
"""How many times more seldom than those of the generation before."""
_SETTLED = 3.0
"""Seconds after which the first screen is there."""


@contextmanager
def seldom_collecting(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Full collections come seldom, and do not look at what was imported and made at the start, which stays.

    Args:
        loop: in which the application runs.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _FULL_COLLECTIONS)
    gc.freeze()
    settled = loop.call_later(_SETTLED, gc.freeze)
    try:
        yield
    finally:
        settled.cancel()
        gc.set_threshold(*thresholds)
        gc.unfreeze()


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

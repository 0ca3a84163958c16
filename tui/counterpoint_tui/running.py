"""Runs the application in a terminal, and gives the terminal back however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from counterpoint.registry import Registry
from counterpoint_tui.app import CounterpointApp
from counterpoint_tui.collecting import seldom_collecting
from counterpoint_tui.comparing import subjects
from counterpoint_tui.library import recipe_entry

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_HUNG_UP = 128 + 1
"""The exit status of what a hang-up ended."""
_INTERVAL, _PATIENCE = 0.5, 3.0
"""Seconds between two looks at the terminal, and those in which an application without one has to answer."""


def run_application(
    registry: Registry,
    *,
    recipe: str | None = None,
    compare: Sequence[str] = (),
    theme: str | None = None,
    offline: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> int:
    """Runs the application to its end and returns the exit status.

    Args:
        registry: the plugins.
        recipe: a recipe to open at once.
        compare: runs or evaluations to compare at once.
        theme: ``dark`` or ``light``; by default as it was last.
        offline: never use the network.
        warn: is told what went wrong that ends nothing, after the terminal is as it was before.

    Raises:
        CounterpointError: there is no such recipe, or nothing that could be compared.
        Exception: what the application failed with, after the terminal is as it was before.
    """
    entry = recipe_entry(recipe, registry) if recipe is not None else None
    app = CounterpointApp(registry, entry=entry, compared=subjects(compare), theme=theme, offline=offline)
    asyncio.run(_until_it_ends(app))
    if app.not_kept:
        warn(app.not_kept)
    if app.failure is not None:
        raise app.failure
    return app.return_code or 0


async def _until_it_ends(app: CounterpointApp) -> None:
    """Ends the application in order when the process is told to: runs are stored as cancelled, the terminal is given back."""
    loop = asyncio.get_running_loop()
    for name in _SIGNALS:
        if number := getattr(signal, name, None):
            with contextlib.suppress(NotImplementedError):  # on Windows
                loop.add_signal_handler(number, app.stop, 128 + number)
    with _watching_the_terminal(loop, functools.partial(app.stop, _HUNG_UP)), seldom_collecting(loop):
        await app.run_async()


@contextlib.contextmanager
def _watching_the_terminal(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> Iterator[None]:
    """Stops the application when its terminal has gone, and ends the process where the application does not answer any more.

    A hang-up is not always signalled (the terminal need not be the process's controlling one), and without a terminal Textual may wait
    for ever to write to it. The worker ends in order when this process has ended.
    """
    over = threading.Event()

    def answers() -> bool:
        heard = threading.Event()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(heard.set)
        return heard.wait(_PATIENCE)

    def watch(terminal: TextIO) -> None:
        poll = select.poll()
        poll.register(terminal, 0)  # hang-ups and errors are told unasked
        found: list[tuple[int, int]] = []
        while not found:
            if over.wait(_INTERVAL):
                return
            found = poll.poll(0)
        if not found[0][1] & (select.POLLHUP | select.POLLERR):
            return  # a terminal that cannot be asked
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop)
        while not over.wait(_INTERVAL):
            if not answers() and not over.is_set():
                os._exit(_HUNG_UP)

    terminal = sys.__stdout__
    if hasattr(select, "poll") and terminal is not None and terminal.isatty():
        threading.Thread(target=watch, args=(terminal,), name="terminal", daemon=True).start()
    try:
        yield
    finally:
        over.set()

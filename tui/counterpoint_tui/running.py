"""Runs the application in a terminal, and gives the terminal back however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence

from counterpoint.registry import Registry
from counterpoint_tui.app import CounterpointApp
from counterpoint_tui.comparing import subjects
from counterpoint_tui.library import recipe_entry

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


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
    await app.run_async()

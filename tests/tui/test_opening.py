"""Opening a stored run in steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from counterpoint.errors import RunError
from counterpoint.recording import EVENTS
from counterpoint_tui import opening
from counterpoint_tui.opening import folder_of, open_run

Keep = Callable[[str], Path]


async def test_a_run_is_read_while_others_work(keep_run: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = keep_run("drafted")
    monkeypatch.setattr(opening, "_CHUNK", 10)
    monkeypatch.setattr(opening, "_PAUSE", 0.0)
    reports: list[tuple[int, int]] = []
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    trace = await open_run("last", lambda read, of: reports.append((read, of)))
    task.cancel()
    assert trace.folder == folder
    assert trace.prepared == len(trace)
    assert reports == [(read, len(trace)) for read in range(10, len(trace), 10)]
    assert turns >= len(reports)


def test_ways_to_name_a_run(keep_run: Keep) -> None:
    folder = keep_run("full")
    assert folder_of("last") == folder_of(folder.name) == folder_of(folder.name[:-2]) == folder_of(str(folder)) == folder
    with pytest.raises(RunError, match="there is no stored run 'nothing'"):
        folder_of("nothing")


async def test_nothing_to_read(keep_run: Keep) -> None:
    (keep_run("full") / EVENTS).unlink()
    with pytest.raises(RunError, match="cannot be read"):
        await open_run("last", lambda read, of: None)

"""When garbage is collected."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from counterpoint_tui import collecting
from counterpoint_tui.collecting import seldom_collecting, traced_again, untraced
from counterpoint_tui.state import TraceView


class _Circle:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def _frozen() -> Iterator[None]:
    """Whatever was kept from the collector before is kept from it afterwards."""
    yield
    gc.freeze()


@pytest.mark.usefixtures("_frozen")
async def test_full_collections_come_seldom_and_leave_the_beginning_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_SETTLED", 0.01)
    gc.unfreeze()
    before = gc.get_threshold()
    with seldom_collecting(asyncio.get_running_loop()):
        assert gc.get_threshold() == (*before[:2], 100)
        first = gc.get_freeze_count()
        assert first > 0
        made = [[number] for number in range(100)]
        await asyncio.sleep(0.1)
        assert gc.get_freeze_count() >= first + len(made), "what the first screen made is left alone, too"
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("_frozen")
async def test_nothing_is_frozen_when_the_application_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_SETTLED", 0.0)
    gc.unfreeze()
    with pytest.raises(KeyError), seldom_collecting(asyncio.get_running_loop()):
        raise KeyError
    await asyncio.sleep(0.05)
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("_frozen")
def test_what_is_made_of_a_long_trace_is_left_alone_while_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.unfreeze()
    with untraced(enough=False):
        assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    with untraced():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    short = TraceView()
    traced_again(short)
    traced_again(None)
    assert gc.get_freeze_count() > 0
    monkeypatch.setattr(collecting, "MANY", 0)
    circle = _Circle()
    gone = weakref.ref(circle)
    gc.freeze()  # as while the trace was shown
    del circle
    gc.collect()
    assert gone() is not None
    traced_again(short)
    assert gone() is None
    assert gc.get_freeze_count() > 0, "what is there now stays, and is not looked through again and again"
    gc.unfreeze()

"""Panels of plugins, good and bad."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
from textual.app import ComposeResult
from textual.widgets import Static

from counterpoint.events import Note
from counterpoint.plugin import hookimpl
from counterpoint.registry import load_plugins
from counterpoint_tui.panels import PanelBox, panels


class Good(Static):
    seen: ClassVar[list[int]] = []

    def show(self, notes: Sequence[Note]) -> None:
        self.seen.append(len(notes))
        self.update(f"{len(notes)} notes")


class FailsInShow(Static):
    def show(self, notes: Sequence[Note]) -> None:
        raise ValueError("in show")


class FailsToDraw(Static):
    broken = False

    def show(self, notes: Sequence[Note]) -> None:
        self.broken = True
        self.refresh()

    def render(self) -> Any:
        if self.broken:
            raise ValueError("in render")
        return "fine so far"


class FailsInAChild(Static):
    def compose(self) -> ComposeResult:
        yield FailsToDraw()

    def show(self, notes: Sequence[Note]) -> None:
        self.query_one(FailsToDraw).show(notes)


class FailsOnMount(Good):
    def on_mount(self) -> None:
        raise ValueError("on mount")


class FailsInAMessage(Good):
    def show(self, notes: Sequence[Note]) -> None:
        self.call_later(self.later)

    def later(self) -> None:
        raise ValueError("in a message")


class FailsToBeMade(Good):
    def __init__(self) -> None:
        raise ValueError("in __init__")


class NoPanel(Static):
    pass


@pytest.fixture(autouse=True)
def _module() -> Iterator[None]:
    module = types.ModuleType("panels_of_a_stranger")
    for one in (Good, FailsInShow, FailsToDraw, FailsInAChild, FailsOnMount, FailsInAMessage, FailsToBeMade, NoPanel):
        setattr(module, one.__name__, one)
    sys.modules[module.__name__] = module
    yield
    del sys.modules[module.__name__]


PROBLEMS = {
    "FailsInShow": "ValueError: in show",
    "FailsToDraw": "ValueError: in render",
    "FailsInAChild": "ValueError: in render",
    "FailsOnMount": "ValueError: on mount",
    "FailsInAMessage": "ValueError: in a message",
    "FailsToBeMade": "ValueError: in __init__",
    "NoPanel": "TypeError: panels_of_a_stranger:NoPanel is no widget with a method `show`",
    "Absent": "AttributeError: ",
}


async def test_panels_that_fail_are_replaced_by_boxes_that_say_so(make_app: Any, until: Any) -> None:
    app = make_app()
    async with app.run_test(size=(100, 60)):
        boxes = {name: PanelBox("costs", f"panels_of_a_stranger:{name}") for name in ("Good", *PROBLEMS)}
        await app.screen.mount(*boxes.values())
        for box in boxes.values():
            box.styles.height = 3
            box.show([Note(name="costs"), Note(name="costs")])
        await until(lambda: all(boxes[name].query(".bad") for name in PROBLEMS))
        for name, problem in PROBLEMS.items():
            assert boxes[name].problem.startswith(problem)
            boxes[name].show([])  # nothing happens any more
        boxes["Good"].show([Note(name="costs")])
        assert Good.seen[-1] == 1
        assert not boxes["Good"].problem
        assert app.failure is None


def test_panels_of_plugins() -> None:
    class Brings:
        __name__ = "brings"

        @hookimpl
        def counterpoint_panels(self) -> dict[str, str]:
            return {"costs": "a:B"}

    class Breaks:
        __name__ = "breaks"

        @hookimpl
        def counterpoint_panels(self) -> dict[str, str]:
            raise RuntimeError("no")

    registry = load_plugins([Brings(), Breaks()], entry_point_group=None)
    assert panels(registry) == {"costs": "a:B"}
    assert registry.failures == {"breaks": "its panels: RuntimeError: no"}

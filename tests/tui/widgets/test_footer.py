"""The footer: what fits, and always how to leave."""

from __future__ import annotations

from typing import ClassVar

import pytest
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets._footer import FooterKey

from counterpoint_tui.widgets.footer import KeyFooter


class _Host(App[None]):
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "first", "First of all"),
        Binding("b", "second", "The second"),
        Binding("c", "third", "And the third"),
        Binding("escape", "back", "Back"),
        Binding("ctrl+q", "quit", "Quit"),
    ]

    def compose(self) -> ComposeResult:
        yield KeyFooter()

    def action_first(self) -> None: ...
    def action_second(self) -> None: ...
    def action_third(self) -> None: ...
    def action_back(self) -> None: ...


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (120, ["first", "second", "third", "back", "quit"]),
        (65, ["first", "second", "third", "back", "quit"]),
        (64, ["first", "second", "back", "quit"]),
        (40, ["first", "back", "quit"]),
        (20, ["back", "quit"]),
        (8, ["back", "quit"]),
    ],
)
async def test_the_last_keys_of_a_screen_give_way(width: int, shown: list[str]) -> None:
    async with _Host().run_test(size=(width, 5)) as pilot:
        await pilot.pause()
        assert sorted(one.action for one in pilot.app.query(FooterKey)) == sorted(shown)


async def test_more_room_shows_more() -> None:
    async with _Host().run_test(size=(30, 5)) as pilot:
        await pilot.resize_terminal(100, 5)
        await pilot.pause()
        await pilot.pause()
        assert len(pilot.app.query(FooterKey)) == 5

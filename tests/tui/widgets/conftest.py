"""A widget on a screen of its own, with the application's looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.message import Message
from textual.widget import Widget

import counterpoint_tui
from counterpoint_tui.themes import DARK, THEMES


class Host(App[None]):
    """Shows one widget and keeps what it says."""

    CSS_PATH = Path(counterpoint_tui.__file__).parent / "counterpoint.tcss"

    def __init__(self, widget: Widget, said: type[Message] | None) -> None:
        super().__init__()
        self.widget, self.said = widget, said
        self.heard: list[Any] = []
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK

    def compose(self) -> ComposeResult:
        yield self.widget

    async def on_event(self, event: Any) -> None:
        if self.said is not None and isinstance(event, self.said):
            self.heard.append(event)
        await super().on_event(event)

    async def _on_message(self, message: Message) -> None:
        if self.said is not None and isinstance(message, self.said):
            self.heard.append(message)
        await super()._on_message(message)


@pytest.fixture
def host() -> Callable[..., Host]:
    return Host

"""The keys of what can be done at the moment, as many as there is room for."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

_ALWAYS = {"back", "close", "help", "command_palette", "quit"}


class KeyFooter(Footer):
    """Where not all keys have room the last of the screen's own are left out; how to leave and where to find the rest never are."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        """The keys that fit."""
        shown = [one for one in super().compose() if isinstance(one, FooterKey)]
        over = sum(map(_width, shown)) - 1 - self.app.size.width  # what is after the last may be cut off
        for one in reversed(shown):
            if over > 0 and one.action not in _ALWAYS:
                shown.remove(one)
                over -= _width(one)
        yield from shown

    def on_resize(self, event: events.Resize) -> None:
        """Other keys may fit."""
        self.bindings_changed(self.screen)


def _width(key: FooterKey) -> int:
    return cell_len(key.key_display) + cell_len(key.description) + 3

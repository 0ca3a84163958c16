"""Which node has which letter, colour and text style, in one line."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rich.text import Text
from textual.widgets import Static

from counterpoint_tui.state import LegendEntry
from counterpoint_tui.texts import one_line
from counterpoint_tui.themes import node_mark


class LegendBar(Static):
    """The nodes that have a part in an answer, or may have one."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._entries: Mapping[str, LegendEntry] | None = None

    def show(self, entries: Mapping[str, LegendEntry], spoken: Collection[str] = ()) -> None:
        """Shows those nodes that may speak; where it is known which ones have spoken, those."""
        shown = {path: entry for path, entry in entries.items() if entry.speaks and (not spoken or path in spoken)}
        if shown != self._entries:
            self._entries = shown
            self._paint()

    def on_mount(self) -> None:
        """Colours follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._paint())

    def _paint(self) -> None:
        text = Text(no_wrap=True, overflow="ellipsis")
        for entry in (self._entries or {}).values():
            mark = node_mark(entry.index, dark=self.app.current_theme.dark)
            text.append("  " if text else "")
            text.append(f"{entry.letter} ", style=f"bold {mark.colour}")
            text.append(one_line(entry.path), style=mark.style)
        self.display = bool(text) or self._entries is None
        self.update(text)

"""The line on which one goes through a trace: where one is, and what is to be seen where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.text import Text
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from counterpoint_tui.state import Mark, TraceView
from counterpoint_tui.texts import fitted, shortened

SIGNS: Mapping[Mark, tuple[str, str]] = {
    "note": ("·", "note"),
    "candidate": ("◇", "candidate"),
    "rejection": ("×", "rejection"),
    "switch": ("⇄", "switch"),
    "selection": ("★", "chosen"),
    "failure": ("!", "failure"),
}
"""Sign and name of what is marked, the most notable last: where several fall on one place of the line, the last is seen."""


class Scrubber(Widget, can_focus=True):
    """A line with marks that is clicked and dragged; below it where one is in words and, where it is high enough, what the marks are."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "scrubber--gone",
        "scrubber--ahead",
        "scrubber--head",
        "scrubber--mark",
        "scrubber--failure",
        "scrubber--text",
    }

    class Moved(Message):
        """Another place was pointed at."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self.place = self.length = 0
        self._marks: dict[Mark, Sequence[int]] = {}
        self._where = self._what = ""
        self._line: tuple[int, list[Mark | None]] = (0, [])
        self._dragged = False

    def show(self, trace: TraceView) -> None:
        """Takes the length and the marks of a trace that has been read."""
        self.length = len(trace)
        self._marks = {mark: trace.marks(mark) for mark in SIGNS}
        self._line = (0, [])
        self.refresh()

    def move(self, place: int, where: str, what: str = "") -> None:
        """Stands at a place.

        Args:
            place: how many events have happened.
            where: that place in words.
            what: what has happened there, shown as far as there is room.
        """
        if (place, where, what) != (self.place, self._where, self._what):
            self.place, self._where, self._what = place, where, what
            self.refresh()

    @property
    def legend(self) -> str:
        """What the signs that are there mean."""
        return "  ".join(f"{sign} {name}" for mark, (sign, name) in SIGNS.items() if self._marks.get(mark))

    # --- drawing --------------------------------------------------------------------------------------------------------------

    def column(self, place: int) -> int:
        """Where a place is on the line."""
        width = max(1, self.size.width)
        return min(width - 1, round(place * (width - 1) / self.length)) if self.length else 0

    def signs(self) -> list[Mark | None]:
        """What is marked in each column; each mark is looked up, not each event, and but once for a width."""
        width = self.size.width
        if self._line[0] != width:
            line: list[Mark | None] = [None] * width
            for mark in SIGNS:
                for place in self._marks.get(mark, ()):
                    line[self.column(place)] = mark
            self._line = (width, line)
        return self._line[1]

    def render_line(self, y: int) -> Strip:
        """The line, or the words."""
        if y == 0:
            return self._drawn_line()
        if y == 1:
            return self._drawn_words()
        style = self.get_component_rich_style("scrubber--text")
        return Strip([Segment(fitted(self.legend, self.size.width), style)])

    def _drawn_line(self) -> Strip:
        head = self.column(self.place)
        styles = {
            name: self.get_component_rich_style(f"scrubber--{name}") for name in ("gone", "ahead", "head", "mark", "failure")
        }
        segments = []
        for column, mark in enumerate(self.signs()):
            before = column < head
            sign = SIGNS[mark][0] if mark else " " if column == head else "━" if before else "─"
            style = styles["failure" if mark == "failure" else "mark"] if mark else styles["gone" if before else "ahead"]
            segments.append(Segment(sign, style + styles["head"] if column == head else style))
        return Strip(segments, len(segments)).simplify()

    def _drawn_words(self) -> Strip:
        width = self.size.width
        style = self.get_component_rich_style("scrubber--text")
        text = Text(self._where, style=style + self.get_component_rich_style("scrubber--gone"), no_wrap=True, end="")
        room = width - cell_len(self._where) - 2
        if self._what and room > 12:
            text.append(f"  {shortened(self._what, room)}", style=style)
        text.truncate(width, pad=True)
        return Strip(text.render(self.app.console)).adjust_cell_length(width, style)

    # --- the mouse ------------------------------------------------------------------------------------------------------------

    def _point(self, x: int) -> None:
        width = self.size.width
        if self.length and width > 1:
            x = max(0, min(width - 1, x))
            self.post_message(self.Moved(round(x * self.length / (width - 1))))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Goes to where the mouse is, and follows it."""
        if event.y == self.gutter.top:
            self._dragged = True
            self.capture_mouse()
            self._point(event.x - self.gutter.left)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Follows the mouse while its button is held."""
        if self._dragged:
            self._point(event.x - self.gutter.left)

    def on_mouse_up(self) -> None:
        """Follows it no longer."""
        if self._dragged:
            self._dragged = False
            self.release_mouse()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """An event further."""
        self._turned(event, 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """An event back."""
        self._turned(event, -1)

    def _turned(self, event: events.MouseEvent, step: int) -> None:
        event.stop()
        self.post_message(self.Moved(max(0, min(self.length, self.place + step))))

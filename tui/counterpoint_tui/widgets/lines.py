"""A list of lines, of any length, of which only those in sight are made; for lists whose lines are not at hand as text."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip


class LineList(ScrollView, can_focus=True, inherit_bindings=False):
    """Lines, one of which is under the cursor. A kind of list says how many there are (:meth:`resize`) and what each is (:meth:`line`)."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"lines--cursor", "lines--hover", "lines--empty"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "end(-1)", "First", show=False),
        Binding("end", "end(1)", "Last", show=False),
        Binding("enter", "choose", "Choose", show=False),
    ]

    cursor: reactive[int] = reactive(0)
    hover: reactive[int] = reactive(-1)

    class Chosen(Message):
        """A line was chosen."""

        def __init__(self, lines: LineList, number: int) -> None:
            super().__init__()
            self.lines, self.number = lines, number

        @property
        def control(self) -> LineList:
            """The list it is of."""
            return self.lines

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self.count = 0
        self.empty = ""
        """What is said where there are no lines."""

    def line(self, number: int, width: int) -> Text:
        """A line; it is cut, or filled up, to the width."""
        raise NotImplementedError

    def resize(self, count: int, cursor: int | None = None) -> None:
        """There are so many lines now, or other ones."""
        self.count = count
        self.virtual_size = Size(0, count)
        place = self.cursor if cursor is None else cursor
        self.set_reactive(LineList.cursor, max(0, min(place, count - 1)))
        self._follow()
        self.refresh()

    def watch_cursor(self) -> None:
        """Keeps the cursor in sight."""
        self._follow()

    def _follow(self) -> None:
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True)

    def action_move(self, step: int) -> None:
        """Goes up or down."""
        self.cursor = max(0, min(self.count - 1, self.cursor + step))

    def action_page(self, step: int) -> None:
        """Goes a page up or down."""
        self.action_move(step * max(1, self.scrollable_content_region.height - 1))

    def action_end(self, step: int) -> None:
        """Goes to the first or the last line."""
        self.action_move(step * self.count)

    def action_choose(self) -> None:
        """Chooses the line under the cursor."""
        if self.cursor < self.count:
            self.post_message(self.Chosen(self, self.cursor))

    def pressed(self, number: int, x: int) -> bool:
        """What a click on a line at a column does, where it does not choose it; whether it did that."""
        return False

    def on_click(self, event: events.Click) -> None:
        """Chooses a line."""
        number = event.y + self.scroll_offset.y
        if 0 <= number < self.count:
            self.cursor = number
            if not self.pressed(number, event.x):
                self.action_choose()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Shows what a click would choose."""
        number = event.y + self.scroll_offset.y
        self.hover = number if 0 <= number < self.count else -1

    def on_leave(self) -> None:
        """Nothing is under the mouse."""
        self.hover = -1

    def render_line(self, y: int) -> Strip:
        """One line of the list."""
        width = self.scrollable_content_region.width
        number = y + self.scroll_offset.y
        if not self.count and y == 0 and self.empty:
            return Strip([Segment(f" {self.empty}", self.get_component_rich_style("lines--empty"))]).adjust_cell_length(width)
        if not 0 <= number < self.count or width <= 1:
            return Strip.blank(width, self.rich_style)
        chosen = number == self.cursor
        text = Text("▌" if chosen else " ", no_wrap=True, end="")
        text.append_text(self.line(number, width - 1))
        text.truncate(width, overflow="ellipsis", pad=True)
        text.end = ""
        style = self.rich_style
        if chosen or number == self.hover:
            around = self.get_component_rich_style("lines--cursor" if chosen else "lines--hover")
            text.stylize(around)
        return Strip(Segment.apply_style(text.render(self.app.console), style)).adjust_cell_length(width, style)

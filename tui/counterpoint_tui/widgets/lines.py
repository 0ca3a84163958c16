"""A list of lines, of any length, of which only those in sight are made."""

from __future__ import annotations

from itertools import chain
from typing import ClassVar

from rich.segment import Segment
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from counterpoint_tui import keys
from counterpoint_tui.texts import fitted


class LineList(ScrollView, can_focus=True, inherit_bindings=False):
    """Lines, one of which is under the cursor.

    A kind of list says how many there are (:meth:`resize`), what each is (:meth:`line`), which are but headings (:meth:`choosable`),
    and what becomes of a chosen one (:meth:`chosen`).
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"lines--cursor", "lines--hover", "lines--empty"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "end(-1)", "First", show=False),
        Binding("end", "end(1)", "Last", show=False),
        *keys.bindings("list"),
    ]
    AT_ONCE: ClassVar[bool] = True
    """Whether a click chooses a line, or first goes to it."""

    cursor: reactive[int] = reactive(0)
    hover: reactive[int] = reactive(-1)

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self.count = 0
        self.empty = ""
        """What is said where there are no lines."""

    def line(self, number: int, width: int) -> Text:
        """A line; it is cut, or filled up, to the width."""
        raise NotImplementedError

    def choosable(self, number: int) -> bool:
        """Whether the cursor may stand on a line."""
        return True

    def chosen(self, number: int) -> None:
        """A line was chosen."""
        raise NotImplementedError

    def pressed(self, number: int, x: int) -> bool:
        """What a click on a line at a column does, where it does not choose it; whether it did that."""
        return False

    def resize(self, count: int, cursor: int) -> None:
        """There are so many lines now, or other ones, and the cursor is on one of them."""
        self.count = count
        self.virtual_size = Size(0, count)
        self.set_reactive(LineList.cursor, max(0, min(cursor, count - 1)))
        self._follow()
        self.refresh()

    def watch_cursor(self) -> None:
        """Keeps the cursor in sight."""
        self._follow()

    def _follow(self) -> None:
        top = max(0, self.cursor)
        while top and not self.choosable(top - 1):  # with the headings above it
            top -= 1
        self.scroll_to_region(Region(0, top, 1, self.cursor - top + 1), animate=False, force=True)

    def action_move(self, step: int) -> None:
        """Goes to the next line that can be chosen."""
        place = self.cursor + step
        while 0 <= place < self.count and not self.choosable(place):
            place += step
        if 0 <= place < self.count:
            self.cursor = place

    def action_page(self, step: int) -> None:
        """Goes a page up or down."""
        self._jump(self.cursor + step * max(1, self.scrollable_content_region.height - 1), step)

    def action_end(self, step: int) -> None:
        """Goes to the first or the last line."""
        self._jump(0 if step < 0 else self.count - 1, step)

    def _jump(self, place: int, step: int) -> None:
        place = max(0, min(self.count - 1, place))
        onward = range(place, self.count if step > 0 else -1, step)
        back = range(place, -1 if step > 0 else self.count, -step)
        found = next((number for number in chain(onward, back) if self.choosable(number)), None) if self.count else None
        if found is not None:
            self.cursor = found

    def action_open(self) -> None:
        """Chooses the line under the cursor."""
        if self.cursor < self.count and self.choosable(self.cursor):
            self.chosen(self.cursor)

    def on_click(self, event: events.Click) -> None:
        """Goes to a line; chooses it, where it does so at once or it was gone to before."""
        number = self._at(event.y)
        if number < 0:
            return
        again = number == self.cursor
        self.cursor = number
        if not self.pressed(number, event.x) and (self.AT_ONCE or again or event.chain > 1):
            self.action_open()

    def _at(self, y: int) -> int:
        number = y + self.scroll_offset.y
        return number if 0 <= number < self.count and self.choosable(number) else -1

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Shows what a click would choose."""
        self.hover = self._at(event.y)

    def on_leave(self) -> None:
        """Nothing is under the mouse."""
        self.hover = -1

    def render_line(self, y: int) -> Strip:
        """One line of the list."""
        width = self.scrollable_content_region.width
        number = y + self.scroll_offset.y
        if not self.count and y == 0 and self.empty:
            return Strip([Segment(fitted(f" {self.empty}", width), self.get_component_rich_style("lines--empty"))])
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

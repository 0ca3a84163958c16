"""A list of rows in columns, of any length: only what is visible is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from counterpoint_tui import keys
from counterpoint_tui.texts import fitted

_GAP = 2


@dataclass(frozen=True)
class Row:
    """A line of the list. A row without a ``key`` is a heading and cannot be chosen."""

    cells: tuple[str, ...]
    key: str = ""
    bad: bool = False
    """Whether something is wrong with what it stands for."""


class RowList(ScrollView, can_focus=True, inherit_bindings=False):
    """Rows, one of which is under the cursor. The last column takes what room there is.

    Columns are as wide as their cells, up to ``widest``.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "rows--heading",
        "rows--cursor",
        "rows--first",
        "rows--rest",
        "rows--bad",
        "rows--hover",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "end(-1)", "First", show=False),
        Binding("end", "end(1)", "Last", show=False),
        *keys.bindings("list"),
    ]

    cursor: reactive[int] = reactive(0)
    hover: reactive[int] = reactive(-1)

    class Highlighted(Message):
        """The cursor is on another row; an empty key where there is none."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class Opened(Message):
        """A row was chosen."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, widest: int = 28, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self.rows: Sequence[Row] = ()
        self.empty = ""
        """What is said where there are no rows."""
        self._widest = widest
        self._widths: list[int] = []

    def show(self, rows: Sequence[Row], empty: str = "") -> None:
        """Shows other rows; the cursor stays with what it is on, where that is still there."""
        before = self.key
        self.rows, self.empty = rows, empty
        columns = max((len(row.cells) for row in rows), default=0)
        widths = [0] * columns
        for row in rows:
            if row.key:
                for column, cell in enumerate(row.cells[:-1]):
                    widths[column] = max(widths[column], min(self._widest, cell_len(cell)))
        self._widths = widths
        self.virtual_size = Size(0, len(rows))
        place = next((index for index, row in enumerate(rows) if row.key and row.key == before), None)
        if place is None:
            place = next((index for index, row in enumerate(rows) if row.key), 0)
            self.scroll_to(y=0, animate=False)
        self.set_reactive(RowList.cursor, place)
        self._follow()
        self.refresh()
        self.post_message(self.Highlighted(self.key))

    @property
    def key(self) -> str:
        """Of the row under the cursor."""
        return self.rows[self.cursor].key if 0 <= self.cursor < len(self.rows) else ""

    def go_to(self, key: str) -> None:
        """Puts the cursor on a row."""
        place = next((index for index, row in enumerate(self.rows) if row.key == key), None)
        if place is not None:
            self.cursor = place

    def watch_cursor(self) -> None:
        """Keeps the cursor in sight, and tells of it."""
        self._follow()
        self.post_message(self.Highlighted(self.key))

    def _follow(self) -> None:
        top = 0 if self.cursor <= 1 else self.cursor  # with the heading above the first row
        self.scroll_to_region(Region(0, top, 1, 1), animate=False, force=True)

    def action_move(self, step: int) -> None:
        """Goes to the next row that can be chosen."""
        place = self.cursor + step
        while 0 <= place < len(self.rows) and not self.rows[place].key:
            place += step
        if 0 <= place < len(self.rows):
            self.cursor = place

    def action_page(self, step: int) -> None:
        """Goes a page up or down."""
        self._jump(self.cursor + step * max(1, self.scrollable_content_region.height - 1), step)

    def action_end(self, step: int) -> None:
        """Goes to the first or the last row."""
        self._jump(0 if step < 0 else len(self.rows) - 1, step)

    def _jump(self, place: int, step: int) -> None:
        place = max(0, min(len(self.rows) - 1, place))
        for found in (*range(place, len(self.rows) if step > 0 else -1, step), *range(place, -1, -1), *range(len(self.rows))):
            if 0 <= found < len(self.rows) and self.rows[found].key:
                self.cursor = found
                return

    def action_open(self) -> None:
        """Chooses the row under the cursor."""
        if self.key:
            self.post_message(self.Opened(self.key))

    def on_click(self, event: events.Click) -> None:
        """The first click goes to a row, a second one chooses it."""
        place = event.y + self.scroll_offset.y
        if 0 <= place < len(self.rows) and self.rows[place].key:
            again = place == self.cursor
            self.cursor = place
            if event.chain > 1 or again:
                self.action_open()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Shows what a click would choose."""
        place = event.y + self.scroll_offset.y
        self.hover = place if 0 <= place < len(self.rows) and self.rows[place].key else -1

    def on_leave(self) -> None:
        """Nothing is under the mouse."""
        self.hover = -1

    def render_line(self, y: int) -> Strip:
        """One line of the list."""
        width = self.scrollable_content_region.width
        place = y + self.scroll_offset.y
        if not self.rows and y == 0 and self.empty:
            return Strip([Segment(fitted(f" {self.empty}", width), self.get_component_rich_style("rows--rest"))])
        if not 0 <= place < len(self.rows):
            return Strip.blank(width, self.rich_style)
        row = self.rows[place]
        if not row.key:
            text = fitted(f" {'  '.join(row.cells)}", width)
            return Strip([Segment(text, self.get_component_rich_style("rows--heading"))])
        chosen = place == self.cursor
        around = "rows--cursor" if chosen else "rows--hover" if place == self.hover else ""
        segments = [Segment("▌" if chosen else " ", self._style("rows--first", around))]
        room = width - 1
        for column, cell in enumerate(row.cells):
            last = column == len(row.cells) - 1
            size = max(0, room if last else min(room, self._widths[column] + _GAP))
            part = "rows--bad" if row.bad else "rows--first" if column == 0 else "rows--rest"
            text = fitted(cell, size) if last else fitted(fitted(cell, max(0, size - _GAP)), size)
            segments.append(Segment(text, self._style(part, around)))
            room -= size
        return Strip(segments).adjust_cell_length(width, self._style("rows--rest", around))

    def _style(self, part: str, around: str) -> Style:
        style = self.get_component_rich_style(part)
        return style + self.get_component_rich_style(around) if around else style

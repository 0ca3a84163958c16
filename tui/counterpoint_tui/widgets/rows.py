"""A list of rows in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.message import Message

from counterpoint_tui.texts import fitted
from counterpoint_tui.widgets.lines import LineList

_GAP = 2


@dataclass(frozen=True)
class Row:
    """A line of the list. A row without a ``key`` is a heading and cannot be chosen."""

    cells: tuple[str, ...]
    key: str = ""
    bad: bool = False
    """Whether something is wrong with what it stands for."""


class RowList(LineList):
    """Rows; the last column takes what room there is, the others are as wide as their cells, up to ``widest``."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--heading", "rows--first", "rows--rest", "rows--bad"}
    AT_ONCE = False

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
        place = self._place(before) if before else None
        if place is None:
            place = next((index for index, row in enumerate(rows) if row.key), 0)
            self.scroll_to(y=0, animate=False)
        self.resize(len(rows), place)
        self.post_message(self.Highlighted(self.key))

    @property
    def key(self) -> str:
        """Of the row under the cursor."""
        return self.rows[self.cursor].key if 0 <= self.cursor < len(self.rows) else ""

    def _place(self, key: str) -> int | None:
        return next((index for index, row in enumerate(self.rows) if row.key == key), None)

    def go_to(self, key: str) -> None:
        """Puts the cursor on a row."""
        place = self._place(key)
        if place is not None:
            self.cursor = place

    def watch_cursor(self) -> None:
        """Keeps the cursor in sight, and tells of it."""
        super().watch_cursor()
        self.post_message(self.Highlighted(self.key))

    def choosable(self, number: int) -> bool:
        """Headings are not."""
        return bool(self.rows[number].key)

    def chosen(self, number: int) -> None:
        """A row was chosen."""
        self.post_message(self.Opened(self.rows[number].key))

    def line(self, number: int, width: int) -> Text:
        """A row: its cells, each in its column."""
        row = self.rows[number]
        if not row.key:
            return Text(fitted("  ".join(row.cells), width), self.get_component_rich_style("rows--heading"))
        text = Text()
        for column, cell in enumerate(row.cells):
            last = column == len(row.cells) - 1
            room = max(0, width - text.cell_len)
            size = room if last else min(room, self._widths[column] + _GAP)
            part = "rows--bad" if row.bad else "rows--first" if column == 0 else "rows--rest"
            shown = fitted(cell, size) if last else fitted(fitted(cell, max(0, size - _GAP)), size)
            text.append(shown, self.get_component_rich_style(part))
        return text

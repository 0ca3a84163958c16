"""Two answers beside each other, or one above the other, which scroll together; what differs is marked in both."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Static

from counterpoint_tui.aligned import Aligned, Line, side_by_side
from counterpoint_tui.answers import Answers
from counterpoint_tui.state.changes import Change
from counterpoint_tui.texts import one_line

_SIGNS = 2
"""Columns for the signs before the text."""


class AnswerView(ScrollView):
    """One of the two texts. A sign stands before each line on which they differ."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"answer--other", "answer--gap", "answer--sign"}

    class Resized(Message):
        """Lines have to be of another width."""

    def __init__(self, *, id: str | None = None, can_focus: bool = True) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self.can_focus = can_focus
        self.beside: AnswerView | None = None
        """The other one."""
        self._lines: tuple[Line, ...] = ()
        self._aligned = Aligned()
        self._here = -1
        self._led = False
        self._width = 0

    @property
    def room(self) -> int:
        """Columns of a line."""
        return max(1, self.scrollable_content_region.width - _SIGNS)

    def show(self, lines: tuple[Line, ...], aligned: Aligned) -> None:
        """Shows other lines."""
        self._lines, self._aligned, self._here = lines, aligned, -1
        self.virtual_size = Size(0, len(lines))
        self.refresh()

    def point(self, line: int) -> None:
        """Marks a line as the one that was jumped to."""
        self._here = line
        self.refresh()

    def on_resize(self) -> None:
        """Tells of another width."""
        if self.room != self._width:
            self._width = self.room
            self.post_message(self.Resized())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Takes the other one along."""
        super().watch_scroll_y(old_value, new_value)
        if self.beside is not None and not self._led:
            self.beside.follow(new_value)

    def follow(self, y: float) -> None:
        """Scrolls to where the other one is."""
        self._led = True
        self.scroll_to(y=y, animate=False, force=True, immediate=True)
        self._led = False

    def render_line(self, y: int) -> Strip:
        """A line of the text behind its sign."""
        width = self.scrollable_content_region.width
        place = y + self.scroll_offset.y
        style = self.rich_style
        if not 0 <= place < len(self._lines):
            return Strip.blank(width, style)
        sign = "▶" if place == self._here else "≠" if self._aligned.changed(place) else " "
        segments = [Segment(f"{sign} ", style + self.get_component_rich_style("answer--sign"))]
        for part in self._lines[place]:
            kind = style if part.kind == "same" else style + self.get_component_rich_style(f"answer--{part.kind}")
            segments.append(Segment(part.text, kind))
        return Strip(segments).adjust_cell_length(width, style)


class AnswerPair(Container):
    """Both texts, each under its name; where there is one alone, it has all the room."""

    class LaidOut(Message):
        """There are other lines."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id, classes=classes)
        self._answers: Answers | None = None
        self._changes: tuple[Change, ...] = ()
        self._aligned = Aligned()
        self._here = -1
        self._scrolled = 0.0

    def compose(self) -> ComposeResult:
        """Names and texts."""
        for side in "ab":
            with Vertical(id=f"side-{side}", classes="side"):
                yield Static(id=f"name-{side}", classes="name")
                yield AnswerView(id=f"text-{side}", can_focus=side == "a")

    def on_mount(self) -> None:
        """They scroll together."""
        a, b = self.views
        a.beside, b.beside = b, a

    @property
    def views(self) -> tuple[AnswerView, AnswerView]:
        """Both texts."""
        return self.query_one("#text-a", AnswerView), self.query_one("#text-b", AnswerView)

    @property
    def differences(self) -> int | None:
        """Places at which they differ; None while they are not in sight."""
        return len(self._aligned.changes) if self.views[0].size.width else None

    @property
    def number(self) -> int:
        """Which of these was jumped to, from 1; 0 for none."""
        return self._aligned.changes.index(self._here) + 1 if self._here in self._aligned.changes else 0

    def show(self, answers: Answers) -> None:
        """Shows other answers."""
        self._answers, self._changes = answers, answers.changes
        two = len(answers.sides) == 2
        self.query_one("#side-b").display = two
        for letter, side in zip("AB", answers.sides, strict=False):
            name = Text(f"{letter}  " if two else "", style="bold")
            name.append(one_line(side.name), style="bold")
            name.append(f"  {one_line(side.facts)}", style="not bold")
            self.query_one(f"#name-{letter.lower()}", Static).update(name)
        self._lay_out()
        self.views[0].scroll_to(y=0, animate=False, immediate=True)

    def on_answer_view_resized(self, event: AnswerView.Resized) -> None:
        """Breaks the lines anew."""
        event.stop()
        self._lay_out()

    def _lay_out(self) -> None:
        a, b = self.views
        if not a.size.width:
            return
        two = self._answers is not None and len(self._answers.sides) == 2
        self._aligned = side_by_side(self._changes, (a.room, b.room if two else a.room))
        self._here = -1
        a.show(self._aligned.a, self._aligned)
        b.show(self._aligned.b, self._aligned)
        self.post_message(self.LaidOut())

    def step(self, direction: int) -> None:
        """Goes to the next difference, or to the one before; after the last comes the first."""
        view, changes = self.views[0], self._aligned.changes
        if not changes:
            return
        moved = view.scroll_y != self._scrolled
        at = self._here if self._here >= 0 and not moved else view.scroll_offset.y - (direction > 0)
        ahead = [line for line in changes if (line > at if direction > 0 else line < at)]
        self._here = (ahead or changes)[0 if direction > 0 else -1]
        for one in self.views:
            one.point(self._here)
        view.scroll_to(y=self._here - view.size.height // 3, animate=False, immediate=True)
        self._scrolled = view.scroll_y

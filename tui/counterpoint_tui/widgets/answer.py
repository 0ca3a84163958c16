"""A text of a run as it grows, each token in the style of the node that proposed it; of a long one, only what is visible is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from counterpoint_tui.state import LegendEntry, RunState, pending, rejected
from counterpoint_tui.themes import node_mark
from counterpoint_tui.tokentext import TokenText


class AnswerView(ScrollView, can_focus=True, inherit_bindings=False):
    """A call's text, by default the answer. Behind it the draft under way, or what was rejected of the last one.

    It follows the end of the text until the user scrolls up.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "answer--pending",
        "answer--rejected",
        "answer--letter",
        "answer--cursor",
        "answer--empty",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Up", show=False),
        Binding("down", "scroll_down", "Down", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("home", "scroll_home", "Beginning", show=False),
        Binding("end", "scroll_end", "End", show=False),
        Binding("enter", "choose", "Choose", show=False),
    ]

    class TokenChosen(Message):
        """A token was chosen."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id, classes=classes)
        self.empty = ""
        """What is said while there is no text."""
        self.show_letters = False
        """Whether the proposer's letter stands before each of its stretches; see :meth:`set_letters`."""
        self.cursor: int | None = None
        """The token that is marked, by number."""
        self._state = RunState()
        self._legend: Mapping[str, LegendEntry] = {}
        self._text = TokenText(1)
        self._tail: list[str] = []  # the last line with what stands behind the text, and lines after it
        self._tail_style = ""
        self._styles: dict[str, Style] = {}
        self._strips: dict[int, Strip] = {}
        """Whole lines as they are drawn, by number: a text that is scrolled is drawn anew, all of it."""

    # --- what is shown ------------------------------------------------------------------------------------------------------

    def show(
        self,
        state: RunState,
        legend: Mapping[str, LegendEntry],
        *,
        span: int = 1,
        adopted: bool = False,
        cursor: int | None = None,
    ) -> None:
        """Shows the text at another point of a run: what it has in common with the one before stays.

        Args:
            state: the run.
            legend: how nodes are shown.
            span: the call whose text it is.
            adopted: whether an answer that was adopted as a whole is shown as it was written
                (:func:`counterpoint_tui.state.answer_stretches`).
            cursor: number of a token to be marked and scrolled to.
        """
        other = (state.run_id, span, adopted) != (self._state.run_id, self._text.span, self._text.adopted)
        letters = self.show_letters and _letters(legend) != _letters(self._legend)
        if legend != self._legend:
            self._forget_looks()
        moved = cursor != self.cursor
        self._state, self._legend, self.cursor = state, legend, cursor
        if other or letters:
            self._begin(span, adopted=adopted)
        self._update(moved=moved, all_anew=other or letters)

    def set_letters(self, shown: bool) -> None:
        """Shows or hides the letters of the proposers."""
        if shown != self.show_letters:
            self.show_letters = shown
            self._begin(self._text.span, adopted=self._text.adopted)
            self._update(moved=self.cursor is not None, all_anew=True)

    @property
    def proposers(self) -> set[str]:
        """Paths of the nodes that have proposed any of the text."""
        return self._text.proposers

    def _begin(self, span: int, *, adopted: bool) -> None:
        letters = self._legend if self.show_letters else None
        self._text = TokenText(self._width, span, adopted=adopted, letters=letters)
        self._strips.clear()

    def _update(self, *, moved: bool, all_anew: bool) -> None:
        """Brings what is shown up to the state."""
        if not self._width:
            return  # laid out as soon as there is room
        following = self._at_end and not self.is_vertical_scrollbar_grabbed
        before = self._height
        changed = self._text.bring_up(self._state)
        for number in [number for number in self._strips if number >= changed]:
            del self._strips[number]
        self._lay_tail()
        self._grow(Size(self._width, self._height))
        if all_anew or moved:
            self.refresh()
        else:
            self.refresh_lines(changed, max(before, self._height) - changed + 1)
        if self.cursor is not None:
            if moved:
                self._scroll_to_cursor()
        elif following and (before != self._height or all_anew):
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    def _grow(self, size: Size) -> None:
        """Takes another size of the text. Unless a scroll bar comes or goes nothing else moves: no layout of the screen."""
        room = self.scrollable_content_region.height
        if size.width == self.virtual_size.width and (size.height > room) == (self.virtual_size.height > room):
            self.set_reactive(Widget.virtual_size, size)
            self.vertical_scrollbar.window_virtual_size = size.height
            self.scroll_y = self.validate_scroll_y(self.scroll_y)
        else:
            self.virtual_size = size

    def _lay_tail(self) -> None:
        """Lays out what stands behind the text."""
        overlay = pending(self._state, self._text.span)
        self._tail_style = "answer--pending"
        if overlay is None and (overlay := rejected(self._state, self._text.span)) is not None:
            self._tail_style = "answer--rejected"
        self._tail = self._text.with_tail(overlay.text) if overlay is not None else [self._text.lines[-1]]

    # --- where --------------------------------------------------------------------------------------------------------------

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _height(self) -> int:
        return len(self._text.lines) - 1 + max(1, len(self._tail))

    @property
    def _at_end(self) -> bool:
        return self.scroll_offset.y >= self.max_scroll_y

    def on_resize(self) -> None:
        """Breaks the lines anew."""
        if self._width and self._width != self._text.width:
            following = self._at_end
            self._text.rewrap(self._width)
            self._strips.clear()
            self._update(moved=self.cursor is not None, all_anew=True)
            if following and self.cursor is None:
                self.scroll_end(animate=False, immediate=True, x_axis=False)

    def on_mount(self) -> None:
        """Colours follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._recolour())

    def _recolour(self) -> None:
        self._forget_looks()
        self.refresh()

    def _forget_looks(self) -> None:
        self._styles.clear()
        self._strips.clear()

    def _scroll_to_cursor(self) -> None:
        place = self._text.place_of(self.cursor) if self.cursor is not None else None
        if place is not None:
            self.scroll_to_region(Region(0, self._text.line_of(place[0]), 1, 1), animate=False, force=True)

    def token_at(self, x: int, y: int) -> int | None:
        """Number of the token at a column and line of the text; None where there is none."""
        return self._text.token_at(x, y)

    def on_click(self, event: events.Click) -> None:
        """Chooses the token under the mouse."""
        place = event.get_content_offset(self)
        number = self.token_at(place.x, place.y + self.scroll_offset.y) if place is not None else None
        if number is not None and self.text_selection is None:
            self.post_message(self.TokenChosen(number))

    def action_choose(self) -> None:
        """Chooses the token that is marked, by default the last one."""
        number = self.cursor if self.cursor is not None else self._text.parts[-1].token if self._text.parts else None
        if number is not None:
            self.post_message(self.TokenChosen(number))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where a token is marked, or nothing is out of sight, the keys of long ways are for who moves the mark."""
        long_way = action in ("page_up", "page_down", "scroll_home", "scroll_end")
        return not long_way or (self.cursor is None and self.max_scroll_y > 0)

    # --- drawing ------------------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One line of the text."""
        width = self._width
        number = y + self.scroll_offset.y
        last = len(self._text.lines) - 1
        if not self._text.parts and self._tail in ([], [""]):
            text = self.empty if number == 0 else ""
            return Strip([Segment(text, self._component("answer--empty"))]).adjust_cell_length(width, self.rich_style)
        unmarked = number < last and self.cursor is None and self.text_selection is None
        if unmarked and (drawn := self._strips.get(number)) is not None:
            return drawn
        if number < last:
            segments = self._segments(number, self._text.lines[number])
        elif number - last < len(self._tail):
            segments = self._tail_segments(number - last)
        else:
            segments = []
        if (selection := self.text_selection) is not None and (chosen := selection.get_span(number)) is not None:
            segments = _restyled(segments, *chosen, self.screen.get_component_rich_style("screen--selection"))
        # neighbours of one look as one: what is drawn costs by its pieces
        drawn = Strip(segments).adjust_cell_length(width, self.rich_style).simplify().apply_offsets(0, number)
        if unmarked:
            self._strips[number] = drawn
        return drawn

    def _tail_segments(self, line: int) -> list[Segment]:
        """A line of the last one and of what stands behind the text."""
        text = self._tail[line]
        before = sum(len(one) for one in self._tail[:line])
        own = max(0, len(self._text.lines[-1]) - before)  # characters of the text in it
        style = self._component(self._tail_style)
        head = self._segments(len(self._text.lines) - 1, text[:own], before) if own or line == 0 else []
        return [*head, Segment(text[own:].rstrip("\n"), style)]

    def _segments(self, number: int, text: str, offset: int = 0) -> list[Segment]:
        """A line of the text in its styles."""
        start = self._text.starts[number] + offset
        end = start + len(text)
        segments = []
        for part, following in self._text.parts_between(start, end):
            piece = text[max(0, part.start - start) : following - start].rstrip("\n")
            if piece:
                style = self._style(part.proposer)
                segments.append(Segment(piece, style if part.token is not None else style + self._component("answer--letter")))
        marked = self._text.place_of(self.cursor) if self.cursor is not None else None
        if marked is not None and marked[0] < max(end, start + 1) and marked[1] > start:
            if marked[1] > start + len(text.rstrip("\n")):  # a line break, or no text at all
                segments.append(Segment("⏎" if text.endswith("\n") else " ", self.rich_style))
            segments = _restyled(segments, max(0, marked[0] - start), marked[1] - start, self._component("answer--cursor"))
        return segments

    def _style(self, proposer: str) -> Style:
        found = self._styles.get(proposer)
        if found is None:
            entry = self._legend.get(proposer)
            found = self.rich_style
            if entry is not None and entry.speaks:
                found += Style.parse(node_mark(entry.index, dark=self.app.current_theme.dark).style)
            self._styles[proposer] = found
        return found

    def _component(self, name: str) -> Style:
        found = self._styles.get(name)
        if found is None:
            found = self._styles[name] = self.get_component_rich_style(name, partial=name == "answer--letter")
        return found

    def notify_style_update(self) -> None:
        """Styles are not what they were."""
        super().notify_style_update()
        self._forget_looks()

    # --- selecting with the mouse -------------------------------------------------------------------------------------------

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """What is selected, without the breaks of lines that only the width asked for."""
        lines, starts = self._text.lines, self._text.starts
        text = "".join(lines)
        first, last = selection.start, selection.end
        begin = 0 if first is None else starts[min(first.y, len(lines) - 1)] + first.x
        end = len(text) if last is None else starts[min(last.y, len(lines) - 1)] + last.x
        return text[begin:end], "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Shows what is selected."""
        self.refresh()


def _letters(legend: Mapping[str, LegendEntry]) -> list[tuple[str, str, bool]]:
    return [(entry.path, entry.letter, entry.speaks) for entry in legend.values()]


def _restyled(segments: list[Segment], start: int, end: int, style: Style) -> list[Segment]:
    """Segments with another style on top, from one character to another (-1: to the end)."""
    made, at = list[Segment](), 0
    for segment in segments:
        text, before = segment.text, segment.style or Style.null()
        low = min(max(0, start - at), len(text))
        high = len(text) if end < 0 else min(max(0, end - at), len(text))
        if low >= high:
            made.append(segment)
        else:
            parts = ((text[:low], before), (text[low:high], before + style), (text[high:], before))
            made += [Segment(part, look) for part, look in parts if part]
        at += len(text)
    return made

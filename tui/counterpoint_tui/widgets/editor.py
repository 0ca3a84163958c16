"""Two editors: a recipe's YAML, with what is wrong marked in it; and a prompt, of which only the beginning is drawn when it is long."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from pygments.lexers.data import YamlLexer
from pygments.token import Comment, Literal, Name, Number, Punctuation, String, Token
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult

_COLOURED = 60_000
"""Most characters that are coloured."""
_PASTED = 200_000
"""Most characters that can be pasted into a recipe."""
_STYLES = {
    Name.Tag: "yaml--key",
    Comment: "yaml--comment",
    String: "yaml--string",
    Number: "yaml--number",
    Literal.Scalar: "yaml--string",
    Punctuation.Indicator: "yaml--mark",
}

Span = tuple[int, int, str]


def spans_of(text: str) -> list[list[Span]]:
    """For each line of YAML, which columns are a key, a text, a number, a comment or a mark."""
    lines: list[list[Span]] = [[]]
    column = 0
    for token, value in YamlLexer(stripnl=False, ensurenl=False).get_tokens(text):
        found = token
        while found not in _STYLES and found is not Token:
            found = found.parent
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append([])
                column = 0
            if part and found in _STYLES:
                lines[-1].append((column, column + len(part), _STYLES[found]))
            column += len(part)
    return lines


class YamlEditor(TextArea):
    """YAML with colours and marked lines; Tab leaves it, as it leaves every field."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "yaml--key",
        "yaml--string",
        "yaml--number",
        "yaml--comment",
        "yaml--mark",
        "yaml--problem",
    }
    _stale = True
    """Whether the text has been changed since the colours were found out."""

    class TooLong(Message):
        """More was pasted than a recipe can be."""

        def __init__(self, characters: int) -> None:
            super().__init__()
            self.characters = characters

    def __init__(self, text: str, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(
            text, id=id, soft_wrap=False, show_line_numbers=True, tab_behavior="focus", highlight_cursor_line=False
        )
        self.indent_width = 2
        self._spans: list[list[Span]] = []
        self._problems: Collection[int] = ()

    def mark(self, lines: Collection[int]) -> None:
        """Marks lines (from 0) as wrong, and no others."""
        if set(lines) != set(self._problems):
            self._problems = set(lines)
            self.notify_style_update()  # drops the lines that are kept as they were drawn
            self.refresh()

    def change(self, text: str) -> None:
        """Changes the text to another, so that undoing brings back the one before and the cursor stays where it is."""
        old = self.text
        if text == old:
            return
        start = _common(old, text)
        end = _common(old[start:][::-1], text[start:][::-1])
        document = self.document
        first = document.get_location_from_index(start)  # type: ignore[attr-defined]
        last = document.get_location_from_index(len(old) - end)  # type: ignore[attr-defined]
        self.replace(text[start : len(text) - end], first, last, maintain_selection_offset=True)

    def get_line(self, line_index: int) -> Text:
        """A line with its colours."""
        line = super().get_line(line_index)
        if self._stale:
            text = self.text
            self._spans = spans_of(text) if len(text) <= _COLOURED else []
            self._stale = False
        for start, end, name in self._spans[line_index] if line_index < len(self._spans) else ():
            line.stylize(self.get_component_rich_style(name, partial=True), start, end)
        if line_index in self._problems:
            line.stylize(self.get_component_rich_style("yaml--problem"))
        return line

    def edit(self, edit: Edit) -> EditResult:
        """Changes the text, and with it the colours, of lines below, too."""
        self._stale = True
        return super().edit(edit)

    def undo(self) -> None:
        """Takes a change back."""
        self._stale = True
        super().undo()

    def redo(self) -> None:
        """Makes a change again."""
        self._stale = True
        super().redo()

    def load_text(self, text: str) -> None:
        """Another text."""
        self._stale = True
        super().load_text(text)

    def on_paste(self, event: events.Paste) -> None:
        """Refuses what can be no recipe."""
        if len(event.text) > _PASTED:
            event.prevent_default()
            event.stop()
            self.post_message(self.TooLong(len(event.text)))


def _common(left: str, right: str) -> int:
    """How many characters two texts have in common at the beginning."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class PromptArea(TextArea):
    """A prompt of any length. A very long one is kept whole, its beginning is shown, and it cannot be edited in parts."""

    LIMIT: ClassVar[int] = 20_000
    """Most characters of a prompt that is edited."""
    SHOWN: ClassVar[int] = 2_000

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id, placeholder="what is asked; by default nothing, and then it has to be written here")
        self._whole: str | None = None

    @property
    def value(self) -> str:
        """The whole prompt."""
        return self.text if self._whole is None else self._whole

    @property
    def note(self) -> str:
        """What there is to say of a prompt that is not shown whole."""
        if self._whole is None:
            return ""
        return f"{len(self._whole):,} characters, kept whole; the beginning is shown. Backspace removes them."

    def set_value(self, text: str) -> None:
        """Another prompt."""
        if len(text) > self.LIMIT:
            self._whole = text
            self.load_text(text[: self.SHOWN] + " …")
            self.read_only = True
        else:
            self._whole = None
            self.read_only = False
            self.load_text(text)
            self.move_cursor(self.document.end)

    def on_paste(self, event: events.Paste) -> None:
        """Takes a long text as a whole."""
        if self._whole is None and len(self.text) + len(event.text) <= self.LIMIT:
            return
        event.prevent_default()
        event.stop()
        if self._whole is not None:
            self.set_value(self._whole + event.text)
            return
        start, end = sorted(self.selection)
        before = self.get_text_range((0, 0), start)
        after = self.get_text_range(end, self.document.end)
        self.set_value(before + event.text + after)

    def on_key(self, event: events.Key) -> None:
        """Takes a long text away."""
        if self._whole is not None and event.key in ("backspace", "delete"):
            event.stop()
            self.set_value("")

"""Small boxes: an error, a question, help, and what there is to say of an entry."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Static

from counterpoint.errors import CounterpointError
from counterpoint.printable import plain
from counterpoint_tui.keys import key_file
from counterpoint_tui.screens.base import Dialog


class ErrorDialog(Dialog[None]):
    """What is wrong, and what can be done."""

    TITLE = "Error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(classes="error")
        self._message, self._hint = plain(message), plain(hint)

    @classmethod
    def of(cls, error: BaseException) -> ErrorDialog:
        """What there is to say of an error."""
        if isinstance(error, CounterpointError):
            return cls(error.message, error.hint)
        return cls(f"unexpected {type(error).__name__}: {error}", "this is a bug of Counterpoint or of a plugin")

    def parts(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static(Text(self._message), classes="message")
            if self._hint:
                yield Static(Text.assemble(("hint: ", "bold"), self._hint), classes="hint")
        with Horizontal(classes="buttons"):
            yield Button("Close", id="close", variant="primary")

    @on(Button.Pressed, "#close")
    def _close(self) -> None:
        self.dismiss(None)


class Question(Dialog[str]):
    """A question with a few answers; the result is the id of the button, or None."""

    def __init__(self, title: str, text: str, answers: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.title_text, self._text, self._answers = title, plain(text), answers

    def on_mount(self) -> None:
        """The title is the question's own."""
        self.query_one(".dialog").border_title = self.title_text

    def parts(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static(Text(self._text))
        with Horizontal(classes="buttons"):
            for place, (identity, label) in enumerate(self._answers):
                yield Button(label, id=identity, variant="primary" if place == 0 else "default")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The answer."""
        self.dismiss(event.button.id)


class Details(Dialog[str]):
    """What there is to say of an entry, and perhaps something to do with it."""

    def __init__(self, title: str, text: Text, answers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__()
        self.title_text, self._text, self._answers = title, text, [*answers, ("close", "Close")]

    def on_mount(self) -> None:
        """The title is the entry's."""
        self.query_one(".dialog").border_title = self.title_text

    def parts(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static(self._text)
        with Horizontal(classes="buttons"):
            for place, (identity, label) in enumerate(self._answers):
                yield Button(label, id=identity, variant="primary" if place == 0 else "default")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """What is to be done."""
        self.dismiss(None if event.button.id == "close" else event.button.id)


class HelpDialog(Dialog[None]):
    """What the screen below is for, and every key that does something there now."""

    TITLE = "Help"

    def __init__(self, text: str, active: Sequence[ActiveBinding]) -> None:
        super().__init__()
        self._text, self._active = text, active

    def parts(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static(Text(self._text.strip()), classes="about")
            yield Static(self._keys())
            yield Static(
                Text(f"The keys are yours to choose, in {key_file()}: there, these actions are called as on the right."),
                classes="hint",
            )
        with Horizontal(classes="buttons"):
            yield Button("Close", id="close", variant="primary")

    def _keys(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False, expand=True)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(style="italic", no_wrap=True)
        rows: dict[str, tuple[list[str], str, str]] = {}
        for _, binding, enabled, _ in self._active:
            if binding.id is not None and enabled:
                shown, _, _ = rows.setdefault(binding.id, ([], binding.description, binding.tooltip))
                shown.append(self.app.get_key_display(binding))
        for identity, (shown, label, about) in rows.items():
            table.add_row(" ".join(shown), Text.assemble((label, "bold"), f": {about}" if about else ""), identity)
        table.add_row("tab", Text.assemble(("Next field", "bold"), ": shift+tab goes back"), "")
        return table

    @on(Button.Pressed, "#close")
    def _close(self) -> None:
        self.dismiss(None)

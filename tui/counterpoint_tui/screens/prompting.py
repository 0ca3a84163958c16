"""A box to write a prompt in."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, Static, TextArea

from counterpoint_tui import keys
from counterpoint_tui.screens.base import Dialog
from counterpoint_tui.widgets.editor import PromptArea


class PromptDialog(Dialog[str]):
    """A text to run on; the result is the text, or None."""

    AUTO_FOCUS = "PromptArea"
    BINDINGS = [*keys.bindings("prompt")]

    def __init__(self, title: str, about: str = "", text: str = "") -> None:
        super().__init__()
        self.title_text, self._about, self._prompt_text = title, about, text

    def parts(self) -> ComposeResult:
        if self._about:
            yield Static(self._about, classes="about", markup=False)
        yield PromptArea(id="prompt")
        yield Static(id="prompt-note")
        with Horizontal(classes="buttons"):
            yield Button("Run", id="run", variant="primary")
            yield Button("Cancel", id="cancel")

    def on_mount(self) -> None:
        """Shows the text there is, all of it selected, so that typing replaces it."""
        box = self.query_one(".dialog")
        box.border_title = self.title_text
        area = self.query_one(PromptArea)
        area.set_value(self._prompt_text)
        area.select_all()
        shown = {one.binding.id: self.app.get_key_display(one.binding) for one in self.active_bindings.values()}
        box.border_subtitle = f"{shown.get('prompt.run', '')} runs it, {shown.get('dialog.close', '')} closes"

    @on(TextArea.Changed)
    def _changed(self) -> None:
        note = self.query_one("#prompt-note", Static)
        note.update(self.query_one(PromptArea).note)
        note.display = bool(self.query_one(PromptArea).note)

    @on(Button.Pressed, "#run")
    def action_run(self) -> None:
        """Takes the text as it is."""
        text = self.query_one(PromptArea).value
        if text.strip():
            self.dismiss(text)
        else:
            self.notify("There is nothing to answer: write something.", severity="warning")

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

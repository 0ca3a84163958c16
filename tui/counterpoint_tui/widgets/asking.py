"""What a recipe is asked, and how: the prompt, and settings of one run over the recipe's."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static, TextArea

from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe
from counterpoint_tui.runtext import asked, asked_instead
from counterpoint_tui.widgets.editor import PromptArea
from counterpoint_tui.widgets.settings import RunSettings, SettingsRow


class AskPane(Vertical):
    """The prompt field, which shows the recipe's own prompt until another is written, and the settings below it."""

    def __init__(self, kept: str | None, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._kept = kept
        self._note = ""
        self._own: str | None = None
        """The recipe's own prompt; None before one is known."""

    def compose(self) -> ComposeResult:
        """The field, what there is to say of a long prompt, and the settings."""
        yield PromptArea(id="prompt")
        yield Static(id="prompt-note")
        yield SettingsRow(id="settings")

    @property
    def text(self) -> str:
        """The whole prompt."""
        return self.query_one(PromptArea).value

    @property
    def written(self) -> str | None:
        """The prompt, where it is not the recipe's own."""
        return None if self.text == self._own else self.text

    def show(self, recipe: Recipe) -> None:
        """Shows a recipe's prompt and settings; a prompt that the user has written stays."""
        self.query_one(SettingsRow).show(recipe)
        own = asked(recipe.prompt)
        area = self.query_one(PromptArea)
        if self._own is None:
            area.set_value(own if self._kept is None else self._kept)
        elif area.value == self._own:
            area.set_value(own)
        self._own = own

    def prompt(self, recipe: Recipe) -> Prompt | None:
        """What is asked; None for the recipe's own prompt. What belongs to that besides goes with another text, too."""
        return None if (text := self.written) is None else asked_instead(recipe.prompt, text)

    def settings(self, recipe: Recipe) -> RunSettings:
        """What goes over the recipe's settings.

        Raises:
            CounterpointError: it makes no sense; the message names the input.
        """
        return self.query_one(SettingsRow).read(recipe)

    @on(TextArea.Changed)
    def _changed(self) -> None:
        text = self.query_one(PromptArea).note
        if text != self._note:  # not with every key: it takes room of its own
            self._note = text
            note = self.query_one("#prompt-note", Static)
            note.update(text)
            note.display = bool(text)

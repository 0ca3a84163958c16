"""The box that asks under which name a recipe is to be kept."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import yaml
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, Input, Static

from counterpoint import paths
from counterpoint.writing import write_whole
from counterpoint_tui.recipe_text import set_value
from counterpoint_tui.screens.base import Dialog

_LONGEST = 100
_NAME = re.compile(r"[\w][\w.-]*")
_SUFFIX = re.compile(r"\.ya?ml$", re.IGNORECASE)


class SaveDialog(Dialog[Path]):
    """Keeps a text as one of the user's own recipes; the result is its file."""

    TITLE = "Save as a recipe of your own"
    HELP_TEXT = "The recipe is kept in your own folder, where every command finds it by its name. An existing one is not replaced unasked."

    def __init__(self, text: str, suggestion: str, taken: Collection[str] = ()) -> None:
        super().__init__()
        self._recipe_text, self._suggestion, self._taken = text, suggestion, taken
        """``taken`` are names of recipes that one of this name would stand in for."""
        self._asked = ""
        """The name whose file may be replaced."""

    def parts(self) -> ComposeResult:
        yield Input(self._suggestion, id="name", placeholder="a name", max_length=_LONGEST)
        yield Static(id="where")
        with Horizontal(classes="buttons"):
            yield Button("Save", id="save", variant="primary")
            yield Button("Cancel", id="cancel")

    @property
    def _name_typed(self) -> str:
        """The name; who types a file's is understood."""
        return _SUFFIX.sub("", self.query_one("#name", Input).value.strip())

    @property
    def file(self) -> Path:
        """Where it would go."""
        return paths.recipes() / f"{self._name_typed}.yaml"

    @on(Input.Changed, "#name")
    def _typed(self) -> None:
        self._asked = ""
        taken = self.file.stem in self._taken and not self.file.exists()
        self._say(f"{self.file}{', instead of the one of this name that is installed' if taken else ''}")
        self.query_one("#save", Button).label = "Save"

    @on(Input.Submitted, "#name")
    @on(Button.Pressed, "#save")
    def _save(self) -> None:
        name = self._name_typed
        if not _NAME.fullmatch(name):
            self._say(
                "a name is made of letters, digits, dots, hyphens and underscores, and begins with a letter or digit", bad=True
            )
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, _named(self._recipe_text, name), replace=self._asked == name)
        except FileExistsError:
            self._asked = name
            self._say(f"{self.file} exists: once more replaces it", bad=True)
            self.query_one("#save", Button).label = "Replace it"
        except OSError as error:
            self._say(f"cannot write {self.file}: {error.strerror}", bad=True)
        else:
            self.dismiss(self.file)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    def _say(self, message: str, *, bad: bool = False) -> None:
        where = self.query_one("#where", Static)
        where.update(Text(message))
        where.set_class(bad, "bad")


def _named(text: str, name: str) -> str:
    """A recipe's text under another name: where it says one itself, that one."""
    try:
        data = yaml.safe_load(text)
        return set_value(text, ("name",), name).text if isinstance(data, dict) and "name" in data else text
    except (yaml.YAMLError, ValueError):
        return text  # it can be kept and mended later

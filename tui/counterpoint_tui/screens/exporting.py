"""The box that asks as what, and into which file, a run is to be written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, Input, Select, Static

from counterpoint.errors import RunError
from counterpoint.printable import plain
from counterpoint_tui.screens.base import Dialog
from counterpoint_tui.state import TraceView
from counterpoint_tui.state.export import SUFFIXES, ExportFormat, write_export

_FORMATS: dict[ExportFormat, str] = {
    "html": "a page to read and share (HTML)",
    "text": "the answer alone (text)",
    "json": "everything, for programs (JSON)",
    "recipe": "the recipe, to run it again (YAML)",
}
assert set(_FORMATS) == set(get_args(ExportFormat))


class ExportDialog(Dialog[Path]):
    """Writes a run into a file; the result is the file."""

    TITLE = "Export this run"
    HELP_TEXT = (
        "The file goes where you say, by default into the folder you started in. An existing one is not replaced unasked.\n"
    )

    def __init__(self, trace: TraceView, name: str) -> None:
        super().__init__()
        self._trace, self._name = trace, name
        self._asked: Path | None = None
        """The file that may be replaced."""
        self._busy = False

    def parts(self) -> ComposeResult:
        yield Select(
            [(label, name) for name, label in _FORMATS.items()], value="html", allow_blank=False, compact=True, id="format"
        )
        yield Input(str(Path.cwd() / f"{self._name}{SUFFIXES['html']}"), id="path", placeholder="a file")
        yield Static(id="where")
        with Horizontal(classes="buttons"):
            yield Button("Export", id="export", variant="primary")
            yield Button("Cancel", id="cancel")

    @property
    def format(self) -> ExportFormat:
        """As what."""
        return next(name for name in _FORMATS if name == self.query_one("#format", Select).value)

    @property
    def file(self) -> Path | None:
        """Into which file; None where nothing is written in the field."""
        written = self.query_one("#path", Input).value.strip()
        return Path(written).expanduser() if written else None

    @on(Select.Changed, "#format")
    def _format_chosen(self) -> None:
        field = self.query_one("#path", Input)
        for suffix in SUFFIXES.values():
            if field.value.endswith(suffix):
                field.value = field.value.removesuffix(suffix) + SUFFIXES[self.format]
                return

    @on(Input.Changed, "#path")
    def _typed(self) -> None:
        self._ask(None)
        self._say("")

    @on(Input.Submitted, "#path")
    @on(Button.Pressed, "#export")
    def _chosen(self) -> None:
        file = self.file
        if self._busy:
            return
        if file is None:
            self._say("write where it is to go", bad=True)
        elif file.is_dir():
            self._say(f"{file} is a folder: add the name of a file", bad=True)
        elif file.exists() and self._asked != file:
            self._ask(file)
            self._say(f"{file} exists: once more replaces it", bad=True)
        else:
            self._busy = True
            self._say("writing …")
            self._write(file)

    @work
    async def _write(self, file: Path) -> None:
        try:
            await asyncio.to_thread(write_export, self._trace, self.format, file)
        except RunError as error:
            self._busy = False
            self._say(f"{error.message}: {error.hint}", bad=True)
        else:
            self.dismiss(file)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    def _ask(self, file: Path | None) -> None:
        self._asked = file
        self.query_one("#export", Button).label = "Replace it" if file else "Export"

    def _say(self, message: str, *, bad: bool = False) -> None:
        where = self.query_one("#where", Static)
        where.update(Text(plain(message)))
        where.set_class(bad, "bad")

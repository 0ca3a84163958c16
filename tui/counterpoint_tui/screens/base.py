"""What the screens have in common: help, a footer, and a sentence instead of a picture that does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static

from counterpoint_tui import keys

if TYPE_CHECKING:
    from counterpoint_tui.app import CounterpointApp

MIN_WIDTH, MIN_HEIGHT = 60, 16
"""The smallest terminal, in columns and lines, in which there is room for the screens."""
_RESULT = TypeVar("_RESULT")


class TooSmall(Static):
    """Stands in for everything else where there is no room for it."""

    def __init__(self) -> None:
        super().__init__(f"Counterpoint needs {MIN_WIDTH} × {MIN_HEIGHT} characters: please make this window larger.")


class CounterpointScreen(Screen[None]):
    """A full screen: its parts (:meth:`parts`), and a footer of what can be done at the moment."""

    HELP_TEXT: ClassVar[str] = ""
    """What the screen is for, in a few lines; F1 shows it above the keys."""

    def compose(self) -> ComposeResult:
        """The parts, the footer, and what stands in for both."""
        with Vertical(classes="parts"):
            yield from self.parts()
        yield Footer(show_command_palette=False)
        yield TooSmall()

    def parts(self) -> ComposeResult:
        """What is on the screen; a screen gives its own."""
        yield from ()

    @property
    def in_place(self) -> bool:
        """Whether its parts are there: what was begun in another thread may end after the screen has been left."""
        return self.is_attached and bool(self.query(Footer))

    @property
    def application(self) -> CounterpointApp:
        """The application."""
        return cast("CounterpointApp", self.app)


class Dialog(ModalScreen[_RESULT], Generic[_RESULT]):
    """A box above a screen, which ends with a result, or None when it is closed."""

    HELP_TEXT: ClassVar[str] = ""
    BINDINGS = [*keys.bindings("dialog")]
    TITLE: ClassVar[str] = ""

    def compose(self) -> ComposeResult:
        """The parts in a box with the title."""
        with Vertical(classes="dialog") as box:
            box.border_title = self.TITLE
            yield from self.parts()
        yield TooSmall()

    def parts(self) -> ComposeResult:
        """What is in the box; a dialog gives its own."""
        yield from ()

    def action_close(self) -> None:
        """Closes it with no result."""
        self.dismiss(None)

    @property
    def application(self) -> CounterpointApp:
        """The application."""
        return cast("CounterpointApp", self.app)

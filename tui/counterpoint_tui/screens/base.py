"""What the screens have in common: help, a footer, and a sentence instead of a picture that does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from counterpoint_tui import keys
from counterpoint_tui.widgets.footer import KeyFooter
from counterpoint_tui.widgets.parts import PartTabs

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

    _offered: tuple[tuple[str | None, bool], ...] = ()

    def compose(self) -> ComposeResult:
        """The parts, the footer, and what stands in for both."""
        with Vertical(classes="parts"):
            yield from self.parts()
        yield KeyFooter()
        yield TooSmall()

    def parts(self) -> ComposeResult:
        """What is on the screen; a screen gives its own."""
        yield from ()

    def offer(self) -> None:
        """Shows other keys in the footer where what can be done has changed; making a footer costs as much as a frame."""
        now = tuple((one.binding.id, one.enabled) for one in self.active_bindings.values())
        if now != self._offered:
            self._offered = now
            self.refresh_bindings()

    def before_key(self, event: events.Key) -> None:
        """Looks at a key before anything on the screen gets it; it then goes to what has the focus."""

    def action_next_part(self) -> None:
        """Shows the next part."""
        self.query_one(PartTabs).step(1)

    def action_previous_part(self) -> None:
        """Shows the part before."""
        self.query_one(PartTabs).step(-1)

    @property
    def in_place(self) -> bool:
        """Whether its parts are there: what was begun in another thread may end after the screen has been left."""
        return self.is_attached and bool(self.query(KeyFooter))

    @property
    def covered(self) -> bool:
        """Whether an opaque screen is above it. (Textual draws the one on top anew, all of it, for each change below.)"""
        stack = self.app.screen_stack
        return self in stack and any(screen.styles.background.a == 1 for screen in stack[stack.index(self) + 1 :])

    @property
    def application(self) -> CounterpointApp:
        """The application."""
        return cast("CounterpointApp", self.app)


class Dialog(ModalScreen[_RESULT], Generic[_RESULT]):
    """A box above a screen, which ends with a result, or None when it is closed.

    Its first field or button has the focus; arrows scroll a long text and go from button to button.
    """

    HELP_TEXT: ClassVar[str] = ""
    AUTO_FOCUS = "Input, Button"
    BINDINGS: ClassVar[list[BindingType]] = [
        *keys.bindings("dialog"),
        Binding("up", "read('scroll_up')", show=False),
        Binding("down", "read('scroll_down')", show=False),
        Binding("pageup", "read('page_up')", show=False),
        Binding("pagedown", "read('page_down')", show=False),
        Binding("home", "read('scroll_home')", show=False),
        Binding("end", "read('scroll_end')", show=False),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]
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

    def action_read(self, how: str) -> None:
        """Scrolls the text."""
        for text in self.query(VerticalScroll):
            getattr(text, f"action_{how}")()

    def action_close(self) -> None:
        """Closes it with no result."""
        self.dismiss(None)

    @property
    def application(self) -> CounterpointApp:
        """The application."""
        return cast("CounterpointApp", self.app)

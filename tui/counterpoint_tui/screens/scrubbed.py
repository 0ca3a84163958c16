"""Going through a trace by keys: steps, pages, jumps from mark to mark, and playing it."""

from __future__ import annotations

import time
from functools import partialmethod
from typing import ClassVar

from textual.binding import BindingType
from textual.timer import Timer

from counterpoint_tui import keys
from counterpoint_tui.playing import Player
from counterpoint_tui.screens.base import CounterpointScreen
from counterpoint_tui.scrubbing import Position
from counterpoint_tui.state import Mark
from counterpoint_tui.widgets.scrubber import SIGNS

_FRAME, _LONGEST = 1 / 15, 0.25
"""Seconds between two pictures of a trace that is played; and how many count at most, where the machine was busy."""


class ScrubbedScreen(CounterpointScreen):
    """A screen that shows one place of a trace at a time (:meth:`draw`)."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("stored")]

    def __init__(self) -> None:
        super().__init__()
        self.position: Position | None = None
        """Where one is; None before the trace is read."""
        self.player = Player()
        self._drawing = False
        self._ticker: Timer | None = None
        self._ticked = 0.0
        self.played = False
        """Whether it is or has been played."""

    def on_mount(self) -> None:
        """There is a clock, which stands still."""
        self._ticker = self.set_interval(_FRAME, self._tick, pause=True)

    def on_screen_suspend(self) -> None:
        """Nobody looks."""
        self.stop()

    def on_resize(self) -> None:
        """Parts that there was no room for may come into sight."""
        self.call_after_refresh(self.moved)

    def draw(self) -> None:
        """Shows where one is; a screen gives its own."""

    def moved(self) -> None:
        """Shows the place one has come to, once for all keys that are pressed by then."""
        if not self._drawing:
            self._drawing = True
            self.call_later(self._draw)

    def _draw(self) -> None:
        self._drawing = False
        if self.position is not None and self.in_place:
            self.draw()

    # --- steps ----------------------------------------------------------------------------------------------------------------

    def go(self, place: int) -> None:
        """Goes to a place, and stops there."""
        if self.position is not None:
            self.stop()
            self.position.go(place)
            self.moved()

    def action_step_back(self) -> None:
        """Goes a step back."""
        self._step(-1)

    def action_step_forward(self) -> None:
        """Goes a step further."""
        self._step(1)

    def _step(self, by: int) -> None:
        if self.position is not None:
            self.stop()
            self.position.step(by, tokens=self.application.settings.steps == "tokens")
            self.moved()

    def action_page_back(self) -> None:
        """Goes a good deal back."""
        self._page(-1)

    def action_page_forward(self) -> None:
        """Goes a good deal further."""
        self._page(1)

    def _page(self, by: int) -> None:
        if self.position is not None:
            self.go(self.position.place + by * max(1, len(self.position.trace) // 20))

    def action_first(self) -> None:
        """Goes before the first event."""
        self.go(0)

    def action_last(self) -> None:
        """Goes after the last event."""
        if self.position is not None:
            self.go(len(self.position.trace))

    def action_switch_unit(self) -> None:
        """Steps are events, or tokens."""
        settings = self.application.settings
        settings.steps = "events" if settings.steps == "tokens" else "tokens"
        self.notify(f"Left and right go by {settings.steps}.", timeout=2)

    def _jump(self, *marks: Mark, forward: bool) -> None:
        if self.position is not None:
            self.stop()
            if self.position.jump(marks, forward):
                self.moved()
            else:
                self.notify(f"There is none {'after' if forward else 'before'} this place.", timeout=2)

    action_next_mark = partialmethod(_jump, *SIGNS, forward=True)
    action_previous_mark = partialmethod(_jump, *SIGNS, forward=False)
    action_next_rejection = partialmethod(_jump, "rejection", forward=True)
    action_previous_rejection = partialmethod(_jump, "rejection", forward=False)
    action_next_switch = partialmethod(_jump, "switch", forward=True)
    action_previous_switch = partialmethod(_jump, "switch", forward=False)
    action_next_selection = partialmethod(_jump, "selection", forward=True)
    action_previous_selection = partialmethod(_jump, "selection", forward=False)
    action_next_candidate = partialmethod(_jump, "candidate", forward=True)
    action_previous_candidate = partialmethod(_jump, "candidate", forward=False)
    action_next_failure = partialmethod(_jump, "failure", forward=True)
    action_previous_failure = partialmethod(_jump, "failure", forward=False)

    def action_origin(self) -> None:
        """Goes to the call that wrote the token."""
        if self.position is not None:
            self.stop()
            if self.position.to_origin():
                self.moved()
            else:
                self.notify("This token was written right here.", timeout=2)

    # --- playing --------------------------------------------------------------------------------------------------------------

    def action_play(self) -> None:
        """Plays from here, from the beginning where this is the end; or stops."""
        if self.position is None or self._ticker is None:
            return
        if self.player.playing:
            self.stop()
        else:
            if self.position.place == len(self.position.trace):
                self.position.go(0)
            self.player.start()
            self.played = True
            self._ticked = time.monotonic()
            self._ticker.resume()
        self.moved()

    def stop(self) -> None:
        """Plays no longer."""
        self.player.stop()
        if self._ticker is not None:
            self._ticker.pause()

    def _tick(self) -> None:
        now = time.monotonic()
        passed, self._ticked = min(now - self._ticked, _LONGEST), now
        if self.position is not None and self.player.playing:
            self.position.go(self.player.advance(self.position.trace.columns.times, self.position.place, passed))
            if not self.player.playing:
                self.stop()
            self.moved()

    def action_faster(self) -> None:
        """Plays at the next speed."""
        self._change_speed(1)

    def action_slower(self) -> None:
        """Plays at the speed before."""
        self._change_speed(-1)

    def _change_speed(self, step: int) -> None:
        self.player.change(step)
        self.played = True
        self.moved()

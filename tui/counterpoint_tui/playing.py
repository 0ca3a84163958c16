"""Playing a trace: which place it has come to after some time, at a speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SPEEDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Times the recorded speed."""
IDLE = 1.0
"""Recorded seconds in which nothing happens that are waited for at most: a model that loads is no film."""


@dataclass
class Player:
    """Goes through a trace as it happened, with idle gaps shortened."""

    speed: float = 1.0
    playing: bool = False
    _left: float = 0.0
    """Recorded seconds that have gone by since the last event."""

    def start(self) -> None:
        """Plays from here."""
        self.playing, self._left = True, 0.0

    def stop(self) -> None:
        """Stands still."""
        self.playing = False

    def change(self, step: int) -> None:
        """The next speed, or the one before."""
        place = SPEEDS.index(self.speed) + step
        self.speed = SPEEDS[max(0, min(len(SPEEDS) - 1, place))]

    def advance(self, times: Sequence[float], place: int, seconds: float) -> int:
        """The place that is come to; it stops at the end.

        Args:
            times: when each event was, in seconds.
            place: how many events have happened.
            seconds: of the one who watches, since the last time.
        """
        self._left += seconds * self.speed
        while place < len(times):
            gap = max(0.0, min(IDLE, times[place] - times[place - 1])) if place else 0.0
            if gap > self._left:
                return place
            self._left -= gap
            place += 1
        self.stop()
        return place

"""A sheet of characters on which lines join where they meet."""

from __future__ import annotations

from dataclasses import dataclass, field

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
_JOINED = {
    UP: "│",
    DOWN: "│",
    UP | DOWN: "│",
    LEFT: "─",
    RIGHT: "─",
    LEFT | RIGHT: "─",
    UP | RIGHT: "└",
    UP | LEFT: "┘",
    DOWN | RIGHT: "┌",
    DOWN | LEFT: "┐",
    UP | DOWN | RIGHT: "├",
    UP | DOWN | LEFT: "┤",
    LEFT | RIGHT | DOWN: "┬",
    LEFT | RIGHT | UP: "┴",
    UP | DOWN | LEFT | RIGHT: "┼",
}


@dataclass
class Canvas:
    """Characters by place, column and row; lines that meet are joined."""

    cells: dict[tuple[int, int], str] = field(default_factory=dict)
    wires: dict[tuple[int, int], int] = field(default_factory=dict)

    def text(self, x: int, y: int, text: str) -> None:
        """Writes text to the right from a place."""
        for offset, character in enumerate(text):
            self.cells[x + offset, y] = character

    def wire(self, x: int, y: int, arms: int) -> None:
        """Draws lines from the middle of a place to some of its sides."""
        self.wires[x, y] = self.wires.get((x, y), 0) | arms

    def vertical(self, x: int, top: int, bottom: int) -> None:
        """A line from the top of row ``top`` to the bottom of row ``bottom``."""
        for y in range(top, bottom + 1):
            self.wire(x, y, UP | DOWN)

    def lines(self) -> tuple[str, ...]:
        """What has been drawn, all lines of one length."""
        for at, arms in self.wires.items():
            self.cells.setdefault(at, _JOINED[arms])
        width = max((x for x, _ in self.cells), default=-1) + 1
        height = max((y for _, y in self.cells), default=-1) + 1
        return tuple("".join(self.cells.get((x, y), " ") for x in range(width)) for y in range(height))

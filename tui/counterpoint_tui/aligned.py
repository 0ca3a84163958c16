"""Two texts in lines side by side, so that what both have stands at the same height, and what differs is known by its place. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from counterpoint.printable import plain
from counterpoint_tui.state.changes import Change
from counterpoint_tui.wrapping import wrap

GAP, BREAK = "▏", "↵"
"""Stand where the other text has something that this one lacks, and for a line break that the other text lacks."""


@dataclass(frozen=True, slots=True)
class Part:
    """Text of a line: in both, in this one only, or the sign that the other one has more here."""

    text: str
    kind: Literal["same", "other", "gap"] = "same"


Line = tuple[Part, ...]


@dataclass(frozen=True)
class Aligned:
    """Lines of the one text and of the other; there are equally many."""

    a: tuple[Line, ...] = ()
    b: tuple[Line, ...] = ()
    changes: tuple[int, ...] = ()
    """The lines at which the texts begin to differ."""

    def changed(self, line: int) -> bool:
        """Whether the texts differ on a line."""
        return any(part.kind != "same" for side in (self.a, self.b) for part in side[line])


def side_by_side(changes: Sequence[Change], widths: tuple[int, int]) -> Aligned:
    """Two texts in lines of these widths.

    They are brought to the same height at every line break that both have.
    """
    a: list[Line] = []
    b: list[Line] = []
    starts: list[int] = []
    for left, right in _paragraphs(changes):
        place = len(a)
        one, other = _lines(left, widths[0]), _lines(right, widths[1])
        height = max(len(one), len(other))
        a += [*one, *[()] * (height - len(one))]
        b += [*other, *[()] * (height - len(other))]
        before = False
        for line in range(place, len(a)):
            now = any(part.kind != "same" for side in (a, b) for part in side[line])
            if now and not before:
                starts.append(line)
            before = now
    return Aligned(tuple(a), tuple(b), tuple(starts))


def _paragraphs(changes: Sequence[Change]) -> Iterator[tuple[list[Part], list[Part]]]:
    """What stands between line breaks that both texts have."""
    left: list[Part] = []
    right: list[Part] = []
    for change in changes:
        if not change.same:
            for side, mine in ((left, change.a), (right, change.b)):
                side.append(Part(_shown(mine).replace("\n", BREAK + "\n"), "other") if mine else Part(GAP, "gap"))
            continue
        *whole, rest = _shown(change.a).split("\n")
        for text in whole:
            yield [*left, Part(text)], [*right, Part(text)]
            left, right = [], []
        if rest:
            left.append(Part(rest))
            right.append(Part(rest))
    if left or right:
        yield left, right


def _shown(text: str) -> str:
    return plain(text).replace("\t", "    ")


def _lines(parts: Sequence[Part], width: int) -> list[Line]:
    """A paragraph in lines."""
    rest = [part for part in parts if part.text]
    lines = []
    for text in wrap("".join(part.text for part in rest), width):
        line: list[Part] = []
        room = len(text)
        while room and rest:
            part = rest[0]
            line.append(Part(part.text[:room].rstrip("\n"), part.kind))
            if len(part.text) > room:
                rest[0] = Part(part.text[room:], part.kind)
            else:
                del rest[0]
            room -= min(room, len(part.text))
        lines.append(tuple(part for part in line if part.text))
    return lines

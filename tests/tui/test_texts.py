"""Text fit for a screen, and colours that can be read."""

from __future__ import annotations

import time

import pytest
from textual.color import Color

from counterpoint.printable import plain
from counterpoint_tui.texts import ago, fitted, one_line, shortened
from counterpoint_tui.themes import THEMES, node_mark


def test_control_characters_do_nothing() -> None:
    assert plain("a\x1b[31mb\x07\r\n\tc\x9b") == "a�[31mb�\n\tc�"
    assert one_line(" a\n\n b\x1b ") == "a b�"


@pytest.mark.parametrize(
    ("text", "width", "shown"), [("ab", 4, "ab  "), ("abcdef", 4, "abc…"), ("日本語", 5, "日本…"), ("a", 0, "")]
)
def test_text_in_its_place(text: str, width: int, shown: str) -> None:
    assert fitted(text, width) == shown
    assert shortened(text, width) == shown.rstrip()


def test_when() -> None:
    noon = time.mktime((2026, 3, 10, 12, 0, 0, 0, 0, -1))
    assert ago(noon - 5, noon) == "just now"
    assert ago(noon - 360, noon) == "6 min ago"
    assert ago(noon - 3 * 3600, noon) == "today 09:00"
    assert ago(noon - 24 * 3600, noon) == "yesterday 12:00"
    assert ago(noon - 72 * 3600, noon) == "2026-03-07"


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_marks_can_be_read(theme: object) -> None:
    """WCAG's contrast for text: 4.5 to 1."""
    background = Color.parse(theme.background)  # type: ignore[attr-defined]
    for place in range(8):
        mark = node_mark(place, dark=theme.dark)  # type: ignore[attr-defined]
        lighter, darker = sorted((luminance(Color.parse(mark.colour)), luminance(background)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) > 4.5, mark


def luminance(colour: Color) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = [value / 255 for value in colour.rgb]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_marks_are_told_apart_without_colour() -> None:
    marks = [node_mark(place) for place in range(30)]
    assert len({mark.letter for mark in marks}) == 30
    assert [mark.letter for mark in marks[:2]] == ["A", "B"]
    assert marks[26].letter == "AA"
    assert len({mark.text_style for mark in marks[:8]}) == 8

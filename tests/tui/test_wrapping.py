"""Text in lines: the same however it came about, none too long, nothing lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from counterpoint_tui.wrapping import Wrapped

TEXTS = st.text(st.sampled_from("ab  \n語e\u0301🙂"), max_size=40)


@given(st.lists(TEXTS, max_size=6), st.integers(1, 9))
def test_text_that_grew_is_laid_out_like_text_that_was_there(parts: list[str], width: int) -> None:
    grown = Wrapped(width)
    for part in parts:
        before = list(grown.lines)
        changed = grown.append(part)
        assert grown.lines[:changed] == before[:changed]
    whole = Wrapped(width, "".join(parts))
    assert grown.lines == whole.lines
    assert grown.starts == whole.starts


@given(TEXTS, st.integers(0, 40), st.integers(1, 9))
def test_text_that_was_cut_is_laid_out_like_what_is_left(text: str, length: int, width: int) -> None:
    cut = Wrapped(width, text)
    before = list(cut.lines)
    changed = cut.cut(min(length, len(text)))
    assert cut.lines[:changed] == before[:changed]
    assert cut.lines == Wrapped(width, text[:length]).lines


@given(TEXTS, TEXTS, st.integers(1, 9))
def test_lines_are_the_text_and_fit(text: str, tail: str, width: int) -> None:
    wrapped = Wrapped(width, text)
    assert "".join(wrapped.lines) == text
    assert len(wrapped) == len(text)
    for line, start in zip(wrapped.lines, wrapped.starts, strict=True):
        assert text[start:].startswith(line)
        # a character may be wider than the room; spaces hang over the end, up to as many again
        assert cell_len(line.rstrip(" \n")) <= width or len(line.strip()) == 1
        assert cell_len(line.rstrip("\n")) <= 2 * width
    assert [*wrapped.lines[:-1], *wrapped.with_tail(tail)] == Wrapped(width, text + tail).lines
    for place in range(len(text)):
        line = wrapped.line_at(place)
        assert wrapped.starts[line] <= place < wrapped.starts[line] + len(wrapped.lines[line])


def test_words_stay_whole_where_they_can() -> None:
    assert Wrapped(12, "one two three four\n  five").lines == ["one two ", "three four\n", "  five"]
    assert Wrapped(4, "abcdefghij k").lines == ["abcd", "efgh", "ij k"]
    assert Wrapped(4, "ab\n").lines == ["ab\n", ""]
    assert Wrapped(5, "日本語です").lines == ["日本", "語で", "す"]

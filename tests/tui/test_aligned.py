"""Two texts in lines side by side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from counterpoint_tui.aligned import BREAK, GAP, Line, side_by_side
from counterpoint_tui.state.changes import text_changes

TEXTS = st.text(alphabet="ab \nあ", max_size=60)


def written(lines: tuple[Line, ...]) -> list[str]:
    return ["".join(part.text for part in line) for line in lines]


@given(a=TEXTS, b=TEXTS, width=st.integers(2, 20))
def test_both_sides_are_equally_high_narrow_enough_and_say_all(a: str, b: str, width: int) -> None:
    made = side_by_side(text_changes(a, b), (width, width))
    assert len(made.a) == len(made.b)
    for text, lines in ((a, made.a), (b, made.b)):
        said = "".join(part.text for line in lines for part in line if part.kind != "gap")
        assert said.replace(BREAK, "") == text.replace("\n", "")
        assert all(cell_len(line.rstrip(" ")) <= width for line in written(lines))
    marked = {line for line in range(len(made.a)) if made.changed(line)}
    assert set(made.changes) <= marked
    assert bool(marked) == (a != b)


def test_what_both_have_stands_at_the_same_height() -> None:
    made = side_by_side(text_changes("one two three four\nend", "one\nend"), (8, 8))
    assert written(made.a) == ["one two ", "three ", "four", "end"]
    assert written(made.b) == [f"one{GAP}", "", "", "end"]
    assert [part.kind for part in made.a[0]] == ["same", "other"]
    assert [part.kind for part in made.b[0]] == ["same", "gap"]
    assert made.changes == (0,)


def test_a_line_break_that_one_lacks_is_seen() -> None:
    made = side_by_side(text_changes("a\nb", "a b"), (10, 10))
    assert written(made.a) == [f"a{BREAK}", "b"]
    assert written(made.b)[0] == "a b"


def test_control_characters_do_nothing_and_tabs_are_spaces() -> None:
    made = side_by_side(text_changes("\x1b[2J\tx", "\x1b[2J\tx"), (20, 20))
    assert written(made.a) == ["\N{REPLACEMENT CHARACTER}[2J    x"]

"""Which lines are kept: laws that hold for any scores."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.errors import EvaluationError
from counterpoint.selection.choosing import Top, Wanted, choose, quantiles

SCORE = st.none() | st.integers(-3, 3).map(float)  # few values, so that many are equal
LINES = st.lists(st.lists(SCORE, min_size=1, max_size=3).map(tuple), max_size=12)
BOUND = st.none() | st.sampled_from([-2.5, -1.0, 0.0, 1.5])
TOP = st.none() | st.integers(1, 14).map(Top) | st.sampled_from(["1%", "10%", "33.3%", "50%", "100%"]).map(Top.of)


@st.composite
def wishes(draw: st.DrawFn) -> Wanted:
    below, above = draw(BOUND), draw(BOUND)
    if below is not None and above is not None and above >= below:
        above = None
    return Wanted(below, above, draw(TOP))


def best(values: tuple[float | None, ...], index: int | None) -> float:
    assert index is not None
    value = values[index]
    assert value is not None
    return value


@given(LINES)
def test_all_is_kept_where_nothing_is_asked(lines: list[tuple[float | None, ...]]) -> None:
    kept = choose(lines, Wanted())
    assert list(kept) == list(range(len(lines)))
    for number, index in kept.items():
        known = [value for value in lines[number] if value is not None]
        assert (index is None) == (not known)
        if known:
            assert best(lines[number], index) == max(known)
            assert lines[number].index(max(known)) == index, "of equal answers the first"


@given(LINES, wishes(), st.booleans())
def test_what_is_kept_is_what_is_asked_for(lines: list[tuple[float | None, ...]], wanted: Wanted, lower: bool) -> None:
    kept = choose(lines, wanted, lower_is_better=lower)
    assert list(kept) == sorted(kept), "in the order of the lines"
    sign = -1 if lower else 1
    possible = {
        number: sorted((sign * value for value in values if value is not None and wanted.allows(value)), reverse=True)
        for number, values in enumerate(lines)
    }
    for number, index in kept.items():
        if not wanted.everything:
            assert sign * best(lines[number], index) == possible[number][0], "the best of those that are allowed"
    if wanted.everything:
        return
    candidates = [number for number, found in possible.items() if found]
    assert set(kept) <= set(candidates)
    if wanted.top is None:
        assert list(kept) == candidates, "each that has an allowed answer"
        return
    assert len(kept) == min(wanted.top.count(len(lines)), len(candidates))
    worst = min((possible[number][0] for number in kept), default=math.inf)
    for number in set(candidates) - set(kept):
        value = possible[number][0]
        assert value <= worst, "nothing better is left out"
        equals = [other for other in kept if possible[other][0] == value]
        assert all(other < number for other in equals), "of equal lines the earlier are kept"


@given(LINES, wishes())
def test_choosing_again_changes_nothing(lines: list[tuple[float | None, ...]], wanted: Wanted) -> None:
    thresholds = Wanted(wanted.below, wanted.above)
    kept = choose(lines, thresholds)
    assert list(choose([lines[number] for number in kept], thresholds).values()) == list(kept.values())


@given(LINES, st.integers(1, 12))
def test_more_lines_contain_fewer(lines: list[tuple[float | None, ...]], number: int) -> None:
    fewer, more = (choose(lines, Wanted(top=Top(count))) for count in (number, number + 1))
    assert fewer.items() <= more.items()


@given(st.integers(0, 5000), st.integers(1, 1000))
def test_a_share_is_exact(lines: int, per_mille: int) -> None:
    count = Top.of(f"{per_mille / 10}%").count(lines)
    assert count == max(1, math.floor(Fraction(per_mille, 1000) * lines))


def test_superfiltering_counts_the_share_of_all_lines() -> None:
    """Its tenth is one of the whole file, taken from what is below 1."""
    lines = [(number / 10,) for number in range(20)]
    kept = choose(lines, Wanted(below=1.0, top=Top.of("10%")))
    assert list(kept) == [8, 9]


@pytest.mark.parametrize(
    ("given", "count"), [(5, 5), ("5", 5), (" 5 ", 5), ("10%", 20), ("0.5 %", 1), ("100%", 200), ("0.1%", 1)]
)
def test_top(given: int | str, count: int) -> None:
    assert Top.of(given).count(200) == count


@pytest.mark.parametrize("given", [0, -1, "0%", "101%", "a tenth", "0.1", "", "%", "1e2", "-5%"])
def test_no_top(given: int | str) -> None:
    with pytest.raises(EvaluationError, match="is no number of lines") as caught:
        Top.of(given)
    assert "10%" in caught.value.hint


@pytest.mark.parametrize(
    ("below", "above", "says"),
    [(math.nan, None, "keep below nan"), (None, math.nan, "keep above nan"), (1.0, 1.0, "no score is")],
)
def test_thresholds_that_make_no_sense(below: float | None, above: float | None, says: str) -> None:
    with pytest.raises(EvaluationError, match=says):
        Wanted(below, above)


def test_quantiles() -> None:
    scores: list[tuple[float | None, ...]] = [(0.0, None), (1.0,), (2.0, 3.0), (None,), (4.0,)]
    assert quantiles(scores) == {"0": 0.0, "10": 0.4, "25": 1.0, "50": 2.0, "75": 3.0, "90": 3.6, "100": 4.0}
    assert quantiles([(None,)]) == {}
    assert set(quantiles([(7.0,)]).values()) == {7.0}

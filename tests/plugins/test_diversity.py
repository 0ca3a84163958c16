"""Diversity: repeated n-grams within answers, and across them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.plugin import Score
from counterpoint.testing import assert_verifier_laws, make_engine
from counterpoint_plugins.diversity import DistinctN, Repetition, _share, ngrams

TEXTS = st.lists(st.sampled_from(["a", "b", "c", ","]), max_size=12).map(" ".join)


def scores(kind: str, n: int, *texts: str) -> list[Score]:
    with make_engine() as engine:
        recipe = {"nodes": {"v": {"kind": kind, "n": n}}, "output": "v"}
        return list(engine.verify(recipe, "hello", texts).result().scores)


def test_by_example() -> None:
    assert ngrams("The cat, the CAT.", 2) == [("the", "cat"), ("cat", ","), (",", "the"), ("the", "cat"), ("cat", ".")]
    half, one, none = scores("distinct_n", 1, "go go", "go home", " ")
    assert (half, one) == (0.5, 1)
    assert half.detail == "1 of 2"
    assert math.isnan(none)
    assert none.detail == "fewer than 1 words"
    repeated, fresh, short = scores("repetition", 2, "a b a b a b", "a b c d", "a")
    assert repeated == 3 / 5
    assert repeated.detail == "3 of 5"
    assert fresh == 0
    assert math.isnan(short)


def test_answers_that_repeat_one_another_count_together() -> None:
    node = DistinctN(n=2)
    assert node.overall([Score(1), Score(1)], ["a b c", "a b c"]) == 0.5, "each by itself is all new"
    assert node.overall([Score(1)], ["a b c"]) == 1
    assert math.isnan(node.overall([], []))
    assert Repetition().overall([Score(0.25), Score(0.75)], ["", ""]) == 0.5


@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(1, 4))
def test_distinct_n_of_all_together(texts: list[str], n: int) -> None:
    node = DistinctN(n=n)
    value = node.overall([], texts)
    total = sum(len(ngrams(text, n)) for text in texts)
    if not total:
        assert math.isnan(value)
        return
    assert 1 / total <= value <= 1
    assert node.overall([], list(reversed(texts))) == value, "the order of answers does not matter"
    assert node.overall([], texts * 2) == pytest.approx(value / 2), "the same again is nothing new"


@given(TEXTS, st.integers(1, 4))
def test_repetition_is_what_stood_before(text: str, n: int) -> None:
    found = ngrams(text, n)
    repeated = sum(ngram in found[:index] for index, ngram in enumerate(found))
    if found:
        assert 0 <= repeated / len(found) < 1
        assert _share(text, n, of_repeats=True) == pytest.approx(repeated / len(found))
        assert _share(text, n, of_repeats=False) == pytest.approx(1 - repeated / len(found))


@pytest.mark.parametrize("kind", ["distinct_n", "repetition"])
def test_the_laws_hold(kind: str) -> None:
    assert_verifier_laws({"nodes": {"v": {"kind": kind}}, "output": "v"}, ["a b a b a b a b", "a", "", "one two three four"])

"""What answers say: the number they end with, their normal text, what a pattern finds, and how alike two are."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.answers import (
    extractor,
    final_number,
    last_match,
    matches,
    normalised,
    number_text,
    rouge_l,
    rouge_words,
    shortened,
)

# --- numbers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 18", "18"),
        ("first #### 17\nno: #### 18", "18"),
        ("It is 3.\n#### 18\nI used 2 steps.", "18"),
        ("so she has $1,234.50.", "1234.50"),
        ("18%", "18"),
        ("1, 2, 3", "3"),
        ("16-3", "3"),
        ("10 - 15", "15"),
        ("x = -3", "-3"),
        ("x = \u22123", "-3"),
        ("-$7", "-7"),
        ("#### $-7", "-7"),
        ("- 5 apples", "5"),
        ("3/4", "0.75"),
        ("a half is 1 / 2", "0.5"),
        (".5", "0.5"),
        ("1.", "1"),
        (r"\boxed{18}", "18"),
        (r"#### $\boxed{70{,}000}$", "70000"),
        (r"#### \$70\,000", "70000"),
        ("#### **18**", "18"),
        ("#### `18`.", "18"),
        ("#### 18 apples", "18"),
        ("####\n18", "18"),
        ("#### Answer: 18", "18"),
        ("#### 1. Count the eggs\nThere are 20", "20"),
        ("#### 2) Then\n20", "20"),
        ("#### 18. The end", "18"),
        ("3 eggs... so it is...18", "18"),
        ("it costs ...5", "5"),
        ("v1.2.3", "1.2"),
        ("1e5", "100000"),
        ("that is 1.5e-3.", "0.0015"),
        ("#### 2E+3", "2000"),
        ("in step 3e there are 4", "4"),
        ("1_000 sheep", "1000"),
        ("0x1e5", "5"),
    ],
)
def test_the_number_an_answer_ends_with(text: str, number: str) -> None:
    assert final_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "none", "####", "1/0", "\u0663"])
def test_no_number(text: str) -> None:
    assert final_number(text) is None


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=2)


@given(NUMBERS, st.sampled_from(["#### {}", "{}", "It is {}.", "= **{}**", "about ${}", "17 or {}", "#### {} of 100\nbye"]))
def test_numbers_are_found_however_they_are_written(number: Decimal, text: str) -> None:
    for written in (f"{number:f}", f"{number:,f}"):
        assert final_number(text.format(written)) == number


def test_long_answers_take_no_long_time() -> None:
    start = time.perf_counter()
    for text in (
        "1" * 100_000,
        "1," * 50_000,
        "#### " + "*" * 100_000,
        "1/" * 50_000,
        "-" * 100_000,
        "#### " + "boxed" * 20_000,
    ):
        final_number(text)
    assert time.perf_counter() - start < 15


@given(NUMBERS, NUMBERS)
def test_equal_numbers_and_no_others_are_written_alike(one: Decimal, other: Decimal) -> None:
    assert (number_text(one) == number_text(other)) == (one == other)
    assert Decimal(number_text(one)) == one


def test_numbers_keep_all_their_figures() -> None:
    long = "-1234567890123456789012345678901234567890.5"
    found = final_number(f"it is {long}")
    assert found is not None
    assert number_text(found) == long
    assert [number_text(Decimal(text)) for text in ("18.00", "-0", "-0.0", "100", "1E+3", "0.50")] == [
        "18",
        "0",
        "0",
        "100",
        "1000",
        "0.5",
    ]


# --- texts and patterns -------------------------------------------------------------------------------------------------------


@given(st.text())
def test_a_normal_text_is_its_own(text: str) -> None:
    for case in (False, True):
        for punctuation in (False, True):
            once = normalised(text, case=case, punctuation=punctuation)
            again = normalised(once, case=case, punctuation=punctuation)
            assert normalised(again, case=case, punctuation=punctuation) == again
            assert once == " ".join(once.split())


def test_what_an_answer_says() -> None:
    by_number, by_text, by_pattern = extractor("number"), extractor("text"), extractor(r"answer is ([^.]+)")
    assert by_number("so it is 18.00, or #### 18") == by_number("18") == "18"
    assert by_number("eighteen") is None
    assert by_text(" The  Answer! ") == by_text("the answer") == "the answer"
    assert by_text(" \n") is None
    assert by_pattern("The answer is A. No: the answer is -B  c.") == "-b c", "the last match; punctuation counts"
    assert by_pattern("no idea") is None
    assert extractor("(a)|b")("b") is None, "a group that took no part says nothing"
    assert extractor("[A-D]")("A, then D") == "d", "all of the match where there is no group"
    with pytest.raises(ValueError, match="is no regular expression"):
        extractor("(")


SLOW, FOREVER = r"(.*?,){25}P", "1," * 40
"""A pattern and an answer with which `re` is not done in the age of the universe."""


def test_no_pattern_takes_for_ever() -> None:
    started = time.perf_counter()
    for call in (lambda: last_match(SLOW, FOREVER, 0.2), lambda: matches(SLOW, FOREVER, whole=True, seconds=0.2)):
        with pytest.raises(TimeoutError):
            call()
    many = "x" * 30 + "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"  # a match at every place, each after a little work
    with pytest.raises(TimeoutError):
        last_match(r"x(?=.*(.*?,){7}Q)|x", many * 200, 0.2)
    assert time.perf_counter() - started < 15


def test_an_answer_that_takes_too_long_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoint.answers.last_match", lambda *_: last_match(SLOW, FOREVER, 0.05))
    assert extractor(SLOW)(FOREVER) is None


def test_matches() -> None:
    assert matches("a+", "aaa", whole=True)
    assert not matches("a+", "aab", whole=True)
    assert matches("a+", "baab", whole=False)
    assert last_match("a(b)?", "ab a") == ""
    assert last_match("a", "b") is None


def test_shortened() -> None:
    assert shortened("a \n b") == "a b"
    assert shortened("x" * 61) == "x" * 57 + "..."


# --- likeness ---------------------------------------------------------------------------------------------------------------


def test_words_and_likeness() -> None:
    assert rouge_words("The cat's 2 Ämter") == ["the", "cat", "s", "2", "mter"]
    assert rouge_words("日本語!") == []
    assert rouge_l("日本語", "日本語") == 0
    assert rouge_l("running dogs", "run dog") == 0
    assert rouge_l("running dogs", "run dog", stemmer=True) == 1

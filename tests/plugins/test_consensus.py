"""Consensus: votes, medoids, and the rule of Ensemble-Instruct beside one written after its own code."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from counterpoint.answers import rouge_l
from counterpoint.plugin import CounterpointError, Score
from counterpoint.testing import assert_verifier_laws, make_engine
from counterpoint_plugins.consensus import Consensus

ANSWERS = st.lists(st.sampled_from(["", "a b", "A, b!", "a b c", "d e", "#### 18", "18.00", "c 17", "!", "é"]), max_size=7)
KINDS: list[dict[str, Any]] = [
    {"by": "text"},
    {"by": "number"},
    {"pattern": "[a-d]"},
    {"by": "rouge_l"},
    {"by": "agreement"},
    {"by": "agreement", "least": 0.4},
]


def scores(answers: Sequence[str], **node: Any) -> list[Score]:
    return Consensus.model_validate(node)._scores(answers)


def same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@pytest.mark.parametrize("node", KINDS, ids=str)
@settings(max_examples=50)
@given(answers=ANSWERS, data=st.data())
def test_order_changes_nothing(node: dict[str, Any], answers: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(answers))))
    found, again = scores(answers, **node), scores([answers[index] for index in order], **node)
    assert all(same(again[place], found[index]) for place, index in enumerate(order)), "not even in the last digit"
    assert all(math.isnan(score) or 0 <= score <= 1 for score in found)
    assert all(score.detail for score in found)


@given(ANSWERS)
def test_votes(answers: list[str]) -> None:
    found = scores(answers, by="number")
    numbers = [next((number for number in ("18", "17") if number in answer), None) for answer in answers]
    votes = Counter(number for number in numbers if number)
    for number, score in zip(numbers, found, strict=True):
        assert same(score, votes[number] / votes.total() if number else math.nan)


def test_what_votes_say() -> None:
    most, also, least, nothing = scores(["It is 18.", "18.00", "#### 17", "I do not know"], by="number")
    assert (most, also, least) == (2 / 3, 2 / 3, 1 / 3)
    assert math.isnan(nothing)
    assert (most.detail, nothing.detail) == ("2 of 3 say '18'", "says nothing that can be compared")
    assert scores(["Paris!", " paris", "Rome"], by="text") == [2 / 3, 2 / 3, 1 / 3]
    assert scores(["so (B)", "(b) of course", "(a) or (c)"], pattern=r"\((\w)\)") == [2 / 3, 2 / 3, 1 / 3]
    assert scores(["18"], by="number") == [1]
    assert scores(["a number", "no number 3", "3"], pattern="number")[:2] == [1, 1], "a pattern, and no way to compare"


def test_a_prefix_is_part_of_an_answer() -> None:
    with make_engine() as engine:
        recipe = {"nodes": {"v": {"kind": "consensus", "by": "number"}}, "output": "v"}
        found = engine.verify(recipe, {"text": "q", "prefix": "#### 1"}, ["8", "8.0", "80"]).result().scores
    assert list(found) == [2 / 3, 2 / 3, 1 / 3]


def test_the_medoid() -> None:
    texts = ["the cat sat", "the cat sat down", "a dog", "The cat sat."]
    found = scores(texts, by="rouge_l")
    for index, score in enumerate(found):
        others = [rouge_l(texts[index], text) for place, text in enumerate(texts) if place != index]
        assert score == pytest.approx(sum(others) / 3)
    assert found[0].detail == "mean ROUGE-L with 3 others"
    alone, silent = scores(["the cat", "日本語"], by="rouge_l")
    assert (alone.detail, silent.detail) == ("nothing to compare with", "no words of the letters a to z to compare")
    assert math.isnan(alone)
    assert math.isnan(silent)


def original(outputs: Sequence[str]) -> int | None:
    """Which of three outputs ensemble_output.py of Ensemble-Instruct keeps, None where it keeps none; texts are normal already."""
    (a, b, c) = outputs
    if a in (b, c):
        return 0
    if b == c:
        return 1
    ab, ac, bc = (rouge_l(one, other, stemmer=True) for one, other in ((a, b), (a, c), (b, c)))
    if min(ab, ac, bc) <= 0.01:
        return None
    sums = [ab + ac, ab + bc, ac + bc]
    return sums.index(max(sums))


WORDS = st.lists(st.sampled_from(["red", "dogs", "dog", "running", "run", "x"]), min_size=1, max_size=5).map(" ".join)


@given(st.lists(WORDS, min_size=3, max_size=3))
def test_agreement_chooses_as_ensemble_instruct_does(outputs: list[str]) -> None:
    found, kept = scores(outputs, by="agreement"), original(outputs)
    if kept is None:
        assert all(map(math.isnan, found))
    else:
        assert found[kept] == pytest.approx(max(found))


def test_agreement() -> None:
    one, other, third, empty = scores(["A cat.", "a cat", "a cat sat", ""], by="agreement")
    assert (one, other, third) == (1, 1, 0)
    assert math.isnan(empty)
    assert (one.detail, third.detail, empty.detail) == ("2 of 3 agree", "2 others agree", "empty")
    assert scores(["a", "a", "b", "b", "b"], by="agreement") == [0, 0, 1, 1, 1], "the larger group, where there are two"
    far = scores(["red dog", "red cat", "blue"], by="agreement")
    assert all(map(math.isnan, far))
    assert far[0].detail == "none agree, and two have a ROUGE-L of 0.000, below 0.01"
    assert scores(["red dog", "red cat", "blue"], by="agreement", least=0) == [0.25, 0.25, 0]
    assert scores(["red dogs", "red dog sat"], by="agreement")[0] == pytest.approx(0.8), "by stems, as the original does"


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ({}, "exactly one"),
        ({"by": "text", "pattern": "x"}, "exactly one"),
        ({"pattern": "("}, "no regular expression"),
        ({"by": "text", "least": 0.2}, "least goes with"),
        ({"by": "agreement", "least": 2}, "least"),
    ],
)
def test_what_makes_no_sense_is_refused(node: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Consensus.model_validate(node)


def test_without_the_package_it_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "rouge_score" else real(name, *more))
    with make_engine() as engine:
        for by in ("rouge_l", "agreement"):
            with pytest.raises(CounterpointError, match="rouge-score, which is not installed"):
                engine.plan({"nodes": {"v": {"kind": "consensus", "by": by}}, "output": "v"}).check()
        engine.plan({"nodes": {"v": {"kind": "consensus", "by": "text"}}, "output": "v"}).check()


@pytest.mark.parametrize("node", KINDS, ids=str)
def test_the_laws_hold(node: dict[str, Any]) -> None:
    recipe = {"nodes": {"v": {"kind": "consensus", **node}}, "output": "v"}
    assert_verifier_laws(recipe, ["a b", "a c 18", "", "A b.", "b 18.0"])

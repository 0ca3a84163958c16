"""Exact and numeric matches: the number an answer ends with, and what counts as the same text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from counterpoint import paths
from counterpoint.answers import final_number
from counterpoint.plugin import Score
from counterpoint.testing import assert_verifier_laws, make_engine
from counterpoint_plugins.matches import ExactMatch

Scores = Callable[..., list[Score]]


@pytest.fixture(scope="module")
def scores() -> Iterator[Scores]:
    with make_engine() as engine:

        def verify(node: dict[str, Any], answer: Any, *texts: str) -> list[Score]:
            prompt = {"text": "q", "fields": {"answer": answer}}
            return list(engine.verify({"nodes": {"v": node}, "output": "v"}, prompt, texts).result().scores)

        yield verify


def test_numeric_match(scores: Scores) -> None:
    right, same, wrong, none = scores({"kind": "numeric_match"}, "18", "#### 18", "18.00", "#### 1,800", "eighteen")
    assert (right, same, wrong, none) == (1, 1, 0, 0)
    assert wrong.detail == "1800"
    assert none.detail == "no number"
    assert scores({"kind": "numeric_match"}, 18, "18") == [1]
    for unknown in ("", None, "many"):
        (abstains,) = scores({"kind": "numeric_match"}, unknown, "18")
        assert math.isnan(abstains)
        assert abstains.detail == "the known answer holds no number"


def test_exact_match(scores: Scores) -> None:
    assert scores({"kind": "exact_match"}, "Paris", "paris.", " PARIS\n", "Paris, France", "") == [1, 1, 0, 0]
    assert scores({"kind": "exact_match", "case": True}, "Paris", "paris", "Paris!") == [0, 1]
    assert scores({"kind": "exact_match", "punctuation": True}, "it's", "Its", "IT'S") == [0, 1]
    assert scores({"kind": "exact_match"}, ["yes", "yeah"], "Yeah!", "no") == [1, 0]
    assert scores({"kind": "exact_match"}, "?", "!", "?", "") == [0, 1, 0], "punctuation counts where there is nothing else"
    assert scores({"kind": "exact_match"}, 5, "5") == [1]
    for unknown in ("", None, [], [" "]):
        assert math.isnan(scores({"kind": "exact_match"}, unknown, "x")[0])


def test_exact_match_by_a_pattern(scores: Scores) -> None:
    by_group = {"kind": "exact_match", "pattern": r"answer is (\w+)"}
    right, wrong, none = scores(by_group, "b", "the answer is A; no, the answer is B.", "the answer is C", "B")
    assert (right, wrong, none) == (1, 0, 0)
    assert wrong.detail == "found 'C'"
    assert none.detail == "the pattern finds no answer"
    assert scores({"kind": "exact_match", "pattern": r"[A-D]\b"}, "C", "A, B, then C") == [1]
    with pytest.raises(ValidationError, match="is no regular expression"):
        ExactMatch(pattern="(")


@given(st.text(), st.text())
def test_what_is_compared_is_normal(text: str, other: str) -> None:
    node = ExactMatch()
    once = node.normalised(text)
    assert node.normalised(f" {text}\n ") == once
    assert node._score([text], text) == 1 or not text.strip()
    assert node._score([text], other) == node._score([other], text) or not (text.strip() and other.strip())


@pytest.mark.parametrize("kind", ["exact_match", "numeric_match"])
def test_the_laws_hold(kind: str) -> None:
    for answer in ("18", ""):
        prompt = {"text": "hello", "fields": {"answer": answer}}
        assert_verifier_laws({"nodes": {"v": {"kind": kind}}, "output": "v"}, ["18", "#### 19", "", "a"], prompt=prompt)


def test_worked_solutions_of_gsm8k_are_right() -> None:
    path = paths.data() / "gsm8k_train_2000.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    for line in path.read_text(encoding="utf-8").splitlines():
        answer = json.loads(line)["answer"]
        wanted = Decimal(answer.rpartition("####")[2].strip().replace(",", ""))
        assert final_number(answer) == wanted

"""ROUGE-L against a longest common subsequence of our own, and the proxy of truthfulness made of it."""

from __future__ import annotations

import builtins
import importlib.util
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.answers import rouge_l
from counterpoint.errors import CounterpointError, Unsupported
from counterpoint.plugin import Score
from counterpoint.testing import assert_verifier_laws, make_engine

WORDS = st.lists(st.sampled_from("abc"), max_size=7)


Scores = Callable[..., list[Score]]


@pytest.fixture(scope="module")
def scores() -> Iterator[Scores]:
    with make_engine() as engine:

        def verify(node: dict[str, Any], fields: dict[str, Any], *texts: str) -> list[Score]:
            prompt = {"text": "q", "fields": fields}
            return list(engine.verify({"nodes": {"v": node}, "output": "v"}, prompt, texts).result().scores)

        yield verify


def common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence."""
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + common(a[:-1], b[:-1])
    return max(common(a[:-1], b), common(a, b[:-1]))


@given(WORDS.filter(bool), WORDS)
def test_it_is_f1_of_the_longest_common_subsequence(known: list[str], words: list[str]) -> None:
    f1 = rouge_l(" ".join(known), " ".join(words))
    assert f1 == rouge_l(" ".join(words), " ".join(known))
    shared = common(known, words)
    assert f1 == pytest.approx(2 * shared / (len(known) + len(words)))


def test_the_best_reference_counts(scores: Scores) -> None:
    best, first, none = scores({"kind": "rouge_l"}, {"references": ["red", "The cat sat."]}, "the cat sat", "Red!", "dog")
    assert (best, first, none) == (1, 1, 0)
    assert (best.detail, first.detail) == ("reference 2 of 2", "reference 1 of 2")
    assert scores({"kind": "rouge_l"}, {"references": "a b"}, "a") == [pytest.approx(2 / 3)]
    assert scores({"kind": "rouge_l", "stemmer": True}, {"references": ["running dogs"]}, "run dog") == [1]


def test_without_anything_to_compare_with_it_abstains(scores: Scores) -> None:
    for references in ([], None, ["日本語"], ["..."]):
        assert math.isnan(scores({"kind": "rouge_l"}, {"references": references}, "x")[0])
    for fields in ({"correct_answers": [], "incorrect_answers": ["x"]}, {"correct_answers": ["x"], "incorrect_answers": []}):
        (found,) = scores({"kind": "rouge_truth_proxy"}, fields, "x")
        assert math.isnan(found)
        assert found.detail.startswith("there is no ")


def test_the_proxy_of_truthfulness(scores: Scores) -> None:
    fields = {"correct_answers": ["Nothing happens", "it is safe"], "incorrect_answers": ["you get warts"]}
    right, wrong, other = scores({"kind": "rouge_truth_proxy"}, fields, "Nothing happens.", "You get warts", "perhaps")
    assert (right, wrong, other) == (1, -1, 0)
    assert right.detail == "1.00 like a right answer, 0.00 like a wrong one"
    swapped = {"correct_answers": fields["incorrect_answers"], "incorrect_answers": fields["correct_answers"]}
    for text in ("you get it", "nothing", "warts it is"):
        there, back = (scores({"kind": "rouge_truth_proxy"}, given, text)[0] for given in (fields, swapped))
        assert there == -back


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("rouge_l", {"references": ["a b c", "d"]}),
        ("rouge_l", {"references": []}),
        ("rouge_truth_proxy", {"correct_answers": ["a b"], "incorrect_answers": ["c d", "a"]}),
    ],
)
def test_the_laws_hold(kind: str, fields: dict[str, Any]) -> None:
    prompt = {"text": "hello", "fields": fields}
    assert_verifier_laws({"nodes": {"v": {"kind": kind}}, "output": "v"}, ["a b", "d c", "", "c d e"], prompt=prompt)


def test_without_the_package_it_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "rouge_score" else real(name, *more))
    prompt = {"text": "q", "fields": {"references": ["a"]}}
    with make_engine() as engine:
        plan = engine.plan({"nodes": {"v": {"kind": "rouge_l"}}, "output": "v"}, prompt)
        with pytest.raises(CounterpointError, match="rouge-score, which is not installed") as caught:
            plan.check()
    assert "counterpoint[eval]" in caught.value.hint


def test_without_the_package_the_function_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *more: Any) -> Any:
        if name == "rouge_score":
            raise ModuleNotFoundError("No module named 'rouge_score'", name="rouge_score")
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(Unsupported, match="computed by the package rouge-score, which is not installed") as caught:
        rouge_l("a", "b")
    assert "counterpoint[eval]" in caught.value.hint

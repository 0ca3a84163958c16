"""Verifiers combined: three-valued logic, who is asked about what, sums on common scales, and what goes with what."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from counterpoint.plugin import CandidateScored, Completion, CounterpointError, Prompt, RecipeError, Run, Score
from counterpoint.testing import assert_verifier_laws
from counterpoint_plugins.combined import AllOf, AnyOf, WeightedSum, ranks, weighted, zscores

NAN = math.nan
SCORES = st.lists(st.one_of(st.just(NAN), st.floats(-5, 5)), max_size=6)
PROMPT = {"text": "q", "fields": {"answer": "a"}}


def same(one: float, other: float, tolerance: float = 0.0) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, abs_tol=tolerance)


Parts = Callable[..., tuple[dict[str, Any], list[tuple[str, list[str]]]]]


@pytest.fixture
def parts(stage: Any) -> Parts:
    """Verifiers that score by a table; and a list of who is asked about which answers."""

    def make(**tables: dict[str, float]) -> tuple[dict[str, Any], list[tuple[str, list[str]]]]:
        asked: list[tuple[str, list[str]]] = []
        for name, table in tables.items():

            async def score(
                node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion], name: str = name, table: Any = table
            ) -> list[float]:
                assert prompt.fields == {"answer": "a"}, "a part sees the fields that it requires"
                asked.append((name, [completion.text for completion in completions]))
                return [table[completion.text] for completion in completions]

            stage.actions[name] = score
        return {name: {"kind": "script_verifier", "action": name} for name in tables}, asked

    return make


def verify(engine: Any, nodes: dict[str, Any], node: dict[str, Any], *answers: str) -> list[Score]:
    recipe = {"nodes": {**nodes, "v": {"verifiers": list(nodes), **node}}, "output": "v"}
    return list(engine.verify(recipe, PROMPT, answers).result().scores)


# --- verdicts ---------------------------------------------------------------------------------------------------------------

VERDICTS = {"y": 1.0, "n": 0.0, "-": NAN}


def kleene(kind: str, verdicts: tuple[str, ...]) -> float:
    decides, otherwise = ("n", "y") if kind == "all_of" else ("y", "n")
    decided = decides if decides in verdicts else "-" if "-" in verdicts else otherwise
    return VERDICTS[decided]


@pytest.mark.parametrize("kind", ["all_of", "any_of"])
def test_three_valued_logic_in_all_cases(kind: str, parts: Parts, engine: Any) -> None:
    cases = {"".join(case): case for case in itertools.product("yn-", repeat=3)}
    tables = [{text: VERDICTS[case[place]] for text, case in cases.items()} for place in range(3)]
    for order in ((0, 1, 2), (2, 0, 1)):
        nodes, _ = parts(**{f"p{place}": tables[place] for place in order})
        found = verify(engine, nodes, {"kind": kind}, *cases)
        for (text, case), score in zip(cases.items(), found, strict=True):
            assert same(score, kleene(kind, case)), (text, order)


def test_what_is_decided_is_not_asked_about_any_more(parts: Parts, engine: Any) -> None:
    first = {"a": 1.0, "b": 0.0, "c": NAN, "d": 1.0}
    nodes, asked = parts(cheap=first, dear={"a": 1.0, "c": 0.0, "d": 0.0}, last={"a": 1.0})
    found = verify(engine, nodes, {"kind": "all_of"}, *first)
    assert found == [1, 0, 0, 0]
    assert asked == [("cheap", ["a", "b", "c", "d"]), ("dear", ["a", "c", "d"]), ("last", ["a"])]
    assert [score.detail for score in found] == [
        "cheap 1, dear 1, last 1",
        "cheap 0",
        "cheap abstains, dear 0",
        "cheap 1, dear 0",
    ]
    nodes, asked = parts(cheap=first, dear={"b": 1.0, "c": 1.0}, last={})
    assert verify(engine, nodes, {"kind": "any_of"}, *first) == [1, 1, 1, 1]
    assert asked == [("cheap", ["a", "b", "c", "d"]), ("dear", ["b", "c"])], "the last one is not asked at all"


@pytest.mark.parametrize("kind", ["all_of", "any_of", "weighted_sum"])
def test_scores_of_parts_go_by_the_numbers_of_the_candidates(kind: str, parts: Parts, engine: Any, stage: Any) -> None:
    decided = {"all_of": 1.0, "any_of": 0.0, "weighted_sum": 0.5}[kind]
    nodes, _ = parts(a={"x": 1 - decided, "y": decided, "z": decided}, b={"x": 0.2, "y": 0.3, "z": 0.4})

    async def outer(node: Any, run: Run, prompt: Prompt) -> None:
        made = [Completion(text=text, finish_reason="stop") for text in "xyz"]
        await run.verify(node.verifier, prompt, made, candidates=[4, 6, 9])

    stage.actions["outer"] = outer
    script = {"kind": "script", "action": "outer", "verifier": {"kind": kind, "verifiers": list(nodes)}}
    result = engine.run({"nodes": {**nodes, "s": script}, "output": "s"}, PROMPT)
    told = [(event.verifier, event.candidate) for event in result.trace if isinstance(event, CandidateScored)]
    second = [4, 6, 9] if kind == "weighted_sum" else [6, 9]
    assert [number for verifier, number in told if verifier == "a"] == [4, 6, 9]
    assert [number for verifier, number in told if verifier == "b"] == second


def test_thresholds(parts: Parts, engine: Any) -> None:
    tables = {"p": {"a": 0.5, "b": 0.49, "c": 0.2, "d": -math.inf}, "q": {"a": -1.0, "b": -1.0, "c": -3.0, "d": 5.0}}
    nodes, _ = parts(**tables)
    assert verify(engine, nodes, {"kind": "any_of"}, *"abcd") == [1, 0, 0, 1], "at the threshold is accepted"
    nodes, _ = parts(**tables)
    assert verify(engine, nodes, {"kind": "all_of", "thresholds": [0.2, -1]}, *"abcd") == [1, 1, 0, 0]
    nodes, _ = parts(**tables)
    assert verify(engine, nodes, {"kind": "all_of", "thresholds": -10}, *"abcd") == [1, 1, 1, 0]


def test_a_part_says_why(parts: Parts, engine: Any) -> None:
    nodes, _ = parts(p={"a": Score(0.25, "one of four"), "b": 1.0})
    inline = {"kind": "format", "regex": "b"}
    recipe = {"nodes": {**nodes, "v": {"kind": "any_of", "verifiers": [inline, "p"]}}, "output": "v"}
    low, high = engine.verify(recipe, PROMPT, ["a", "b"]).result().scores
    assert low.detail == "format 0 (does not match the pattern), p 0.25 (one of four)"
    assert high.detail == "format 1"


# --- sums -------------------------------------------------------------------------------------------------------------------


@given(SCORES, st.data())
def test_scales_do_not_depend_on_order(scores: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(scores))))
    for scale in (ranks, zscores):
        found, again = scale(scores), scale([scores[index] for index in order])
        assert all(same(again[place], found[index]) for place, index in enumerate(order)), "not even in the last digit"


@given(SCORES.filter(lambda scores: sum(not math.isnan(score) for score in scores) > 1))
def test_scales(scores: list[float]) -> None:
    given_scores = [score for score in scores if not math.isnan(score)]
    ranked = [rank for rank in ranks(scores) if not math.isnan(rank)]
    assert len(ranked) == len(given_scores)
    assert math.fsum(ranked) == pytest.approx(len(ranked) / 2), "on average half of the others are less"
    for one, other in itertools.combinations(range(len(ranked)), 2):
        assert (ranked[one] < ranked[other]) == (given_scores[one] < given_scores[other])
    spread = float(np.std(given_scores))
    if spread > 1e-6:
        wanted = (np.array(given_scores) - np.mean(given_scores)) / spread
        assert [value for value in zscores(scores) if not math.isnan(value)] == pytest.approx(list(wanted), abs=1e-6)


def test_scales_at_their_ends() -> None:
    assert ranks([3.0]) == [0.5]
    assert ranks([1.0, 2.0, 2.0, 4.0]) == [0, 0.5, 0.5, 1]
    assert ranks([-math.inf, 2.0, 3.0]) == [0, 0.5, 1]
    assert zscores([0.1, 0.1, 0.1]) == [0, 0, 0]
    assert zscores([-math.inf, 1.0, 3.0]) == [-math.inf, -1, 1]
    assert zscores([-math.inf]) == [-math.inf]
    assert zscores([1e200, 3e200]) == pytest.approx([-1, 1])


WEIGHTS = st.lists(st.floats(-3, 3), min_size=1, max_size=4).filter(any)


@given(WEIGHTS, st.data())
def test_sums(weights: list[float], data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.floats(-5, 5), min_size=len(weights), max_size=len(weights)))
    total = sum(weight * score for weight, score in zip(weights, scores, strict=True))
    for skip in (False, True):
        assert weighted(weights, scores, skip=skip) == pytest.approx(total, abs=1e-9)
    order = data.draw(st.permutations(range(len(weights))))
    turned = weighted([weights[i] for i in order], [scores[i] for i in order], skip=False)
    assert turned == weighted(weights, scores, skip=False)
    assert math.isnan(weighted([*weights, 1.0], [*scores, NAN], skip=False))
    equal = [0.7] * len(weights)
    if all(weight > 0.01 for weight in weights):
        assert weighted([*weights, 1.0], [*equal, NAN], skip=True) == pytest.approx(0.7 * (sum(weights) + 1)), "nothing is lost"


def test_sums_at_their_ends() -> None:
    assert math.isnan(weighted([1.0, 2.0], [NAN, NAN], skip=True))
    assert math.isnan(weighted([1.0, 0.0], [NAN, 3.0], skip=True)), "what is left has no weight"
    assert weighted([1.0, 1.0], [-math.inf, 3.0], skip=False) == -math.inf
    assert weighted([0.0, 1.0], [-math.inf, 3.0], skip=False) == 3
    assert math.isnan(weighted([1.0, -1.0], [-math.inf, -math.inf], skip=False))
    assert math.isnan(weighted([1e308, 1e308], [1.0, 1.0], skip=False)), "larger than any number"


def test_a_weighted_sum(parts: Parts, engine: Any) -> None:
    tables = {"p": {"a": 0.5, "b": 1.0, "c": 0.0}, "q": {"a": -2.0, "b": -4.0, "c": NAN}}
    nodes, asked = parts(**tables)
    found = verify(engine, nodes, {"kind": "weighted_sum", "weights": [2, 0.5]}, *"abc")
    assert found[:2] == [0, 0]
    assert math.isnan(found[2])
    assert [score.detail for score in found] == ["p 0.5, q -2", "p 1, q -4", "p 0, q abstains"]
    assert sorted(asked) == [("p", ["a", "b", "c"]), ("q", ["a", "b", "c"])]
    for settings, wanted in (
        ({}, [-1.5, -3.0, NAN]),
        ({"normalize": "ranks"}, [1.5, 1.0, NAN]),
        ({"normalize": "ranks", "missing": "skip"}, [1.5, 1.0, 0.0]),
        ({"normalize": "zscore"}, [1.0, math.sqrt(1.5) - 1, NAN]),
        ({"missing": "skip", "weights": [1, 3]}, [-5.5, -11.0, 0.0]),
    ):
        nodes, _ = parts(**tables)
        found = verify(engine, nodes, {"kind": "weighted_sum", **settings}, *"abc")
        assert all(same(score, value, 1e-9) for score, value in zip(found, wanted, strict=True)), (settings, found)


# --- what goes with what ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "problem"),
    [
        (AllOf, {"verifiers": []}, "at least 1"),
        (AllOf, {"verifiers": ["a", "b"], "thresholds": [0.5]}, "1 for 2 verifiers"),
        (AnyOf, {"verifiers": ["a"], "thresholds": []}, "0 for 1 verifiers"),
        (AnyOf, {"verifiers": ["a"], "thresholds": math.inf}, "finite"),
        (WeightedSum, {"verifiers": ["a", "b"], "weights": [1]}, "1 for 2 verifiers"),
        (WeightedSum, {"verifiers": ["a"], "weights": [math.nan]}, "finite"),
        (WeightedSum, {"verifiers": ["a", "b"], "weights": [0, 0]}, "not all are 0"),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        kind.model_validate(fields)


@pytest.mark.parametrize("kind", ["all_of", "any_of", "weighted_sum"])
def test_parts_of_which_less_is_better_are_refused(kind: str, engine: Any) -> None:
    nodes = {"r": {"kind": "repetition"}, "v": {"kind": kind, "verifiers": ["r"]}}
    with pytest.raises(CounterpointError, match="the lower the score of 'r'") as caught:
        engine.plan({"nodes": nodes, "output": "v"}).check()
    assert "leave it out" in caught.value.hint


@pytest.mark.parametrize("kind", ["all_of", "any_of"])
def test_verdicts_take_no_part_that_compares(kind: str, engine: Any) -> None:
    vote = {"kind": "consensus", "by": "text"}
    form = {"kind": "format", "regex": "a"}
    for part in (vote, {"kind": "weighted_sum", "verifiers": [form, vote]}, weighed("ranks", form)):
        with pytest.raises(CounterpointError, match="compares answers with one another"):
            engine.plan({"nodes": {"v": {"kind": kind, "verifiers": [form, part]}}, "output": "v"}).check()
    for part in (weighed("none", form), {"kind": "any_of", "verifiers": [form]}):
        engine.plan({"nodes": {"v": {"kind": kind, "verifiers": [form, part]}}, "output": "v"}).check()


def weighed(normalize: str, *parts: Any) -> dict[str, Any]:
    return {"kind": "weighted_sum", "verifiers": list(parts), "normalize": normalize}


def test_the_fields_of_parts_are_required_of_the_prompt(engine: Any) -> None:
    nodes = {"v": {"kind": "all_of", "verifiers": [{"kind": "exact_match"}]}}
    with pytest.raises(RecipeError, match=r"v.verifiers\[0\]: needs the prompt's field\(s\) answer"):
        engine.verify({"nodes": nodes, "output": "v"}, "q", ["a"]).result()
    found = engine.verify({"nodes": nodes, "output": "v"}, PROMPT, ["a", "b"]).result().scores
    assert list(found) == [1, 0]


FORM, MATCH = {"kind": "format", "regex": "a|b"}, {"kind": "exact_match"}
VOTE, LIKELY = {"kind": "consensus", "by": "text"}, {"kind": "likelihood", "model": {"kind": "fake"}}


@pytest.mark.parametrize(
    "node",
    [
        {"kind": "all_of", "verifiers": [FORM, LIKELY, MATCH], "thresholds": [0.5, -3.0, 0.5]},
        {"kind": "any_of", "verifiers": [MATCH, {"kind": "all_of", "verifiers": [FORM, LIKELY], "thresholds": [0.5, -3]}]},
        weighed("none", FORM, VOTE, LIKELY),
        {**weighed("ranks", FORM, VOTE, LIKELY), "missing": "skip"},
        weighed("zscore", LIKELY, weighed("ranks", VOTE, MATCH)),
    ],
    ids=str,
)
def test_the_laws_hold(node: dict[str, Any]) -> None:
    assert_verifier_laws({"nodes": {"v": node}, "output": "v"}, ["a", "b", "", "c", "b"], prompt=PROMPT)

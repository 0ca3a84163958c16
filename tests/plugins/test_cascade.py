"""Cascades: which stage answers, what it costs, and what stands when something goes wrong."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from counterpoint.plugin import (
    Budget,
    CandidateFinished,
    CandidateScored,
    CandidateSelected,
    Completion,
    Emitted,
    ModelError,
    Note,
    Prompt,
    RecipeError,
    Run,
    RunError,
)
from counterpoint.testing import assert_generator_laws

ASKED = {"text": "hello there", "fields": {"answer": "x"}}
MODEL = {"kind": "fake", "end_bias": 1.0}


def cascade(count: int = 3, **fields: Any) -> dict[str, Any]:
    """A recipe whose stages say what `saying` lets them."""
    names = "abcdef"[:count]
    nodes: dict[str, Any] = {name: {"kind": "script", "action": "say", "value": index} for index, name in enumerate(names)}
    nodes["judge"] = {"kind": "script_verifier", "action": "judge"}
    nodes["out"] = {"kind": "cascade", "stages": list(names), "verifiers": "judge", "thresholds": 1, **fields}
    return {"nodes": nodes, "output": "out"}


def saying(stage: Any, *texts: str | Exception) -> list[int]:
    """Lets stages say texts, or fail; returns which ones are asked."""
    asked: list[int] = []

    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        text = texts[node.value]
        asked.append(node.value)
        if isinstance(text, Exception):
            raise text
        run.emit(Emitted(text=text, ids=(7,), proposer=run.path, decider=run.path, logprobs={run.path: (-0.5,)}))

    stage.actions["say"] = say
    return asked


def judging(stage: Any, judge: Any) -> None:
    async def verdicts(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        assert prompt.fields == {"answer": "x"}
        return [judge(completion.text) for completion in completions]

    stage.actions["judge"] = verdicts


def events(result: Any, kind: type) -> list[Any]:
    return [event for event in result.trace if isinstance(event, kind)]


@pytest.mark.parametrize(("wanted", "asked"), [("one", 1), ("two", 2), ("three", 3), ("none", 3)])
def test_the_first_accepted_answer_stands(stage: Any, engine: Any, wanted: str, asked: int) -> None:
    stages = saying(stage, "one", "two", "three")
    judging(stage, lambda text: float(text == wanted))
    result = engine.run(cascade(), ASKED)
    assert stages == list(range(asked))
    assert result.text == ("one", "two", "three")[asked - 1]
    (selected,) = events(result, CandidateSelected)
    assert selected.candidate == asked - 1
    assert [event.candidate for event in events(result, CandidateScored)] == list(range(min(asked, 2))), (
        "the last is not judged"
    )
    assert [event.candidate for event in events(result, CandidateFinished)] == list(range(asked))
    (emitted,) = [event for event in events(result, Emitted) if event.span == 1]
    assert emitted.proposer == "abc"[asked - 1]


def test_confidence_is_the_geometric_mean_of_probabilities(stage: Any, engine: Any) -> None:
    recipe = {
        "nodes": {
            "small": MODEL,
            "large": MODEL | {"seed": 4},
            "out": {"kind": "cascade", "stages": ["small", "large"], "thresholds": 0.99},
        },
        "output": "out",
        "sampling": {"temperature": 0.0, "max_tokens": 20},
    }
    result = engine.run(recipe, "hello there")
    pieces = [event for event in events(result, Emitted) if event.node == "small:sample"]
    logprobs = [value for event in pieces for value in event.logprobs["small"]]
    (scored,) = events(result, CandidateScored)
    assert scored.score == pytest.approx(math.exp(sum(logprobs) / len(logprobs)))
    assert (scored.verifier, scored.detail) == ("out", "confidence")
    assert result.text == engine.run({**recipe, "output": "large"}, "hello there").text
    recipe["nodes"]["out"]["thresholds"] = scored.score
    assert engine.run(recipe, "hello there").text == engine.run({**recipe, "output": "small"}, "hello there").text


def test_one_verifier_and_threshold_for_each_stage(stage: Any, engine: Any) -> None:
    saying(stage, "1", "22", "333")
    judging(stage, len)
    verifiers = ["judge", {"kind": "script_verifier", "action": "judge"}]
    for thresholds, expected in (([1, 2], "1"), ([2, 2], "22"), ([2, 3], "333"), ([math.inf, -1], "22"), (0, "1")):
        assert engine.run(cascade(verifiers=verifiers, thresholds=thresholds), ASKED).text == expected


def test_verdicts_need_no_threshold(stage: Any, engine: Any) -> None:
    saying(stage, "it is 4", "5")
    recipe = cascade(2, verifiers={"kind": "numeric_match"}, thresholds=None)
    assert engine.run(recipe, {"text": "2 + 2", "fields": {"answer": "4"}}).text == "it is 4"
    assert engine.run(recipe, {"text": "2 + 3", "fields": {"answer": "5"}}).text == "5"


def test_the_last_stage_streams(stage: Any, engine: Any) -> None:
    saying(stage, "no", "no")
    judging(stage, lambda text: 0.0)
    recipe = cascade(2)
    recipe["nodes"]["b"] = MODEL | {"end_bias": -99}
    recipe["sampling"] = {"max_tokens": 12}
    result = engine.run(recipe, ASKED)
    assert len([event for event in events(result, Emitted) if event.span == 1]) > 3
    assert result.completion == engine.run({**recipe, "output": "b"}, ASKED).completion


@pytest.mark.parametrize("tokens", [5, 12, 25])
def test_a_spent_budget_leaves_the_best_so_far(stage: Any, engine: Any, tokens: int) -> None:
    judging(stage, lambda text: -len(text))
    endless = MODEL | {"end_bias": -99}
    recipe = cascade(3)
    recipe["nodes"] |= {"a": endless, "b": endless | {"seed": 1}, "c": endless | {"seed": 2}}
    recipe["sampling"] = {"max_tokens": 10}
    result = engine.run(recipe, ASKED, budget=Budget(tokens=tokens))
    whole = {name: engine.run({**recipe, "output": name}, ASKED).text for name in "abc"}
    assert result.finish_reason == "budget"
    assert result.text == {5: whole["a"][:5], 12: whole["a"], 25: whole["a"]}[tokens]


def test_a_stage_or_a_verifier_that_fails_gives_way_to_the_next(stage: Any, engine: Any) -> None:
    saying(stage, ModelError("no memory"), "two", "three")
    judging(stage, lambda text: 1.0)
    result = engine.run(cascade(), ASKED)
    assert result.text == "two"
    assert [event.name for event in events(result, Note)] == ["stage_failed"]

    def broken(text: str) -> float:
        raise RunError("no court")

    saying(stage, "one", "two", "three")
    judging(stage, broken)
    result = engine.run(cascade(), ASKED)
    assert result.text == "three"
    assert [event.name for event in events(result, Note)] == ["verifier_failed"] * 2


def test_a_last_stage_that_fails_loses_nothing(stage: Any, engine: Any) -> None:
    saying(stage, "aaa", "bb", ModelError("no memory"))
    judging(stage, lambda text: -len(text))
    with pytest.raises(ModelError, match="no memory") as raised:
        engine.run(cascade(), ASKED)
    assert raised.value.result.text == "bb"  # type: ignore[attr-defined]


def test_abstentions_and_empty_answers_are_not_accepted(stage: Any, engine: Any) -> None:
    saying(stage, "", "two", "three")
    judging(stage, lambda text: math.nan)
    assert engine.run(cascade(), ASKED).text == "three"


def test_laws() -> None:
    node = {"kind": "cascade", "stages": ["m", "o"], "thresholds": 0.35}
    assert_generator_laws({"nodes": {"m": MODEL, "o": MODEL | {"seed": 3}, "c": node}, "output": "c"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stages": ["a"]}, "at least 2"),
        ({"thresholds": [1, 2, 3]}, "thresholds: 3 for 2 stages"),
        ({"verifiers": ["judge"] * 4}, "verifiers: 4 for 2 stages"),
        ({"thresholds": math.nan}, "nan accepts nothing"),
        ({"thresholds": None}, r"'judge' \(script_verifier\) gives no verdict"),
        ({"thresholds": None, "verifiers": []}, "confidence has no verdict"),
        ({"verifiers": {"kind": "preference", "judge": "a"}}, "compares answers"),
    ],
)
def test_bad_recipes(engine: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        engine.run(cascade(**fields), ASKED)


def test_an_answer_that_the_budget_left_unjudged_stands(stage: Any, engine: Any) -> None:
    saying(stage, "one", "two", "three")

    async def costly(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        if completions[0].text == "two":
            run._account.admit(tokens=10**6)
        return [0.0]

    stage.actions["judge"] = costly
    result = engine.run(cascade(), ASKED, budget=Budget(tokens=1000))
    assert (result.text, result.finish_reason) == ("two", "budget")


def test_a_stage_whose_share_is_spent_leaves_the_rest_to_the_next(stage: Any, engine: Any) -> None:
    judging(stage, lambda text: 1.0)
    endless = MODEL | {"end_bias": -99}
    first = {"kind": "best_of_n", "generators": "m", "n": 4, "select": "vote", "shares": [0.5]}
    recipe = cascade(2, stages=["first", "b"])
    recipe["nodes"] |= {"m": endless, "first": first, "b": endless | {"seed": 3}}
    recipe["sampling"] = {"temperature": 1.0, "max_tokens": 40}
    result = engine.run(recipe, ASKED, budget=Budget(tokens=200))
    assert len(result.completion.ids) == 40
    assert [event.candidate for event in events(result, CandidateSelected) if event.span == 1] == [1]
    assert result.finish_reason == "budget", "with another budget the first stage might have answered"


def test_answers_without_probabilities_have_no_confidence_and_say_so(stage: Any, engine: Any) -> None:
    saying(stage, "one", "two")
    recipe = cascade(2, stages=[{"kind": "best_of_n", "generators": "a", "n": 1}, "b"], verifiers=[], thresholds=0.0)
    result = engine.run(recipe, ASKED)
    assert result.text == "two"
    (scored,) = events(result, CandidateScored)
    assert scored.detail == "no confidence: the tokens come without probabilities"


def test_an_answer_stays_where_a_run_ends_while_it_is_verified(stage: Any, engine: Any) -> None:
    saying(stage, "a whole answer", "second", "third")
    asked = threading.Event()

    async def endless(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        asked.set()
        await asyncio.sleep(600)
        return [1.0]

    stage.actions["judge"] = endless
    stream = engine.stream(cascade(), ASKED)
    asked.wait()
    stream.cancel()
    assert (stream.wait().text, stream.wait().finish_reason) == ("a whole answer", "cancelled")


def test_a_stage_that_is_never_accepted_is_not_even_with_an_infinite_score(stage: Any, engine: Any) -> None:
    saying(stage, "a", "b", "c")
    judging(stage, lambda text: math.inf)
    assert engine.run(cascade(thresholds=[math.inf, 1.0]), ASKED).text == "b"

"""The example's nodes obey the laws of their roles, alone and nested."""

from __future__ import annotations

from typing import Any

from counterpoint.testing import assert_drafter_laws, assert_generator_laws, make_engine

MODEL = {"kind": "fake"}
SPECULATIVE = {"kind": "speculative", "target": "model", "draft": {"kind": "bigram", "min_count": 1}}
VOTE = {"kind": "vote", "generator": "answer", "samples": 3, "pattern": "[aeiou]"}


def recipe(output: str, **nodes: Any) -> dict[str, Any]:
    return {"nodes": {"model": MODEL, **nodes}, "output": output, "sampling": {"temperature": 0.8, "max_tokens": 60}}


def test_the_drafter_obeys_its_laws() -> None:
    assert_drafter_laws(recipe("draft", draft={"kind": "bigram", "min_count": 1}), target="model")


def test_drafting_changes_no_token() -> None:
    with make_engine() as engine:
        plain = engine.run(recipe("model"), "hello there hello there", seed=3)
        drafted = engine.run(recipe("answer", answer=SPECULATIVE), "hello there hello there", seed=3)
    assert drafted.completion == plain.completion


def test_the_vote_obeys_the_generator_laws() -> None:
    assert_generator_laws(recipe("best", answer=SPECULATIVE, best=VOTE))


def test_the_majority_wins() -> None:
    with make_engine() as engine:
        same = {"temperature": 0.0}
        result = engine.run(recipe("best", best={**VOTE, "generator": "model", "sampling": same}), "hi")
    (selected,) = [event for event in result.trace if event.type == "candidate_selected"]
    finished = [event for event in result.trace if event.type == "candidate_finished"]
    assert selected.reason.startswith("3 of 3")  # greedy samples are all the same
    assert result.completion == finished[selected.candidate].completion

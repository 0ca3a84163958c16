"""Answers that are made once: found by what decides them, across engines and processes, and by nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from counterpoint import Engine, RecipeError, RunError, RunResult, Sampling, paths
from counterpoint.events import CandidateScored, Forward, Note
from counterpoint.testing import assert_generator_laws, make_engine

MODEL: dict[str, Any] = {"kind": "fake", "seed": 5}


def recipe(**fields: Any) -> dict[str, Any]:
    return {
        "nodes": {"m": MODEL, "c": {"kind": "cached", "generator": "m", **fields}},
        "output": "c",
        "sampling": {"temperature": 0.9, "max_tokens": 12},
    }


def made(result: RunResult) -> bool:
    """Whether a model had to work for it."""
    return any(isinstance(event, Forward) for event in result.trace)


def notes(result: RunResult) -> list[Any]:
    return [event.data for event in result.trace if isinstance(event, Note) and event.name == "cached"]


def files() -> list[Path]:
    return sorted(paths.candidates().glob("*.jsonl"))


def test_the_laws_hold(tmp_path: Path) -> None:
    assert_generator_laws(recipe())  # the first runs make, the later ones find
    assert_generator_laws(recipe(file=str(tmp_path / "k.jsonl")))


def test_an_answer_is_made_once(engine: Engine) -> None:
    first = engine.run(recipe(), "hello")
    again = engine.run(recipe(), "hello")
    assert made(first)
    assert not made(again)
    assert first.completion == again.completion
    assert (notes(first), notes(again)) == (
        [],
        [{"cost": {"flops": first.summary.flops, "tokens": first.summary.generated_tokens}}],
    )
    assert (again.summary.flops, again.summary.generated_tokens, again.summary.answer_tokens) == (0, 0, 12)
    assert again.completion.tokenizer != ""


def test_another_engine_finds_it(engine: Engine) -> None:
    first = engine.run(recipe(), "hello")
    with make_engine() as other:
        again = other.run(recipe(), "hello")
    assert not made(again)
    assert again.completion == first.completion
    assert len(files()) == 1


PROGRAM = """
import json, sys
from counterpoint.testing import make_engine
with make_engine() as engine:
    results = engine.run_many(json.loads(sys.argv[1]), ["one", "two", "three", "four"])
    print(json.dumps([[result.text, result.summary.flops] for result in results]))
"""


def test_another_process_finds_it(engine: Engine) -> None:
    """What two processes know, both have made once: they share the lines of one file."""
    prompts = ["one", "two", "three", "four"]
    here = engine.run_many(recipe(), prompts[:2])
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(recipe())], capture_output=True, text=True, check=True)
    there = json.loads(done.stdout)
    assert [text for text, _ in there[:2]] == [result.text for result in here]
    assert [flops > 0 for _, flops in there] == [False, False, True, True]
    late = engine.run_many(recipe(), prompts)
    assert [result.text for result in late] == [text for text, _ in there]
    assert not any(map(made, late))
    (file,) = files()
    assert len(file.read_text().splitlines()) == 1 + 4


def test_names_change_nothing(engine: Engine) -> None:
    engine.run(recipe(), "hello")
    renamed = {**recipe(), "nodes": {"x": {"kind": "cached", "generator": MODEL}}, "output": "x"}
    assert not made(engine.run(renamed, "hello"))
    assert not made(engine.run(recipe(), {"text": "hello", "fields": {"answer": "42"}})), "fields are for verifiers"


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": {"nodes": {"m": {**MODEL, "blur": 0.5}}}},
        {"recipe": {"nodes": {"m": {**MODEL, "stop": ["e"]}}}},
        {"prompt": "Hello"},
        {"prompt": {"text": "hello", "prefix": "a"}},
        {"prompt": [{"role": "user", "content": "hello"}]},
        {"seed": 1},
        {"row": 1},
        {"sampling": Sampling(temperature=0.8)},
        {"sampling": Sampling(max_tokens=11)},
        {"sampling": Sampling(stop=("e",))},
    ],
    ids=str,
)
def test_everything_else_does(engine: Engine, other: dict[str, Any]) -> None:
    engine.run(recipe(), "hello")
    mine = recipe()
    changed = other.pop("recipe", {})
    mine["nodes"] = {**mine["nodes"], **changed.get("nodes", {})}
    prompt = other.pop("prompt", "hello")
    again = engine.run(mine, prompt, **other)
    assert made(again)
    assert not made(engine.run(mine, prompt, **other))


def test_candidates_differ(engine: Engine) -> None:
    """Those of one strategy, of several samples of it, and of another strategy that it stands in."""

    def texts(row: int) -> list[str]:
        corrector = {"kind": "lm_corrector", "corrector": "m", "candidates": "k", "n": 3, "greedy_first": False}
        outer = {"kind": "best_of_n", "generators": "c", "n": 2, "select": "vote"}
        nodes = {"m": MODEL, "k": {"kind": "cached", "generator": "m"}, "c": corrector, "b": outer}
        given = {"nodes": nodes, "output": "b", "sampling": {"max_tokens": 8}}
        trace = engine.run(given, "hello", row=row).trace
        return [event.completion.text for event in trace if event.type == "candidate_finished" and event.node == "c"]

    found = [text for row in (0, 1) for text in texts(row)]
    assert len(set(found)) == 12
    assert sorted(found) == sorted(text for row in (0, 1) for text in texts(row))


def test_strategies_share_candidates(engine: Engine) -> None:
    shared = {"m": MODEL, "k": {"kind": "cached", "generator": "m"}}
    settings = {"sampling": {"temperature": 0.6, "max_tokens": 8}}
    for row in range(3):  # the samples of an evaluation
        engine.run({"nodes": shared, "output": "k", **settings}, "hello", row=row)
    best = {"kind": "best_of_n", "generators": "k", "n": 3, "select": "vote"}
    assert not made(engine.run({"nodes": {**shared, "b": best}, "output": "b", **settings}, "hello"))
    fusion = {"kind": "fusion", "model": "m", "candidates": "k", "n": 3, "greedy_first": False}
    fused = engine.run({"nodes": {**shared, "f": fusion}, "output": "f", **settings}, "hello")
    assert len(notes(fused)) == 3


def test_a_partial_answer_is_not_kept(engine: Engine) -> None:
    cut = engine.run(recipe(), "hello", budget="tokens=5")
    assert cut.finish_reason == "budget"
    assert files() == []
    stream = engine.stream(
        {
            **recipe(),
            "sampling": {"max_tokens": 2000},
            "nodes": {"m": {**MODEL, "end_bias": -99.0}, "c": recipe()["nodes"]["c"]},
        },
        "hello",
    )
    next(event for event in stream if event.type == "emitted")
    stream.cancel()
    assert stream.wait().finish_reason == "cancelled"
    with pytest.raises(Exception, match="the fake model was told to fail"):
        engine.run({**recipe(), "nodes": {**recipe()["nodes"], "m": {**MODEL, "fails_after": 3}}}, "hello")
    assert files() == []
    whole = engine.run(recipe(), "hello")
    assert whole.finish_reason == "length"
    assert len(files()) == 1
    assert engine.run(recipe(), "hello", budget="tokens=5").completion == whole.completion, "what is kept costs nothing"


def test_a_file_of_ones_own(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "mine" / "k.jsonl"
    first = engine.run(recipe(file=str(file)), "hello")
    for seed in range(3):  # what the questions of an evaluation have, each its own
        engine.run(recipe(file=str(file)), "hello", seed=seed)
    assert files() == []
    assert not made(engine.run(recipe(file=str(file)), "hello"))
    other = {**recipe(file=str(file)), "nodes": {**recipe(file=str(file))["nodes"], "m": {**MODEL, "seed": 6}}}
    before = file.read_bytes()
    with pytest.raises(RecipeError, match=r"c: .*k\.jsonl holds what another recipe made.*seed: 5 there, 6 here") as caught:
        engine.plan(other).check()
    assert "name another file" in caught.value.hint
    with pytest.raises(RecipeError):
        engine.run(other, "hello")
    assert file.read_bytes() == before
    file.write_bytes(before[:-20])  # as a kill leaves it
    assert engine.run(recipe(file=str(file)), "hello").completion == first.completion


def test_a_file_that_becomes_anothers_is_refused_in_the_run(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "k.jsonl"
    engine.run(recipe(file=str(file)), "hello")
    file.write_text("{}\n")
    with pytest.raises(RunError, match="is a file of another kind"):
        engine.run(recipe(file=str(file)), "hello")
    assert file.read_text() == "{}\n"


def test_the_content_of_files_counts(engine: Engine, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    nodes = {
        "m": MODEL,
        "r": {"kind": "recorded", "file": str(answers)},
        "f": {"kind": "fusion", "model": "m", "candidates": "r", "n": 1},
        "c": {"kind": "cached", "generator": "f"},
    }
    mine = {"nodes": nodes, "output": "c", "sampling": {"max_tokens": 5}}
    answers.write_text('{"prompt": "hello", "answers": "one"}\n')
    engine.run(mine, "hello")
    assert not made(engine.run(mine, "hello"))
    answers.write_text('{"prompt": "hello", "answers": "two"}\n')
    assert made(engine.run(mine, "hello"))


def test_fields_that_verifiers_below_read_count(engine: Engine, stage: Any) -> None:
    @stage.action
    async def matches(node: Any, run: Any, prompt: Any, completions: Any) -> list[float]:
        return [float(one.text.startswith(prompt.fields["answer"])) for one in completions]

    best = {"kind": "best_of_n", "generators": "m", "n": 4, "select": "score", "verifiers": "v"}
    nodes = {"m": MODEL, "v": {"kind": "script_verifier", "action": "matches"}, "b": best}
    mine = {"nodes": {**nodes, "c": {"kind": "cached", "generator": "b"}}, "output": "c", "sampling": recipe()["sampling"]}
    first = engine.run(mine, {"text": "hello", "fields": {"answer": "x", "id": "1"}})
    letter = next(
        event.completion.text[0]
        for event in first.trace
        if event.type == "candidate_finished" and event.completion.text[0] != first.text[0]
    )
    other = engine.run(mine, {"text": "hello", "fields": {"answer": letter, "id": "1"}})
    assert made(other)
    assert other.text[0] == letter
    again = engine.run(mine, {"text": "hello", "fields": {"answer": letter, "id": "2"}})
    assert not made(again)
    assert again.text == other.text


def test_what_plan_says(engine: Engine) -> None:
    twice = {**recipe(), "nodes": {**recipe()["nodes"], "d": {"kind": "cached", "generator": "c"}}, "output": "d"}
    assert [finding.level for finding in engine.plan(twice).findings if "kept already" in finding.message] == ["warning"]


def test_it_stands_inside_others_and_streams(engine: Engine, stage: Any) -> None:
    pieces: list[str] = []

    @stage.action
    async def read(node: Any, run: Any, prompt: Any) -> None:
        async with run.stream(node.child, prompt) as stream:
            pieces.extend([piece.text async for piece in stream])

    reading = {
        **recipe(),
        "nodes": {**recipe()["nodes"], "s": {"kind": "script", "action": "read", "child": "c"}},
        "output": "s",
    }
    engine.run(reading, "hello")
    assert len(pieces) > 5, "while it is made it comes piece by piece"
    whole = "".join(pieces)
    pieces.clear()
    engine.run(reading, "hello")
    assert pieces == [whole]


def test_a_kept_answer_is_as_confident_as_it_was(engine: Engine) -> None:
    nodes = {**recipe()["nodes"], "big": {"kind": "fake", "seed": 6}}
    graph = {"nodes": nodes, "output": "out", "sampling": recipe()["sampling"]}
    nodes["out"] = {"kind": "cascade", "stages": ["c", "big"], "thresholds": 0.0}
    first, again = engine.run(graph, "hello"), engine.run(graph, "hello")
    scores = [[e.score for e in one.trace if isinstance(e, CandidateScored)] for one in (first, again)]
    assert scores[0] == scores[1]
    assert 0 < scores[0][0] < 1
    assert first.completion == again.completion
    assert (made(first), made(again)) == (True, False)


@pytest.mark.parametrize("damage", [lambda line: line.pop("completion"), lambda line: line.update(logprobs=["x"])])
def test_a_kept_line_without_an_answer_is_named(engine: Engine, damage: Any) -> None:
    engine.run(recipe(), "hello")
    (file,) = files()
    header, kept = file.read_text().splitlines()
    line = json.loads(kept)
    damage(line)
    file.write_text(f"{header}\n{json.dumps(line)}\n")
    with make_engine() as fresh, pytest.raises(RunError, match="has a line that is none of what it keeps") as caught:
        fresh.run(recipe(), "hello")
    assert "remove that line" in caught.value.hint


def test_a_line_that_is_nested_too_deeply_is_named(engine: Engine) -> None:
    engine.run(recipe(), "hello")
    (file,) = files()
    with file.open("a") as out:
        out.write('{"key": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with make_engine() as fresh, pytest.raises(RunError, match="has a line that is none of what it keeps"):
        fresh.run(recipe(), "hello")


def test_recordings_below_are_kept_by_their_turn(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(json.dumps({"prompt": "q", "answers": ["first", "second"]}) + "\n")
    nodes: dict[str, Any] = {
        "o": {"kind": "fake"},
        "r": {"kind": "recorded", "file": str(file)},
        "c": {"kind": "cached", "generator": "r"},
        "best": {"kind": "best_of_n", "generators": "c", "n": 2, "select": "vote"},
        "out": {"kind": "cascade", "stages": ["o", "c"], "thresholds": 2.0},
    }
    engine.run({"nodes": nodes, "output": "best", "sampling": {"max_tokens": 2}}, "q")
    assert engine.run({"nodes": nodes, "output": "out", "sampling": {"max_tokens": 2}}, "q").text == "first"


def test_what_a_response_holds_back_comes_out_of_a_run_that_is_cancelled(engine: Engine) -> None:
    nodes = recipe()["nodes"] | {"m": {**MODEL, "end_bias": -99}}
    asked: dict[str, Any] = {"nodes": nodes, "output": "c", "sampling": {"max_tokens": 400, "temperature": 1.0}}
    whole = engine.run(asked, "hello").text
    asked["sampling"]["stop"] = [whole[10:300] + "@"]  # matched for long, and then not
    stream = engine.stream(asked, "hello")
    passes = 0
    for event in stream:
        passes += isinstance(event, Forward)
        if passes == 60:
            stream.cancel()
    assert stream.wait().finish_reason == "cancelled"
    assert len(stream.wait().text) > 40
    assert whole.startswith(stream.wait().text)

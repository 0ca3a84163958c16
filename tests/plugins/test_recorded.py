"""Answers from a file: found by the prompt, taken in turn, and clear errors for everything else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from counterpoint import Engine, RecipeError, RunError, Sampling
from counterpoint.events import CandidateFinished
from counterpoint.testing import assert_generator_laws, make_engine

Lines = Callable[..., Path]


@pytest.fixture(scope="module")
def planner() -> Iterator[Engine]:
    with make_engine() as made:
        yield made


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    def write(*rows: Any, name: str = "answers.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
        return path

    return write


def recipe(file: Path | str, **fields: Any) -> dict[str, Any]:
    return {"nodes": {"r": {"kind": "recorded", "file": str(file), **fields}}, "output": "r"}


HELLO = {"prompt": "hello there", "answers": ["General Kenobi!", "Hi.", "Good day."]}
FUGUE = {"prompt": "what is a fugue", "answers": "A piece for several voices."}


def test_the_laws_hold(lines: Lines) -> None:
    assert_generator_laws(recipe(lines(HELLO, FUGUE, {"prompt": "a", "answers": [""]})))


def test_answers_are_taken_in_turn_and_stand_as_they_are(engine: Engine, lines: Lines) -> None:
    mine = recipe(lines(HELLO, FUGUE))
    assert [engine.run(mine, "hello there", row=row).text for row in range(4)] == [*HELLO["answers"], "General Kenobi!"]
    result = engine.run(mine, "what is a fugue", sampling=Sampling(max_tokens=1, stop=("piece",)))
    assert (result.text, result.finish_reason) == ("A piece for several voices.", "stop")
    assert (result.summary.flops, result.summary.generated_tokens) == (0, 0)
    corrected = {
        "nodes": {
            **mine["nodes"],
            "m": {"kind": "fake"},
            "c": {"kind": "lm_corrector", "corrector": "m", "candidates": "r", "n": 3},
        },
        "output": "c",
        "sampling": {"max_tokens": 4},
    }
    finished = [event for event in engine.run(corrected, "hello there").trace if isinstance(event, CandidateFinished)]
    assert sorted(event.completion.text for event in finished) == sorted(HELLO["answers"]), "those beside one another differ"


def test_messages_are_found_by_the_last_one_of_the_user(engine: Engine, lines: Lines) -> None:
    chat = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello there"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "what is a fugue"},
    ]
    assert engine.run(recipe(lines(HELLO, FUGUE)), chat).text == FUGUE["answers"]
    with pytest.raises(RunError, match="no message of the user"):
        engine.run(recipe(lines(HELLO)), [{"role": "system", "content": "hello there"}])


def test_what_a_prefix_says_is_not_said_again(engine: Engine, lines: Lines) -> None:
    mine = recipe(lines(HELLO))
    assert engine.run(mine, {"text": "hello there", "prefix": "General "}).text == "Kenobi!"
    assert engine.run(mine, {"text": "hello there", "prefix": "Ah. "}).text == "General Kenobi!"


def test_other_columns(engine: Engine, lines: Lines) -> None:
    file = lines({"question": "hello there", "completion": "hi", "prompt": 3})
    assert engine.run(recipe(file, prompt="question", answers="completion"), "hello there").text == "hi"


def test_a_name_is_looked_for_in_the_data_folder(
    engine: Engine, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(HELLO)
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    assert engine.run(recipe("answers.jsonl"), "hello there").text == "General Kenobi!"


def test_a_file_that_changes_is_read_again(engine: Engine, lines: Lines) -> None:
    mine = recipe(lines(HELLO))
    assert engine.run(mine, "hello there").text == "General Kenobi!"
    lines({**HELLO, "answers": "changed"})
    assert engine.run(mine, "hello there").text == "changed"


def test_a_prompt_that_is_not_there(engine: Engine, lines: Lines) -> None:
    file = lines(HELLO)
    with pytest.raises(RunError, match=r"r: .*answers\.jsonl has no answer to 'hello There'") as caught:
        engine.run(recipe(file), "hello There")
    assert "column 'prompt'" in caught.value.hint


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "holds no example"),
        (["\n\n"], "holds no example"),
        (["{"], "line 1: is not JSON"),
        (["[1]\n"], "line 1: is a JSON list, not an object"),
        ([HELLO, {"answers": "x"}], "line 2: has no column 'prompt'"),
        ([HELLO, {"prompt": "x"}], "line 2: has no column 'answers'"),
        ([{"prompt": 3, "answers": "x"}], "line 1: column 'prompt' is no text but 3"),
        ([{"prompt": " ", "answers": "x"}], "line 1: column 'prompt' is no text"),
        ([{"prompt": "x", "answers": []}], "line 1: column 'answers' is neither a text nor a list of texts"),
        ([{"prompt": "x", "answers": ["y", None]}], "line 1: column 'answers' is neither a text nor a list of texts"),
        ([{"prompt": "x", "answers": "\ud800"}], "line 1: its text holds half of a surrogate pair"),
        ([HELLO, FUGUE, {**HELLO, "answers": "Hi."}], "line 3: answers the prompt of .*line 1 differently"),
    ],
)
def test_bad_files_are_refused_before_anything_runs(planner: Engine, lines: Lines, rows: list[Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        planner.plan(recipe(lines(*rows))).check()
    assert caught.value.hint


def test_equal_lines_may_stand_twice_and_a_missing_file_is_told(engine: Engine, lines: Lines) -> None:
    engine.plan(recipe(lines(HELLO, HELLO))).check()
    with pytest.raises(RecipeError, match=r"no data set 'nowhere\.jsonl'"):
        engine.plan(recipe("nowhere.jsonl")).check()


def test_each_of_several_recordings_is_taken_from_its_beginning(engine: Engine, lines: Lines) -> None:
    one, other = (
        {"kind": "recorded", "file": str(lines({"prompt": "q", "answers": [f"{x}0", f"{x}1"]}, name=x))} for x in "ab"
    )
    best = {"kind": "best_of_n", "generators": ["a", "b"], "n": 2, "select": "vote"}
    made = engine.run({"nodes": {"a": one, "b": other, "out": best}, "output": "out"}, "q")
    texts = {event.candidate: event.completion.text for event in made.trace if isinstance(event, CandidateFinished)}
    assert sorted(texts.values()) == ["a0", "a1", "b0", "b1"]
    cascade = {"kind": "cascade", "stages": ["a", "b"], "verifiers": {"kind": "format", "regex": "b."}}
    assert engine.run({"nodes": {"a": one, "b": other, "out": cascade}, "output": "out"}, "q").text == "b0"


@pytest.mark.parametrize(
    "outer", [{"kind": "cached", "generator": "r"}, {"kind": "best_of_n", "generators": "r", "n": 1, "select": "vote"}]
)
def test_samples_take_answers_in_turn_through_other_nodes(engine: Engine, lines: Lines, outer: dict[str, Any]) -> None:
    mine = recipe(lines(HELLO))
    graph = {"nodes": {**mine["nodes"], "out": outer}, "output": "out"}
    assert [engine.run(graph, "hello there", row=row).text for row in range(3)] == HELLO["answers"]

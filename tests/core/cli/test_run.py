"""`counterpoint run` and `counterpoint replay`, with fake models."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from counterpoint.runstore import RunStore

FAILING = ("--set", "large.fails_after=5", "--set", "output=large")


def answer(invoke: Any, *arguments: object) -> str:
    outcome = invoke("run", *arguments)
    assert outcome.status == 0, outcome.err
    return outcome.out


def test_only_the_answer_is_on_stdout(invoke: Any, recipe: Path) -> None:
    outcome = invoke("run", recipe)
    assert outcome.status == 0
    assert outcome.out == RunStore().export("last") + "\n"
    assert "\x1b" not in outcome.out + outcome.err
    for word in ("loading ", "drafted", "24 tokens at", "reached its longest length", RunStore().resolve("last")):
        assert word in outcome.err


def test_quiet(invoke: Any, recipe: Path) -> None:
    outcome = invoke("run", recipe, "-q")
    assert outcome.err == ""
    assert len(outcome.out) == 25


def test_json(invoke: Any, recipe: Path) -> None:
    outcome = invoke("run", recipe, "--json", "-q")
    data = json.loads(outcome.out)
    assert set(data) == {"run_id", "text", "ids", "finish_reason", "error", "warnings", "summary"}
    assert (len(data["ids"]), len(data["text"]), data["finish_reason"], data["error"]) == (24, 24, "length", None)
    assert data["summary"]["answer_tokens"] == 24
    assert data["summary"] == RunStore().result(data["run_id"])["summary"]


def test_samples_are_one_object_a_line(invoke: Any, recipe: Path) -> None:
    outcome = invoke("run", recipe, "--json", "--samples", 3, "--temperature", 1)
    texts = [json.loads(line)["text"] for line in outcome.out.splitlines()]
    assert len(set(texts)) == 3
    assert len(RunStore().list()) == 3


def test_samples_as_text(invoke: Any, recipe: Path) -> None:
    outcome = invoke(
        "run", recipe, "--samples", 2, "--temperature", 1, "--set", "large.alphabet=abc", "--set", "small.alphabet=abc"
    )
    assert "sample 2 of 2" in outcome.err
    assert len(outcome.out.split()) == 2


def test_where_the_prompt_comes_from(invoke: Any, recipe: Path, tmp_path: Path, piped: Any) -> None:
    own = answer(invoke, recipe)
    other = answer(invoke, recipe, "another one")
    assert own != other
    assert answer(invoke, recipe, "--prompt", "another one") == other
    (tmp_path / "p.txt").write_text("another one")
    assert answer(invoke, recipe, "--prompt-file", tmp_path / "p.txt") == other
    (tmp_path / "m.json").write_text('[{"role": "user", "content": "another one"}]')
    assert answer(invoke, recipe, "--messages", tmp_path / "m.json") == other
    for arguments in ([], ["-"], ["--prompt", "-"], ["--prompt-file", "-"]):
        piped(b"another one")
        assert answer(invoke, recipe, *arguments) == other
    piped(b"")
    assert answer(invoke, recipe) == own


def test_what_is_piped_in_yields_to_a_prompt(invoke: Any, recipe: Path, piped: Any) -> None:
    expected = answer(invoke, recipe, "another one")
    piped(b"not this")
    assert answer(invoke, recipe, "another one") == expected


def test_prefix_and_fields(invoke: Any, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "tests.py").write_text("assert True")
    invoke("run", recipe, "--prefix", "once", "--field", f"test=@{tmp_path / 'tests.py'}", "--field", "level=3")
    prompt = next(iter(RunStore().replay("last"))).prompt  # type: ignore[union-attr]
    assert (prompt.text, prompt.prefix) == ("hello there", "once")
    assert prompt.fields == {"test": "assert True", "level": "3"}


def test_settings(invoke: Any, recipe: Path) -> None:
    arguments = ["--set", "spec.max_draft=1", "--set", "seed=9", "--max-tokens", 5, "--temperature", 0.5, "--seed", 3]
    assert len(answer(invoke, recipe, *arguments)) == 6
    stored = yaml.safe_load(RunStore().export("last", "recipe"))
    assert stored["nodes"]["spec"]["max_draft"] == 1
    assert stored["sampling"] == {"max_tokens": 5, "temperature": 0.5}
    assert stored["seed"] == 3


def test_no_store(invoke: Any, recipe: Path) -> None:
    answer(invoke, recipe, "--no-store")
    assert RunStore().list() == []


def test_a_budget_that_ends_the_answer(invoke: Any, recipe: Path) -> None:
    outcome = invoke("run", recipe, "--budget", "tokens=10")
    assert outcome.status == 3
    assert 0 < len(outcome.out) < 24
    assert "ended by its budget" in outcome.err
    assert "of 10 tokens spent" in outcome.err


def test_a_model_that_fails_keeps_what_there_is(invoke: Any, recipe: Path) -> None:
    outcome = invoke("run", recipe, *FAILING)
    assert outcome.status == 1
    assert 1 < len(outcome.out) < 24
    assert "error: large: the forward pass failed" in outcome.err
    assert "hint:" in outcome.err
    assert "Traceback" not in outcome.err
    assert RunStore().list()[0].status == "failed"
    as_json = invoke("run", recipe, *FAILING, "--json")
    assert as_json.status == 1
    assert "told to fail" in json.loads(as_json.out)["error"]["message"]


def test_debug_shows_where_it_failed(invoke: Any, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" in invoke("--debug", "run", recipe, *FAILING).err
    monkeypatch.setenv("COUNTERPOINT_DEBUG", "1")
    assert "Traceback" in invoke("run", recipe, *FAILING).err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nothing-of-the-kind"], 1, ["no recipe named 'nothing-of-the-kind'", "hint: there are:"]),
        (["absent.yaml"], 1, ["no recipe file 'absent.yaml'"]),
        (["RECIPE", "a", "--prompt", "b"], 2, ["PROMPT and --prompt both give a prompt"]),
        (["RECIPE", "--prompt-file", "absent.txt"], 2, ["cannot read absent.txt: No such file"]),
        (["RECIPE", "   "], 2, ["the prompt is empty"]),
        (["RECIPE", "--set", "large"], 2, ["--set large: it has the form NODE.FIELD=VALUE"]),
        (["RECIPE", "--set", "large.seed=[1"], 2, ["the value is not YAML"]),
        (["RECIPE", "--set", "large.sed=1"], 1, ["large.sed", "no such field", "fake has:"]),
        (["RECIPE", "--set", "lage.seed=1"], 1, ["no node is called 'lage'", "nodes: large, small, spec"]),
        (["RECIPE", "--field", "x"], 2, ["--field x: it has the form NAME=VALUE"]),
        (["RECIPE", "--budget", "tokens"], 1, ["budget 'tokens'", "hint: for example"]),
        (["RECIPE", "--samples", "0"], 2, ["--samples", "run --help"]),
        (["RECIPE", "--max-tokens", "many"], 2, ["--max-tokens"]),
        (["RECIPE", "--unknown"], 2, ["--unknown"]),
        ([], 2, ["RECIPE"]),
    ],
)
def test_what_is_wrong_is_said(invoke: Any, recipe: Path, arguments: list[str], status: int, words: list[str]) -> None:
    outcome = invoke("run", *[recipe if argument == "RECIPE" else argument for argument in arguments])
    assert outcome.status == status, outcome.err
    assert outcome.out == ""
    for word in ["error: ", *words]:
        assert word in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "no list of"),
        ("not json", "is not JSON"),
        ('[{"role": "robot", "content": "x"}]', "messages.0.role"),
        ("[]", "either"),
    ],
)
def test_messages_that_are_none(invoke: Any, recipe: Path, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.json").write_text(text)
    outcome = invoke("run", recipe, "--messages", tmp_path / "m.json")
    assert outcome.status == 2
    assert words in outcome.err


def test_a_recipe_without_a_prompt_wants_one(invoke: Any, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("prompt: hello there\n", ""))
    outcome = invoke("run", recipe)
    assert outcome.status == 2
    assert "no prompt of its own" in outcome.err


def test_warnings_of_the_plan_are_shown(invoke: Any, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("draft: [small]", "draft: [large]"))
    outcome = invoke("run", recipe)
    assert outcome.status == 0
    assert "warning: spec: the target drafts for itself" in outcome.err
    assert "warning: small: no other node refers to this one" in outcome.err
    assert "the target drafts" in json.loads(invoke("run", recipe, "--json").out)["warnings"][1]


def test_a_full_disk_is_a_warning(invoke: Any, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("counterpoint.recording.dump_event", full)
    outcome = invoke("run", recipe)
    assert outcome.status == 0
    assert len(outcome.out) == 25
    assert "warning: the run is not recorded any further: No space left on device" in outcome.err


# --- replay -------------------------------------------------------------------------------------------------------------


def test_a_replay_shows_what_the_run_showed(invoke: Any, recipe: Path) -> None:
    live = invoke("run", recipe)
    replayed = invoke("replay")
    assert replayed.status == 0
    assert replayed.out == live.out
    loading = [line for line in live.err.splitlines() if line.startswith("loading")]
    assert loading + replayed.err.splitlines() == live.err.splitlines()


def test_a_replay_of_a_summary_shows_the_same_costs(invoke: Any, recipe: Path) -> None:
    live = invoke("run", recipe, "--set", "record=summary")
    replayed = invoke("replay", "last")
    assert replayed.out == live.out
    assert replayed.err == "".join(line for line in live.err.splitlines(keepends=True) if not line.startswith("loading"))


def test_a_replay_of_a_failed_run_says_so(invoke: Any, recipe: Path) -> None:
    live = invoke("run", recipe, *FAILING)
    replayed = invoke("replay")
    assert (replayed.status, replayed.out) == (0, live.out)
    assert "error: large: the forward pass failed" in replayed.err


def test_a_replay_takes_its_time_when_asked(invoke: Any, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    invoke("run", recipe)
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    invoke("replay", "--speed", 2)
    events = list(RunStore().replay("last"))
    took = sum(b.t - a.t for a, b in itertools.pairwise(events) if b.type != "progress")
    assert sum(slept) == pytest.approx(took / 2)


def test_no_such_run(invoke: Any) -> None:
    outcome = invoke("replay", "nope")
    assert outcome.status == 1
    assert "there is no stored run 'nope'" in outcome.err

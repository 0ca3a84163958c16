"""`eval` and `compare` from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]

RECIPE = """\
nodes: {m: {kind: fake, memory: 30, end_bias: END}}
output: m
sampling: {max_tokens: 20}
tasks: {math: {template: "{{ question }}"}}
"""
WORDS = ("one", "two", "three", "four", "five")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"what is {word} and {word}", "answer": str(2 * n)} for n, word in enumerate(WORDS, 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.replace("END", "-2"))
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.yaml"
    path.write_text(RECIPE.replace("END", "-50").replace("fake", "fake, cost: 4"))
    return path


def test_eval(invoke: Invoke, small: Path, data: Path, tmp_path: Path) -> None:
    done = invoke("eval", small, "--data", data, "--scorer", "distinct_n", "--scorer", "numeric_match", "--out", tmp_path / "e")
    assert done.status == 0
    assert "small on sums: 5 examples, 5 answers" in done.out
    assert "distinct_n" in done.out
    assert "an answer costs" in done.out
    assert f"answers are kept in {tmp_path / 'e'}" in done.err
    assert "small: 5 of 5 examples" in done.err

    scorers = ("--scorer", "distinct_n", "--scorer", "numeric_match")
    again = invoke("eval", "run", small, "--data", data, *scorers, "--out", tmp_path / "e", "--json")
    assert json.loads(again.out)["figures"]["distinct_n"]["n"] == 5
    shown = invoke("eval", "show", tmp_path / "e")
    assert shown.out == done.out
    one = invoke("eval", "show", tmp_path / "e", "--example", "2")
    assert one.out.startswith("2 sample 0")
    scored = invoke("eval", "score", tmp_path / "e", "--data", data, "--scorer", "repetition", "--json")
    assert list(json.loads(scored.out)["figures"]) == ["repetition"]


def test_a_place_of_its_own_is_found_again(invoke: Invoke, small: Path, data: Path) -> None:
    first = invoke("eval", small, "--data", data)
    place = first.err.splitlines()[0]
    assert "evaluations/small-sums-" in place
    assert invoke("eval", small, "--data", data).err.splitlines()[0] == place
    assert invoke("eval", small, "--data", data, "--seed", 3).err.splitlines()[0] != place
    assert "-timed" in invoke("eval", small, "--data", data, "--in-flight", 1).err.splitlines()[0]


def test_the_first_examples_may_be_left_out(invoke: Invoke, small: Path, large: Path, data: Path) -> None:
    done = invoke("eval", small, "--data", data, "--skip", 2, "--limit", 2)
    assert "2 examples, 2 answers" in done.out
    again = invoke("compare", small, large, "--data", data, "--skip", 2, "--limit", 2)
    assert again.status == 0
    assert "small: 0 of 2 examples" not in again.err, "they are found again"
    assert "5 are skipped" in invoke("eval", small, "--data", data, "--skip", 5).err


def test_several_samples(invoke: Invoke, small: Path, data: Path) -> None:
    done = invoke("eval", small, "--data", data, "--samples", 4, "--temperature", 1.0)
    assert "5 examples, 20 answers" in done.out
    assert "pass@4" in done.out


def test_answers_first_scores_later(invoke: Invoke, small: Path, data: Path, tmp_path: Path) -> None:
    done = invoke("eval", small, "--data", data, "--no-score", "--out", tmp_path / "e")
    assert (done.status, done.out.splitlines()[-1]) == (0, "not scored")
    assert "numeric_match" in invoke("eval", "score", tmp_path / "e", "--data", data).out


def test_shards(invoke: Invoke, small: Path, data: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        assert invoke("eval", small, "--data", data, "--shard", f"{number}/2", "--out", tmp_path / f"s{number}").status == 0
    merged = invoke("eval", "merge", tmp_path / "s1", tmp_path / "s2", "--out", tmp_path / "all")
    assert "5 examples, 5 answers" in merged.out


def test_failures_are_counted_and_told(invoke: Invoke, tmp_path: Path, data: Path) -> None:
    recipe = tmp_path / "tight.yaml"
    recipe.write_text(RECIPE.replace("END", "-2").replace("fake,", "fake, context: 30,"))
    done = invoke("eval", recipe, "--data", data)
    assert done.status == 1
    assert "of 5 answers failed; the first, 2: m: the prompt has" in done.err
    assert "Traceback" not in done.err


def test_compare(invoke: Invoke, small: Path, large: Path, data: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = invoke("compare", small, large, "--data", data, "--scorer", "numeric_match", "--report", report)
    assert done.status == 0
    assert done.out.startswith("No difference shown between small and large on numeric_match")
    assert "<html" in report.read_text()
    assert "what is two" not in report.read_text(), "a report holds no words of the data set"
    asked = invoke("compare", small, large, "--data", data, "--report", report, "--questions", "--json")
    assert [one["name"] for one in json.loads(asked.out)["recipes"]] == ["small", "large"]
    assert "what is two" in report.read_text()
    budget = invoke("compare", small, large, "--data", data, "--budget", "tokens=4", "--json")
    assert {one["costs"]["tokens"] for one in json.loads(budget.out)["recipes"]} == {4.0}


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["eval", "SMALL"], 2, "name a data set"),
        (["eval", "SMALL", "--data", "none.jsonl"], 1, "no data set 'none.jsonl'"),
        (["eval", "SMALL", "--source", "DATA"], 2, "--source and --references go together"),
        (["eval", "nothing", "--data", "DATA"], 1, "no recipe named 'nothing'"),
        (["eval", "SMALL", "--data", "DATA", "--shard", "3"], 2, "it has the form I/N"),
        (["eval", "SMALL", "--data", "DATA", "--scorer", "gleu"], 1, "reads source"),
        (["eval", "SMALL", "--data", "DATA", "--template", "{{ colour }}"], 1, "'colour' is undefined"),
        (["eval", "SMALL", "--data", "DATA", "--budget", "flops=1"], 1, "no recipe can answer anything"),
        (["eval", "SMALL", "--data", "DATA", "--out", "FOLDER"], 1, "holds files that are no evaluation"),
        (["eval", "show", "FOLDER"], 1, "holds no evaluation"),
        (["eval", "merge", "FOLDER", "--out", "FOLDER/x"], 1, "holds no evaluation"),
        (["compare", "SMALL", "--data", "DATA"], 2, "two recipes or more"),
        (["compare", "SMALL", "LARGE"], 2, "name a data set"),
        (
            ["compare", "SMALL", "LARGE", "--data", "DATA", "--budget", "flops=huge"],
            1,
            "neither a number nor one of the recipes",
        ),
        (["compare", "SMALL", "LARGE", "--data", "DATA", "--report", "FOLDER"], 1, "is a folder"),
    ],
)
def test_bad_input(
    invoke: Invoke, small: Path, large: Path, data: Path, tmp_path: Path, arguments: list[str], status: int, says: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    places = {"SMALL": small, "LARGE": large, "DATA": data, "FOLDER": folder, "FOLDER/x": folder / "x"}
    done = invoke(*(places.get(one, one) for one in arguments))
    assert done.status == status
    assert says in done.err
    assert "Traceback" not in done.err
    assert [file.name for file in folder.iterdir()] == ["letter.txt"]


PROGRAM = """
import sys
from counterpoint.cli import main
from counterpoint.registry import load_plugins
from counterpoint.testing import fake
sys.exit(main(sys.argv[1:], registry=load_plugins([fake])))
"""


def test_ctrl_c(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "endless.yaml"
    recipe.write_text(RECIPE.replace("END", "-100, context: 100000000").replace("max_tokens: 20", "max_tokens: 10000000"))
    out = tmp_path / "e"
    command = [sys.executable, "-c", PROGRAM, "eval", str(recipe), "--data", str(data), "--out", str(out)]
    environment: dict[str, Any] = {**os.environ, "COUNTERPOINT_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not (out / "examples.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "0 of 5 examples are kept; the same command goes on" in err
    assert "Traceback" not in err

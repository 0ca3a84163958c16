"""`counterpoint score` from the command line."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counterpoint.registry import Registry, load_plugins
from counterpoint.testing import fake

Invoke = Callable[..., Any]
PLUGIN = Path(__file__).parents[1] / "selection" / "conftest.py"
MODULE = runpy.run_path(str(PLUGIN))


@pytest.fixture(scope="module")
def scorers() -> Registry:
    return load_plugins([fake, MODULE["Scorers"]()])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "says.yaml"
    path.write_text("nodes: {v: {kind: says}}\noutput: v\n")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    rows = [{"prompt": f"q{number}", "response": answer} for number, answer in enumerate(["3", "", "1", "2", "5"])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_lines_go_to_standard_output(invoke: Invoke, scorers: Registry, recipe: Path, data: Path) -> None:
    done = invoke("score", recipe, "--data", data, plugins=scorers)
    assert done.status == 0
    assert [row["says"] for row in lines(done.out)] == [3, None, 1, 2, 5]
    assert "says: 5 of 5 examples  says 2.75" in done.err
    assert "note: 5 lines: 4 scored, 1 abstained, 5 kept; says 1 to 5, quartiles 1.75 2.5 3.5" in done.err
    assert f"note: 1 line with answers that have no score; the first, {data}, line 2: says nothing" in done.err
    quiet = invoke("score", recipe, "--data", data, "--top", "40%", "--keep-below", 5, "--quiet", plugins=scorers)
    assert [row["says"] for row in lines(quiet.out)] == [3, 2]
    assert quiet.err == ""


def test_lines_go_to_a_file(invoke: Invoke, scorers: Registry, recipe: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = invoke("score", recipe, "--data", data, "--out", out, "--keep-above", 1, "--name", "how", plugins=scorers)
    assert done.status == 0
    assert done.out == "5 lines: 4 scored, 1 abstained, 3 kept; how 1 to 5, quartiles 1.75 2.5 3.5\n"
    assert [row["how"] for row in lines(out.read_text())] == [3, 2, 5]
    again = invoke("score", recipe, "--data", data, "--out", out, plugins=scorers)
    assert again.status == 1
    assert "is there already" in again.err
    summary = invoke("score", recipe, "--data", data, "--out", tmp_path / "b.jsonl", "--json", "-q", plugins=scorers)
    found = json.loads(summary.out)
    assert found == {
        "name": "says",
        "lines": 5,
        "scored": 4,
        "abstained": 1,
        "failed": 0,
        "kept": 5,
        "quantiles": {"0": 1.0, "10": 1.3, "25": 1.75, "50": 2.5, "75": 3.5, "90": 4.4, "100": 5.0},
        "out": str(tmp_path / "b.jsonl"),
    }
    assert summary.err == ""


def test_columns_and_settings(invoke: Invoke, scorers: Registry, recipe: Path, tmp_path: Path) -> None:
    data = tmp_path / "answers.jsonl"
    data.write_text('{"q": "a", "small": "1", "large": "2"}\n{"q": "b", "small": "4", "large": "3"}\n')
    template = tmp_path / "words.txt"
    template.write_text("Answer this: {{ q }}")
    asked = ("--data", data, "--answer", "small", "--answer", "large")
    done = invoke("score", recipe, *asked, "--template", f"@{template}", plugins=scorers)
    assert [(row["says"], row["selected"], row["answer"]) for row in lines(done.out)] == [([1, 2], 1, "2"), ([4, 3], 0, "4")]
    less = invoke("score", recipe, *asked, "--prompt", "q", "--set", "v.kind=says_less", "--limit", 1, plugins=scorers)
    assert [(row["says_less"], row["answer"]) for row in lines(less.out)] == [([1, 2], "1")]
    dice = ("score", recipe, *asked, "--prompt", "q", "--set", "v.kind=dice", "--quiet")
    one, same, other = (invoke(*dice, "--seed", seed, plugins=scorers).out for seed in (1, 1, 2))
    assert one == same != other


def test_nothing_is_kept(invoke: Invoke, scorers: Registry, recipe: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = invoke("score", recipe, "--data", data, "--keep-above", 9, "--out", out, "--quiet", plugins=scorers)
    assert done.status == 0
    assert "warning: no line is kept" in done.err
    assert out.read_text() == ""


def test_failures_are_counted_and_told(invoke: Invoke, scorers: Registry, recipe: Path, data: Path) -> None:
    data.write_text(data.read_text().replace('"1"', '"broken"'))
    done = invoke("score", recipe, "--data", data, "--quiet", plugins=scorers)
    assert done.status == 1
    assert [row["says"] for row in lines(done.out)] == [3, None, None, 2, 5]
    assert done.err == f"warning: the verifier failed on 1 line; the first, {data}, line 3: it broke\n"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["score", "RECIPE"], 2, "missing option '--data'"),
        (["score", "RECIPE", "--data", "none.jsonl"], 1, "no data set 'none.jsonl'"),
        (["score", "nothing", "--data", "DATA"], 1, "no recipe named 'nothing'"),
        (["score", "small", "--data", "DATA"], 1, "generates, and scores nothing"),
        (["score", "train-cross-model-control", "--data", "DATA"], 1, "trains a model, and scores nothing"),
        (["score", "RECIPE", "--data", "DATA", "--prompt", "p", "--template", "t"], 2, "use one of them"),
        (["score", "RECIPE", "--data", "DATA", "--template", "@nowhere"], 2, "cannot read nowhere"),
        (["score", "RECIPE", "--data", "DATA", "--json"], 2, "--out FILE"),
        (["score", "RECIPE", "--data", "DATA", "--backend", "lama"], 1, "no backend is called 'lama'"),
        (["score", "RECIPE", "--data", "DATA", "--top", "0.1"], 1, "hint: for example 500, or 10%"),
        (["score", "RECIPE", "--data", "DATA", "--in-flight", "0"], 2, "--in-flight"),
        (["score", "RECIPE", "--data", "DATA", "--answer", "output"], 1, "line 1: has no column 'output'"),
        (["score", "RECIPE", "--data", "DATA", "--out", "DATA"], 1, "is the file that is to be scored"),
        (["run", "superfilter", "hello"], 1, "hint: `counterpoint score superfilter --data FILE`"),
        (["run", "agreement", "hello"], 1, "scores answers and gives none"),
    ],
)
def test_bad_input(
    invoke: Invoke, scorers: Registry, recipe: Path, data: Path, arguments: list[str], status: int, says: str
) -> None:
    places = {"RECIPE": recipe, "DATA": data}
    before = data.read_bytes()
    done = invoke(*(places.get(one, one) for one in arguments), plugins=scorers)
    assert done.status == status
    assert says in done.err
    assert "Traceback" not in done.err
    assert data.read_bytes() == before


def test_the_two_commands_that_score_say_what_the_other_does(invoke: Invoke) -> None:
    assert "`eval score`" in invoke("score", "--help").out
    assert "`counterpoint score`" in invoke("eval", "score", "--help").out


def test_ctrl_c_keeps_what_there_is(
    invoke: Invoke, scorers: Registry, recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = scorers.kind("says").node
    score = says._score  # type: ignore[attr-defined]

    def interrupting(self: Any, text: str) -> Any:
        if text == "1":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)  # the signal reaches the main thread before this line is scored
        return score(self, text)

    out = tmp_path / "out.jsonl"
    arguments = ("score", recipe, "--data", data, "--in-flight", 1)
    with monkeypatch.context() as patch:
        patch.setattr(says, "_score", interrupting)
        done = invoke(*arguments, "--out", out, plugins=scorers)
        assert done.status == 130
        assert "stopping; Ctrl-C again stops at once" in done.err
        assert "of 5 lines are scored; the same command goes on" in done.err
        aloud = invoke(*arguments, plugins=scorers)
        assert (aloud.status, aloud.out) == (130, "")
        assert "with --out FILE the same command would go on" in aloud.err
    assert not out.exists()
    assert invoke(*arguments, "--out", out, plugins=scorers).status == 0
    assert [row["says"] for row in lines(out.read_text())] == [3, None, 1, 2, 5]


PROGRAM = """
import runpy, sys, time
from counterpoint.cli import main
from counterpoint.registry import load_plugins
scorers = runpy.run_path(sys.argv[1])
score = scorers["Says"]._score
scorers["Says"]._score = lambda self, text: (time.sleep(0.02), score(self, text))[1]
sys.exit(main(sys.argv[2:], registry=load_plugins([scorers["Scorers"]()])))
"""


def test_a_kill_at_any_point(invoke: Invoke, scorers: Registry, recipe: Path, tmp_path: Path) -> None:
    data, out, whole = tmp_path / "many.jsonl", tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    data.write_text("".join(json.dumps({"prompt": "q", "response": str(number % 97)}) + "\n" for number in range(120)))
    arguments = ["score", str(recipe), "--data", str(data), "--in-flight", "3", "--top", "50", "--quiet", "--out"]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(PLUGIN), *arguments, str(out)], env=dict(os.environ))
    partial = tmp_path / "out.jsonl.partial"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (partial.exists() and partial.read_bytes().count(b"\n") > 5):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    kept = partial.read_bytes().count(b"\n") - 1
    assert 5 <= kept < 120
    asked = scorers.kind("says").node.asked  # type: ignore[attr-defined]
    asked.clear()
    assert invoke(*arguments, out, plugins=scorers).status == 0
    assert len(asked) == 120 - kept
    assert invoke(*arguments, whole, plugins=scorers).status == 0
    assert out.read_bytes() == whole.read_bytes()
    assert len(lines(out.read_text())) == 50

"""`counterpoint calibrate` from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from counterpoint.plugin import Completion, Emitted, Prompt, Run
from counterpoint.registry import Registry, load_plugins

pytest.importorskip("scipy")
Invoke = Callable[..., Any]


@pytest.fixture
def plugins(stage: Any) -> Registry:
    """A generator that is right on some samples, at no cost, and a verifier that scores by a table."""

    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        assert prompt.text is not None
        index = int(prompt.text.split("number ")[1].split()[0].strip(".\n"))
        right = (index * 7 + (run.ordinal + node.value) * 3) % 10 < index % 10
        run.emit(Emitted(text=f"{index if right else -1}", proposer=run.path, decider=run.path))

    async def judge(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        return [0.9 if completion.text == prompt.fields["answer"] else 0.1 for completion in completions]

    stage.actions |= {"say": say, "judge": judge}
    return load_plugins([stage.plugin])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"question": f"number {n}", "answer": str(n)}) + "\n" for n in range(40)))
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(**node: Any) -> Path:
        path = tmp_path / "mine.yaml"
        says = {name: {"kind": "script", "action": "say", "value": value} for value, name in enumerate("ab")}
        nodes = {**says, "judge": {"kind": "script_verifier", "action": "judge"}, "out": {"verifiers": "judge", **node}}
        path.write_text(yaml.safe_dump({"nodes": nodes, "output": "out"}))
        return path

    return write


SAMPLES: dict[str, Any] = {"kind": "best_of_n", "generators": "a", "n": 4}
STAGES: dict[str, Any] = {"kind": "cascade", "stages": ["a", "b"], "thresholds": 0.5}


def strict(text: str) -> Any:
    def no_number(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=no_number)


def test_samples(invoke: Invoke, plugins: Registry, write: Any, data: Path, tmp_path: Path) -> None:
    done = invoke("calibrate", write(**SAMPLES), "--data", data, "--write", tmp_path / "found.yaml", "-q", plugins=plugins)
    assert done.status == 0, done.err
    assert "mine, out, on data: 40 examples, 160 candidates; the truth is numeric_match" in done.out
    assert "accepted from a score of 0.9" in done.out
    found = yaml.safe_load((tmp_path / "found.yaml").read_text())["nodes"]["out"]
    assert (found["select"], found["accept"], found["worth"]["soundness"]) == ("first", 0.9, 1.0)
    again = invoke("eval", tmp_path / "found.yaml", "--data", data, "-q", plugins=plugins)
    assert again.status == 0, again.err


def test_stages_that_cost_nothing(invoke: Invoke, plugins: Registry, write: Any, data: Path) -> None:
    done = invoke("calibrate", write(**STAGES), "--data", data, "-q", plugins=plugins)
    assert done.status == 0, done.err
    assert "an answer costs 0 FLOP" in done.out
    assert "of the last stage alone" not in done.out


@pytest.mark.parametrize("node", [{**SAMPLES, "select": "first", "accept": 5.0}, STAGES], ids=["samples", "stages"])
def test_json_is_json(invoke: Invoke, plugins: Registry, stage: Any, write: Any, data: Path, node: dict[str, Any]) -> None:
    async def judge(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        return [1.0] * len(completions)

    async def say(node: Any, run: Run, prompt: Prompt) -> None:  # only the second stage is ever right, and the second sample
        assert prompt.text is not None
        number = prompt.text.split("number ")[1].split()[0].strip(".\n")
        run.emit(Emitted(text=number if node.value + run.ordinal == 1 + node.value * run.ordinal else "no"))

    stage.actions |= {"judge": judge, "say": say}
    done = invoke("calibrate", write(**node), "--data", data, "--json", "-q", plugins=plugins)
    assert done.status == 0, done.err
    found = strict(done.out)
    assert (found["without_score"], found["without_truth"]) == (0, 0)
    if node is STAGES:
        assert found["settings"]["thresholds"] == ["Infinity"]
        shown = invoke("calibrate", write(**node), "--data", data, "-q", plugins=plugins)
        assert "never" in shown.out
    else:
        assert found["ceiling"] is None
        shown = invoke("calibrate", write(**node), "--data", data, "-q", plugins=plugins)
        assert "none is accepted" in shown.out
        assert "nan" not in shown.out


def test_answers_without_a_score_are_told(invoke: Invoke, plugins: Registry, stage: Any, write: Any, data: Path) -> None:
    async def judge(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        if prompt.fields["answer"] == "7":
            raise RuntimeError("no court")
        return [float(completion.text == prompt.fields["answer"]) for completion in completions]

    stage.actions["judge"] = judge
    done = invoke("calibrate", write(**SAMPLES), "--data", data, "-q", plugins=plugins)
    assert done.status == 0, done.err
    told = "4 answers have no score, and count as not accepted; the first: 7, answer 0: judge: RuntimeError: no court"
    assert told in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("node", "options", "message"),
    [
        (SAMPLES, ["--wrong", "1"], "wrong 1 makes no sense"),
        (SAMPLES, ["--quality", "95%"], "--quality and --cost are for stages"),
        (STAGES, ["--price", "0.1"], "--right, --wrong and --price are for samples"),
        (STAGES, ["--write", "nowhere/x.yaml"], "there is no folder nowhere to write x.yaml into"),
        (STAGES, ["--quality", "much"], "it is a number, or a percentage"),
    ],
)
def test_bad_options_are_refused_at_once(
    invoke: Invoke, plugins: Registry, stage: Any, write: Any, data: Path, node: Any, options: list[str], message: str
) -> None:
    stage.actions.clear()  # nothing is answered
    done = invoke("calibrate", write(**node), "--data", data, *options, plugins=plugins)
    assert done.status in (1, 2)
    assert message in done.err

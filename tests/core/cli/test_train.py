"""`counterpoint train` in this process, with a trainer that only counts."""

from __future__ import annotations

import json
import os
import runpy
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from counterpoint import paths
from counterpoint.cli import train as module
from counterpoint.cli.console import Cli
from counterpoint.cli.train import TrainingDisplay
from counterpoint.events import Note, Progress
from counterpoint.registry import Registry, load_plugins
from counterpoint.testing import fake

Invoke = Callable[..., Any]
Counting = runpy.run_path(str(Path(__file__).parents[1] / "training" / "conftest.py"))["Counting"]


@pytest.fixture(scope="module")
def trainers() -> Registry:
    return load_plugins([fake, Counting()])


@pytest.fixture(autouse=True)
def _calm() -> Iterator[None]:
    yield
    Counting.after = staticmethod(lambda step: None)


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    path = tmp_path / "count.yaml"
    path.write_text("nodes: {t: {kind: counting, artifact: four}}\noutput: t\n")
    return path


def test_train(invoke: Invoke, trainers: Registry, counting: Path) -> None:
    done = invoke("train", counting, plugins=trainers)
    assert done.status == 0
    assert done.out.splitlines() == [
        f"artifact:four is in {paths.artifacts() / 'four'}",
        "4 steps in 3 s; loss 1 first, 0.25 last; held out 2 before, 0.5 at step 4",
        "a recipe loads it as {kind: huggingface, source: artifact:four}",
    ]
    assert "training four: 1 of 4 steps  loss 1 " in done.err
    assert "tokens/s  about" in done.err
    assert "training four: 4 of 4 steps  loss 0.25" in done.err
    again = invoke("train", counting, plugins=trainers)
    assert again.status == 1
    assert "is there already" in again.err
    assert "hint:" in again.err


def test_as_data(invoke: Invoke, trainers: Registry, counting: Path) -> None:
    done = invoke("train", counting, "--name", "two", "--set", "t.steps=2", "--json", "--quiet", plugins=trainers)
    assert done.status == 0
    data = json.loads(done.out)
    assert (data["artifact"], data["steps"]) == ("artifact:two", 2)
    assert data["folder"] == str(paths.artifacts() / "two")
    assert done.err == ""


def test_an_interrupted_training_goes_on(invoke: Invoke, trainers: Registry, counting: Path) -> None:
    def interrupt(step: int) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        if step >= 2:
            time.sleep(0.3)  # the signal reaches the training between two steps

    Counting.after = staticmethod(interrupt)
    done = invoke("train", counting, "--set", "t.steps=30", plugins=trainers)
    assert done.status == 130
    assert "the same command goes on" in done.err
    assert "stopped at step " in done.err
    assert not (paths.artifacts() / "four").exists()
    Counting.after = staticmethod(lambda step: None)
    assert invoke("train", counting, "--set", "t.steps=30", plugins=trainers).status == 0


def test_what_cannot_be_trained(invoke: Invoke, trainers: Registry, recipe: Path) -> None:
    done = invoke("train", recipe, plugins=trainers)
    assert done.status == 1
    assert "trains nothing" in done.err
    assert "counterpoint run RECIPE" in done.err
    assert invoke("train", "nowhere", plugins=trainers).status == 1
    assert invoke("train", plugins=trainers).status == 2


def test_a_bar_on_a_terminal(screen: Cli, written: Callable[[Console], str], monkeypatch: pytest.MonkeyPatch) -> None:
    with TrainingDisplay(screen) as display:
        display.add(Progress(phase="train", item="four", done=0, total=9, unit="steps"))
        display.add(Note(name="training", data={"step": 0, "steps": 9, "held_out": 1.5}))
        display.add(Note(name="other", data={"loss": 7}))
        display.add(Progress(phase="train", item="four", done=3, total=9, unit="steps"))
        figures = {"step": 3, "steps": 9, "loss": 0.25, "tokens_per_second": 12.5, "seconds_left": 90.0}
        display.add(Note(name="training", data=figures))
        assert (display.step, display.steps) == (3, 9)
        assert display._bar is not None
        assert display._bar.tasks[0].completed == 3
    text = written(screen.err)
    assert "loss 0.25  held out 1.5  12.5 tokens/s  about" in text
    assert "training four" in text


def test_a_line_now_and_then_on_paper(paper: Cli, written: Callable[[Console], str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with TrainingDisplay(paper) as display:
        for step in range(1, 10):
            now += 10
            display.add(Progress(phase="train", item="four", done=step, total=9, unit="steps"))
            figures = {"step": step, "steps": 9, "loss": 0.25, "tokens_per_second": 12.5, "seconds_left": 0.0}
            display.add(Note(name="training", data=figures))
    said = [line.split(":")[1].split(" of")[0].strip() for line in written(paper.err).splitlines()]
    assert said == ["1", "4", "7", "9"]


def test_what_trains_is_not_run(invoke: Any) -> None:
    outcome = invoke("run", "train-cross-model-control-smoke")
    assert outcome.status == 1
    assert "trains a model and gives no answer" in outcome.err
    assert "counterpoint train train-cross-model-control-smoke" in outcome.err


def test_an_artifact_stays_with_the_backend_that_loads_it() -> None:
    from counterpoint.cli.backend import with_backend
    from counterpoint.recipe import load_recipe
    from counterpoint.registry import load_plugins

    registry = load_plugins()
    recipe = with_backend(load_recipe("cross-model-control", registry=registry), "llama_cpp", registry)
    assert {name: node.kind for name, node in recipe.nodes.items()} == {
        "base": "llama_cpp",
        "delta": "huggingface",
        "controlled": "cross_model_control",
    }

"""A tiny model, problems, a generator whose answers are right or wrong in turn, and an engine that trains verifiers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

import counterpoint as cp
from counterpoint.plugin import Completion, Emitted, Generator, Node, Prompt, Run, Score, Verifier, hookimpl
from counterpoint.registry import load_plugins
from counterpoint.store import ModelStore
from counterpoint.testing import fake, save_tiny_model

Recipe = Callable[..., dict[str, Any]]


class Guesser(Generator):
    """Answers a sum; sure answers are right, and every so often a doubtful one is given, which is wrong."""

    kind: Literal["guesser"] = "guesser"
    wrong: tuple[int, ...] = (1, 2)
    """Which answers to a problem, in threes, are wrong."""

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        assert not prompt.fields, "generators see no fields"
        assert prompt.text is not None
        first, second = (int(part) for part in prompt.text.split(":")[1].split("and"))
        doubt = run.ordinal % 3 in self.wrong
        text = f"perhaps {first + second + 1}" if doubt else f"it is {first + second}"
        run.emit(Emitted(text=text, proposer=run.path, decider=run.path))
        return run.completion("stop")


class Sums(Verifier):
    """Whether an answer ends with the known number."""

    kind: Literal["sums"] = "sums"
    requires: ClassVar[tuple[str, ...]] = ("answer",)
    verdicts: ClassVar[bool] = True
    always: Literal["right", "wrong", "unknown"] | None = None
    calls: ClassVar[list[int]] = []

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        Sums.calls.append(len(completions))
        if self.always is not None:
            return [Score({"right": 1, "wrong": 0, "unknown": float("nan")}[self.always])] * len(completions)
        return [Score(float(one.text.split(" ")[-1] == prompt.fields["answer"])) for one in completions]


class Early(Verifier):
    """Whether an answer begins with a letter of the first half of the alphabet."""

    kind: Literal["early"] = "early"
    verdicts: ClassVar[bool] = True

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        return [float(one.text < "m") for one in completions]


class Plugin:
    @hookimpl
    def counterpoint_nodes(self) -> list[type[Node]]:
        return [Guesser, Sums, Early]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"sum:{at}and{at + 3}", "answer": str(2 * at + 3)} for at in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def recipe(base: Path, problems: Path) -> Recipe:
    """A recipe that trains; keyword arguments are fields of its trainer, `generator` and `checker` nodes."""

    def make(generator: Any = None, checker: Any = None, **fields: Any) -> dict[str, Any]:
        trainer = {
            "kind": "verifier_training",
            "artifact": "judge",
            "model": "model",
            "generator": "generator",
            "checker": "checker",
            "data": str(problems),
            "max_length": 128,
            "samples": 3,
            "temperatures": [0.8, 1.2],
            "learn": "full",
            "held_out": 0.2,
            "epochs": 8,
            "batch": 12,
            "micro_batch": 6,
            "learning_rate": 3e-3,
            "precision": "float32",
            "evaluate_every": 4,
            "checkpoint_every": 3,
            **fields,
        }
        model = {"kind": "huggingface", "source": f"path:{base}", "dtype": "float32", "device": "cpu"}
        nodes = {"model": model, "generator": generator or {"kind": "guesser"}, "checker": checker or {"kind": "sums"}}
        words = {"math": {"template": "{{question}}"}}
        return {"name": "training", "nodes": {**nodes, "trainer": trainer}, "output": "trainer", "tasks": words}

    return make


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[cp.Engine]:
    Sums.calls.clear()
    with cp.Engine(registry=load_plugins([fake, Plugin()]), store=ModelStore(tmp_path / "store")) as made:
        yield made


@pytest.fixture
def checked() -> list[int]:
    """How many answers the checker has been given, call by call."""
    return Sums.calls

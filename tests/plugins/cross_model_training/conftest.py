"""A tiny template, pairs to train on, and an engine that trains."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import counterpoint as cp
from counterpoint.registry import load_plugins
from counterpoint.store import ModelStore
from counterpoint.testing import save_tiny_model
from counterpoint_plugins import cross_model_training

Recipe = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "template", layers=3)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    rows = [{"prompt": f"say {word}", "response": f"{word} it is" + "!" * (at % 4)} for at, word in enumerate(words)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def recipe(template: Path, pairs: Path) -> Recipe:
    """A recipe that trains; keyword arguments are fields of its trainer."""

    def make(**fields: Any) -> dict[str, Any]:
        trainer = {
            "kind": "cross_model_training",
            "artifact": "tiny",
            "template": "model",
            "start": "model",
            "layers": 2,
            "data": str(pairs),
            "max_length": 256,
            "held_out": 0.2,
            "epochs": 4,
            "batch": 4,
            "micro_batch": 2,
            "learning_rate": 3e-3,
            "precision": "float32",
            "evaluate_every": 3,
            "checkpoint_every": 2,
            **fields,
        }
        model = {"kind": "huggingface", "source": f"path:{template}", "dtype": "float32", "device": "cpu"}
        return {"name": "training", "nodes": {"model": model, "trainer": trainer}, "output": "trainer"}

    return make


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[cp.Engine]:
    with cp.Engine(registry=load_plugins([cross_model_training]), store=ModelStore(tmp_path / "store")) as made:
        yield made

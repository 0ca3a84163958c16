"""A tiny corrector, sources with a word that only a candidate says, and an engine that trains."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import counterpoint as cp
from counterpoint.store import ModelStore
from counterpoint.testing import make_engine, save_tiny_model

Recipe = Callable[..., dict[str, Any]]
WORDS = ("red", "blue")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sources and targets; ``answers.jsonl`` beside it has the target as the only answer to each source."""
    chance = random.Random(1)
    said = {f"q{number}": chance.choice(WORDS) for number in range(48)}
    (tmp_path / "answers.jsonl").write_text(
        "".join(json.dumps({"prompt": source, "answers": word}) + "\n" for source, word in said.items())
    )
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"source": source, "target": word}) + "\n" for source, word in said.items()))
    return path


@pytest.fixture
def recipe(tiny: Path, data: Path) -> Recipe:
    """A recipe that trains; keyword arguments are fields of its trainer."""

    def make(**fields: Any) -> dict[str, Any]:
        trainer = {
            "kind": "corrector_training",
            "artifact": "fixer",
            "corrector": "model",
            "candidates": "told",
            "n": 1,
            "data": str(data),
            "template": "{{ source }} {{ candidates | join(' ') }}:",
            "learn": "full",
            "held_out": 0.2,
            "max_length": 128,
            "epochs": 24,
            "batch": 16,
            "micro_batch": 16,
            "learning_rate": 5e-3,
            "precision": "float32",
            "evaluate_every": 8,
            "patience": 100,
            "checkpoint_every": 4,
            **fields,
        }
        model = {"kind": "huggingface", "source": f"path:{tiny}", "dtype": "float32", "device": "cpu", "prompt_format": "raw"}
        told = {"kind": "recorded", "file": str(data.with_name("answers.jsonl"))}
        return {"name": "training", "nodes": {"model": model, "told": told, "trainer": trainer}, "output": "trainer"}

    return make


@pytest.fixture
def trainer(tmp_path: Path, stage: Any) -> Iterator[cp.Engine]:
    with make_engine([stage.plugin], store=ModelStore(tmp_path / "store")) as made:
        yield made


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cp.Engine]:
    """One for all tests of a module that load nothing."""
    with make_engine(store=ModelStore(tmp_path_factory.mktemp("planner") / "store")) as made:
        yield made
        assert made.hosts() == [], "nothing was loaded"

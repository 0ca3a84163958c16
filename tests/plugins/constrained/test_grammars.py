"""Grammars on a real (tiny, random) byte-level model: whatever it is made to write has the form that was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import counterpoint as cp
from counterpoint.plugin import Sampling
from counterpoint.store import ModelStore
from counterpoint.testing import assert_generator_laws, assert_session_laws, make_engine, save_tiny_model

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["fugue", "canon", "mass é"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
REGEX = "(é|[0-9]{2}|🎵x?){2,4}!"
LARK = r"""
start: "f(" (term ("," term)*)? ")"
term: /[a-z]/ | "(" term ")"
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {"m": save_tiny_model(root / "m"), "d": save_tiny_model(root / "d", seed=1, layers=1)}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cp.Engine]:
    with make_engine(store=ModelStore(tmp_path_factory.mktemp("store"))) as made:
        yield made
        assert all(host.slots == 0 and host.pending == 0 for host in made.hosts())


def recipe(folders: dict[str, Path], **grammar: Any) -> dict[str, Any]:
    models: dict[str, Any] = {
        name: {"kind": "huggingface", "source": f"path:{folder}", "dtype": "float32", "device": "cpu"}
        for name, folder in folders.items()
    }
    nodes = {
        **models,
        "form": {"kind": "grammar", **grammar},
        "c": {"kind": "constrained", "model": "m", "constraints": "form"},
        "s": {
            "kind": "speculative",
            "target": "c",
            "draft": ["d", {"kind": "prompt_lookup"}],
            "adaptive": False,
            "max_draft": 4,
        },
    }
    return {"nodes": nodes, "output": "c"}


def check(text: str, grammar: dict[str, Any]) -> None:
    if "regex" in grammar:
        assert re.fullmatch(grammar["regex"], text)
    elif "lark" in grammar:
        assert re.fullmatch(r"f\(([(a-z),]*)\)", text)
        assert text.count("(") == text.count(")")
    else:
        value = json.loads(text)
        assert set(value) == {"name", "age", "tags"}
        assert len(value["name"]) <= 4
        assert value["age"] in range(121)
        assert len(value["tags"]) <= 2
        assert set(value["tags"]) <= {"fugue", "canon", "mass é"}


GRAMMARS: list[dict[str, Any]] = [
    {"regex": REGEX},
    {"json_schema": SCHEMA},
    {"json_schema": json.dumps(SCHEMA)},
    {"lark": LARK},
]


@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([0.0, 1.0]), grammar=st.sampled_from(GRAMMARS))
@settings(max_examples=20)
def test_an_answer_has_the_form(
    engine: cp.Engine, folders: dict[str, Path], seed: int, temperature: float, grammar: dict[str, Any]
) -> None:
    sampling = Sampling(temperature=temperature, max_tokens=160)
    result = engine.run(recipe(folders, **grammar), "hello", seed=seed, sampling=sampling)
    if result.completion.finish_reason == "stop":  # terms of the Lark grammar may nest for ever
        check(result.text, grammar)
    else:
        assert "lark" in grammar


@pytest.mark.parametrize("grammar", GRAMMARS[:2], ids=["regex", "schema"])
def test_speculation_changes_nothing(engine: cp.Engine, folders: dict[str, Path], grammar: dict[str, Any]) -> None:
    given = recipe(folders, **grammar)
    for seed in range(3):
        for temperature in (0.0, 1.0):
            sampling = Sampling(temperature=temperature, max_tokens=160)
            plain = engine.run(given, "hello", seed=seed, sampling=sampling)
            fast = engine.run(given | {"output": "s"}, "hello", seed=seed, sampling=sampling)
            assert fast.completion.ids == plain.completion.ids
            check(fast.text, grammar)


@pytest.mark.parametrize("text", ["é12🎵x", "ééxééé!"])
@pytest.mark.parametrize("prefix", ["", "🎵"])
def test_session_laws(engine: cp.Engine, folders: dict[str, Path], text: str, prefix: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folders["m"])
    prompt = {"text": "hello", "prefix": prefix}
    assert_session_laws(recipe(folders, regex=REGEX), tokenizer.encode(text), prompt=prompt, engine=engine)


@pytest.mark.parametrize("output", ["c", "s"])
def test_generator_laws(engine: cp.Engine, folders: dict[str, Path], output: str) -> None:
    assert_generator_laws(recipe(folders, json_schema=SCHEMA) | {"output": output}, engine=engine, max_tokens=64)


def test_a_prefix_is_gone_on_with(engine: cp.Engine, folders: dict[str, Path]) -> None:
    prompt = {"text": "hello", "prefix": '{"name":"Ann","age":7'}
    result = engine.run(recipe(folders, json_schema=SCHEMA), prompt, sampling=Sampling(max_tokens=160))
    assert result.completion.finish_reason == "stop"
    check(prompt["prefix"] + result.text, {"json_schema": SCHEMA})

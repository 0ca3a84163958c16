"""Grammars and the monitor on a real vocabulary of 150,000 tokens (no weights are loaded)."""

from __future__ import annotations

import json
import time
from statistics import median
from typing import Any

import pytest

import counterpoint as cp
from counterpoint.plugin import ConstraintState, LeafModel, Prompt, Resources, Tokenizer
from counterpoint.store import ModelStore
from counterpoint.testing.constraint_laws import assert_constraint_laws
from counterpoint_plugins.constrained import Grammar
from counterpoint_plugins.python_names import PythonNames

pytestmark = pytest.mark.slow

SOURCE = "qwen2.5-coder-0.5b-instruct"
SCHEMA = {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    node = cp.load_plugins().kind("huggingface").node.model_validate({"kind": "huggingface", "source": SOURCE})
    assert isinstance(node, LeafModel)
    facts = node.inspect(Resources(ModelStore()))
    if facts.tokenizer is None:
        pytest.skip(f"{SOURCE} is not here")
    return facts.tokenizer


def ends(tokenizer: Tokenizer) -> frozenset[int]:
    return frozenset({tokenizer.mapping()["<|im_end|>"], tokenizer.mapping()["<|endoftext|>"]})


def walk(state: ConstraintState | None, ids: list[int]) -> tuple[ConstraintState, list[float], list[float]]:
    """The last state, and the milliseconds of each mask and each step."""
    masks, steps = [], []
    for token_id in ids:
        assert state is not None
        begin = time.perf_counter()
        mask = state.mask()
        between = time.perf_counter()
        assert mask is None or mask[token_id]
        state = state.advance(token_id)
        masks.append(1e3 * (between - begin))
        steps.append(1e3 * (time.perf_counter() - between))
    assert state is not None
    return state, masks, steps


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ({"json_schema": SCHEMA}, json.dumps([{"name": "Johann Sebastian Bach, Eisenach", "age": age} for age in range(20)])),
        (
            {"regex": "([A-ZÉ][a-zé ]{5,60}\\. ?)+"},
            "The quick brown fox jumps over the lazy dog. Élan vital is a thing of the past. " * 3,
        ),
    ],
    ids=["schema", "regex"],
)
def test_a_grammar_is_quick(tokenizer: Tokenizer, grammar: dict[str, Any], text: str) -> None:
    begin = Grammar(**grammar).begin(tokenizer, ends(tokenizer), Prompt(text="Write."))
    state, masks, steps = walk(begin, tokenizer.encode(text))
    mask = state.mask()
    assert mask is not None
    assert mask[sorted(ends(tokenizer))].all()
    print(f"mask {median(masks):.3f} ms (most {max(masks):.3f}), step {median(steps):.3f} ms (most {max(steps):.3f})")
    assert median(masks) < 5


def test_laws(tokenizer: Tokenizer) -> None:
    assert_constraint_laws(Grammar(json_schema=SCHEMA), tokenizer, ends(tokenizer), length=8, tries=200)
    prompt = Prompt(text="import json\nx = json")
    assert_constraint_laws(PythonNames(code="all"), tokenizer, ends(tokenizer), prompt=prompt, length=4, seeds=[0], tries=200)


CODE = """def words(lines: list[str]) -> dict[str, int]:
    counts = {}
    for line in lines:
        for word in line.strip().lower().split():
            counts[word] = counts.get(word, 0) + 1
    found = sorted(counts.items(), key=lambda pair: pair[1])
    found.reverse()
    return dict(found)
"""


def test_a_monitor_on_real_tokens(tokenizer: Tokenizer) -> None:
    begin = PythonNames(code="all").begin(tokenizer, ends(tokenizer), Prompt(text="import os\n"))
    ids = tokenizer.encode(CODE)
    _state, masks, _steps = walk(begin, ids)
    print(f"{len(ids)} tokens, jedi's included: masks {sum(masks) / len(masks):.1f} ms on average, most {max(masks):.1f}")
    first = [state_of(begin, tokenizer.encode(CODE + "os"))]
    mask = first[0].mask()
    assert mask is not None
    spelled = {text: tokenizer.encode(text) for text in (".path", ".paths", ".listdir", ".getc", ".jpg")}
    single = {text: bool(mask[ids[0]]) for text, ids in spelled.items() if len(ids) == 1}
    assert single.get(".path", True)
    assert not single.get(".jpg", False)
    again = [time.perf_counter()]
    for _ in range(5):
        first[0].mask()
        again.append(time.perf_counter())
    print(f"a mask whose names are known: {1e3 * (again[-1] - again[0]) / 5:.2f} ms")
    assert again[-1] - again[0] < 0.5


def state_of(state: ConstraintState | None, ids: list[int]) -> ConstraintState:
    for token_id in ids:
        assert state is not None
        state = state.advance(token_id)
    assert state is not None
    return state

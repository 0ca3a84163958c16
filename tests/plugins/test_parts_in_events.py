"""Fully recorded runs of compositions say what each model that they are made of thinks of every token."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint.events import Emitted

LARGE: dict[str, Any] = {"kind": "fake", "end_bias": -2}
SMALL: dict[str, Any] = {"kind": "fake", "end_bias": -2, "seed": 3}
CONTRASTIVE = {"kind": "contrastive", "expert": "large", "amateur": "small"}


def recipe(output: Any, record: str = "full", **nodes: Any) -> dict[str, Any]:
    return {
        "nodes": {"large": LARGE, "small": SMALL, **nodes, "out": output},
        "output": "out",
        "sampling": {"temperature": 1.0, "max_tokens": 24},
        "record": record,
    }


def by_path(result: Any) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for event in result.trace:
        if isinstance(event, Emitted) and event.span == 1:
            for path, values in event.logprobs.items():
                found.setdefault(path, []).extend(values)
    return found


def alone(engine: Any, node: dict[str, Any], text: str) -> list[float]:
    """What a model by itself thinks of every token of a text."""
    scorer = {"nodes": {"m": node, "v": {"kind": "likelihood", "model": "m", "normalize": "none"}}, "output": "v"}
    (totals,) = [
        [float(engine.verify(scorer, "hello there", [text[:end]]).result().scores[0]) for end in range(1, len(text) + 1)]
    ]
    return [total - before for total, before in zip(totals, [0.0, *totals], strict=False)]


@pytest.mark.parametrize("kind", ["sample", "speculative"])
def test_each_parts_log_probabilities_are_its_own(engine: Any, kind: str) -> None:
    output = CONTRASTIVE
    nodes: dict[str, Any] = {}
    if kind == "speculative":
        nodes["mixed"] = CONTRASTIVE
        output = {"kind": "speculative", "target": "mixed", "draft": "small", "adaptive": False, "max_draft": 4}
    result = engine.run(recipe(output, **nodes), "hello there")
    found = by_path(result)
    decider = "mixed" if kind == "speculative" else "out"
    assert set(found) == {decider, "large", "small"}
    count = len(result.text)  # an end of turn is a token without text
    assert found["large"][:count] == pytest.approx(alone(engine, LARGE, result.text), abs=1e-4)
    assert found["small"][:count] == pytest.approx(alone(engine, SMALL, result.text), abs=1e-4)


def test_parts_of_parts_are_told(engine: Any) -> None:
    inner = {"kind": "ensemble", "base": "large", "others": ["small"]}
    outer = {"kind": "contrastive", "expert": "both", "amateur": "third"}
    result = engine.run(recipe(outer, both=inner, third={"kind": "fake", "seed": 9}), "hello")
    assert set(by_path(result)) == {"out", "both", "large", "small", "third"}


def test_a_part_of_another_vocabulary_is_told_in_the_compositions_tokens(engine: Any) -> None:
    words = {"kind": "fake", "seed": 4, "words": ["the ", "he"]}
    mixture = {"kind": "ensemble", "base": "large", "others": ["words"]}
    given = recipe(mixture, words=words)
    del given["nodes"]["small"]
    found = by_path(engine.run(given, "hello"))
    assert set(found) == {"out", "large", "words"}
    assert len(found["words"]) == len(found["out"])


def test_less_is_recorded_where_less_is_asked_for(engine: Any) -> None:
    assert set(by_path(engine.run(recipe(CONTRASTIVE, "tokens"), "hello"))) == {"out"}
    assert set(by_path(engine.run(recipe("large") | {"output": "large", "nodes": {"large": LARGE}}, "hello"))) == {"large"}

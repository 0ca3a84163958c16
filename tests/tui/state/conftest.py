"""Traces that really ran, of the fake model and of every strategy that a screen shows in a way of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counterpoint.engine import Engine
from counterpoint.events import Event
from counterpoint.registry import Registry, load_plugins
from counterpoint.runstore import RunStore
from counterpoint.testing import fake, make_engine

LARGE: dict[str, Any] = {"kind": "fake", "cost": 4}
SMALL: dict[str, Any] = {"kind": "fake", "blur": 1.0}
OTHER: dict[str, Any] = {"kind": "fake", "seed": 3}
SPECULATIVE = {"kind": "speculative", "target": "large", "draft": "small", "adaptive": False, "max_draft": 4}
LIKELIHOOD = {"kind": "likelihood", "model": "large", "cut": "score"}


def recipe(output: str, nodes: dict[str, Any], *, max_tokens: int = 40, **more: Any) -> dict[str, Any]:
    sampling = {"temperature": 0.8, "max_tokens": max_tokens, **more.pop("sampling", {})}
    known = {"large": LARGE, "small": SMALL, "other": OTHER}
    return {"name": output, "nodes": {**known, **nodes}, "output": output, "sampling": sampling, **more}


BEST = {"kind": "best_of_n", "generators": ["answer", "other"], "n": 2, "verifiers": LIKELIHOOD, "select": "score"}
CASCADE = {"kind": "cascade", "stages": ["other", "answer"], "thresholds": 0.9}
RECIPES: dict[str, dict[str, Any]] = {
    "sample": recipe("large", {}),
    "full": recipe("large", {}, record="full", max_tokens=12),
    "speculative": recipe("answer", {"answer": SPECULATIVE}),
    "rejection": recipe("answer", {"answer": {**SPECULATIVE, "rule": "rejection"}}),
    "lookup": recipe(  # a model that is sure of the next character goes in circles, which a look-up sees
        "answer",
        {
            "large": {**LARGE, "sharpness": 200.0, "memory": 2, "end_bias": -1000.0},
            "answer": {**SPECULATIVE, "draft": [{"kind": "prompt_lookup"}, "small"]},
        },
        max_tokens=60,
    ),
    "weak_to_strong": recipe(
        "handed",
        {
            "handed": {
                "kind": "weak_to_strong",
                "draft": "small",
                "target": "large",
                "draft_tokens": 24,
                "block": 4,
                "criterion": {"kind": "window_confidence", "gamma": 0.12, "window": 2},
            }
        },
    ),
    "continued": recipe(
        "handed",
        {
            "answer": SPECULATIVE,
            "handed": {
                "kind": "weak_to_strong",
                "draft": "other",
                "target": "large",
                "draft_tokens": 12,
                "criterion": {"kind": "token_confidence"},
                "continue_with": "answer",
            },
        },
    ),
    "best_of_n": recipe("best", {"answer": SPECULATIVE, "best": BEST}, max_tokens=16),
    "first": recipe(
        "best",
        {"best": {**BEST, "generators": "small", "n": 4, "in_flight": 2, "select": "first", "accept": -100.0}},
        max_tokens=16,
    ),
    "cascade": recipe("stages", {"answer": SPECULATIVE, "stages": CASCADE}, max_tokens=16),
    "nested": recipe(
        "stages",
        {
            "answer": SPECULATIVE,
            "best": BEST,
            "stages": {**CASCADE, "stages": ["best", "answer"], "verifiers": LIKELIHOOD, "thresholds": 100.0},
        },
        max_tokens=16,
    ),
    "combined": recipe(
        "best",
        {
            "sum": {"kind": "weighted_sum", "verifiers": [LIKELIHOOD, {**LIKELIHOOD, "model": "other"}]},
            "best": {**BEST, "generators": "small", "n": 3, "verifiers": "sum"},
        },
        max_tokens=12,
    ),
    "shared": recipe("answer", {"twin": SMALL, "answer": {**SPECULATIVE, "target": "twin", "draft": "small"}}, max_tokens=20),
    "budget": recipe("answer", {"answer": SPECULATIVE}, budget={"flops": 4e5, "tokens": 500}),
    "failing": recipe("broken", {"broken": {"kind": "fake", "fails_after": 9}}),
    "candidate fails": recipe(
        "best",
        {
            "broken": {"kind": "fake", "seed": 5, "fails_after": 6},
            "best": {**BEST, "generators": ["small", "broken"], "n": 1},
        },
        max_tokens=12,
    ),
    "summary": recipe("stages", {"answer": SPECULATIVE, "stages": CASCADE}, max_tokens=16, record="summary"),
}
PROMPTS: dict[str, Any] = {"lookup": "so so so so so so so", "continued": {"text": "go on", "prefix": "and then"}}

Record = Callable[[str], Path]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a ``name``, and does not say which, is run for every trace."""
    marked = any("name" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "name" in metafunc.fixturenames and not marked:
        metafunc.parametrize("name", [*RECIPES, "cancelled"])


class Traces(dict[str, tuple[Event, ...]]):
    """Events by the name of what was run."""

    def __repr__(self) -> str:  # what a failing law prints of its arguments
        return f"traces of {len(self)} runs"


def _ran(engine: Engine, name: str) -> tuple[Event, ...]:
    stream = engine.stream(RECIPES[name], PROMPTS.get(name, "hello there"))
    return stream.wait().trace


def _cancelled(engine: Engine) -> tuple[Event, ...]:
    endless = recipe("answer", {"answer": SPECULATIVE}, max_tokens=1500, sampling={"ignore_stop": True})
    stream = engine.stream(endless, "hello there")
    for event in stream:
        if event.type == "verified":
            stream.cancel()
    return stream.wait().trace


@pytest.fixture(scope="session")
def traces() -> Traces:
    """The events of one run of every recipe above, and of one that was cancelled."""
    with make_engine() as engine:
        return Traces({**{name: _ran(engine, name) for name in RECIPES}, "cancelled": _cancelled(engine)})


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_plugins([fake])


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


@pytest.fixture
def record(store: RunStore, traces: dict[str, tuple[Event, ...]]) -> Record:
    """Stores a run and gives its folder."""

    def recorded(name: str) -> Path:
        for _ in store.record(traces[name]):
            pass
        assert not store.problems
        return store.path(traces[name][0].run_id)  # type: ignore[union-attr]

    return recorded

"""What decides a node's answers, as plain data: equal for equal parts under any names, different for anything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from counterpoint.engine import Engine
from counterpoint.node import Generator, Ref
from counterpoint.planning import NodePlan
from counterpoint.plugin import Completion, Node, Prompt, Run, hookimpl
from counterpoint.testing import make_engine

SEEN: list[Any] = []


class Look(Generator):
    """Looks at the identity of what it refers to, before weights load and in a run."""

    kind: Literal["look"] = "look"
    at: Ref[Generator]

    def check(self, plan: NodePlan) -> None:
        SEEN.append(plan.identity(self.at, Generator))

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        SEEN.append(await run.identity(self.at, Generator))
        return run.completion("stop")


class Plugin:
    @staticmethod
    @hookimpl
    def counterpoint_nodes() -> list[type[Node]]:
        return [Look]


@pytest.fixture(scope="module")
def shared() -> Iterator[Engine]:
    with make_engine([Plugin()]) as engine:
        yield engine


def identity(engine: Engine, nodes: dict[str, Any], reference: str) -> Any:
    SEEN.clear()
    engine.run({"nodes": {**nodes, "look": {"kind": "look", "at": reference}}, "output": "look"}, "hello")
    assert all(one == SEEN[-1] for one in SEEN), "before weights load, where the plan is new, and in the run"
    json.dumps(SEEN[-1])
    return SEEN[-1]


BASE = {
    "m": {"kind": "fake", "seed": 3},
    "g": {"kind": "speculative", "target": "m", "draft": ["m", {"kind": "prompt_lookup"}]},
}


def test_names_and_ways_of_writing_do_not_count(shared: Engine) -> None:
    usual = identity(shared, BASE, "g")
    for nodes in (
        {"x": BASE["m"], "y": {"kind": "speculative", "target": "x", "draft": ["x", {"kind": "prompt_lookup"}]}},
        {"x": BASE["m"], "l": {"kind": "prompt_lookup"}, "y": {"kind": "speculative", "target": "x", "draft": ["x", "l"]}},
        {"y": {"kind": "speculative", "target": BASE["m"], "draft": [BASE["m"], {"kind": "prompt_lookup"}]}},
        {
            "x": {"kind": "fake", "seed": 3, "blur": 0.0},
            "y": {**BASE["g"], "target": "x", "draft": ["x", {"kind": "prompt_lookup"}]},
        },
    ):
        assert identity(shared, nodes, "y") == usual


@pytest.mark.parametrize(
    "change",
    [
        {"m": {"kind": "fake", "seed": 4}},
        {"g": {**BASE["g"], "max_draft": 3}},
        {"g": {**BASE["g"], "draft": [{"kind": "prompt_lookup"}, "m"]}},
        {"g": {**BASE["g"], "draft": ["m"]}},
        {"g": {**BASE["g"], "sampling": {"temperature": 0.0}}},
        {"g": {"kind": "sample", "model": "m"}},
    ],
)
def test_all_else_counts(shared: Engine, change: dict[str, Any]) -> None:
    assert identity(shared, {**BASE, **change}, "g") != identity(shared, BASE, "g")


def test_a_wrapped_model_is_what_wraps_it(shared: Engine) -> None:
    assert identity(shared, BASE, "m") == identity(shared, {**BASE, "s": {"kind": "sample", "model": "m"}}, "s")

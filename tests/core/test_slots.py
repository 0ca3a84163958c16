"""A cache that is too small for all who want it: rows take turns, nothing fails, and nothing changes but the cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint import Engine, ModelError, Sampling
from counterpoint.events import Forward
from counterpoint.slots import PARKED_IN_ALL
from counterpoint.testing import assert_drafter_laws, assert_generator_laws, assert_session_laws, make_engine

PROMPTS = ["hello there", "what is a fugue", "a canon at the octave", "b"]


def recipe(**limits: Any) -> dict[str, Any]:
    return {
        "nodes": {
            "m": {"kind": "fake", "end_bias": -99, **limits},
            "d": {"kind": "fake", "end_bias": -99, "blur": 1.0, **limits},
            "s": {"kind": "speculative", "target": "m", "draft": "d", "adaptive": False, "max_draft": 3},
        },
        "output": "s",
        "sampling": {"temperature": 0.8, "max_tokens": 30},
    }


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    with make_engine() as engine:
        return [result.completion for result in engine.run_many(recipe(), PROMPTS, samples=3)]


@pytest.mark.parametrize(
    "limits", [{"cache": 70}, {"cache": 100}, {"cache": 150, "rows": 3}, {"cache": 400}, {"rows": 1}, {"rows": 2}]
)
def test_rows_take_turns(limits: dict[str, int], expected: list[Any]) -> None:
    with make_engine() as engine:
        for _ in range(2):
            results = engine.run_many(recipe(**limits), PROMPTS, samples=3)
            assert [result.error for result in results] == [None] * 12
            assert [result.completion for result in results] == expected
        for host in engine.hosts():
            assert host.slots == host.pending == 0
            assert host.backend.live_slots <= limits.get("rows", 99)  # type: ignore[attr-defined]


@given(cache=st.integers(62, 300), rows=st.integers(1, 8), seed=st.integers(0, 5), samples=st.integers(1, 3))
@settings(max_examples=12)
def test_any_size_of_cache_gives_the_same_tokens(cache: int, rows: int, seed: int, samples: int) -> None:
    with make_engine() as free, make_engine() as tight:
        wanted = free.run_many(recipe(), PROMPTS, samples=samples, seed=seed)
        found = tight.run_many(recipe(cache=cache, rows=rows), PROMPTS, samples=samples, seed=seed)
        assert [result.completion for result in found] == [result.completion for result in wanted]


def test_the_cost_of_taking_turns_is_told() -> None:
    with make_engine() as engine:
        fed = {}
        for limits in ({}, {"cache": 100}):
            results = engine.run_many(recipe(**limits), PROMPTS, samples=3)
            passes = [event for result in results for event in result.trace if isinstance(event, Forward) and event.node == "m"]
            fed[bool(limits)] = sum(event.tokens for event in passes)
        assert fed[True] > fed[False], "what is fed again is paid for"


def test_a_row_that_never_fits_fails_by_itself() -> None:
    with make_engine() as engine:
        long, short = engine.run_many(recipe(cache=60), ["x" * 50, "y"], sampling=Sampling(max_tokens=20))
        assert isinstance(long.error, ModelError)
        assert "cache holds 60 tokens" in long.error.message
        assert "larger context" in long.error.hint
        assert short.error is None
        assert len(short.completion.ids) == 20


def test_the_laws_hold_in_a_small_cache(engine: Engine) -> None:
    small = {"nodes": {"m": {"kind": "fake", "cache": 80, "rows": 3}}, "output": "m"}
    assert_session_laws(small, [3, 1, 4, 1, 5, 9, 2, 6])
    assert_generator_laws(small)
    assert_generator_laws(recipe(cache=80, rows=2))
    nodes = {"m": {"kind": "fake", "cache": 90}, "d": {"kind": "fake", "seed": 3, "cache": 90, "rows": 1}}
    assert_drafter_laws({"nodes": nodes, "output": "d"}, "m")


def test_what_a_scope_keeps_does_not_hang_on_what_else_is_in_flight() -> None:
    nodes = {
        "m": {"kind": "fake", "end_bias": -99},
        "best": {"kind": "best_of_n", "generators": "m", "n": 8, "verifiers": "v", "select": "score"},
        "v": {"kind": "likelihood", "model": "m", "cut": "score"},
    }
    graph = {"nodes": nodes, "output": "best", "sampling": {"temperature": 0.9, "max_tokens": 12}}
    prompts = [f"{number} voices, and what each of them is to sing" for number in range(12)]
    with make_engine() as engine:
        alone = [engine.run(graph, prompt, scope=f"alone {prompt}").summary.flops for prompt in prompts]
        streams = [engine.stream(graph, prompt, scope=f"together {prompt}") for prompt in prompts]
        assert [stream.wait().summary.flops for stream in streams] == alone


def test_what_all_scopes_keep_is_bounded() -> None:
    with make_engine() as engine:
        for number in range(300):
            engine.run({"nodes": {"m": {"kind": "fake"}}, "output": "m", "sampling": {"max_tokens": 1}}, "a", scope=str(number))
        (host,) = engine.hosts()
        assert len(host.table.parked) == 256
        graph = {"nodes": {"m": {"kind": "fake"}}, "output": "m", "sampling": {"max_tokens": 1}}
        engine.run(graph, "a" * 1000, scope="of one long prompt")
        longest = max(host.table.length(slot) for slot in host.table.parked)
        assert longest >= 1000
        assert longest * len(host.table.parked) <= PARKED_IN_ALL, (
            "a cache may have as many places for each as the longest needs"
        )

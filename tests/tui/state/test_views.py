from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.events import BudgetSpent, Event, Forward, NodeFinished, NodeStarted, Note, Progress, RunStarted
from counterpoint.graph import build_graph
from counterpoint.prompt import Prompt
from counterpoint.recipe import load_recipe
from counterpoint.registry import Registry, load_plugins
from counterpoint_tui.state import (
    RunState,
    active_nodes,
    answer_stretches,
    budget_bars,
    candidate_table,
    contests,
    describe,
    fold,
    graph_view,
    legend,
    node_rows,
    pending,
    problems,
    progress_rows,
    reduce,
    rejected,
    stage_steps,
    summary,
    timeline,
    token_at,
    window_plots,
    writer,
)
from counterpoint_tui.state.export import page
from counterpoint_tui.state.rows import event_row

Traces = dict[str, tuple[Event, ...]]


@given(data=st.data())
@settings(max_examples=40)
def test_every_view_shows_any_part_of_a_trace(data: st.DataObject, traces: Traces, registry: Registry) -> None:
    """Whatever is missing: beginnings of calls, ends, callers, the recipe itself."""
    events = traces[data.draw(st.sampled_from(sorted(traces)))]
    kept = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    some = [event for event, keep in zip(events, kept, strict=True) if keep]
    if data.draw(st.booleans()):
        some.reverse()
    state = fold(some)
    summary(state), node_rows(state), budget_bars(state), progress_rows(state), problems(state), active_nodes(state)
    pending(state), rejected(state), writer(state), window_plots(state, registry), graph_view(state.recipe, registry)
    rows = timeline(state)
    assert len({row.span for row in rows}) == len(rows) == len(set(state.spans) - {0})
    for span in contests(state):
        candidate_table(state, span), stage_steps(state, span, registry)
    for span in state.spans:
        text = "".join(one.text for one in answer_stretches(state, span))
        assert text == state.spans[span].text
        token_at(state, 0, span)
    assert page(state).endswith("</html>")


# --- the timeline -------------------------------------------------------------------------------------------------------


def test_the_timeline_is_the_tree_of_calls(name: str, traces: Traces) -> None:
    state = fold(traces[name])
    rows = timeline(state)
    path: list[Any] = []
    for row in rows:
        del path[row.depth :]
        parent = state.spans[row.span].parent
        assert (path[-1].span if path else 0) == parent
        if path:
            assert path[-1].start <= row.start <= row.end <= path[-1].end
        path.append(row)
    assert sum(row.flops for row in rows if row.depth == 0) == pytest.approx(summary(state).flops)


@given(data=st.data())
@settings(max_examples=40)
def test_what_is_folded_away_is_what_is_below(data: st.DataObject, traces: Traces) -> None:
    state = fold(traces["nested"])
    whole = timeline(state)
    collapsed = data.draw(st.sets(st.sampled_from([row.span for row in whole])))
    shown = timeline(state, collapsed)
    inside, at = [], None
    for row in whole:
        at = None if at is not None and row.depth <= at else at
        if at is not None:
            inside.append(row.span)
        elif row.span in collapsed and row.collapsible:
            at = row.depth
    assert [row.span for row in shown] == [row.span for row in whole if row.span not in inside]
    assert sum(row.hidden for row in shown) == len(inside)
    assert all(row.collapsed == (row.span in collapsed and row.collapsible) for row in shown)


# --- figures ------------------------------------------------------------------------------------------------------------


def test_nodes_light_up_while_they_work_and_not_when_the_run_is_over(traces: Traces) -> None:
    state, lit = RunState(), set()
    for event in traces["cascade"]:
        state = reduce(state, event)
        working = active_nodes(state)
        if isinstance(event, Forward):
            assert event.node in working
        if not state.finished and 1 in state.spans and state.spans[1].started:
            assert "stages" in working or state.spans[1].finished
        lit |= working
    assert lit == {"stages", "other", "answer", "large", "small"}
    assert active_nodes(state) == frozenset()
    assert [row.path for row in node_rows(state) if row.busy] == ["large", "small", "other"]
    assert all(node.open == 0 for node in state.nodes.values())


def test_speed_is_that_of_the_last_seconds() -> None:
    events: list[Event] = []
    for number in range(100):  # ten tokens a second for five seconds, then two
        t = number / 10 if number < 50 else 5 + (number - 50) / 2
        took = 0.1 if number < 50 else 0.5
        events.append(
            Forward(
                t=t, node="m", span=1, pass_id=number, pass_rows=1, tokens=1, context=1, logits_rows=1,
                flops=1.0, seconds=took, share=took,
            )
        )  # fmt: skip
    (fast,) = node_rows(fold(events[:50]))
    (slow,) = node_rows(fold(events[:80]))
    assert fast.rate == pytest.approx(10, rel=0.15)
    assert slow.rate == pytest.approx(2, rel=0.3)
    (idle,) = node_rows(fold(events[:50]), now=60.0)
    assert (idle.rate, idle.active) == (None, False)


def test_a_budget_is_a_bar_for_each_limit(traces: Traces) -> None:
    events = traces["budget"]
    state = fold(events)
    flops, tokens = budget_bars(state)
    assert (flops.unit, flops.limit, flops.stopped) == ("flops", 4e5, True)
    assert flops.spent == summary(state).flops
    assert 0.9 < flops.share <= 1
    assert (tokens.unit, tokens.stopped, tokens.at_least) == ("tokens", False, False)
    assert tokens.spent == summary(state).generated_tokens
    (stop,) = state.budget_stops
    assert stop.needed + stop.spent > stop.limit
    last, on_the_way = 0.0, RunState()
    for event in events:
        on_the_way = reduce(on_the_way, event)
        for bar in budget_bars(on_the_way):
            if bar.unit == "tokens":
                assert last <= bar.spent or isinstance(event, (NodeFinished, BudgetSpent))
                last = bar.spent
    assert budget_bars(fold(traces["sample"])) == ()


def test_progress_is_shown_until_it_ends() -> None:
    events: list[Event] = [
        Progress(phase="download", item="model", done=0, total=100, unit="bytes", node="m", t=0.0, span=1),
        Progress(phase="download", item="model", done=50, total=100, unit="bytes", node="m", t=1.0, span=1),
        Progress(phase="train", item="delta", done=3, unit="steps", node="t", t=1.5, span=1),
    ]
    state = fold(events)
    first, second = progress_rows(state)
    assert (first.item, first.share, second.item, second.share) == ("model", 0.5, "delta", None)
    assert state.preparing_now
    done = reduce(state, Progress(phase="download", item="model", done=100, total=100, node="m", t=2.0, span=1))
    assert [row.item for row in progress_rows(done)] == ["delta"]
    assert [row.item for row in progress_rows(done, finished=True)] == ["delta", "model"]
    assert not done.preparing_now


def test_the_state_says_what_the_run_does(traces: Traces) -> None:
    ends = {"speculative": "finished", "failing": "failed", "cancelled": "cancelled", "budget": "budget"}
    assert {name: fold(traces[name]).status for name in ends} == ends
    assert RunState().status == "waiting"
    half = traces["speculative"][: len(traces["speculative"]) // 2]
    assert fold(half).status == "running"
    loading = next(event for event in traces["sample"] if isinstance(event, Progress))
    upto = traces["sample"].index(loading) + 1
    assert fold(traces["sample"][:upto]).status == "preparing"


# --- the graph ----------------------------------------------------------------------------------------------------------


def test_the_graph_is_that_of_the_engine(name: str, traces: Traces, registry: Registry) -> None:
    recipe = fold(traces[name]).recipe
    view = graph_view(recipe, registry)
    graph = build_graph(load_recipe(dict(recipe), registry=registry), registry)
    own = {path for path in graph.nodes if ":" not in path}
    assert {node.path for node in view.nodes} == own
    edges = {(edge.owner, edge.field, edge.target.partition(":")[0]) for edge in graph.edges if ":" not in edge.owner}
    used = {(edge.owner, edge.field, edge.target) for edge in view.edges if not _unused(view, edge.owner)}
    assert used == edges
    layers = {node.path: node.layer for node in view.nodes}
    assert all(layers[edge.owner] < layers[edge.target] for edge in view.edges)
    assert [node.path for node in view.nodes if node.output] == [recipe["output"]]
    assert {node.path for node in view.nodes if node.unused} == set(graph.unused)


def _unused(view: Any, path: str) -> bool:
    return next(node for node in view.nodes if node.path == path).unused


def test_the_graph_of_kinds_that_nobody_knows_is_read_from_the_data(traces: Traces, registry: Registry) -> None:
    recipe = {
        "nodes": {
            "m": {"kind": "fake"},
            "odd": {"kind": "from_another_plugin", "models": ["m", {"kind": "stranger"}], "by": {"a": "m"}, "note": "text"},
        },
        "output": "odd",
    }
    view = graph_view(recipe, registry)
    assert {(edge.owner, edge.field, edge.target) for edge in view.edges} == {
        ("odd", "models[0]", "m"),
        ("odd", "models[1]", "odd.models[1]"),
        ("odd", "by.a", "m"),
    }
    assert {node.path: node.known for node in view.nodes} == {"odd": False, "m": True, "odd.models[1]": False}
    bare = graph_view(traces["nested"][0].recipe, load_plugins(entry_point_group=None))  # type: ignore[union-attr]
    full = graph_view(traces["nested"][0].recipe, registry)  # type: ignore[union-attr]
    assert {node.path for node in bare.nodes} == {node.path for node in full.nodes}
    assert [[node.path for node in layer] for layer in bare.layers] == [[node.path for node in layer] for layer in full.layers]


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"nodes": None},
        {"nodes": {"a": 3, "b": {"kind": 7}, "c": {}}, "output": ["x"]},
        {"nodes": {"a": {"kind": "sample", "model": "b"}, "b": {"kind": "sample", "model": "a"}}, "output": "a"},
        {"nodes": {"a": {"kind": "sample", "model": "a"}}, "output": "nowhere"},
        {"nodes": {"a": {"kind": "sample", "model": "missing", "temperature": 3}}, "output": "a"},
    ],
)
def test_a_recipe_that_is_not_valid_has_a_graph_as_far_as_it_goes(recipe: dict[str, Any], registry: Registry) -> None:
    names = recipe.get("nodes") or {}
    given = {"run_id": "r", "recipe": recipe, "prompt": Prompt(text="x"), "seed": 0}
    state = fold(
        [
            RunStarted.model_construct(**given),
            NodeStarted(kind="sample", role="Generator", span=1, parent=0, node="a"),
            Note(name="window_scores", data={"positions": [0], "scores": [0.5]}, span=1, parent=0, node="a"),
        ]
    )
    assert [plot.points for plot in window_plots(state, registry)] == [((0, 0.5),)]
    stage_steps(state, 1, registry), legend(recipe, state), budget_bars(state), node_rows(state), page(state)
    assert {node.path for node in graph_view(recipe, registry).nodes} == {str(name) for name in names}


def test_every_node_has_a_letter_of_its_own(traces: Traces, registry: Registry) -> None:
    recipe = fold(traces["nested"]).recipe
    entries = legend(recipe, registry=registry)
    assert {path: entry.letter for path, entry in entries.items() if entry.speaks} == {
        "large": "A",
        "small": "B",
        "other": "C",
        "answer": "D",
        "best": "E",
    }
    assert [entry.index for entry in entries.values()] == list(range(len(entries)))
    handed = legend(fold(traces["weak_to_strong"]).recipe, registry=registry)
    assert not handed["handed.criterion"].speaks
    inline = fold(traces["lookup"])
    assert legend(inline.recipe, inline, registry)["answer.draft[0]"].speaks
    alone = {"nodes": {"m": {"kind": "fake"}}, "output": "m"}
    assert [entry.speaks for entry in legend(alone, registry=registry).values()] == [False]
    many = {"nodes": {f"node{number}": {"kind": "fake"} for number in range(60)}, "output": "node0"}
    letters = [entry.letter for entry in legend(many).values()]
    assert len(set(letters)) == len(letters)
    assert (letters[0], letters[25], letters[26]) == ("A", "Z", "AA")


def test_nodes_have_the_places_that_the_engines_graph_gives_them(name: str, traces: Traces, registry: Registry) -> None:
    recipe = fold(traces[name]).recipe
    graph = build_graph(load_recipe(dict(recipe), registry=registry), registry)
    order = [path for path in graph.nodes if ":" not in path]
    assert list(legend(recipe, registry=registry))[: len(order)] == order


# --- events in a line ---------------------------------------------------------------------------------------------------


def test_every_event_is_a_line_that_says_something(traces: Traces) -> None:
    seen = set()
    for events in traces.values():
        for index, event in enumerate(events):
            row = event_row(index, event)
            assert (row.index, row.type, row.node, row.span) == (index, event.type, event.node, event.span)
            assert row.text
            assert "\n" not in row.text
            assert len(row.text) <= 160
            seen.add(event.type)
    assert seen >= {
        "run_started",
        "forward",
        "drafted",
        "verified",
        "switched",
        "candidate_scored",
        "budget_spent",
        "failed",
        "note",
    }


def test_lines_say_what_one_looks_for(traces: Traces) -> None:
    lines = [describe(event) for event in traces["speculative"]]
    assert any("of 4 drafted by small stand at" in line for line in lines)
    assert any("by small, large agrees" in line for line in lines)
    assert describe(NodeStarted(kind="sample", role="Generator")) == "sample begins as Generator"
    assert any("hands over to large at" in describe(event) for event in traces["weak_to_strong"])

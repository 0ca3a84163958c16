from __future__ import annotations

import math
from dataclasses import replace

import pytest

from counterpoint.evaluation.candidates import candidates_of
from counterpoint.events import CandidateFinished, CandidateScored, CandidateSelected, Event, RunFinished
from counterpoint.registry import Registry, load_plugins
from counterpoint_tui.state import (
    RunState,
    candidate_table,
    contests,
    fold,
    in_stages,
    reduce,
    stage_steps,
    verifiers,
    window_plot,
    window_plots,
)

Traces = dict[str, tuple[Event, ...]]


@pytest.mark.parametrize("name", ["best_of_n", "first", "cascade", "nested", "combined", "candidate fails"])
def test_candidates_have_the_texts_scores_and_costs_that_core_reads_from_the_trace(name: str, traces: Traces) -> None:
    events = traces[name]
    state = fold(events)
    assert contests(state)
    for span in contests(state):
        expected = candidates_of(events, span)
        rows = {row.number: row for row in candidate_table(state, span)}
        assert set(expected) <= set(rows)
        for number, candidate in expected.items():
            row = rows[number]
            assert row.flops == pytest.approx(candidate.flops)
            assert row.verifying_flops == pytest.approx(candidate.verifying_flops)
            assert candidate.completion is None or row.text == candidate.completion.text
            first = row.scores[0].score if row.scores else None
            assert first == candidate.score or (first is not None and math.isnan(first))
        selected = next(e for e in events if isinstance(e, CandidateSelected) and e.span == span)
        (chosen,) = [row for row in rows.values() if row.selected]
        assert (chosen.number, chosen.reason, chosen.status) == (selected.candidate, selected.reason, "selected")


def test_candidates_grow_in_the_table_while_they_are_written(traces: Traces) -> None:
    state, lengths = RunState(), set[tuple[int, ...]]()
    for event in traces["best_of_n"]:
        state = reduce(state, event)
        rows = candidate_table(state, 1)
        if len(rows) == 4 and all(row.status == "writing" for row in rows):
            lengths.add(tuple(len(row.text) for row in rows))
    assert len(lengths) > 10
    assert [row.generator for row in candidate_table(state, 1)] == ["answer", "other", "answer", "other"]


def test_a_candidate_that_fails_says_why_and_is_not_the_answer(traces: Traces) -> None:
    rows = candidate_table(fold(traces["candidate fails"]), 1)
    assert [row.status for row in rows] == ["selected", "failed"]
    assert "told to fail" in rows[1].problem
    assert rows[1].text, "what it had written is shown"


def test_what_a_verifier_asks_of_others_is_told_apart_from_its_own_word(traces: Traces) -> None:
    state = fold(traces["combined"])
    rows = candidate_table(state, 1)
    assert verifiers(rows) == ("sum",)
    for row in rows:
        assert [score.verifier for score in row.scores] == ["sum"]
        assert {score.verifier for score in row.parts} == {"sum.verifiers[0]", "sum.verifiers[1]"}


def test_candidates_that_come_from_elsewhere_are_not_taken_for_those_that_are_written(traces: Traces) -> None:
    events = traces["best_of_n"]
    (end,) = [event for event in events if isinstance(event, RunFinished)]
    recorded = end.completion.model_copy(update={"text": "from a file"})
    shifted = [
        event.model_copy(update={"candidate": event.candidate + 1})
        if isinstance(event, (CandidateFinished, CandidateScored, CandidateSelected))
        else event
        for event in events
    ]
    first = CandidateFinished(candidate=0, completion=recorded, span=1, parent=0, node="best")
    rows = candidate_table(fold([*shifted[:3], first, *shifted[3:]]), 1)
    assert (rows[0].text, rows[0].span) == ("from a file", None)
    plain = candidate_table(fold(events), 1)
    assert [replace(row, number=row.number - 1, scores=(), start=0) for row in rows[1:]] == [
        replace(row, scores=(), start=0) for row in plain
    ]


# --- stages -------------------------------------------------------------------------------------------------------------


def test_a_cascade_is_steps_from_its_beginning_to_its_end(traces: Traces, registry: Registry) -> None:
    state, seen = RunState(), []
    for event in traces["cascade"]:
        state = reduce(state, event)
        steps = [(step.generator, step.status) for step in stage_steps(state, 1, registry)]
        if steps and steps not in seen:
            seen.append(steps)
    assert seen == [
        [("other", "waiting"), ("answer", "waiting")],
        [("other", "writing"), ("answer", "waiting")],
        [("other", "judging"), ("answer", "waiting")],
        [("other", "passed on"), ("answer", "writing")],
        [("other", "passed on"), ("answer", "judging")],
        [("other", "passed on"), ("answer", "accepted")],
    ]
    first, second = stage_steps(state, 1, registry)
    assert first.score is not None
    assert (first.threshold, first.score < 0.9) == (0.9, True)
    assert (second.threshold, second.score) == (None, None)
    assert second.candidate is not None
    assert second.candidate.writes_answer


def test_which_calls_are_stages_is_the_plugins_word_or_else_the_recipes(traces: Traces, registry: Registry) -> None:
    state = fold(traces["nested"])
    bare = load_plugins(entry_point_group=None)
    for known in (registry, bare, None):
        assert [in_stages(state, span, known) for span in contests(state)] == [True, False]
    assert not in_stages(state, 999, registry)
    assert stage_steps(state, 999, registry) == ()


def test_thresholds_that_the_recipe_leaves_out_are_the_nodes_own(registry: Registry) -> None:
    nodes = {
        "m": {"kind": "fake"},
        "judge": {"kind": "unit_tests"},
        "stages": {"kind": "cascade", "stages": ["m", "m", "m"], "verifiers": ["judge"]},
    }
    state = fold(_started({"nodes": nodes, "output": "stages"}, "stages", "cascade"))
    assert [step.threshold for step in stage_steps(state, 1, registry)] == [0.5, 0.5, None]
    assert [step.threshold for step in stage_steps(state, 1)] == [None, None, None]
    several = {**nodes, "stages": {**nodes["stages"], "thresholds": [0.2, 0.7]}}
    state = fold(_started({"nodes": several, "output": "stages"}, "stages", "cascade"))
    assert [step.threshold for step in stage_steps(state, 1)] == [0.2, 0.7, None]


def _started(recipe: dict[str, object], node: str, kind: str) -> list[Event]:
    from counterpoint.events import NodeStarted, RunStarted
    from counterpoint.prompt import Prompt

    return [
        RunStarted(run_id="r", recipe=recipe, prompt=Prompt(text="x"), seed=0),
        NodeStarted(kind=kind, role="Generator", span=1, parent=0, node=node),
    ]


# --- windows ------------------------------------------------------------------------------------------------------------


def test_window_scores_are_a_plot_with_the_threshold_and_the_switch(traces: Traces, registry: Registry) -> None:
    events = traces["weak_to_strong"]
    plot = window_plot(fold(events), registry=registry)
    assert plot is not None
    assert (plot.threshold, plot.criterion) == (0.12, "window_confidence")
    assert plot.switch is not None
    assert [position for position, _ in plot.points] == list(range(len(plot.points)))
    scores = [score for _, score in plot.points]
    # the switch stands right behind the first token whose score reaches the threshold
    reached = next(index for index, score in enumerate(scores) if score >= 0.12)
    assert plot.switch.position == reached + 1
    low, high = plot.bounds
    assert low <= 0.12 <= high
    assert window_plot(fold(events)) == plot, "the recipe says the threshold itself"
    assert window_plots(fold(events)) == (plot,)


def test_a_threshold_that_the_recipe_leaves_out_is_the_criterions_own(traces: Traces, registry: Registry) -> None:
    plot = window_plot(fold(traces["continued"]), registry=registry)
    assert plot is not None
    assert plot.threshold == 0.8
    bare = window_plot(fold(traces["continued"]))
    assert bare is not None
    assert (bare.threshold, bare.points) == (None, plot.points)
    assert window_plot(fold(traces["sample"])) is None

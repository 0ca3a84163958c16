from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.events import Emitted, Event, EventBase, Forward, Note, RunFinished, dump_event, parse_event
from counterpoint.trace import segments, spans, summarize
from counterpoint_tui.state import RunState, answer_stretches, answer_text, fold, reduce, summary, timeline
from counterpoint_tui.state.reading import Unreadable

Traces = dict[str, tuple[Event, ...]]


def test_the_state_layer_needs_no_textual_and_no_torch() -> None:
    code = (
        "import sys, counterpoint_tui.state, counterpoint_tui.state.compare, counterpoint_tui.state.export\n"
        "print(sorted({'torch', 'transformers', 'textual'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_text_is_the_completion_and_the_figures_are_those_of_the_trace(name: str, traces: Traces) -> None:
    events = traces[name]
    state = fold(events)
    end = events[-1]
    assert isinstance(end, RunFinished)
    assert state.count == len(events)
    assert answer_text(state) == end.completion.text
    assert state.completion == end.completion
    assert _same(summary(state).as_dict(), summarize(events).as_dict())


def _same(found: object, expected: object) -> bool:
    """pytest.approx knows no nested data."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        return all(_same(found[key], value) for key, value in expected.items())
    if isinstance(expected, (list, tuple)):
        assert isinstance(found, (list, tuple))
        return len(found) == len(expected) and all(map(_same, found, expected))
    assert found == (pytest.approx(expected, rel=1e-12) if isinstance(expected, float) else expected)
    return True


def test_figures_agree_after_every_event(name: str, traces: Traces) -> None:
    state = RunState()
    for count, event in enumerate(traces[name], 1):
        state = reduce(state, event)
        if count % 7 == 0 or count < 12:
            assert _same(summary(state).as_dict(), summarize(traces[name][:count]).as_dict())


def test_every_call_has_what_the_folds_of_core_say_of_it(name: str, traces: Traces) -> None:
    events = traces[name]
    state = fold(events)
    tree = [(0, spans(events))]
    for depth, span in tree:
        ours = state.spans[span.id]
        assert (ours.node, ours.kind, ours.role, ours.start, ours.finished, ours.finish_reason, ours.tokens) == (
            span.node,
            span.kind,
            span.role,
            span.start,
            span.finished,
            span.finish_reason,
            span.tokens,
        )
        told = [(part.text, part.proposer, part.decider) for part in segments(events, span.id)]
        found = [(one.text, one.proposer, one.decider) for one in answer_stretches(state, span.id)]
        assert "".join(text for text, _, _ in found) == "".join(text for text, _, _ in told)
        assert [one[1:] for one in found if one[0]] == _merged([one[1:] for one in told if one[0]])
        tree += [(depth + 1, child) for child in span.children]
    rows = {row.span: row for row in timeline(state)}
    assert {span.id for _, span in tree} - {0} == set(rows)
    for depth, span in tree[1:]:
        assert (rows[span.id].depth, rows[span.id].end) == (depth - 1, span.end)


def _merged(who: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Core parts stretches where a log-probability is missing, too."""
    return [one for index, one in enumerate(who) if index == 0 or who[index - 1] != one]


@given(data=st.data())
@settings(max_examples=40)
def test_reducing_in_parts_is_reducing_in_one_go_and_changes_no_state(data: st.DataObject, traces: Traces) -> None:
    events = traces[data.draw(st.sampled_from(sorted(traces)))]
    cut = data.draw(st.integers(0, len(events)))
    half = fold(events[:cut])
    before = (half.count, summary(half).as_dict(), answer_text(half), timeline(half))
    assert fold(events[cut:], half) == fold(events)
    assert (half.count, summary(half).as_dict(), answer_text(half), timeline(half)) == before


@given(data=st.data())
@settings(max_examples=40)
def test_what_is_shown_never_changes(data: st.DataObject, traces: Traces) -> None:
    events = traces[data.draw(st.sampled_from(sorted(traces)))]
    cut = data.draw(st.integers(0, len(events)))
    shown = answer_stretches(fold(events[:cut]))
    kept = shown[:-1]
    rest = answer_stretches(fold(events), after=shown[-1].first if shown else 0)
    assert kept + rest == answer_stretches(fold(events))


def test_stored_events_give_the_same_state(traces: Traces) -> None:
    for events in traces.values():
        assert fold(parse_event(dump_event(event)) for event in events) == fold(events)


def test_a_pass_that_two_nodes_share_is_counted_once(traces: Traces) -> None:
    events = traces["shared"]
    passes = {(event.pass_id, event.seconds) for event in events if isinstance(event, Forward)}
    assert fold(events).model_seconds == pytest.approx(sum(seconds for _, seconds in passes))
    assert sum(node.passes for node in fold(events).nodes.values()) >= len(passes)


def test_an_event_of_an_unknown_type_is_counted_and_changes_nothing_else() -> None:
    state = fold([Emitted(text="a", span=1, t=1.0)])
    after = reduce(state, Unreadable(t=3.0, span=77))
    assert (after.count, after.last_t) == (2, 3.0)
    assert after.spans == state.spans


def test_calls_that_never_started_are_there_with_what_is_known_of_them() -> None:
    state = fold([Emitted(text="x", ids=(1,), span=9, parent=4, node="lost", proposer="m", t=2.0)])
    assert (state.spans[9].node, state.spans[9].started, state.spans[9].text) == ("lost", False, "x")
    (row,) = timeline(state)
    assert (row.span, row.depth, row.finished) == (9, 0, False)


def test_calls_in_a_circle_are_shown_once() -> None:
    events: list[EventBase] = [
        Emitted(text="x", span=number, parent=above) for number, above in ((2, 3), (3, 2), (5, 5), (4, 2))
    ]
    assert sorted(row.span for row in timeline(fold(events))) == [2, 3, 4, 5]


def test_notes_are_kept_by_name_and_say_what_failed(traces: Traces) -> None:
    state = fold(traces["candidate fails"])
    (note,) = state.notes["candidate_failed"]
    (failure,) = state.failures
    assert note.data["candidate"] == 1
    assert (failure.fatal, failure.message) == (False, note.data["error"])
    (failed,) = fold(traces["failing"]).failures
    assert (failed.fatal, failed.error) == (True, "ModelError")
    assert failed.hint


def test_odd_notes_hurt_nobody() -> None:
    odd: list[dict[str, object]] = [
        {"positions": [1], "scores": "none"},
        {"positions": ["a", 2], "scores": [1.0, None]},
        {"candidate": True, "error": "x"},
        {"candidates": "12", "error": "y", "verifier": 3},
    ]
    state = fold(Note(name="window_scores", data=json.loads(json.dumps(data)), span=1) for data in odd)
    assert not state.windows[1].points
    assert [failure.message for failure in state.failures] == ["x", "y"]
    assert not state.contests

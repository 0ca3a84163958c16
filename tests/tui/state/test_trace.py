from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import RunError
from counterpoint.events import Emitted, Event, Note, RunFinished, RunStarted, Switched, Verified, dump_event
from counterpoint.recording import EVENTS, RECIPE, RESULT
from counterpoint.runstore import RunStore
from counterpoint.trace import ROOT_SPAN, summarize
from counterpoint_tui.state import (
    MARKS,
    Filter,
    RunState,
    TraceView,
    answer_text,
    below,
    filtered,
    fold,
    reduce,
    search,
    summary,
)
from counterpoint_tui.state import trace as trace_module
from counterpoint_tui.state.reading import Unreadable, read_event

Traces = dict[str, tuple[Event, ...]]
Record = Callable[[str], Path]


@pytest.fixture(autouse=True, scope="module")
def _many_checkpoints() -> object:
    """So that a short trace has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_module, "STEP", 32)
        patch.setattr(trace_module, "NEAR", 8)
        yield


@given(data=st.data())
@settings(max_examples=40)
def test_the_state_at_a_place_is_the_fold_of_so_many_events(data: st.DataObject, traces: Traces) -> None:
    events = traces[data.draw(st.sampled_from(sorted(traces)))]
    trace = TraceView(dump_event(event).encode() for event in events)
    for _ in range(data.draw(st.integers(1, 6))):  # in any order, before and after all have been folded
        place = data.draw(st.integers(0, len(events)))
        assert trace.at(place) == fold(events[:place])
        if data.draw(st.booleans()):
            trace.prepare(data.draw(st.integers(0, 200)))
    assert trace.at(10**6) == trace.last == fold(events)
    assert trace.at(-5) == RunState()


def test_every_neighbour_is_the_next_state(traces: Traces) -> None:
    events = traces["nested"]
    trace = TraceView.of(events)
    states = [RunState()]
    for event in events:
        states.append(reduce(states[-1], event))
    assert [trace.at(place) for place in range(len(events) + 1)] == states
    assert [trace.at(place) for place in reversed(range(len(events) + 1))] == states[::-1]


def test_a_trace_is_folded_in_steps_by_who_wants_to_draw_in_between(traces: Traces, record: Record) -> None:
    trace = TraceView.open(record("nested"), lazily=True)
    assert (trace.prepared, len(trace)) == (0, len(traces["nested"]))
    assert not trace.prepare(100)
    assert trace.prepared == 100
    steps = 1
    while not trace.prepare(100):
        steps += 1
    assert steps == len(trace) // 100
    assert trace.last == fold(traces["nested"])


def test_a_live_trace_grows_and_gives_every_state(traces: Traces) -> None:
    trace = TraceView()
    for count, event in enumerate(traces["best_of_n"], 1):
        assert trace.append(event, dump_event(event).encode() if count % 2 else None).count == count
        assert trace.event(count - 1) == event
    assert trace.status == "finished"
    assert trace.problems == ()
    assert trace.last == fold(traces["best_of_n"])


# --- jumps --------------------------------------------------------------------------------------------------------------


def test_one_jumps_to_what_has_just_happened(traces: Traces) -> None:
    events = traces["weak_to_strong"]
    trace = TraceView.of(events)
    place = trace.next("switch", 0)
    assert place is not None
    assert isinstance(trace.event(place - 1), Switched)
    assert len(trace.at(place).switches) == 1
    assert len(trace.at(place - 1).switches) == 0
    assert trace.next("switch", place) is None
    assert trace.previous("switch", place) is None
    assert trace.previous("switch", len(trace)) == place
    rejected = TraceView.of(traces["speculative"])
    expected = [i + 1 for i, e in enumerate(traces["speculative"]) if isinstance(e, Verified) and e.accepted < e.proposed]
    assert list(rejected.marks("rejection")) == expected
    emitted = [i + 1 for i, e in enumerate(traces["cascade"]) if isinstance(e, Emitted) and e.span == ROOT_SPAN]
    assert list(TraceView.of(traces["cascade"]).marks("emission")) == emitted


@given(data=st.data())
def test_jumping_on_and_back_visits_every_mark(data: st.DataObject, traces: Traces) -> None:
    trace = TraceView.of(traces[data.draw(st.sampled_from(["nested", "candidate fails", "budget", "first"]))])
    mark = data.draw(st.sampled_from(MARKS))
    on: list[int] = []
    place: int | None = 0
    while (place := trace.next(mark, place or 0)) is not None:
        on.append(place)
    back: list[int] = []
    place = len(trace) + 1
    while (place := trace.previous(mark, place)) is not None:
        back.append(place)
    assert on == back[::-1] == list(trace.marks(mark))


def test_failures_are_marks_whoever_failed(traces: Traces) -> None:
    for name, count in (("failing", 1), ("candidate fails", 1), ("budget", 1), ("sample", 0)):
        assert len(TraceView.of(traces[name]).marks("failure")) == count


# --- search and filters -------------------------------------------------------------------------------------------------


def test_a_text_is_found_across_tokens_and_leads_to_where_it_begins(traces: Traces) -> None:
    events = traces["speculative"]
    trace = TraceView.of(events)
    whole = answer_text(trace.last)
    wanted = whole[5:11]
    found = [hit for hit in search(trace, wanted.upper()) if hit.emitted]
    assert [answer_text(trace.at(hit.event + 1))[-1] for hit in found] == [wanted[0]]
    assert [answer_text(trace.at(hit.event)) for hit in found] == [whole[:5]]
    (hit,) = found
    assert hit.excerpt[hit.at : hit.at + hit.length] == wanted
    assert search(trace, "") == ()
    assert search(trace, "never said by anyone") == ()


def test_a_text_is_found_in_prompts_notes_scores_and_errors(traces: Traces) -> None:
    (hit,) = search(TraceView.of(traces["sample"]), "HELLO th")
    assert (hit.event, hit.emitted, hit.excerpt[hit.at : hit.at + hit.length]) == (0, False, "hello th")
    kinds = {
        TraceView.of(traces["failing"]).event(hit.event).type for hit in search(TraceView.of(traces["failing"]), "told to fail")
    }  # type: ignore[attr-defined]
    assert kinds == {"failed"}
    note = Note(name="x", data={"said": 'a "quoted"\nword', "list": [{"deep": "Grüße"}]}, span=1)
    assert len(search(TraceView.of([note]), '"QUOTED"\n')) == 1
    assert len(search(TraceView.of([note]), "grüße")) == 1
    assert search(TraceView.of([note]), "deep") == (), "names of fields are not what was said"
    assert len(search(TraceView.of(traces["speculative"]), "o", limit=3)) == 3


def test_lists_show_what_filters_let_through(traces: Traces) -> None:
    events = traces["nested"]
    trace = TraceView.of(events)
    assert filtered(trace, Filter()) == list(range(len(events)))
    assert not Filter()
    assert filtered(trace, Filter(types=("verified", "note"))) == [
        i for i, e in enumerate(events) if e.type in ("verified", "note")
    ]
    assert filtered(trace, Filter(without={"forward"})) == [i for i, e in enumerate(events) if e.type != "forward"]
    assert filtered(trace, Filter(nodes=["other"])) == [i for i, e in enumerate(events) if e.node in ("other", "other:sample")]
    inside = {span.id for span in below(trace.last, 2)}
    assert len(inside) > 3
    shown = filtered(trace, Filter(spans=inside, types=["emitted"]))
    assert shown == [i for i, e in enumerate(events) if e.span in inside and e.type == "emitted"]
    assert filtered(trace, Filter(types=["emitted"]), start=shown[-1]) == [
        i for i, e in enumerate(events) if e.type == "emitted" and i >= shown[-1]
    ]


# --- stored runs that something has happened to -------------------------------------------------------------------------


def test_a_stored_run_opens_as_it_was(name: str, traces: Traces, record: Record, store: RunStore) -> None:
    folder = record(name)
    trace = TraceView.open(folder)
    assert trace.problems == ()
    assert trace.status == fold(traces[name]).status
    assert answer_text(trace.last) == answer_text(fold(traces[name]))
    if name != "summary":  # that one keeps less
        assert trace.last == fold(traces[name])
    else:
        assert summary(trace.last) == summarize(store.replay(folder.name))


@given(share=st.floats(0, 1))
@settings(max_examples=40)
def test_a_run_cut_off_anywhere_shows_what_came_before(
    share: float, traces: Traces, tmp_path_factory: pytest.TempPathFactory
) -> None:
    events = traces["cascade"]
    lines = [dump_event(event).encode() + b"\n" for event in events]
    whole = b"".join(lines)
    cut = len(lines[0]) + round(share * (len(whole) - 2 - len(lines[0])))
    folder = tmp_path_factory.mktemp("cut")
    (folder / EVENTS).write_bytes(whole[:cut])
    trace = TraceView.open(folder)
    complete = whole[:cut].count(b"\n")
    assert complete <= len(trace) <= complete + 1  # a line that lacks nothing but its end is a line
    assert trace.last == fold(events[: len(trace)])
    assert trace.status == "interrupted"
    messages = [problem.message for problem in trace.problems]
    assert messages[-1].startswith("the run was interrupted")
    torn = not whole[:cut].endswith(b"\n") and len(trace) == complete
    assert [message.startswith("the last line was cut off") for message in messages[:-1]] == [True] * torn


def test_a_run_without_result_or_recipe_is_read_from_its_events(record: Record) -> None:
    folder = record("speculative")
    (folder / RESULT).unlink()
    (folder / RECIPE).unlink()
    trace = TraceView.open(folder)
    assert (trace.status, trace.problems) == ("finished", ())
    assert trace.last.recipe["name"] == "answer"


def test_a_run_of_a_newer_version_is_shown_as_far_as_it_can_be_read(record: Record, traces: Traces) -> None:
    folder = record("speculative")
    lines = (folder / EVENTS).read_text().splitlines()
    first = {**json.loads(lines[0]), "schema_version": 7, "mood": "bright"}
    emitted = next(index for index, line in enumerate(lines) if '"type":"emitted"' in line)
    lines[0] = json.dumps(first)
    lines[emitted] = json.dumps({**json.loads(lines[emitted]), "certainty": 0.5})
    lines.insert(5, json.dumps({"type": "dreamt", "seq": 5, "t": 0.5, "span": 1, "parent": 0, "node": "answer", "of": "sheep"}))
    (folder / EVENTS).write_text("\n".join(lines) + "\n")
    trace = TraceView.open(folder)
    assert answer_text(trace.last) == answer_text(fold(traces["speculative"]))
    newer, unread = trace.problems
    assert "format 7" in newer.message
    assert "upgrade" in newer.hint or "pip install -U counterpoint" in newer.hint
    assert "line 6" in unread.message
    row = trace.row(5)
    assert (row.type, row.node, row.t) == ("unreadable", "answer", 0.5)
    assert "sheep" in row.text
    assert trace.next("failure", 0) == 6


def test_a_line_damaged_in_the_middle_is_passed_over(record: Record, traces: Traces) -> None:
    folder = record("sample")
    lines = (folder / EVENTS).read_bytes().splitlines()
    lines[20] = b"\xff\x00 not json"
    lines[21] = b'{"type":"emitted","text":3}'
    lines[22] = b"[1]"
    (folder / EVENTS).write_bytes(b"\n".join(lines) + b"\n")
    trace = TraceView.open(folder)
    assert len(trace) == len(traces["sample"])
    (problem,) = trace.problems
    assert problem.message.startswith("3 lines are no events, line 21 the first")
    assert trace.last.finished
    assert [trace.row(index).type for index in (19, 20, 21, 22)].count("unreadable") == 3


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"nonsense\n" * 20, b'{"type":"emi'])
def test_what_is_no_trace_is_refused_with_a_remedy(content: bytes | None, tmp_path: Path) -> None:
    folder = tmp_path / "20260101-000000-abcdef"
    folder.mkdir()
    if content is not None:
        (folder / EVENTS).write_bytes(content)
    with pytest.raises(RunError, match=folder.name) as caught:
        TraceView.open(folder)
    assert "runs rm" in caught.value.hint


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.from_regex(rb'\{"type":"[a-z_]*",.*', fullmatch=True))
def test_any_bytes_are_an_event_or_are_said_to_be_none(line: bytes) -> None:
    event = read_event(line)
    assert isinstance(event, Unreadable) or event == read_event(dump_event(event))
    reduce(RunState(), event)


def test_an_endless_line_of_brackets_is_no_event() -> None:
    assert isinstance(read_event(b"[" * 100_000), Unreadable)
    assert isinstance(read_event(b'{"type":' + b'{"a":' * 50_000), Unreadable)


def test_a_trace_without_beginning_or_with_two_ends_is_folded(traces: Traces) -> None:
    events = traces["sample"]
    assert answer_text(TraceView.of(events[3:]).last) == answer_text(fold(events))
    end = events[-1]
    assert isinstance(end, RunFinished)
    assert isinstance(events[0], RunStarted)
    assert TraceView.of([*events, end, events[5]]).last.finished

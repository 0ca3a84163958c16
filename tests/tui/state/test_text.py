from __future__ import annotations

import math

import pytest

from counterpoint.events import Drafted, Emitted, Event, NodeStarted, Verified
from counterpoint_tui.state import (
    RunState,
    TraceView,
    answer_stretches,
    answer_text,
    candidate_table,
    fold,
    pending,
    reduce,
    rejected,
    summary,
    token_at,
    token_details,
)
from counterpoint_tui.state.text import token_of_event

Traces = dict[str, tuple[Event, ...]]


@pytest.mark.parametrize("name", ["speculative", "rejection", "lookup", "cascade", "continued", "nested"])
def test_a_draft_waits_moves_into_the_answer_and_leaves_its_rest_behind(name: str, traces: Traces) -> None:
    events = traces[name]
    writers = {event.span for event in events if isinstance(event, Drafted)}
    rests = 0
    state = RunState()
    for index, event in enumerate(events):
        state = reduce(state, event)
        if event.span not in writers:
            continue
        drafts = [one for one in events[: index + 1] if isinstance(one, Drafted) and one.span == event.span]
        if isinstance(event, Drafted):
            shown = pending(state, event.span)
            assert (shown.text if shown else "") == event.text
            assert rejected(state, event.span) is None
        if isinstance(event, Verified) and event.accepted == 0 and drafts[-1].text:
            shown = rejected(state, event.span)
            assert shown is not None
            assert shown.text == drafts[-1].text
            assert (shown.proposer, shown.position) == (event.proposer, event.position)
            assert pending(state, event.span) is None
            rests += 1
        if isinstance(event, Emitted) and (over := rejected(state, event.span)) is not None:
            verdict = next(e for e in reversed(events[: index + 1]) if isinstance(e, Verified) and e.span == event.span)
            draft = drafts[-1]
            # the fake model's tokens are characters, so a draft's rest is what its rejected tokens say
            assert over.text == draft.text[verdict.accepted :]
            rests += 1
    assert rests > 0, "no draft was rejected, so nothing was tested"
    assert pending(state) is None
    assert rejected(state) is None


def test_the_draft_of_the_call_that_writes_the_answer_is_shown_behind_the_answer(traces: Traces) -> None:
    state, behind = RunState(), 0
    for event in traces["cascade"]:
        state = reduce(state, event)
        found = pending(state)
        if found is not None:
            behind += 1
            draft = next(e for e in reversed(traces["cascade"][: state.count]) if isinstance(e, Drafted))
            assert draft.text.endswith(found.text)
            assert len(answer_text(state)) + len(found.text) >= draft.position
    assert behind > 5


def test_characters_that_span_tokens_leave_the_draft_by_its_share() -> None:
    events = [
        NodeStarted(kind="speculative", role="Generator", span=1, parent=0, node="a"),
        Drafted(position=0, ids=(1, 2, 3, 4), text="né!!", proposer="d", span=1),
        Verified(position=0, proposed=4, accepted=2, proposer="d", span=1),
        Emitted(text="", ids=(1,), proposer="d", span=1),
        Emitted(text="NÉ", ids=(2,), proposer="d", span=1),
    ]
    shown = rejected(fold(events))
    assert shown is not None
    assert shown.text == "!!"


def test_every_token_is_found_by_its_number_and_by_its_event(name: str, traces: Traces) -> None:
    state = fold(traces[name])
    for span in state.spans.values():
        ids = [token for piece in span.pieces for token in piece.ids]
        for number, token in enumerate(ids[:30]):
            found = token_at(state, number, span.id)
            assert found is not None
            assert (found.id, found.number) == (token, number)
            if any(found.event == piece.event for piece in span.pieces):  # not so of adopted answers
                last = token_of_event(state, found.event, span.id)
                assert last is not None
                assert number <= last < number + found.shared
        assert token_at(state, len(ids), span.id) is None


def test_a_token_tells_its_probability_its_alternatives_and_what_drafts_said(traces: Traces) -> None:
    events = traces["speculative"]
    trace = TraceView.of(events)
    verified = [event for event in events if isinstance(event, Verified)]
    for event in verified:
        for offset in range(event.accepted):
            details = token_details(trace, event.position + offset)
            assert details is not None
            assert details.token.drafting is not None
            assert details.token.drafting.stood
            assert details.token.proposer == "small"
        after = token_details(trace, event.position + event.accepted)
        if after is not None:
            drafting = after.token.drafting
            assert (drafting is None) == (event.accepted == event.proposed)
            assert drafting is None or not drafting.stood
    first = token_details(trace, 0)
    assert first is not None
    assert 0 < first.token.probabilities["large"] <= 1
    costs = [details.flops for number in range(20) if (details := token_details(trace, number))]
    assert costs == sorted(costs)
    assert token_details(trace, 10_000) is None
    full = token_details(TraceView.of(traces["full"]), 3)
    assert full is not None
    (_, _, best), *_ = full.token.alternatives
    assert math.exp(best) <= 1


def test_what_a_call_under_way_has_drawn_is_a_lower_bound(traces: Traces) -> None:
    trace = TraceView.of(traces["weak_to_strong"])
    details = token_details(trace, trace.last.spans[1].emitted - 1)
    assert details is not None
    assert details.at_least, "the model that took over says what it has drawn when it is done"
    assert details.generated_tokens < summary(trace.last).generated_tokens


def test_drafts_are_found_below_a_prefix_and_through_what_hands_a_text_on(traces: Traces) -> None:
    trace = TraceView.of(traces["continued"])
    state = trace.last
    numbers = range(state.spans[1].emitted)
    stood = [token for number in numbers if (token := token_at(state, number)) and token.drafting and token.drafting.stood]
    assert stood
    assert {token.proposer for token in stood} == {"small"}
    for token in stood:
        assert token.drafting is not None
        assert token.text in token.drafting.text


def test_an_adopted_answer_is_shown_as_those_wrote_it_who_did(traces: Traces) -> None:
    state = fold(traces["best_of_n"])
    (whole,) = answer_stretches(state)
    assert whole.proposer == "answer"
    parts = answer_stretches(state, adopted=True)
    assert "".join(part.text for part in parts) == whole.text
    assert {part.proposer for part in parts} == {"large", "small"}
    assert [(part.first, part.last) for part in parts] == [(0, 0)] * len(parts)
    assert [part.token for part in parts] == [sum(one.tokens for one in parts[:place]) for place in range(len(parts))]
    chosen = next(row for row in candidate_table(state, 1) if row.selected)
    assert {part.span for part in parts} == {chosen.span}
    for number in range(whole.tokens):
        token = token_at(state, number)
        assert token is not None
        assert token.number == number
        assert 0 < token.probabilities["large"] <= 1
    assert answer_stretches(fold(traces["speculative"]), adopted=True) == answer_stretches(fold(traces["speculative"]))

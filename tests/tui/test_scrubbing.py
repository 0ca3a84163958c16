"""Where one stands in a trace."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from counterpoint.events import Event
from counterpoint.tally import ROOT_SPAN
from counterpoint_tui.scrubbing import Position
from counterpoint_tui.state import TraceView, answer_text

Runs = dict[str, tuple[Event, ...]]


@pytest.fixture
def at(fake_runs: Runs) -> Callable[[str], Position]:
    def make(name: str) -> Position:
        trace = TraceView.of(fake_runs[name])
        return Position(trace, len(trace))

    return make


@pytest.mark.parametrize("name", ["drafted", "best", "stages", "handed"])
def test_choosing_a_token_goes_to_where_it_came(at: Callable[[str], Position], name: str) -> None:
    position = at(name)
    assert position.tokens > 5
    for number in range(position.tokens):
        position.choose(number)
        assert position.token == number
        assert position.details is not None
        assert position.details.token.number == number
        before = Position(position.trace, position.place - 1)
        assert len(answer_text(before.state)) < len(answer_text(position.state))


def test_steps_by_token_visit_every_token(at: Callable[[str], Position]) -> None:
    position = at("best")  # where all tokens come with one event
    position.go(0)
    assert position.token is None
    position.step(-1, tokens=True)
    assert position.place == 0
    seen = []
    for _ in range(position.tokens):
        position.step(1, tokens=True)
        seen.append(position.token)
    assert seen == list(range(position.tokens))
    position.step(1, tokens=True)
    assert position.place == len(position.trace)
    position.step(-1, tokens=True)
    assert position.token == position.tokens - 2


def test_steps_by_event_stay_within_the_trace(at: Callable[[str], Position]) -> None:
    position = at("drafted")
    position.step(1, tokens=False)
    assert position.place == len(position.trace)
    position.step(-1, tokens=False)
    assert position.place == len(position.trace) - 1
    position.go(-5)
    assert (position.place, position.time, position.event) == (0, 0.0, None)


def test_jumps_go_to_the_nearest_of_several_marks(at: Callable[[str], Position]) -> None:
    position = at("best")
    position.go(0)
    marks = sorted({*position.trace.marks("rejection"), *position.trace.marks("candidate")})
    seen = []
    while position.jump(("candidate", "rejection"), forward=True):
        seen.append(position.place)
    assert seen == marks
    assert len(marks) > 3
    while position.jump(("candidate", "rejection"), forward=False):
        seen.append(position.place)
    assert seen[len(marks) :] == marks[-2::-1]
    assert not position.jump(("failure",), forward=True)


def test_reading_a_call(at: Callable[[str], Position]) -> None:
    position = at("stages")
    inner = max(position.trace.last.spans)
    place = position.place
    position.read(inner)
    assert position.place == place  # it had begun
    assert position.call is not None
    position.go(1)
    position.read(inner)  # it had not: as it was in the end
    assert position.call is not None
    assert position.call.text == position.trace.last.spans[inner].text
    assert position.trace.columns.spans[position.place - 1] == inner
    assert inner not in position.trace.columns.spans[position.place :]
    position.read(ROOT_SPAN)
    assert position.call is None


def test_a_token_of_a_chosen_candidate_was_written_elsewhere(at: Callable[[str], Position]) -> None:
    position = at("best")
    position.choose(3)
    adopted = position.place
    writer = position.origin()
    assert writer is not None
    text = position.details.token.text if position.details else ""
    assert position.to_origin()
    assert position.span == writer.id
    assert position.place < adopted
    assert position.details is not None
    assert position.details.token.text == text
    assert not position.to_origin()  # it is here


def test_in_a_text_that_was_not_adopted_it_was_written_right_there(at: Callable[[str], Position]) -> None:
    position = at("full")
    position.choose(3)
    assert position.origin() is None

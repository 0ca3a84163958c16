"""Details of a token, as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from counterpoint.events import Event
from counterpoint_tui.scrubbing import Position
from counterpoint_tui.state import TraceView, legend, token_details
from counterpoint_tui.widgets.details import Shown, bar, details_text, percent

Runs = dict[str, tuple[Event, ...]]


def said(trace: TraceView, number: int, width: int = 80, span: int = 1) -> list[str]:
    position = Position(trace, span=span)
    position.choose(number)
    shown = Shown(position.details, position.call, position.origin(), position.event)
    return details_text(shown, legend(trace.last.recipe, trace.last), width).plain.split("\n")


def line(lines: list[str], label: str) -> str:
    return next(one for one in lines if one.startswith(label)).removeprefix(label).strip()


def test_a_token_that_was_drafted_and_one_that_came_instead(fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    tokens = [token_details(trace, number) for number in range(trace.last.spans[1].emitted)]
    stood = next(one.token for one in tokens if one and one.token.drafting and one.token.drafting.stood)
    instead = next(one.token for one in tokens if one and one.token.drafting and not one.token.drafting.stood)
    lines = said(trace, stood.number)
    assert line(lines, "token").startswith(f"{stood.number + 1} of {len(tokens)}  “{stood.text}”  id {stood.id}")
    assert line(lines, "proposed by") == "B small"
    assert line(lines, "decided by") == "A large"
    assert line(lines, "draft").startswith("it was drafted: ")
    lines = said(trace, instead.number)
    assert line(lines, "proposed by") == "A large"
    assert line(lines, "draft").startswith("instead of the draft's: ")
    assert f"“{instead.drafting.text}”" in "\n".join(lines) if instead.drafting else False


def test_probabilities_and_what_else_might_have_been(fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["full"])
    details = token_details(trace, 2)
    assert details is not None
    (probability,) = details.token.probabilities.values()
    lines = said(trace, 2)
    assert line(lines, "probability").startswith(f"A large  {percent(probability):>7}")
    assert "█" in line(lines, "probability") or "▏" in line(lines, "probability")
    instead = lines[next(number for number, one in enumerate(lines) if one.startswith("instead")) :]
    others = [choice for choice in details.token.alternatives if choice[0] != details.token.id]
    assert len(others) > 1
    assert [f"“{text}”" in one for one, (_, text, _) in zip(instead, others, strict=False)] == [True] * len(others)


def test_where_no_probabilities_are_recorded_it_says_so(keep_run: Callable[[str], Path]) -> None:
    assert line(said(TraceView.open(keep_run("brief")), 2), "probability") == "not recorded"


def test_what_a_chosen_candidate_said_was_written_elsewhere(fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["best"])
    token = token_details(trace, 3)
    assert token is not None
    writer = trace.columns.spans[token.token.event]
    assert line(said(trace, 3), "written in").startswith(f"call {writer}, event {token.token.event + 1}, ")
    lines = said(trace, 0, span=writer)
    assert lines[0].startswith(f"call {writer}")
    assert not any(one.startswith("written in") for one in lines)


def test_before_the_first_token_there_is_no_more_than_the_event(fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    at_start = Position(trace)
    nothing = details_text(Shown(at_start.details, event=at_start.event), {}, 60).plain
    assert "none yet at this place" in nothing
    assert "nothing has happened yet" in nothing
    at_start.go(1)
    assert "1, run_started" in details_text(Shown(at_start.details, event=at_start.event), {}, 60).plain


@pytest.mark.parametrize("width", [24, 40, 120])
@pytest.mark.parametrize("name", ["drafted", "full", "best"])
def test_no_line_is_too_long(fake_runs: Runs, name: str, width: int) -> None:
    trace = TraceView.of(fake_runs[name])
    for number in range(trace.last.spans[1].emitted):
        assert max(cell_len(one) for one in said(trace, number, width)) <= width


@pytest.mark.parametrize(
    ("value", "shown"), [(1.0, "100.0 %"), (0.712, "71.2 %"), (0.0312, "3.12 %"), (0.00001, "<0.01 %"), (0.0, "0.00 %")]
)
def test_probabilities_in_words(value: float, shown: str) -> None:
    assert percent(value) == shown


def test_bars() -> None:
    assert bar(1.0, 10) == "█" * 10
    assert bar(0.0, 10) == " " * 10
    assert bar(0.5, 8) == "████    "
    assert bar(0.06, 4) == "▎   "
    assert bar(7.0, 4) == "████"
    assert bar(0.5, 3) == ""

"""Candidates and stages: what a strategy that chooses among answers has made, how they score, and which one is the answer.

A *contest* is a call whose generator has several others answer (`best_of_n`, `cascade`, a third party's): its calls of generators are
the candidates, and its events say how they ended, what verifiers said of them, and which one was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pyrsistent import PMap

from counterpoint.events import CandidateFinished, CandidateScored, CandidateSelected, EventBase
from counterpoint_tui.state.calls import SpanState
from counterpoint_tui.state.data import Candidate, CandidateScore, Contest, RunState
from counterpoint_tui.state.spans import base_path, below, children, relays

CandidateStatus = Literal["writing", "written", "cut", "cancelled", "failed", "selected"]


# --- the reducer's part -------------------------------------------------------------------------------------------------


def take(state: RunState, event: EventBase, changes: dict[str, Any]) -> None:
    """What an event about a candidate makes different."""
    match event:
        case CandidateFinished():
            number, completion, finished = event.candidate, event.completion, state.count
            changes["contests"] = _with(
                state.contests, event.span, number, lambda one: replace(one, completion=completion, finished=finished)
            )
        case CandidateScored():
            span, nested = _contest_of(state, event)
            score = CandidateScore(state.count, event.verifier, event.score, event.detail, event.span, nested)
            changes["contests"] = _with(
                state.contests, span, event.candidate, lambda one: replace(one, scores=(*one.scores, score))
            )
        case CandidateSelected():
            contest = state.contests.get(event.span) or Contest(event.span)
            contest = replace(contest, selected=event.candidate, reason=event.reason, event=state.count)
            changes["contests"] = state.contests.set(event.span, contest)


def failed(contests: PMap[int, Contest], span: int, numbers: Iterable[int], error: str, verifier: str) -> PMap[int, Contest]:
    """Contests in which some candidates have failed, or a verifier on them."""
    problem = f"{verifier}: {error}" if verifier else error
    for number in numbers:
        contests = _with(contests, span, number, lambda one: replace(one, problem=problem, failed=not verifier))
    return contests


def _with(contests: PMap[int, Contest], span: int, number: int, change: Callable[[Candidate], Candidate]) -> PMap[int, Contest]:
    contest = contests.get(span) or Contest(span)
    candidate = contest.candidates.get(number) or Candidate(number)
    return contests.set(span, replace(contest, candidates=contest.candidates.set(number, change(candidate))))


def _contest_of(state: RunState, event: EventBase) -> tuple[int, bool]:
    """The call whose candidates a score is about: the nearest above that is no verifier; and whether another is in between."""
    at, above, steps = event.span, event.parent, 0
    span = state.spans.get(at)
    while span is not None and span.role == "Verifier" and above and steps < 64:
        at, steps = above, steps + 1
        span = state.spans.get(at)
        above = span.parent if span else None
    return at, steps > 1


# --- views --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """A candidate as a table shows it."""

    number: int
    status: CandidateStatus
    text: str
    """As far as it is written."""
    span: int | None = None
    """The call that makes it; None where the trace does not tell."""
    generator: str = ""
    """Path of the node that makes it."""
    finish_reason: str = ""
    scores: tuple[CandidateScore, ...] = ()
    """What the contest's own verifiers said, in order; a verifier that was asked by another one is left out."""
    parts: tuple[CandidateScore, ...] = ()
    """What verifiers said that others asked."""
    selected: bool = False
    reason: str = ""
    """Why it was selected."""
    problem: str = ""
    tokens: int = 0
    start: float | None = None
    end: float | None = None
    flops: float = 0.0
    """What it cost to make."""
    verifying_flops: float = 0.0
    """Its share of what it cost to score."""
    writes_answer: bool = False
    """Whether its text is the answer while it is written."""


def contests(state: RunState) -> tuple[int, ...]:
    """The calls that have candidates, in the order in which they began."""
    several = {number for number in state.children if number and len(_generators(state, number)) > 1}
    found = (several | set(state.contests)) & set(state.spans)
    return tuple(sorted(found, key=lambda number: state.spans[number].first))


def candidate_table(state: RunState, span: int) -> tuple[CandidateRow, ...]:
    """The candidates of a call, by number; those that are still being written included."""
    contest = state.contests.get(span) or Contest(span)
    makers = _makers(state, span, contest)
    verifying = _verifying(state, contest)
    numbers = sorted({*makers, *contest.candidates})
    return tuple(
        _row(
            state, contest, contest.candidates.get(number) or Candidate(number), makers.get(number), verifying.get(number, 0.0)
        )
        for number in numbers
    )


def _row(state: RunState, contest: Contest, candidate: Candidate, maker: SpanState | None, verifying: float) -> CandidateRow:
    chosen = contest.selected == candidate.number
    completion = candidate.completion
    text = completion.text if completion else maker.text if maker else ""
    reason = completion.finish_reason if completion else maker.finish_reason if maker else ""
    above = state.spans.get(contest.span)
    return CandidateRow(
        number=candidate.number,
        status=_status(state, candidate, chosen, reason, above),
        text=text,
        span=maker.id if maker else None,
        generator=base_path(maker.node) if maker else "",
        finish_reason=reason,
        scores=tuple(score for score in candidate.scores if not score.nested),
        parts=tuple(score for score in candidate.scores if score.nested),
        selected=chosen,
        reason=contest.reason if chosen else "",
        problem=candidate.problem,
        tokens=len(completion.ids) if completion else maker.emitted if maker else 0,
        start=maker.start if maker else None,
        end=maker.end if maker and maker.finished else None,
        flops=sum(one.flops for one in below(state, maker.id)) if maker else 0.0,
        verifying_flops=verifying,
        writes_answer=bool(maker and above and relays(maker, above)),
    )


def _status(state: RunState, candidate: Candidate, chosen: bool, reason: str, above: SpanState | None) -> CandidateStatus:
    if candidate.failed or reason == "failed":
        return "failed"
    if chosen:
        return "selected"
    if reason == "budget":
        return "cut"
    over = state.finished or (above is not None and above.finished)
    if reason == "cancelled" or (not reason and over):
        return "cancelled"
    return "written" if reason else "writing"


def _generators(state: RunState, span: int) -> list[SpanState]:
    """The generators that a call has called, in the order in which they began."""
    called = [one for one in children(state, span) if one.role == "Generator" and one.started]
    return sorted(called, key=lambda one: one.first)


def _makers(state: RunState, span: int, contest: Contest) -> dict[int, SpanState]:
    """Which call makes which candidate: they are numbered in order, unless a text says otherwise (some may come from a file)."""
    called = _generators(state, span)
    free = {one.id: one for one in called}
    makers: dict[int, SpanState] = {}
    for number, candidate in sorted(contest.candidates.items()):
        if candidate.completion is None:
            continue
        text = candidate.completion.text
        in_order = called[number : number + 1] if number >= 0 else []
        found = next((one for one in [*in_order, *called] if one.id in free and one.text == text), None)
        if found is not None:
            makers[number] = free.pop(found.id)
    taken = set(makers)
    for number, one in enumerate(called):
        if one.id in free and number not in taken and not _said(contest, number):
            makers[number] = free.pop(one.id)
    for one in free.values():  # of those whose place is taken, what is not the answer's own writing comes last
        makers[max([-1, *makers, *contest.candidates]) + 1] = one
    return makers


def _said(contest: Contest, number: int) -> bool:
    """Whether a candidate is known to be another call's."""
    candidate = contest.candidates.get(number)
    return candidate is not None and candidate.completion is not None


def _verifying(state: RunState, contest: Contest) -> dict[int, float]:
    """FLOPs of scoring, by candidate: a verification is shared among those it scored."""
    judged: dict[int, set[int]] = {}
    for candidate in contest.candidates.values():
        for score in candidate.scores:
            if not score.nested and score.span != contest.span:
                judged.setdefault(score.span, set()).add(candidate.number)
    spent: dict[int, float] = {}
    for span, numbers in judged.items():
        flops = sum(one.flops for one in below(state, span))
        for number in numbers:
            spent[number] = spent.get(number, 0.0) + flops / len(numbers)
    return spent


def verifiers(rows: Sequence[CandidateRow]) -> tuple[str, ...]:
    """The verifiers that have scored any of these candidates, in the order in which they did: the columns of a table."""
    scored = sorted((score for row in rows for score in row.scores), key=lambda score: score.event)
    return tuple(dict.fromkeys(score.verifier for score in scored))

"""All candidates of a strategy that chooses among answers, with its own scores and the truth, on a data set.

The strategy runs with nothing ended early (:meth:`Accepting.exhaustive`); who scored what and what it cost is read from the trace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import RunError
from counterpoint.evaluation.dataset import Example
from counterpoint.evaluation.driver import Driver
from counterpoint.evaluation.records import Cost, Record, ScoreRecord
from counterpoint.events import CandidateFinished, CandidateScored, EventBase, Forward, NodeFinished, NodeStarted
from counterpoint.prompt import Completion
from counterpoint.tally import ROOT_SPAN

OWN_SCORE = "accepting"
"""Name of the strategy's own score among those of a record."""


@dataclass
class Candidate:
    """What a run tells of one candidate."""

    completion: Completion | None = None
    score: float | None = None
    detail: str = ""
    flops: float = 0.0
    """What it cost to make."""
    prefill_flops: float = 0.0
    tokens: int = 0
    """Generated at all models while it was made."""
    verifying_flops: float = 0.0
    """What it cost to score."""
    share: float = 0.0
    """Seconds of passes that were its own, those of its verification included."""


def candidates_of(events: Iterable[EventBase], span: int = ROOT_SPAN) -> dict[int, Candidate]:
    """The candidates of a call by number: what they are, what its first verifier said, and what they cost.

    The generators that the call called are its candidates in order. What is made once for all of them, tests that a model writes,
    is a cost of the candidate that was there when it was begun.
    """
    found: dict[int, Candidate] = defaultdict(Candidate)
    parents: dict[int, int] = {}
    makers: dict[int, int] = {}
    latest: dict[int, list[int]] = {}
    there: list[int] = []
    judged: dict[int, list[int]] = defaultdict(list)
    spent: dict[int, list[Forward]] = defaultdict(list)

    def below(inner: int) -> int:
        """The span directly below the call's that another belongs to."""
        while parents.get(inner, span) != span:
            inner = parents[inner]
        return inner

    for event in events:
        if event.parent is not None:
            parents[event.span] = event.parent
        match event:
            case NodeStarted(role="Generator") if event.parent == span:
                makers[event.span] = len(makers)
            case NodeStarted() if event.parent == span:
                latest[event.span] = there[-1:]
            case CandidateFinished() if event.span == span:
                found[event.candidate].completion = event.completion
                there.append(event.candidate)
            case CandidateScored() if event.span == span or (event.parent == span and event.span not in makers):
                candidate = found[event.candidate]
                if candidate.score is None:  # further verifiers decide among equals
                    candidate.score, candidate.detail = event.score, event.detail
                judged[event.span].append(event.candidate)
            case Forward():
                spent[below(event.span)].append(event)
            case NodeFinished() if (top := below(event.span)) in makers:
                found[makers[top]].tokens += event.generated
    for part, passes in spent.items():
        making = part in makers
        numbers = [makers[part]] if making else judged.get(part) or latest.get(part, [])
        for number in numbers:
            candidate = found[number]
            for one in passes:
                candidate.share += one.share / len(numbers)
                if making:
                    candidate.flops += one.flops
                    candidate.prefill_flops += one.flops * one.prefill
                else:
                    candidate.verifying_flops += one.flops / len(numbers)
    return dict(found)


class CandidateDriver(Driver):
    """Keeps every candidate of an example as an answer of its own, scored by the truth and by the strategy."""

    def answer(self, example: Example) -> list[Record]:
        """The candidates for one example; none when it was cancelled."""
        job = self._job
        settings: dict[str, Any] = {"seed": job.seed(example), "sampling": job.sampling, "scope": self._scope + example.id}
        (result,) = self._wait([self._engine.stream(job.recipe, job.prompts[example.id], **settings)])
        if self._cancelled.is_set():
            return []
        found = candidates_of(result.trace)
        problem = "" if result.error is None else getattr(result.error, "message", "") or str(result.error)
        if result.error is not None and not any(
            one.completion for one in found.values()
        ):  # nothing is known of such an example
            lacking = {name: ScoreRecord(value=None, error=problem) for name in (*job.scorers, OWN_SCORE)}
            failed = Record(id=example.id, finish_reason="failed", error=problem or "unknown", scores=lacking)
            return [failed.model_copy(update={"sample": number}) for number in range(job.samples)]
        records = [self._candidate(example, number, found.get(number, Candidate())) for number in range(job.samples)]
        scored = self.score(example, records)
        own = {number: _own(one, problem) for number, one in found.items()}
        return [
            record.model_copy(update={"scores": {**record.scores, OWN_SCORE: own.get(record.sample, ScoreRecord(value=None))}})
            for record in scored
        ]

    def _candidate(self, example: Example, number: int, candidate: Candidate) -> Record:
        completion = candidate.completion
        if completion is None:
            error = RunError("it was not made")
            return Record(id=example.id, sample=number, finish_reason="failed", error=error.message)
        cost = Cost(
            flops=candidate.flops,
            prefill_flops=candidate.prefill_flops,
            answer_tokens=len(completion.ids),
            tokens=candidate.tokens,
            share=candidate.share,
        )
        return Record(id=example.id, sample=number, text=completion.text, finish_reason=completion.finish_reason, cost=cost)


def _own(candidate: Candidate, problem: str) -> ScoreRecord:
    """The strategy's score of a candidate; where the run has failed and there is none, the reason."""
    given = candidate.score
    return ScoreRecord(
        value=None if given is None or given != given else given,
        detail=candidate.detail,
        data={"flops": candidate.verifying_flops},
        error=problem if given is None else "",
    )

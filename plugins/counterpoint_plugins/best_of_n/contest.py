"""Candidates of one prompt: made, verified, one chosen. However it ends, the best one so far is emitted."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from counterpoint.plugin import (
    BudgetMeter,
    BudgetSpent,
    CandidateFinished,
    CandidateSelected,
    Completion,
    CounterpointError,
    Generator,
    Note,
    Prompt,
    Run,
    RunError,
    Score,
    Verifier,
)


@dataclass
class Candidate:
    """One candidate, from its beginning."""

    number: int
    generator: str | Generator
    proposer: str
    """Path of its generator."""
    allowance: BudgetMeter | None = None
    tokens: int = 0
    completion: Completion | None = None
    """None until it has ended by itself or by a budget."""
    error: Exception | None = None
    scores: dict[int, Score] = field(default_factory=dict)
    """By the verifier's place."""

    @property
    def whole(self) -> bool:
        """Whether it is an answer that was not cut off by a budget."""
        return self.completion is not None and self.completion.finish_reason != "budget" and bool(self.completion.text.strip())

    @property
    def place(self) -> tuple[int, int]:
        """Its place in the order in which candidates are considered for acceptance: the shorter first.

        Candidates decode in step, so this is the order in which they end. Unlike that of verdicts, which come when they come, it is
        the same every time.
        """
        return self.tokens, self.number


class Contest:
    """Candidates, and how one is chosen.

    Args:
        run: the node's.
        prompt: what is answered.
        candidates: to be made, in this order.
        verifiers: the first decides, each further one among equals.
        threshold: the score from which the first verifier accepts; None where it accepts none.
        selection: `first`, `score` or `vote`.
        answers: what is counted by `vote`.
    """

    def __init__(
        self,
        run: Run,
        prompt: Prompt,
        candidates: Sequence[Candidate],
        verifiers: Sequence[str | Verifier],
        threshold: float | None,
        selection: str,
        answers: str,
    ) -> None:
        self._run = run
        self._prompt = prompt
        self._candidates = candidates
        self._verifiers = verifiers
        self._threshold = threshold
        self._selection = selection
        self._answers = answers
        first = run.node_of(verifiers[0], Verifier) if verifiers else None
        self._at_once = isinstance(first, Verifier) and not first.compares  # else it needs all candidates together
        self._accepted: Candidate | None = None
        self._failures: dict[int, Exception] = {}
        self._verdicts: dict[int, asyncio.Task[None]] = {}
        self._spent = False
        self.answer = Completion(text="", finish_reason="stop")

    async def hold(self, in_flight: int) -> None:
        """Makes candidates, so many at once, until one is accepted or all are there, and emits the chosen one.

        Raises:
            CounterpointError: no candidate could be made, or a verifier failed on all of them.
        """
        try:
            for start in range(0, len(self._candidates), in_flight):
                together = self._candidates[start : start + in_flight]
                await self._run.gather(*(self._enter(candidate) for candidate in together))
                if self._accepted is not None or self._spent:
                    break
            chosen, reason = await self._choose()
        except BaseException:
            if any(candidate.completion is not None for candidate in self._candidates):
                self._emit(*self._best_so_far())
            raise
        failure = self._failed_everywhere()
        self._emit(chosen, f"{reason}; the verifier failed" if failure else reason)
        if failure is not None:
            raise failure

    # --- making and verifying ---------------------------------------------------------------------------------------

    async def _enter(self, candidate: Candidate) -> None:
        """A candidate's way: it is made, and verified while others are still being made."""
        run = self._run
        try:
            async with run.stream(candidate.generator, self._prompt, budget=candidate.allowance, keep_partial=True) as pieces:
                async for piece in pieces:
                    candidate.tokens += len(piece.ids)
                    if self._overtaken(candidate):
                        return
                candidate.completion = pieces.completion
        except Exception as error:  # noqa: BLE001 (others may do better; if none does, it is raised)
            candidate.error = error
            run.emit(Note(name="candidate_failed", data={"candidate": candidate.number, "error": str(error)}))
            return
        assert candidate.completion is not None
        run.emit(CandidateFinished(candidate=candidate.number, completion=candidate.completion))
        # a budget that is spent further down, the share of a candidate that is a strategy itself, leaves something for others
        self._spent = self._spent or (candidate.completion.finish_reason == "budget" and run.budget_spent)
        if candidate.whole and self._at_once and not self._overtaken(candidate):
            await self._await_verdict(candidate)

    async def _await_verdict(self, candidate: Candidate) -> None:
        """The first verifier's verdict; not waited for any longer once another candidate makes it irrelevant."""
        verdict = self._verdicts[candidate.number] = asyncio.ensure_future(self._verify(0, [candidate]))
        try:
            await verdict
        except asyncio.CancelledError:
            waiting = asyncio.current_task()
            if waiting is None or waiting.cancelling():
                raise  # the whole run is cancelled
        if self._accepted is candidate:
            for other in self._candidates:
                if other.number in self._verdicts and self._overtaken(other):
                    self._verdicts[other.number].cancel()

    def _overtaken(self, candidate: Candidate) -> bool:
        """Whether another one has been accepted that comes before whatever this one may become."""
        return self._accepted is not None and candidate.place > self._accepted.place

    async def _verify(self, place: int, candidates: Sequence[Candidate]) -> None:
        """Asks a verifier; one that fails, or for which the budget is spent, abstains."""
        run = self._run
        completions = [candidate.completion for candidate in candidates if candidate.completion is not None]
        numbers = [candidate.number for candidate in candidates]
        try:
            scores = await run.verify(self._verifiers[place], self._prompt, completions, candidates=numbers)
        except BudgetSpent:
            self._spent = True
            return
        except Exception as error:  # noqa: BLE001 (it may fail on one candidate and judge the others)
            self._failures[place] = error
            path = run.path_of(self._verifiers[place])
            run.emit(Note(name="verifier_failed", data={"candidates": numbers, "verifier": path, "error": str(error)}))
            return
        for candidate, score in zip(candidates, scores, strict=True):
            candidate.scores[place] = score
            accepted = self._selection == "first" and self._threshold is not None and score >= self._threshold
            if place == 0 and accepted and not self._overtaken(candidate):
                self._accepted = candidate

    # --- choosing ---------------------------------------------------------------------------------------------------

    async def _choose(self) -> tuple[Candidate, str]:
        if self._accepted is not None:
            return self._accepted, "accepted"
        whole = [candidate for candidate in self._candidates if candidate.whole]
        if not whole:
            return self._best_so_far()
        if self._verifiers and not self._at_once:
            await self._verify(0, whole)
        if self._selection == "vote":
            best, reason = await self._elected(whole)
        else:
            best, reason = (
                _best(whole, 0),
                "none was accepted: the highest score" if self._selection == "first" else "highest score",
            )
        if self._selection != "vote" and not _scored(best, 0):
            reason = "no verifier gave a score: the first candidate"
            best = best if len(self._verifiers) > 1 else best[:1]
        for place in range(0 if self._selection == "vote" else 1, len(self._verifiers)):
            if len(best) == 1:
                break
            if place:
                await self._verify(place, best)
            if _scored(best, place):
                best = _best(best, place)
                reason = f"{reason.removesuffix(': the first candidate')}, then that of '{self._run.path_of(self._verifiers[place])}'"
        if self._spent:
            reason = f"{reason}; the budget was spent"
        return best[0], reason

    async def _elected(self, whole: Sequence[Candidate]) -> tuple[list[Candidate], str]:
        """The candidates with the answer that most of them give; accepted ones alone have a vote, where any is accepted."""
        from counterpoint.answers import extractor

        extract = extractor(self._answers)
        accepted = [
            one for one in whole if self._threshold is not None and one.scores.get(0, Score(math.nan)) >= self._threshold
        ]
        texts = {one.number: self._prompt.prefix + _text(one) for one in whole}
        said = await self._run.thread(lambda: {number: extract(text) for number, text in texts.items()})
        voters = [one for one in accepted or whole if said[one.number] is not None]
        if not voters and accepted:
            return accepted[:1], "no accepted candidate gives an answer: the first one"
        if not voters:
            return list(whole[:1]), "no candidate gives an answer: the first one"
        votes = Counter(said[one.number] for one in voters)
        most = max(votes.values())
        # among as many votes, the answer that came first
        winner = next(said[one.number] for one in voters if votes[said[one.number]] == most)
        return [one for one in voters if said[one.number] == winner], f"{most} of {len(voters)} votes"

    def _best_so_far(self) -> tuple[Candidate, str]:
        """What stands when nothing further can be asked.

        Raises:
            CounterpointError: every candidate failed.
        """
        whole = [candidate for candidate in self._candidates if candidate.whole]
        if whole:
            best = _best(whole, 0)
            return best[0], "best so far" if _scored(best, 0) else "the first candidate that was finished"
        for candidate in self._candidates:
            if candidate.completion is not None and candidate.completion.text.strip():
                return candidate, "no candidate was finished within the budget: the first one as far as it came"
        empty = next((candidate for candidate in self._candidates if candidate.completion is not None), None)
        if empty is not None:
            return empty, "every candidate is empty"
        failed = next((candidate for candidate in self._candidates if candidate.error is not None), None)
        if failed is not None and failed.error is not None:
            raise _placed(failed.error, failed.proposer)
        raise RunError(f"{self._run.path}: no candidate was made", hint="raise the budget")

    def _failed_everywhere(self) -> Exception | None:
        """Why the first verifier has judged no candidate, where it failed on all that it was asked about."""
        if 0 not in self._failures or any(0 in candidate.scores for candidate in self._candidates):
            return None
        return _placed(self._failures[0], self._run.path_of(self._verifiers[0]))

    def _emit(self, candidate: Candidate, reason: str) -> None:
        assert candidate.completion is not None
        self._run.emit(CandidateSelected(candidate=candidate.number, reason=reason))
        self.answer = self._run.adopt(candidate.completion, candidate.proposer)
        if self._hangs_on_the_budget(candidate):
            self.answer = self.answer.model_copy(update={"finish_reason": "budget"})

    def _hangs_on_the_budget(self, chosen: Candidate) -> bool:
        """Whether more might have given another answer. An accepted one yields to those alone that come before it: that others were
        cut short, which its verdict would have ended, depends on how long the verdict took."""
        rivals = [other for other in self._candidates if self._accepted is not chosen or other.place < chosen.place]
        cut = any(other.completion is not None and other.completion.finish_reason == "budget" for other in rivals)
        unjudged = any(other.whole and 0 not in other.scores for other in rivals)
        return cut or (self._spent and (unjudged or self._accepted is not chosen))


def _best(candidates: Sequence[Candidate], place: int) -> list[Candidate]:
    """Those with the highest score of a verifier; abstentions come last."""
    values = [_value(candidate, place) for candidate in candidates]
    most = max(values)
    return [candidate for candidate, value in zip(candidates, values, strict=True) if value == most]


def _scored(candidates: Sequence[Candidate], place: int) -> bool:
    return any(_value(candidate, place)[0] for candidate in candidates)


def _value(candidate: Candidate, place: int) -> tuple[bool, float]:
    """Whether there is a score, and the score: for comparing."""
    value = float(candidate.scores.get(place, math.nan))
    return (False, 0.0) if math.isnan(value) else (True, value)


def _placed(error: Exception, path: str) -> Exception:
    """An error that says where it comes from; what a plugin raises need not."""
    if isinstance(error, CounterpointError):
        return error
    placed = RunError(f"{path}: {type(error).__name__}: {error}", hint="an unexpected failure: --debug shows the traceback")
    placed.__cause__ = error
    return placed


def _text(candidate: Candidate) -> str:
    return candidate.completion.text if candidate.completion is not None else ""

"""The `cascade` generator: small models first, a larger one only where their answer is not accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from counterpoint.plugin import (
    BudgetSpent,
    CandidateFinished,
    CandidateScored,
    CandidateSelected,
    Completion,
    Generator,
    Node,
    NodePlan,
    Note,
    Prompt,
    Ref,
    Run,
    Verifier,
    hookimpl,
)
from counterpoint.verification import Accepting


@dataclass
class _Stage:
    """What a stage has come to."""

    number: int
    completion: Completion
    score: float = math.nan
    unjudged: bool = False
    """Whether it could not be verified, for a budget did not allow it or the run has ended."""

    @property
    def whole(self) -> bool:
        return self.completion.finish_reason != "budget" and bool(self.completion.text.strip())


class Cascade(Accepting):
    """Stages, the cheapest first: the first answer that is accepted stands, and the last stage's stands in any case.

    Sources: model cascades (FrugalGPT, Chen, Zaharia and Zou 2023, arXiv 2305.05176, section 3); by confidence, as in Gupta et al.
    2024 (arXiv 2404.10136), here the geometric mean of the probabilities of an answer's tokens.
    """

    kind: Literal["cascade"] = "cascade"
    in_stages: ClassVar[bool] = True
    stages: tuple[Ref[Generator], ...] = Field(
        min_length=2, description="Generators or language models, the cheapest first; any of them may be a strategy itself."
    )
    verifiers: Ref[Verifier] | tuple[Ref[Verifier], ...] = Field(
        default=(),
        description="What scores an answer: one verifier for all stages, or one for each but the last. By default the stage's "
        "confidence: the geometric mean of the probabilities of its tokens, which costs nothing.",
    )
    thresholds: float | tuple[float, ...] | None = Field(
        default=None,
        description="From which score an answer is accepted: one number, or one for each stage but the last; 0.5 where the "
        "verifier gives verdicts. `counterpoint calibrate` finds them.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Cascade:
        passed = len(self.stages) - 1
        for name, value in (("verifiers", self.verifiers), ("thresholds", self.thresholds)):
            if isinstance(value, tuple) and value and len(value) not in (1, passed):
                raise ValueError(f"{name}: {len(value)} for {passed} stages that can be passed; give one, or one for each")
        if any(math.isnan(value) for value in self._given()):
            raise ValueError("thresholds: nan accepts nothing; say .inf for a stage that is never accepted")
        return self

    def _given(self) -> tuple[float, ...]:
        if self.thresholds is None:
            return ()
        return self.thresholds if isinstance(self.thresholds, tuple) else (self.thresholds,)

    def verifier(self, stage: int) -> str | Verifier | None:
        """What scores a stage; None for its own confidence."""
        several = self.verifiers if isinstance(self.verifiers, tuple) else (self.verifiers,)
        return several[min(stage, len(several) - 1)] if several else None

    def threshold(self, stage: int, verifier: Node | None) -> float | None:
        """From which score a stage is accepted; None where nobody has said it."""
        if given := self._given():
            return given[min(stage, len(given) - 1)]
        return 0.5 if isinstance(verifier, Verifier) and verifier.verdicts else None

    @property
    def candidates(self) -> int:
        return len(self.stages)

    @property
    def accepts_from(self) -> float | None:
        return None

    def exhaustive(self) -> Cascade:
        return self.model_copy(update={"thresholds": math.inf})

    def check(self, plan: NodePlan) -> None:
        for stage in range(len(self.stages) - 1):
            reference = self.verifier(stage)
            path, node = (plan.path, None) if reference is None else plan.resolve(reference)
            if isinstance(node, Verifier) and (node.compares or node.lower_is_better or not node.reads_answers):
                why = "compares answers with one another" if node.compares else "measures a model and does not rank answers"
                plan.refuse(f"'{path}' ({node.kind}) {why}, so it can accept none", "name another verifier")
            elif self.threshold(stage, node) is None:
                what = "confidence has" if node is None else f"'{path}' ({node.kind}) gives"
                plan.refuse(
                    f"{what} no verdict, and there is no threshold for it",
                    "set `thresholds`; `counterpoint calibrate` finds them on a data set",
                )
                return

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        tried: list[_Stage] = []
        cut = False  # whether the share of a stage was spent, so that what follows hangs on a budget too
        last = len(self.stages) - 1
        try:
            for number in range(last):
                stage = await self._try(number, prompt, run, tried)
                if stage is None:
                    continue
                cut = cut or stage.completion.finish_reason == "budget"
                if stage.unjudged or (stage.completion.finish_reason == "budget" and run.budget_spent):
                    return self._end(run, tried)
                reference = self.verifier(number)
                threshold = self.threshold(number, None if reference is None else run.node_of(reference, Verifier))
                if threshold is not None and threshold < math.inf and stage.score >= threshold:
                    run.emit(CandidateSelected(candidate=number, reason=f"accepted at stage {number + 1} of {last + 1}"))
                    return _told(run.adopt(stage.completion, run.path_of(self.stages[number])), cut)
            if run.allowance(1.0) is None:  # nothing can cut it short, so that it may be shown while it is written
                made = await run.generate(self.stages[last], prompt, relay=True)
                run.emit(CandidateFinished(candidate=last, completion=made))
                run.emit(CandidateSelected(candidate=last, reason=f"stage {last + 1} of {last + 1}"))
                return _told(run.completion(made.finish_reason).model_copy(update={"tokenizer": made.tokenizer}), cut)
            made = await run.generate(self.stages[last], prompt, keep_partial=True)
            run.emit(CandidateFinished(candidate=last, completion=made))
            if made.finish_reason == "budget":
                return self._end(run, [*tried, _Stage(last, made)])
        except BaseException:
            if tried and not run.completion("failed").text:
                self._end(run, tried)
            raise
        run.emit(CandidateSelected(candidate=last, reason=f"stage {last + 1} of {last + 1}"))
        return _told(run.adopt(made, run.path_of(self.stages[last])), cut)

    async def _try(self, number: int, prompt: Prompt, run: Run, tried: list[_Stage]) -> _Stage | None:
        """A stage's answer with its score, added to those tried; None where the stage fails, and the next one has to do."""
        logprobs: list[float] = []
        tokens = 0
        try:
            async with run.stream(self.stages[number], prompt, keep_partial=True) as pieces:
                async for piece in pieces:
                    tokens += len(piece.ids)
                    logprobs += piece.logprobs.get(piece.decider, ())
        except Exception as error:  # noqa: BLE001 (what the larger model says counts then)
            run.emit(Note(name="stage_failed", data={"stage": number, "error": str(error)}))
            return None
        assert pieces.completion is not None
        stage = _Stage(number, pieces.completion)
        tried.append(stage)
        run.emit(CandidateFinished(candidate=number, completion=stage.completion))
        reference = self.verifier(number)
        if not stage.whole:
            return stage
        if reference is None:
            detail = "confidence"
            if tokens and len(logprobs) == tokens:
                stage.score = math.exp(math.fsum(logprobs) / tokens)
            else:
                detail = "no confidence: the tokens come without probabilities"
            run.emit(CandidateScored(candidate=number, verifier=run.path, score=stage.score, detail=detail))
            return stage
        stage.unjudged = True
        try:
            (score,) = await run.verify(reference, prompt, [stage.completion], candidates=[number])
            stage.score, stage.unjudged = float(score), False
        except BudgetSpent:
            pass
        except Exception as error:  # noqa: BLE001 (it abstains, and the larger model is asked)
            stage.unjudged = False
            data = {"stage": number, "verifier": run.path_of(reference), "error": str(error)}
            run.emit(Note(name="verifier_failed", data=data))
        return stage

    def _end(self, run: Run, stages: Sequence[_Stage]) -> Completion:
        """What stands where no further stage can be asked: a whole answer, one that nobody rejected, the highest score."""

        def rank(stage: _Stage) -> tuple[bool, bool, float]:
            return stage.whole, stage.unjudged, -math.inf if math.isnan(stage.score) else stage.score

        best = max(stages, key=rank)
        run.emit(
            CandidateSelected(candidate=best.number, reason="best so far: none was accepted, and no further stage answers")
        )
        return _told(run.adopt(best.completion, run.path_of(self.stages[best.number])), True)


def _told(answer: Completion, cut: bool) -> Completion:
    """An answer that says so where a budget has cut something short."""
    return answer.model_copy(update={"finish_reason": "budget"}) if cut else answer


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `cascade` node."""
    return [Cascade]

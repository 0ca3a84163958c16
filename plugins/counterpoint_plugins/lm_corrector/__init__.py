"""Candidates made into one answer: `lm_corrector` by a small trained model, `fusion` by an untrained one that is asked to."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import (
    BudgetSpent,
    CandidateFinished,
    CandidateScored,
    CandidateSelected,
    Completion,
    Generator,
    LanguageModel,
    Node,
    NodePlan,
    Note,
    Prompt,
    Ref,
    Run,
    RunError,
    Sampling,
    hookimpl,
)
from counterpoint_plugins.lm_corrector.checking import check_card
from counterpoint_plugins.lm_corrector.proposing import Candidate, Proposing
from counterpoint_plugins.lm_corrector.training_node import CorrectorTraining
from counterpoint_plugins.lm_corrector.wording import FUSION, lay_out, source_of


class _Merging(Proposing, Generator):
    """A generator that has candidates made and makes one answer of them. Whatever ends it, an answer that was there stays."""

    @abstractmethod
    async def answer(self, prompt: Prompt, candidates: Sequence[Candidate], run: Run) -> Completion:
        """The answer, emitted.

        Args:
            prompt: what the template makes of source and candidates.
            candidates: those that can be used; none where none is wanted.
            run: the node's.
        """

    def check(self, plan: NodePlan) -> None:
        self.check_candidates(plan)

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        usable: list[Candidate] = []  # those that are there, also where making the others has ended

        def finished(candidate: Candidate) -> None:
            _announce(candidate, run)
            if not candidate.problem:
                usable.append(candidate)
                usable.sort(key=lambda one: one.number)

        try:
            candidates = await self.propose(prompt, run, finished=finished)
            if len(usable) < len(candidates):
                left_out = {str(one.number): one.problem for one in candidates if one.problem}
                run.emit(Note(name="left_out", data={"candidates": left_out}))
            cut = any(one.completion is not None and one.completion.finish_reason == "budget" for one in candidates)
            if candidates and not usable:
                if cut:
                    return run.completion("budget")
                raise _none_usable(candidates, run.path)
            texts = [prompt.prefix + one.text for one in usable]
            laid_out = lay_out(self.words, source_of(prompt, run.path), texts, run.path)
            answer = await self.answer(Prompt(text=laid_out, prefix=prompt.prefix), usable, run)
        except BaseException as error:
            if usable and not run.completion("failed").text:
                first = next((one for one in usable if _completion(one).finish_reason != "budget"), usable[0])
                why = "the budget was spent" if isinstance(error, BudgetSpent) else "it ended"
                run.emit(CandidateSelected(candidate=first.number, reason=f"{why} before an answer was written"))
                run.adopt(_completion(first), first.proposer)
            raise
        return answer.model_copy(update={"finish_reason": "budget"}) if cut else answer


class LmCorrector(_Merging):
    """A small trained model reads a source and several candidates, and writes the answer.

    It may rank, combine or rewrite them. Source: LM-corrector (Vernikos et al., EACL 2024). The corrector decodes greedily;
    `corrector_training` makes one. Asked with the bare source: what a task type would say around it belongs into `ask`, which
    words the prompt for the candidates.
    """

    kind: Literal["lm_corrector"] = "lm_corrector"
    corrector: Ref[LanguageModel] = Field(description="What writes the answer.")
    write: Literal["free", "choose"] = Field(
        default="free",
        description="`free`: the corrector writes. `choose`: the answer is the candidate that the corrector finds most probable "
        "as its output, by the mean log-probability of its tokens.",
    )

    def check(self, plan: NodePlan) -> None:
        super().check(plan)
        if self.write == "choose" and not sum(self.counts):
            plan.refuse("there is nothing to choose from with n: 0", "raise n, or set write to free")
        check_card(self.corrector, self.words, plan)

    async def answer(self, prompt: Prompt, candidates: Sequence[Candidate], run: Run) -> Completion:
        if self.write == "choose":
            return await self._choose(prompt, candidates, run)
        sampling = run.sampling_of(self.corrector).merged(Sampling(temperature=0.0))
        return await run.generate(self.corrector, prompt, sampling=sampling, relay=True)

    async def _choose(self, prompt: Prompt, candidates: Sequence[Candidate], run: Run) -> Completion:
        from counterpoint_plugins.lm_corrector.choosing import mean_log_probabilities

        # what follows the prompt's prefix is scored, as it would be written
        texts = [one.text.strip() for one in candidates]
        scores = await mean_log_probabilities(self.corrector, prompt, texts, run)
        for one, score in zip(candidates, scores, strict=True):
            detail = "does not fit the context" if math.isnan(score) else ""
            run.emit(CandidateScored(candidate=one.number, verifier=run.path_of(self.corrector), score=score, detail=detail))
        fitting = [index for index, score in enumerate(scores) if not math.isnan(score)]
        chosen = candidates[max(fitting, key=lambda index: (scores[index], -index), default=0)]
        reason = "the most probable output of the corrector" if fitting else "none fits the corrector's context: the first one"
        run.emit(CandidateSelected(candidate=chosen.number, reason=reason))
        return run.adopt(_completion(chosen), chosen.proposer)


class Fusion(_Merging):
    """An untrained model is asked to combine candidates into the best answer.

    What a trained corrector has to beat. The flow is that of LM-corrector (Vernikos et al., EACL 2024), with an instruction in the
    place of training.
    """

    kind: Literal["fusion"] = "fusion"
    own_words: ClassVar[str] = FUSION
    model: Ref[Generator] = Field(
        description="What reads the candidates and writes the answer; best one that follows instructions."
    )

    def check(self, plan: NodePlan) -> None:
        super().check(plan)
        if not sum(self.counts):
            plan.refuse("there is nothing to combine with n: 0", "raise n, or use the model itself")

    async def answer(self, prompt: Prompt, candidates: Sequence[Candidate], run: Run) -> Completion:
        return await run.generate(self.model, prompt, relay=True)


def _announce(candidate: Candidate, run: Run) -> None:
    if candidate.completion is not None:
        run.emit(CandidateFinished(candidate=candidate.number, completion=candidate.completion))


def _completion(candidate: Candidate) -> Completion:
    assert candidate.completion is not None, "it is usable"
    return candidate.completion


def _none_usable(candidates: Sequence[Candidate], path: str) -> RunError:
    first = candidates[0]
    return RunError(
        f"{path}: none of {len(candidates)} candidates can be used; the first, of '{first.proposer}': {first.problem}",
        hint=first.hint or f"run '{first.proposer}' alone to see why",
    )


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The nodes `lm_corrector`, `fusion` and `corrector_training`."""
    return [LmCorrector, Fusion, CorrectorTraining]

"""The `instruction_difficulty` verifier: how little an instruction helps a language model with an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from counterpoint.plugin import (
    Completion,
    LanguageModel,
    ModelError,
    Node,
    Prompt,
    Ref,
    Run,
    Score,
    Session,
    Verifier,
    hookimpl,
)


class InstructionDifficulty(Verifier):
    """The perplexity of an answer after its instruction, over that of the answer alone (IFD; above 0).

    Source: the instruction-following difficulty of Li et al. 2023 (arXiv 2308.12032, section 2.2), measured by a small model
    for a large one (Superfiltering, arXiv 2402.00530). Near 0 the instruction says all, at 1 it does not help; above 1 it misleads,
    and the pair does not fit together. Those who choose data by it keep what is below 1 and take the highest.

    Both perplexities are over the same tokens: all those of the answer, its prefix included, without the end of the turn. A model
    gives a first token no probability with nothing before it, so that the answer alone stands after ``instead``. An answer that is
    blank, impossible or too long for the context abstains, and so does one whose instruction cannot be given to the model. All
    answers to an instruction are forks of two sessions, and share passes.
    """

    kind: Literal["instruction_difficulty"] = "instruction_difficulty"
    model: Ref[LanguageModel] = Field(
        description="The language model that measures; it may be far smaller than the one that is to learn."
    )
    instead: str = Field(
        default="\n",
        min_length=1,
        description="What stands in the instruction's place where the answer is measured alone, rendered as an instruction is.",
    )

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        answers = [prompt.prefix + completion.text for completion in completions]
        different = list(dict.fromkeys(answer for answer in answers if answer.strip()))
        if not different:
            return [_blank()] * len(answers)
        nothing = prompt.model_copy(
            update={"text": self.instead, "messages": (), "prefix": ""}
        )  # as a prompt it would be empty
        given, alone = await run.gather(
            self._after(prompt.continued(""), different, run, may_fail=True),
            self._after(nothing, different, run, may_fail=False),
        )
        scores = {answer: _ratio(*pair) for answer, *pair in zip(different, given, alone, strict=True)}
        return [scores[answer] if answer in scores else _blank() for answer in answers]

    async def _after(self, prompt: Prompt, answers: Sequence[str], run: Run, *, may_fail: bool) -> list[_Measured]:
        """How probable answers are after a prompt; where the model does not take this prompt, the reason."""
        try:
            session = await run.open(self.model, prompt)
        except ModelError as error:
            if not may_fail:  # with next to nothing to read, it is the model that fails
                raise
            return [_Measured(problem=error.message)] * len(answers)
        await session.logits()  # once, for all forks
        forks = [session, *await session.fork(len(answers) - 1)]
        return await run.gather(*(_measured(fork, answer) for fork, answer in zip(forks, answers, strict=True)))


@dataclass(frozen=True)
class _Measured:
    """Mean log-probability of an answer's tokens (natural log), and how many; or why there is none."""

    mean: float = math.nan
    tokens: int = 0
    problem: str = ""


async def _measured(session: Session, answer: str) -> _Measured:
    """How probable an answer is; the session is given back at once."""
    try:
        ids = session.tokenizer.encode(answer)
        if not ids:
            return _Measured(problem="the answer has no token in the model's vocabulary")
        left = session.room - session.length
        if len(ids) > left:
            return _Measured(problem=f"the answer has {len(ids)} tokens, and the context of {session.path} has room for {left}")
        return _Measured(math.fsum((await session.score(ids)).tolist()) / len(ids), len(ids))
    finally:
        session.close()


def _ratio(given: _Measured, alone: _Measured) -> Score:
    if problem := given.problem or alone.problem:
        return Score(math.nan, problem)
    for measured, where in ((given, "after the instruction"), (alone, "alone")):
        if math.isinf(measured.mean):
            return Score(math.nan, f"the answer is impossible {where}")
    ratio = _exp(alone.mean - given.mean)
    if math.isinf(ratio):
        return Score(math.nan, "the answer is next to impossible after the instruction")
    detail = (
        f"perplexity {_exp(-given.mean):.4g} after the instruction, {_exp(-alone.mean):.4g} alone, over {given.tokens} tokens"
    )
    return Score(ratio, detail, {"given": given.mean, "alone": alone.mean, "tokens": given.tokens})


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _blank() -> Score:
    return Score(math.nan, "the answer is empty")


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `instruction_difficulty` node."""
    return [InstructionDifficulty]

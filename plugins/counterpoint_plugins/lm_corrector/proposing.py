"""Candidates: the fields that say what makes them, and making them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from counterpoint.plugin import (
    BudgetMeter,
    Completion,
    CounterpointError,
    Generator,
    Node,
    NodePlan,
    Prompt,
    Ref,
    Run,
    Sampling,
)
from counterpoint_plugins.lm_corrector.wording import CORRECTOR, asked, checked, shows_candidates

_MOST = 64


@dataclass(frozen=True)
class Candidate:
    """One candidate, or why there is none."""

    number: int
    proposer: str
    """Path of its generator."""
    completion: Completion | None
    problem: str = ""
    """Why it is left out; empty where it is not."""
    hint: str = ""
    """What can be done about that."""

    @property
    def text(self) -> str:
        """What it says; nothing where there is none."""
        return "" if self.completion is None else self.completion.text


class Proposing(Node):
    """The fields by which candidates are made and laid out. A kind that makes them derives from this."""

    own_words: ClassVar[str] = CORRECTOR
    """The template where the recipe gives none."""

    candidates: Ref[Generator] | tuple[Ref[Generator], ...] = Field(
        description="What makes candidates: a generator or a language model, or several of them."
    )
    n: int | tuple[int, ...] = Field(
        default=5, description="How many candidates, of each generator alike or one number for each; 0 makes none."
    )
    greedy_first: bool = Field(default=True, description="Whether the first candidate of each generator is a greedy one.")
    temperature: float = Field(
        default=0.6, gt=0, le=100, description="Temperature of the other candidates, whatever their generators' settings say."
    )
    ask: str = Field(
        default="{{ source }}",
        description="How candidates are asked for: Jinja text over `source`. The default asks with the source as it is.",
    )

    template: str | None = Field(
        default=None,
        description="What is read to write the answer: Jinja text over `source` and `candidates`, a list; by default the kind's own.",
    )

    @field_validator("n")
    @classmethod
    def _so_many(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        counts = value if isinstance(value, tuple) else (value,)
        if not counts or min(counts) < 0 or sum(counts) > _MOST:
            raise ValueError(f"a generator makes 0 candidates or more, and all together at most {_MOST}")
        return value

    @field_validator("ask")
    @classmethod
    def _askable(cls, value: str) -> str:
        return checked(value, candidates=False)

    @field_validator("template")
    @classmethod
    def _fillable(cls, value: str | None) -> str | None:
        return value if value is None else checked(value, candidates=True)

    @model_validator(mode="after")
    def _one_number_each(self) -> Proposing:
        if not self.proposers:
            raise ValueError("candidates: name at least one generator")
        if isinstance(self.n, tuple) and len(self.n) != len(self.proposers):
            raise ValueError(f"n: {len(self.n)} numbers for {len(self.proposers)} generators; give one number, or one for each")
        return self

    @property
    def proposers(self) -> tuple[str | Generator, ...]:
        """The generators of candidates."""
        return self.candidates if isinstance(self.candidates, tuple) else (self.candidates,)

    @property
    def counts(self) -> tuple[int, ...]:
        """Candidates of each generator."""
        return self.n if isinstance(self.n, tuple) else (self.n,) * len(self.proposers)

    @property
    def words(self) -> str:
        """The template in force."""
        return self.own_words if self.template is None else self.template

    def check_candidates(self, plan: NodePlan) -> None:
        """Refuses a template that leaves candidates out, and a temperature that the settings of a generator contradict."""
        if sum(self.counts) and not shows_candidates(self.words):
            plan.refuse("the template leaves the candidates out", "say {{ candidates }} in it, or set n to 0")
        for reference in self.proposers:
            path, node = plan.play(reference, Generator)
            assert isinstance(node, Generator)
            try:
                plan.sampling.merged(node.sampling).merged(Sampling(temperature=self.temperature))
            except ValueError as error:
                plan.refuse(f"'{path}': {error}", "change its sampling settings")

    async def propose(
        self,
        prompt: Prompt,
        run: Run,
        *,
        budget: BudgetMeter | None = None,
        finished: Callable[[Candidate], None] | None = None,
    ) -> list[Candidate]:
        """Candidates for a prompt, made together, in the order of their generators.

        One that fails is in the list with the reason, as is an empty one; one that a budget has cut short is there as far as it
        came.

        Args:
            prompt: what is to be answered or corrected.
            run: the run below which they are made.
            budget: what all of them may cost together.
            finished: hears of each one when it is there.
        """
        worded = asked(self.ask, prompt, run.path)
        settings = []
        for generator, count in zip(self.proposers, self.counts, strict=True):
            own = run.sampling_of(generator)
            sampled, greedy = (own.merged(Sampling(temperature=value)) for value in (self.temperature, 0.0))
            settings += [(generator, greedy if self.greedy_first and place == 0 else sampled) for place in range(count)]

        async def made(number: int, generator: str | Generator, sampling: Sampling) -> Candidate:
            path = run.path_of(generator)
            try:
                completion = await run.generate(generator, worded, budget=budget, sampling=sampling, keep_partial=True)
            except CounterpointError as error:
                candidate = Candidate(number, path, None, f"failed: {error.message}", error.hint)
            except Exception as error:  # noqa: BLE001 (a plugin may raise anything, and there are others)
                candidate = Candidate(number, path, None, f"failed: {type(error).__name__}: {error}")
            else:
                candidate = Candidate(number, path, completion, "" if completion.text.strip() else "empty")
            if finished is not None:
                finished(candidate)
            return candidate

        return await run.gather(*(made(number, *one) for number, one in enumerate(settings)))

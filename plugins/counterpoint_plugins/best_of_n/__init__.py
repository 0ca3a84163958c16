"""The `best_of_n` generator: several candidates from one or several generators, and verifiers that choose among them."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator, model_validator

from counterpoint.plugin import (
    Completion,
    EvaluationError,
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
from counterpoint.verification import Accepting, Verified
from counterpoint_plugins.best_of_n.contest import Candidate, Contest

_MOST = 1024


class Worth(Verified):
    """When another sample is worth its price, under a verifier that errs (`counterpoint calibrate` finds the first three)."""

    right: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="Value of a right answer.")
    wrong: float = Field(
        default=0.0, le=0, allow_inf_nan=False, description="Value of a wrong answer that is accepted, at most 0."
    )
    price: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Price of a sample, in the same unit.")


class BestOfN(Accepting):
    """Best-of-n: candidates are made together, verified while others are still being written, and one is the answer.

    Sources: repeated sampling with verifiers (Chen et al. 2021, arXiv 2107.03374; Cobbe et al. 2021, arXiv 2110.14168); at equal
    budget (Hassid et al., COLM 2024); where verifiers err (Stroebl et al. 2024, arXiv 2411.17501).
    """

    kind: Literal["best_of_n"] = "best_of_n"
    generators: Ref[Generator] | tuple[Ref[Generator], ...] = Field(
        description="What makes candidates: a generator or a language model, or several of them."
    )
    n: int | tuple[int, ...] = Field(default=4, description="How many candidates, for all generators or for each one.")
    verifiers: Ref[Verifier] | tuple[Ref[Verifier], ...] = Field(
        default=(), description="A verifier, or several: the first one decides, and each further one among equals."
    )
    select: Literal["first", "score", "vote"] | None = Field(
        default=None,
        description="`first`: the first candidate that is accepted, and the others end. `score`: the highest score. `vote`: the "
        "answer that most candidates give. By default `first` where the first verifier gives verdicts, else `score`, and `vote` "
        "without a verifier.",
    )
    accept: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="The score from which the first verifier accepts a candidate; 0.5 where it gives verdicts.",
    )
    answers: str = Field(
        default="text",
        description="What `vote` counts: the whole `text`, the final `number`, or what a regular expression finds last.",
    )
    shares: tuple[float, ...] | None = Field(
        default=None, description="Share of the budget for each generator's candidates together; by default nothing is divided."
    )
    in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Most candidates at once; by default all. With `select: first`, fewer are wasted and it takes longer.",
    )
    worth: Worth | None = Field(
        default=None,
        description="What answers are worth and how far the first verifier is to be trusted: at most as many candidates are made "
        "as pay, with `select: first`.",
    )
    abstention: str = Field(default="", description="The answer where `worth` says that not even one sample pays.")

    @field_validator("n")
    @classmethod
    def _positive(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        counts = value if isinstance(value, tuple) else (value,)
        if not counts or min(counts) < 1 or sum(counts) > _MOST:
            raise ValueError(f"every generator makes at least 1 candidate, and all together at most {_MOST}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> BestOfN:
        number = len(self.made_by)
        if not number:
            raise ValueError("generators: name at least one")
        if isinstance(self.n, tuple) and len(self.n) != number:
            raise ValueError(f"n: {len(self.n)} numbers for {number} generators; give one number, or one for each")
        if self.shares is not None:
            if len(self.shares) != number:
                raise ValueError(f"shares: {len(self.shares)} for {number} generators; give one for each")
            if not (all(share > 0 for share in self.shares) and math.fsum(self.shares) <= 1 + 1e-9):  # NaN is none
                raise ValueError("shares: each is above 0, and their sum is at most 1")
        return self

    @property
    def made_by(self) -> tuple[str | Generator, ...]:
        """The generators."""
        return self.generators if isinstance(self.generators, tuple) else (self.generators,)

    @property
    def judged_by(self) -> tuple[str | Verifier, ...]:
        """The verifiers, the one that decides first."""
        return self.verifiers if isinstance(self.verifiers, tuple) else (self.verifiers,)

    @property
    def counts(self) -> tuple[int, ...]:
        """Candidates of each generator."""
        return self.n if isinstance(self.n, tuple) else (self.n,) * len(self.made_by)

    @property
    def candidates(self) -> int:
        return sum(self.counts)

    @property
    def accepts_from(self) -> float | None:
        return self.accept

    def exhaustive(self) -> BestOfN:
        first = self.judged_by[:1]
        return self.model_copy(update={"select": "score", "worth": None, "in_flight": None, "verifiers": first})

    def selection(self, first: Node | None) -> Literal["first", "score", "vote"]:
        """How the answer is chosen, given the first verifier."""
        if self.select is not None:
            return self.select
        if not isinstance(first, Verifier):
            return "vote"
        return "first" if first.verdicts and not first.compares else "score"

    def threshold(self, first: Node | None) -> float | None:
        """From which score the first verifier accepts; None where none does."""
        if self.accept is None and isinstance(first, Verifier) and first.verdicts:
            return 0.5
        return self.accept

    def check(self, plan: NodePlan) -> None:
        nodes = [plan.resolve(verifier) for verifier in self.judged_by]
        for path, node in nodes:
            assert isinstance(node, Verifier)
            if node.lower_is_better or not node.reads_answers:
                plan.refuse(f"'{path}' ({node.kind}) measures a model and does not rank answers", "name another verifier")
        first = nodes[0][1] if nodes else None
        selection = self.selection(first)
        if selection != "vote" and first is None:
            plan.refuse(f"select: {selection} needs a verifier", "name one in `verifiers`, or say `select: vote`")
        if selection == "first" and isinstance(first, Verifier):
            if first.compares:
                plan.refuse(
                    f"'{nodes[0][0]}' compares candidates with one another, so none can be accepted before all are there",
                    "say `select: score`, or name first a verifier that judges each by itself",
                )
            elif self.threshold(first) is None:
                plan.refuse(
                    f"'{nodes[0][0]}' ({first.kind}) gives scores and no verdicts",
                    "set `accept` to the score from which a candidate is good enough",
                )
        if selection == "vote":
            self._check_answers(plan)
        for reference, count in zip(self.made_by, self.counts, strict=True):
            path, node = plan.play(reference, Generator)
            assert isinstance(node, Generator)
            own = node.sampling
            greedy = plan.sampling.greedy if own is None or "temperature" not in own.model_fields_set else own.greedy
            if greedy and count > 1 and node.adapts is not None:
                plan.warn(
                    f"{count} candidates of '{path}' are the same: it decodes greedily",
                    "set sampling.temperature, 0.8 for example",
                )
        if self.worth is not None:
            self._check_worth(plan, selection)

    def _check_answers(self, plan: NodePlan) -> None:
        from counterpoint.answers import extractor

        try:
            extractor(self.answers)
        except ValueError as error:
            plan.refuse(f"answers: {error}", "say text, number, or a regular expression")

    def _check_worth(self, plan: NodePlan, selection: str) -> None:
        if selection != "first":
            plan.refuse(f"worth is for sampling until one is accepted, not for select: {selection}", "say `select: first`")
            return
        try:
            pays = self.paying()
        except EvaluationError as error:
            plan.refuse(error.message, error.hint)
            return
        total = self.candidates
        if pays == 0:
            plan.warn("not even one sample pays, so that it always abstains", "see worth.wrong and worth.price")
        else:
            plan.inform(f"{pays} of at most {total} candidates pay")

    def paying(self) -> int:
        """How many candidates are made: all, or as many as pay.

        Raises:
            EvaluationError: scipy is not installed.
        """
        total, worth = self.candidates, self.worth
        if worth is None:
            return total
        from counterpoint.imperfect import ImperfectVerifier

        return ImperfectVerifier(worth).best_number(total, right=worth.right, wrong=worth.wrong, price=worth.price)

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        first = run.node_of(self.judged_by[0], Verifier) if self.judged_by else None
        pays = self.paying()
        if pays == 0:
            run.emit(Note(name="abstained", data={"reason": "not even one sample pays"}))
            return run.adopt(Completion(text=self.abstention, finish_reason="stop"), run.path)
        allowances = [run.allowance(share) for share in self.shares or ()] or [None] * len(self.counts)
        order = _dealt(self.counts)[:pays]
        candidates = [
            Candidate(number, self.made_by[index], run.path_of(self.made_by[index]), allowances[index])
            for number, index in enumerate(order)
        ]
        contest = Contest(run, prompt, candidates, self.judged_by, self.threshold(first), self.selection(first), self.answers)
        await contest.hold(self.in_flight or len(candidates))
        return contest.answer


def _dealt(counts: tuple[int, ...]) -> list[int]:
    """Which generator makes each candidate: in turn, until each has made its number."""
    return [index for turn in range(max(counts)) for index, count in enumerate(counts) if turn < count]


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `best_of_n` node."""
    return [BestOfN]

"""The `verifier_training` node: samples answers, has them checked, and trains a model with a head to tell right from wrong."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from counterpoint.plugin import EvaluationError, Generator, LanguageModel, Node, NodePlan, Ref, Run, Verifier, hookimpl
from counterpoint.training import FineTuning, Reporter, Workshop, in_thread, read_problems


class VerifierTraining(FineTuning):
    """Trains a verifier: a language model with one scalar head over positions, for the node `learned`.

    Source: TinyGSM (Liu et al. 2023, arXiv 2312.09241, section 4). Answers are sampled and checked; whether an answer is right is
    the label of every one of its tokens (binary cross-entropy), and the score of an answer is the head's output at its last token.
    """

    kind: Literal["verifier_training"] = "verifier_training"
    model: Ref[LanguageModel] = Field(description="The model that the verifier starts from; it gets a head.")
    generator: Ref[Generator] = Field(description="What answers the problems; a language model samples plainly.")
    checker: Ref[Verifier] = Field(description="What says which answers are right: a verifier with verdicts.")
    data: str = Field(description="File of JSON lines with problems, or a card, here or in COUNTERPOINT_DATA.")
    task: str | None = Field(
        default=None, description="Task type of the data, as for an evaluation; by default the one whose columns fit."
    )
    limit: int | None = Field(default=None, ge=2, description="Only the first so many problems.")
    samples: int = Field(default=8, ge=1, le=1024, description="Answers to each problem.")
    temperatures: tuple[Annotated[float, Field(ge=0, le=100)], ...] = Field(
        default=(0.7, 1.0), min_length=1, description="Temperatures of a problem's answers, in turn."
    )
    in_flight: int = Field(default=16, ge=1, le=4096, description="Problems answered at once; more needs memory.")
    balance: bool = Field(
        default=True,
        description="Whether right and wrong answers have weights by which the tokens of both count equally, over all problems.",
    )
    held_out: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of the problems that is only measured; 0 trains on all, without early stopping.",
    )
    held_out_file: str | None = Field(
        default=None, description="A file of problems that are only measured, instead of a share."
    )
    too_long: Literal["refuse", "drop"] = Field(
        default="drop", description="What happens to longer answers: they are left out, counted, or an error names the first."
    )
    batch: int = Field(default=32, ge=1, le=65536, description="Answers a step.")

    def check(self, plan: NodePlan) -> None:
        super().check(plan)
        self.check_trainable(plan, self.model)
        self.check_length(plan, self.model, "the model")
        path, checker = plan.resolve(self.checker)
        assert isinstance(checker, Verifier)
        if not checker.verdicts or checker.compares or not checker.reads_answers:
            plan.refuse(f"'{path}' ({checker.kind}) does not say which answers are right", "name a verifier with verdicts")
        for file in (self.data, self.held_out_file):
            if file is None:
                continue
            try:
                problems = read_problems(file, self.task, limit=self.limit if file == self.data else None)
            except EvaluationError as error:
                plan.refuse(error.message, error.hint)
                continue
            columns = next(iter(problems.prompts.values())).fields
            if missing := [name for name in checker.requires if name not in columns]:
                plan.refuse(
                    f"'{path}' reads {', '.join(missing)}, which a problem of task '{problems.task}' does not have",
                    "name another checker, or the task",
                )
        if self.samples > 1 and not any(self.temperatures):
            plan.warn("all answers to a problem are the same: temperature 0 is greedy", "set temperatures above 0")
        if importlib.util.find_spec("scipy") is None:
            plan.warn("without scipy the card has no area under the curve", "pip install 'counterpoint[eval]'")

    async def train(self, run: Run) -> str:
        from counterpoint_plugins.verifier_training.sampling import Sampler

        report = Reporter(run, self.artifact)
        with Workshop(self.artifact, run.path) as workshop:
            sampler = await Sampler.of(self, run, workshop)
            loaded = await run.load(self.model)
            workshop.agree(sampler.identity(loaded[1], loaded[2].tokenizer))
            samples = await sampler.run(run)
            from counterpoint_plugins.verifier_training.training import train  # imports torch

            await in_thread(run, partial(train, self, run.path, run.seed, loaded, sampler, samples, workshop, report))
        return self.artifact


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `verifier_training` node."""
    return [VerifierTraining]

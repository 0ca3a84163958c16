"""The `unit_tests` verifier: runs the program of an answer against tests, in a sandbox."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import Completion, CounterpointError, Node, NodePlan, Prompt, Run, RunError, Score, Verifier, hookimpl
from counterpoint.sandbox import IsolationKind, Limits, Verdict, choose, run_checks
from counterpoint_plugins.unit_tests.extraction import preamble, program


class UnitTests(Verifier):
    """1 for a program that passes its tests, 0 for one that does not.

    Source: functional correctness (M. Chen et al., 2021, arXiv 2107.03374, section 2). The prompt's fields are those of HumanEval:
    ``prompt`` (a function's head, with what it needs before it), ``entry_point`` (its name) and ``test`` (Python that defines
    ``check(candidate)``). Program and tests run in sandboxes of their own, see ``counterpoint.sandbox``.
    """

    kind: Literal["unit_tests"] = "unit_tests"
    requires: ClassVar[tuple[str, ...]] = ("prompt", "test", "entry_point")
    verdicts: ClassVar[bool] = True
    limits: Limits = Field(default=Limits(), description="What a program may use.")
    isolation: IsolationKind = Field(
        default="auto",
        description="How programs are kept apart from the machine: `bubblewrap`, `namespaces`, `auto` (the first that works), or `none`.",
    )
    unsafe_run_without_isolation: bool = Field(
        default=False,
        description="Allows isolation `none`: model-written code then runs with all rights of this user.",
    )

    def check(self, plan: NodePlan) -> None:
        try:
            choose(self.isolation, unsafe_run_without_isolation=self.unsafe_run_without_isolation)
        except CounterpointError as error:
            plan.refuse(error.message, error.hint)
        if self.isolation == "none" and self.unsafe_run_without_isolation:
            plan.warn("model-written code runs without isolation", "set isolation to auto wherever that works")

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        task = {name: _text(prompt, name) for name in self.requires}
        answers = [prompt.prefix + completion.text for completion in completions]
        # Equal answers are judged once. How many judgments run at the same time is the sandbox's business.
        different = list(dict.fromkeys(answers))
        verdicts = await run.gather(*[run.thread(self._judge, task, answer) for answer in different])
        scores = {answer: _score(verdict) for answer, verdict in zip(different, verdicts, strict=True)}
        return [scores[answer] for answer in answers]

    def _judge(self, task: dict[str, str], answer: str) -> Verdict:
        return run_checks(
            program(answer, task["prompt"], task["entry_point"]),
            task["entry_point"],
            task["test"],
            preamble(task["prompt"], task["entry_point"]),
            limits=self.limits,
            isolation=self.isolation,
            unsafe_run_without_isolation=self.unsafe_run_without_isolation,
        )


def _score(verdict: Verdict) -> Score:
    if verdict.kind == "error":  # the tests are broken, which is not the answer's fault
        return Score(math.nan, verdict.detail)
    return Score(float(verdict.passed), verdict.detail)


def _text(prompt: Prompt, name: str) -> str:
    value = prompt.fields[name]
    if not isinstance(value, str):
        raise RunError(f"the prompt's field '{name}' is not text", hint="unit_tests reads the columns of HumanEval")
    return value


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `unit_tests` node."""
    return [UnitTests]

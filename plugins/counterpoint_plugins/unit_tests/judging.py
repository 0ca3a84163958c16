"""What verifiers that run programs have in common: where and within which limits they run."""

from __future__ import annotations

from pydantic import Field

from counterpoint.plugin import CounterpointError, NodePlan, Prompt, RunError, Verifier
from counterpoint.sandbox import IsolationKind, Limits, Verdict, choose, run_checks
from counterpoint_plugins.unit_tests.extraction import preamble, program


class Judging(Verifier):
    """Runs the programs of answers in the sandbox."""

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

    def task(self, prompt: Prompt) -> dict[str, str]:
        """The fields that the verifier requires.

        Raises:
            RunError: one is not text.
        """
        task: dict[str, str] = {}
        for name in self.requires:
            value = prompt.fields[name]
            if not isinstance(value, str):
                raise RunError(f"the prompt's field '{name}' is not text", hint=f"{self.kind} reads the columns of HumanEval")
            task[name] = value
        return task

    def judged(self, task: dict[str, str], answer: str, checks: str) -> Verdict:
        """What checks say of the program that an answer means (blocking)."""
        return self.run(task, program(answer, task["prompt"], task["entry_point"]), checks)

    def run(self, task: dict[str, str], source: str, checks: str) -> Verdict:
        """What checks say of a program (blocking)."""
        return run_checks(
            source,
            task["entry_point"],
            checks,
            preamble(task["prompt"], task["entry_point"]),
            limits=self.limits,
            isolation=self.isolation,
            unsafe_run_without_isolation=self.unsafe_run_without_isolation,
        )

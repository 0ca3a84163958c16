"""The verifiers `unit_tests` and `written_tests`: they run the program of an answer against tests, in a sandbox."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from counterpoint.plugin import Completion, Node, Prompt, Run, Score, hookimpl
from counterpoint.sandbox import Verdict
from counterpoint_plugins.unit_tests.judging import Judging
from counterpoint_plugins.unit_tests.written import WrittenTests


class UnitTests(Judging):
    """1 for a program that passes its tests, 0 for one that does not.

    Source: functional correctness (M. Chen et al., 2021, arXiv 2107.03374, section 2). The prompt's fields are those of HumanEval:
    ``prompt`` (a function's head, with what it needs before it), ``entry_point`` (its name) and ``test`` (Python that defines
    ``check(candidate)``). Program and tests run in sandboxes of their own, see ``counterpoint.sandbox``.
    """

    kind: Literal["unit_tests"] = "unit_tests"
    requires: ClassVar[tuple[str, ...]] = ("prompt", "test", "entry_point")
    verdicts: ClassVar[bool] = True

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        task = self.task(prompt)
        answers = [prompt.prefix + completion.text for completion in completions]
        # Equal answers are judged once. How many judgments run at the same time is the sandbox's business.
        different = list(dict.fromkeys(answers))
        verdicts = await run.gather(*[run.thread(self._judge, task, answer) for answer in different])
        scores = {answer: _score(verdict) for answer, verdict in zip(different, verdicts, strict=True)}
        return [scores[answer] for answer in answers]

    def _judge(self, task: dict[str, str], answer: str) -> Verdict:
        return self.judged(task, answer, task["test"])


def _score(verdict: Verdict) -> Score:
    if verdict.kind == "error":  # the tests are broken, which is not the answer's fault
        return Score(math.nan, verdict.detail)
    return Score(float(verdict.passed), verdict.detail)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `unit_tests` and `written_tests` nodes."""
    return [UnitTests, WrittenTests]

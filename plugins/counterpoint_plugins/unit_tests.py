"""The `unit_tests` verifier: runs the program of an answer against tests, in a sandbox."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import Completion, CounterpointError, Node, NodePlan, Prompt, Run, RunError, Score, Verifier, hookimpl
from counterpoint.sandbox import IsolationKind, Limits, Verdict, choose, run_checks

_FENCE = re.compile("`{3,}|~{3,}")
_FUTURE = re.compile(r"^from __future__ import [^\n]*$", re.MULTILINE)


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


# None of what follows parses code: Python's parser can be brought down by what it reads, and this is our process.


def program(answer: str, prompt: str, entry_point: str) -> str:
    """The program that an answer means.

    Of an answer with fenced blocks it is the first that defines the entry point, else the longest; one without is all code. A
    program that defines the entry point gets what the prompt has before it (imports, helpers), for models leave that out. One
    that does not is taken for the rest of the prompt's function.
    """
    before, blocks = _split(answer)
    for code in [block for block in blocks if _defines(block, entry_point)] or [answer]:
        if _defines(code, entry_point):
            return _joined(preamble(prompt, entry_point), code)
    if blocks and not before.lstrip("\n")[:1].isspace():  # else a function's body, and then a fence that ends it
        before = max(blocks, key=len)
    return prompt.rstrip("\n") + "\n" + _as_body(before) if _defines(prompt, entry_point) else before


def _split(answer: str) -> tuple[str, list[str]]:
    """What stands before the first fence, and the fenced blocks; the last may lack its closing fence."""
    before: list[str] = []
    blocks: list[list[str]] = []
    lines, fence, indented = before, "", False
    for line in answer.splitlines(keepends=True):
        text = line.strip()
        opened = None if fence else _FENCE.match(text)
        if opened:
            fence, indented = opened[0], line[:1].isspace()
            lines = []
            blocks.append(lines)
        elif fence and text == fence:
            if indented:  # in a list, say
                lines[:] = [textwrap.dedent("".join(lines))]
            fence, lines = "", []
        else:
            lines.append(line)
    return "".join(before), ["".join(block) for block in blocks]


def _as_body(code: str) -> str:
    """Lines of a function's body, indented as such; models drop the first line's indentation, or everyone's."""
    first, *others = code.lstrip("\n").splitlines(keepends=True) or [""]
    if not first.strip() or first[:1].isspace():
        return code
    written = [line for line in others if line.strip()]
    nested = first.rstrip().endswith(":") and written[:1] != [] and not written[0].startswith("     ")
    if nested or any(not line[:1].isspace() for line in written):
        return "".join(f"    {line}" for line in [first, *others])
    return "".join([f"    {first}", *others])


def preamble(prompt: str, entry_point: str) -> str:
    """What a prompt has before the function that is asked for."""
    match = _definition(entry_point).search(prompt)
    if match is None:
        return ""
    before = prompt[: match.start()]
    # decorators belong to the function
    return re.sub(r"(?:^@[^\n]*\n)+\Z", "", before, flags=re.MULTILINE)


def _definition(entry_point: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(entry_point)}[ \t]*\(", re.MULTILINE)


def _defines(code: str, entry_point: str) -> bool:
    name = re.escape(entry_point)
    return bool(
        _definition(entry_point).search(code) or re.search(rf"^(?:class[ \t]+{name}\b|{name}[ \t]*=)", code, re.MULTILINE)
    )


def _joined(before: str, code: str) -> str:
    """A program and what it needs before it; ``from __future__`` has to stay in front."""
    if not before.strip():
        return code
    futures = [f"{match[0]}\n" for match in _FUTURE.finditer(code)]
    return "".join(futures) + before.rstrip() + "\n\n" + _FUTURE.sub("", code)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `unit_tests` node."""
    return [UnitTests]

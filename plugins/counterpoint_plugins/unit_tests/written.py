"""The `written_tests` verifier: the tests that a model writes, as many programs pass them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from counterpoint.keeping import key_of
from counterpoint.plugin import Completion, Generator, Note, Prompt, Ref, Run, Sampling, Score
from counterpoint.sandbox import Verdict
from counterpoint_plugins.unit_tests.extraction import asserts
from counterpoint_plugins.unit_tests.judging import Judging

_ASKED = """Write {tests} tests for the Python function `{entry_point}`, which begins like this:

```python
{prompt}
```

Each test is one line: an `assert` statement that calls `{entry_point}`. Cover ordinary cases and edge cases. Reply with one block of \
code that holds these lines and nothing else."""


class WrittenTests(Judging):
    """The share of a model's own tests that a program passes (0 to 1).

    Source: CodeT (B. Chen et al. 2022, arXiv 2207.10397), whose tests come from a model that is shown the function's head. They may
    be wrong, and so the score is no verdict: it is for ranking, and a threshold on it is an imperfect verifier. The tests are
    written once per run, greedily unless the writer has sampling settings of its own. The reference tests are never read.

    Every program meets every test in a sandbox of its own, so that no program can forge more than it could forge in `unit_tests`,
    and that neither a test nor a program which hangs or crashes touches the others.
    """

    kind: Literal["written_tests"] = "written_tests"
    requires: ClassVar[tuple[str, ...]] = ("prompt", "entry_point")
    writer: Ref[Generator] = Field(description="What writes the tests; a language model answers greedily.")
    tests: int = Field(default=5, ge=1, le=50, description="Number of tests asked for, and most that are used.")
    max_tokens: int = Field(default=512, ge=1, description="Most tokens of the tests.")

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        if not completions:
            return []
        task = self.task(prompt)
        # a run has several tasks where a trainer verifies
        tests = await run.once(f"tests {key_of(task)}", lambda writing: self._write(task, writing))
        if not tests:
            return [Score(math.nan, "the writer wrote no test that can be run")] * len(completions)
        answers = [prompt.prefix + completion.text for completion in completions]
        different = list(dict.fromkeys(answers))
        verdicts = await run.gather(
            *(run.thread(self.judged, task, answer, _checks(test)) for answer in different for test in tests)
        )
        scores = {
            answer: _share(verdicts[number * len(tests) : (number + 1) * len(tests)]) for number, answer in enumerate(different)
        }
        return [scores[answer] for answer in answers]

    async def _write(self, task: dict[str, str], run: Run) -> list[str]:
        """The tests that load: an error in a test shows in the sandbox, for no code that a model wrote is parsed in this process."""
        sampling = run.sampling_of(self.writer, under=Sampling(temperature=0.0, max_tokens=self.max_tokens))
        asked = Prompt(text=_ASKED.format(tests=self.tests, entry_point=task["entry_point"], prompt=task["prompt"].rstrip()))
        written = await run.generate(self.writer, asked, sampling=sampling)
        lines = asserts(written.text, task["entry_point"])[: 4 * self.tests]
        stub = f"def {task['entry_point']}(*args, **kwargs):\n    pass\n"
        verdicts = await run.gather(*(run.thread(self.run, task, stub, _checks(line)) for line in lines))
        tests = [line for line, verdict in zip(lines, verdicts, strict=True) if verdict.kind != "error"][: self.tests]
        run.emit(
            Note(name="written_tests", data={"tests": tests, "broken": sum(verdict.kind == "error" for verdict in verdicts)})
        )
        return tests


def _checks(line: str) -> str:
    return f"def check(candidate):\n    {line}\n"


def _share(verdicts: Sequence[Verdict]) -> Score:
    """The share of tests passed, of those that say something about the program."""
    told = [verdict for verdict in verdicts if verdict.kind != "error"]
    if not told:
        return Score(math.nan, "no test says anything about the program")
    passed = sum(verdict.passed for verdict in told)
    return Score(passed / len(told), f"{passed} of {len(told)} tests pass", {"passed": passed, "tests": len(told)})

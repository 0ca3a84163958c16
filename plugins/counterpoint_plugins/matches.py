"""The verifiers `exact_match` and `numeric_match`: whether an answer is the known one."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from counterpoint.answers import PATTERN_SECONDS, check_pattern, final_number, last_match, normalised, shortened
from counterpoint.plugin import Completion, Node, Prompt, Run, Score, Verifier, hookimpl


class NumericMatch(Verifier):
    """Whether the final number of an answer is the known one: 1 or 0.

    Source: the evaluation of GSM8K (Cobbe et al. 2021, arXiv 2110.14168), whose answers end with ``#### number``; where an answer
    has no such line, its last number counts. Numbers are compared as decimals, so 18 is 18.00. A known answer without a number
    makes the scorer abstain.
    """

    kind: Literal["numeric_match"] = "numeric_match"
    requires: ClassVar[tuple[str, ...]] = ("answer",)
    verdicts: ClassVar[bool] = True

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        wanted = final_number(_plain(prompt.fields["answer"]))
        return [self._score(wanted, completion.text) for completion in completions]

    def _score(self, wanted: Decimal | None, text: str) -> Score:
        if wanted is None:
            return Score(float("nan"), "the known answer holds no number")
        found = final_number(text)
        if found is None:
            return Score(0.0, "no number")
        # what was found, not what was wanted: details are kept with answers, and hold no data set's words
        return Score(float(found == wanted), shortened(f"{found:f}"))


class ExactMatch(Verifier):
    """Whether an answer is the known one, word for word: 1 or 0.

    Both texts are normalised: white space is one space, case and punctuation do not count unless asked for. With ``pattern``
    the answer is what the expression finds last. The known answer may be a list of texts, any of which is right; where there
    is none, the scorer abstains.
    """

    kind: Literal["exact_match"] = "exact_match"
    requires: ClassVar[tuple[str, ...]] = ("answer",)
    verdicts: ClassVar[bool] = True
    case: bool = Field(default=False, description="Whether upper and lower case differ.")
    punctuation: bool = Field(default=False, description="Whether punctuation counts.")
    pattern: str | None = Field(
        default=None,
        description="Regular expression that finds the answer in a completion: its last match, or that match's first group.",
    )

    @field_validator("pattern")
    @classmethod
    def _valid(cls, value: str | None) -> str | None:
        check_pattern(value or "")
        return value

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        known = prompt.fields["answer"]
        answers = [_plain(one) for one in (known if isinstance(known, list) else [known])]
        answers = [answer for answer in answers if answer.strip()]
        texts = [completion.text for completion in completions]
        return await run.thread(lambda: [self._score(answers, text) for text in texts])  # a pattern may take its time

    def _score(self, answers: list[str], text: str) -> Score:
        if not answers:
            return Score(float("nan"), "there is no known answer")
        if self.pattern is not None:
            try:
                last = last_match(self.pattern, text)
            except TimeoutError:
                return Score(float("nan"), f"the pattern is not done after {PATTERN_SECONDS:g} s")
            if last is None:
                return Score(0.0, "the pattern finds no answer")
            text = last
        found = self.normalised(text)
        if any(found == self.normalised(answer) for answer in answers):
            return Score(1.0)
        return Score(0.0, f"found '{shortened(text)}'")

    def normalised(self, text: str) -> str:
        """The text as it is compared."""
        return normalised(text, case=self.case, punctuation=self.punctuation)


def _plain(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `exact_match` and `numeric_match` nodes."""
    return [ExactMatch, NumericMatch]

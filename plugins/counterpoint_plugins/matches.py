"""The verifiers `exact_match` and `numeric_match`: whether an answer is the known one."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Sequence
from decimal import Decimal, DecimalException
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from counterpoint.plugin import Completion, Node, Prompt, Run, Score, Verifier, hookimpl

_NUMBER = re.compile(
    r"""
    (?P<minus>(?<![\w)\]])-)?             # a sign, unless something stands before it that it subtracts from: "16-3" ends with 3
    (?:[$€£](?P<sign>-)?)?                # "$-5" is as good as "-$5"
    (?<![0-9.])
    (?P<number>(?>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+))
    (?:\s?/\s?(?P<over>[0-9]+))?          # a fraction
    """,
    re.VERBOSE,
)
_MARKED = re.compile(
    rf"""
    (?:boxed|text|[\s*_`$€£\\({{\[=:])*     # emphasis and LaTeX between the mark and the number
    {_NUMBER.pattern}
    (?!\.[ \t]+[A-Za-z]|\))               # "#### 1. First" and "#### 2) Then" are headings
    """,
    re.VERBOSE,
)


def final_number(text: str) -> Decimal | None:
    """The number an answer ends with: behind its last ``####`` if one stands there, else the last in the text.

    Signs, currency signs, thousands separators, LaTeX around a number, a percent sign or a full stop behind it, and fractions
    are understood. None when there is no number.
    """
    text = text.replace("\u2212", "-").replace("{,}", ",").replace("\\,", ",").replace("\\!", "").replace("\\$", "$")
    mark = text.rfind("####")
    if mark >= 0 and (marked := _MARKED.match(text, mark + 4)) is not None:
        return _value(marked)
    last = _last(_NUMBER, text)
    return None if last is None else _value(last)


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    latest = deque(pattern.finditer(text), maxlen=1)
    return latest[0] if latest else None


def _value(match: re.Match[str]) -> Decimal | None:
    try:
        value = Decimal(match["number"].replace(",", ""))
        if match["over"]:
            value /= Decimal(match["over"])
    except DecimalException:  # a fraction over nought
        return None
    return -value if match["minus"] or match["sign"] else value


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
        if found == wanted:
            return Score(1.0, _shown(found))
        return Score(0.0, _shown(found))  # not what was wanted: details are kept with answers, and hold no data set's words


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
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return value

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        known = prompt.fields["answer"]
        answers = [_plain(one) for one in (known if isinstance(known, list) else [known])]
        return [self._score([answer for answer in answers if answer.strip()], completion.text) for completion in completions]

    def _score(self, answers: list[str], text: str) -> Score:
        if not answers:
            return Score(float("nan"), "there is no known answer")
        if self.pattern is not None:
            last = _last(re.compile(self.pattern), text)
            if last is None:
                return Score(0.0, "the pattern finds no answer")
            text = (last[1] or "") if last.re.groups else last[0]
        found = self.normalised(text)
        if any(found == self.normalised(answer) for answer in answers):
            return Score(1.0)
        return Score(0.0, f"found '{_cut(text)}'")

    def normalised(self, text: str) -> str:
        """The text as it is compared."""
        text = unicodedata.normalize("NFKC", text)
        if not self.case:
            text = text.casefold()
        if not self.punctuation:
            bare = "".join(" " if unicodedata.category(char).startswith("P") else char for char in text)
            text = bare if bare.strip() else text  # an answer that is all punctuation is not empty
        return " ".join(text.split())


def _plain(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def _shown(number: Decimal) -> str:
    return _cut(f"{number:f}")


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `exact_match` and `numeric_match` nodes."""
    return [ExactMatch, NumericMatch]

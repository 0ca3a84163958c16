"""The built-in task types: `code`, `math`, `rewrite`, `qa` and `text`.

Each brings the lines of well-known data sets into one form, so that scorers need not know where an example comes from.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from counterpoint.plugin import Columns, TaskType, hookimpl

_NUMBER = re.compile(r"-?\$?[0-9][0-9,]*(?:\.[0-9]+)?")


def _shown(value: Any) -> str:
    """A value as an error message shows it."""
    if isinstance(value, str) and not value.strip():
        return "an empty string"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected text, found {_shown(value)}")
    return value


def _texts(value: Any) -> Any:
    """A list of texts; a lone string is a list of one."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"expected a list of texts, found {_shown(value)}")
    return [item for item in value if item.strip()]


def _answers(value: Any) -> Any:
    """A list of answers; a string holds several, separated by semicolons (as the file of TruthfulQA has them)."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(";")]
    found = list(dict.fromkeys(_texts(value)))
    if not found:
        raise ValueError("expected at least one answer, found none")
    return found


Text = Annotated[str, BeforeValidator(_text)]
"""A string that is not blank."""
Texts = Annotated[list[str], BeforeValidator(_texts)]
"""A list of strings, blank ones dropped; a lone string is a list of one."""
Answers = Annotated[list[str], BeforeValidator(_answers)]
"""A list of at least one answer, each once; a string is split at its semicolons."""


class CodeColumns(Columns):
    """The schema of HumanEval (arXiv 2107.03374): a function to complete, and a test of it."""

    prompt: Text = Field(description="The beginning of a Python module, up to the end of a function's docstring.")
    entry_point: Text = Field(description="Name of the function.")
    test: Text = Field(description="Python code that defines `check(candidate)`.")
    canonical_solution: str | None = Field(default=None, description="The rest of the function.")
    references: Texts = Field(default_factory=list, description="Whole functions: the prompt with its solution.")

    @field_validator("entry_point")
    @classmethod
    def _name(cls, value: str) -> str:
        if not value.isidentifier() or keyword.iskeyword(value):
            raise ValueError(f"expected the name of a function, found {_shown(value)}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "references" in data:
            return data
        prompt, solution = data.get("prompt"), data.get("canonical_solution")
        whole = [prompt + solution] if isinstance(prompt, str) and isinstance(solution, str) else []
        return {**data, "references": whole}


class MathColumns(Columns):
    """The schema of GSM8K (arXiv 2110.14168): a word problem and its worked solution, which ends with `#### number`."""

    question: Text = Field(description="The problem.")
    answer: str = Field(description="The final number; a worked solution is cut down to it.")
    references: Texts = Field(default_factory=list, description="The worked solution.")

    @model_validator(mode="before")
    @classmethod
    def _worked(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "references" in data:
            return data
        answer = data.get("answer")
        return {**data, "references": [answer] if isinstance(answer, str) and "####" in answer else []}

    @field_validator("answer", mode="before")
    @classmethod
    def _number(cls, value: Any) -> str:
        text = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
        if isinstance(text, str):
            final = text.rpartition("####")[2].strip().removesuffix(".")
            if _NUMBER.fullmatch(final):
                return final.replace(",", "").replace("$", "")
        raise ValueError(f"expected a number, or a worked solution that ends with '#### number', found {_shown(value)}")


class RewriteColumns(Columns):
    """A text and good versions of it: the lines of JFLEG (arXiv 1702.04066), for one."""

    source: Text = Field(description="The text to rewrite.")
    references: Texts = Field(description="Good versions of it, at least one.")

    @field_validator("references")
    @classmethod
    def _some(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("expected at least one reference that is not empty, found none")
        return value


class QaColumns(Columns):
    """The schema of TruthfulQA (arXiv 2109.07958): a question with answers that are right and answers that are wrong."""

    question: Text = Field(description="The question.")
    best_answer: Text = Field(description="The best of the right answers.")
    correct_answers: Answers = Field(description="Right answers, the best first.")
    incorrect_answers: Answers = Field(description="Wrong answers.")
    references: Texts = Field(
        default_factory=list,
        validate_default=True,  # for it is made from the other columns
        description="The right answers, the best first.",
    )

    @field_validator("best_answer")
    @classmethod
    def _stripped(cls, value: str) -> str:
        return value.strip()

    @field_validator("correct_answers")
    @classmethod
    def _best_first(cls, value: list[str], info: Any) -> list[str]:
        best = info.data.get("best_answer")
        return value if best is None else [best, *(answer for answer in value if answer != best)]

    @field_validator("references")
    @classmethod
    def _right(cls, value: list[str], info: Any) -> list[str]:
        return value or list(info.data.get("correct_answers", ()))


class TextColumns(Columns):
    """A prompt alone."""

    prompt: Text = Field(description="What the model is asked, as it stands.")
    references: Texts = Field(default_factory=list, description="Good answers, where there are some.")


TASKS = (
    TaskType(
        name="code",
        description="Complete a Python function; unit tests say whether it works (HumanEval).",
        columns=CodeColumns,
        template="Complete the Python function below. Reply with one Python code block that holds the whole function "
        "together with the imports it needs.\n\n```python\n{{ prompt.rstrip() }}\n```",
        scorers=("unit_tests",),
        prefix="```python\n",
        stop=("\n```",),
        public=("prompt", "entry_point"),
    ),
    TaskType(
        name="math",
        description="Solve a word problem; the final number is compared (GSM8K).",
        columns=MathColumns,
        template="{{ question }}\n\nReason step by step. Then end your reply with a line that gives the result as a plain "
        "number:\n#### <number>",
        scorers=("numeric_match",),
        public=("question",),
    ),
    TaskType(
        name="rewrite",
        description="Correct a text; n-grams of the source and of good versions are compared (JFLEG).",
        columns=RewriteColumns,
        template="Rewrite the text below so that it is correct and reads naturally. Repair grammar, spelling and wording, "
        "and keep the meaning. Reply with the rewritten text only.\n\n{{ source.strip() }}",
        scorers=("gleu", "rouge_l"),
        public=("source",),
    ),
    TaskType(
        name="qa",
        description="Answer a question to which wrong answers are common (TruthfulQA).",
        columns=QaColumns,
        template="{{ question }}\n\nAnswer in one short sentence.",
        scorers=("rouge_truth_proxy", "rouge_l"),
        public=("question",),
    ),
    TaskType(
        name="text",
        description="Answer a prompt as it stands; what is measured needs no reference.",
        columns=TextColumns,
        template="{{ prompt }}",
        scorers=("distinct_n", "repetition"),
        public=("prompt",),
    ),
)


@hookimpl
def counterpoint_tasks() -> list[TaskType]:
    """The built-in task types."""
    return list(TASKS)

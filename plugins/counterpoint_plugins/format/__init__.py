"""The `format` verifier: whether an answer has the form that is asked for."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from counterpoint.answers import PATTERN_SECONDS, check_pattern, matches
from counterpoint.plugin import Completion, Node, NodePlan, Prompt, Run, Score, Unsupported, Verifier, hookimpl

_MISSING = "JSON schemas are checked by the package jsonschema, which is not installed"
_HINT = "pip install 'counterpoint[schema]'"


class Format(Verifier):
    """1 for an answer of the form that is asked for, a regular expression's or a JSON schema's, else 0.

    Patterns that backtrack may take for ever on an answer that a model wrote, and Python's own `re` cannot be stopped; so all
    matching, that of a schema's patterns too, is done by the package regex and ends after two seconds per answer. Such an answer
    abstains.
    """

    kind: Literal["format"] = "format"
    verdicts: ClassVar[bool] = True
    regex: str | None = Field(
        default=None,
        description="A regular expression that all of the answer has to match, white space around it left out. Syntax: Python's "
        "`re`, and what the package regex adds.",
    )
    search: bool = Field(default=False, description="Whether a match anywhere in the answer is enough (with `regex`).")
    json_schema: dict[str, Any] | None = Field(
        default=None,
        description="A JSON schema (draft 2020-12, unless `$schema` names another) for an answer that is one JSON value. "
        "References stay within it.",
    )
    fenced: bool = Field(default=False, description="Whether the answer is what stands in the last fenced block.")

    @field_validator("regex")
    @classmethod
    def _valid(cls, value: str | None) -> str | None:
        check_pattern(value or "")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Format:
        if (self.regex is None) == (self.json_schema is None):
            raise ValueError("set exactly one of regex and json_schema")
        if self.search and self.regex is None:
            raise ValueError("search goes with regex; a JSON value is the whole answer")
        return self

    def check(self, plan: NodePlan) -> None:
        if self.json_schema is None:
            return
        if importlib.util.find_spec("jsonschema") is None:
            plan.refuse(_MISSING, _HINT)
            return
        from counterpoint_plugins.format.schemas import schema_problem

        if problem := schema_problem(self.json_schema):
            plan.refuse(f"json_schema: {problem}", "see https://json-schema.org/understanding-json-schema")

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        answers = [prompt.prefix + completion.text for completion in completions]

        def work() -> dict[str, Score]:
            judge = self._judge(run.path)
            return {answer: self._score(answer, judge) for answer in dict.fromkeys(answers)}

        scores = await run.thread(work)
        return [scores[answer] for answer in answers]

    def _score(self, answer: str, judge: Callable[[str], str]) -> Score:
        text = last_fenced(answer) if self.fenced else answer
        if text is None:
            return Score(0.0, "no fenced block")
        try:
            problem = judge(text.strip())
        except TimeoutError:
            return Score(math.nan, f"matching is not done after {PATTERN_SECONDS:g} s")
        return Score(0.0 if problem else 1.0, problem)

    def _judge(self, path: str) -> Callable[[str], str]:
        """What says of a text why it has not the form; nothing of one that has."""
        if self.json_schema is not None:
            if importlib.util.find_spec("jsonschema") is None:
                raise Unsupported(f"{path}: {_MISSING}", hint=_HINT)
            from counterpoint_plugins.format.schemas import schema_judge

            return schema_judge(self.json_schema)
        pattern, whole = self.regex or "", not self.search

        def judge(text: str) -> str:
            if matches(pattern, text, whole=whole, seconds=PATTERN_SECONDS):
                return ""
            return "does not match the pattern" if whole else "the pattern matches nowhere"

        return judge


def last_fenced(answer: str) -> str | None:
    """What stands in the last fenced block, which may lack its end (it is often a stop string); None where there is none."""
    block: list[str] | None = None
    fence = ""
    for line in answer.splitlines(keepends=True):
        text = line.strip()
        if fence:
            if len(text) >= len(fence) and text == fence[0] * len(text):
                fence = ""
            elif block is not None:
                block.append(line)
        elif text.startswith(("```", "~~~")) and text[0] not in text.lstrip(text[0]):
            fence, block = text[: len(text) - len(text.lstrip(text[0]))], []
    return None if block is None else "".join(block)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `format` node."""
    return [Format]

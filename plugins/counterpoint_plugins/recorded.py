"""The `recorded` generator: answers that were made elsewhere, from a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from counterpoint.plugin import Completion, EvaluationError, Generator, Node, NodePlan, Prompt, Run, RunError, hookimpl
from counterpoint.training import find_data, read_rows, sha256


@dataclass(frozen=True)
class Recording:
    """What a file holds: the answers to each prompt, and the file's checksum."""

    answers: dict[str, tuple[str, ...]]
    sha256: str


class Recorded(Generator):
    """Answers from a file: what another system wrote, one behind an interface that cannot be run here, say.

    The answer to a prompt is the one whose turn it is: calls beside one another take different ones, in the order of the file, and
    so do samples of a run (:attr:`Run.turn`). It stands as it is, whatever the sampling settings; it costs nothing.
    """

    kind: Literal["recorded"] = "recorded"
    file: str = Field(description="File of JSON lines with prompts and answers, here or in COUNTERPOINT_DATA.")
    prompt: str = Field(
        default="prompt",
        description="Column with the prompt, as it is asked; of a prompt in messages, the last one of the user.",
    )
    answers: str = Field(default="answers", description="Column with the answers: a text, or a list of texts.")

    def check(self, plan: NodePlan) -> None:
        try:
            self.read()
        except EvaluationError as error:
            plan.refuse(error.message, error.hint)

    def content_key(self) -> str:
        return self.read().sha256

    def read(self) -> Recording:
        """The file's content (blocking the first time).

        Raises:
            EvaluationError: it is not there, or is no recording: what and where.
        """
        path = find_data(self.file)
        status = path.stat()
        return _read(path, self.prompt, self.answers, (status.st_mtime_ns, status.st_size))

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        asked = _asked(prompt, run.path)
        answers = (await run.thread(self.read)).answers.get(asked)
        if answers is None:
            shown = asked if len(asked) <= 60 else f"{asked[:57]}..."
            raise RunError(
                f"{run.path}: {self.file} has no answer to {shown!r}",
                hint=f"its column '{self.prompt}' has to hold the prompt word for word, as this recipe asks it",
            )
        text = answers[run.turn % len(answers)].removeprefix(prompt.prefix)  # a completion is what follows it
        return run.adopt(Completion(text=text, finish_reason="stop"), run.path)


def _asked(prompt: Prompt, path: str) -> str:
    if prompt.text is not None:
        return prompt.text
    said = [message.content for message in prompt.messages if message.role == "user"]
    if not said:
        raise RunError(f"{path}: the prompt has no message of the user", hint="that is what answers are found by")
    return said[-1]


@lru_cache(maxsize=16)
def _read(path: Path, prompt: str, answers: str, stamp: tuple[int, int]) -> Recording:
    found: dict[str, tuple[str, ...]] = {}
    where: dict[str, str] = {}
    for place, row in read_rows(path):
        asked = _column(place, row, prompt, "prompt")
        if not isinstance(asked, str) or not asked.strip():
            raise EvaluationError(f"{place}: column '{prompt}' is no text but {asked!r}", hint="a prompt is a text")
        given = _column(place, row, answers, "answers")
        texts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list) else ()
        if not texts or not all(isinstance(text, str) for text in texts):
            raise EvaluationError(
                f"{place}: column '{answers}' is neither a text nor a list of texts but {given!r}",
                hint="give a prompt at least one answer, or remove the line",
            )
        if any("\ud800" <= char <= "\udfff" for text in (asked, *texts) for char in text):
            raise EvaluationError(
                f"{place}: its text holds half of a surrogate pair, which is no character",
                hint="remove the line, or write it anew from its source",
            )
        if found.setdefault(asked, texts) != texts:
            raise EvaluationError(
                f"{place}: answers the prompt of {where[asked]} differently",
                hint="put all answers to a prompt into one list, on one line",
            )
        where.setdefault(asked, place)
    return Recording(found, sha256(path))


def _column(place: str, row: dict[str, Any], column: str, field: str) -> Any:
    if column not in row:
        raise EvaluationError(
            f"{place}: has no column '{column}'",
            hint=f"it has {', '.join(row) or 'none'}; name the right one with the field `{field}`",
        )
    return row[column]


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `recorded` node."""
    return [Recorded]

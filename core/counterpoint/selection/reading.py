"""Lines of a file as prompts and answers to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.dataset import check_characters, data_file, fill, json_lines
from counterpoint.prompt import Completion, Prompt
from counterpoint.registry import describe_validation


@dataclass(frozen=True)
class Line:
    """One line: its columns, and what they ask and answer."""

    place: str
    """Where it stands, for errors."""
    columns: Mapping[str, Any]
    prompt: Prompt
    """With the columns that verifiers require as its fields."""
    answers: tuple[Completion, ...]
    several: bool
    """Whether the line is one that may hold several answers, however many these are."""


@dataclass(frozen=True)
class Layout:
    """Which columns are the prompt and the answers."""

    prompt: str = "prompt"
    template: str | None = None
    """Instead of ``prompt``: Jinja text over the columns."""
    answers: tuple[str, ...] = ("response",)
    """One answer each, or a list of them."""


def read_lines(
    data: str | Path | Iterable[Mapping[str, Any]],
    layout: Layout,
    *,
    required: Mapping[str, str],
    limit: int | None = None,
) -> tuple[Line, ...]:
    """Lines from a file (JSON lines), or rows from Python.

    Args:
        data: the file, which may also be in the data folder; or the rows.
        layout: which columns are what.
        required: columns that verifiers read besides, and which verifier it is.
        limit: only the first so many.

    Raises:
        EvaluationError: there is no such file or no line; or a line that lacks what is wanted, naming it.
    """
    if isinstance(data, (str, Path)):
        path = data_file(data)
        name, rows = str(path), json_lines(path)
    else:
        name, rows = "the data", [(f"row {number}", row) for number, row in enumerate(data, 1)]
    if not rows:
        raise EvaluationError(f"{name}: holds no line", hint="every line is one JSON object: a prompt, and an answer to it")
    return tuple(_line(place, row, layout, required) for place, row in rows[:limit])


def identity(lines: Sequence[Line]) -> str:
    """A hash of what is scored: prompts and answers, not the other columns."""
    digest = hashlib.sha256()
    for line in lines:
        answers = [answer.text for answer in line.answers]
        digest.update(json.dumps([line.prompt.text, line.prompt.fields, answers], sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _line(place: str, row: Any, layout: Layout, required: Mapping[str, str]) -> Line:
    if not isinstance(row, Mapping):
        raise EvaluationError(
            f"{place}: is a JSON {type(row).__name__}, not an object", hint="a line has a prompt, and an answer to it"
        )
    if layout.template is None:
        asked = _column(place, row, layout.prompt, "--prompt COLUMN names that of the prompt, --template makes it of several")
        if not isinstance(asked, str):
            raise _no_text(place, layout.prompt, asked)
    else:
        asked = fill(layout.template, row, f"{place}: the template")
    if not asked.strip():
        what = "what the template makes of it" if layout.template is not None else f"its column '{layout.prompt}'"
        raise EvaluationError(f"{place}: {what} is empty", hint="an answer is scored as one to a prompt: remove the line")
    found: list[str] = []
    several = len(layout.answers) > 1
    for name in layout.answers:
        value = _column(place, row, name, "--answer COLUMN names that of an answer, and may be repeated")
        several = several or isinstance(value, list)
        given = value if isinstance(value, list) else [value]
        if not given:
            raise EvaluationError(f"{place}: its column '{name}' is an empty list", hint="remove the line")
        for one in given:
            if not isinstance(one, str):
                raise _no_text(place, name, one)
            found.append(one)
    check_characters(place, asked, *found)
    fields = {
        name: _column(place, row, name, f"the verifier '{verifier}' reads it; name another recipe, or add the column")
        for name, verifier in required.items()
    }
    try:
        prompt = Prompt(text=asked, fields=fields)
        answers = tuple(Completion(text=text, finish_reason="stop") for text in found)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, at))}: {text}" for at, text in describe_validation(error))
        raise EvaluationError(f"{place}: {problems}", hint="columns hold plain text and plain data") from None
    return Line(place, dict(row), prompt, answers, several)


def _column(place: str, row: Mapping[str, Any], name: str, hint: str) -> Any:
    if name not in row:
        columns = ", ".join(map(str, row)) or "none"
        raise EvaluationError(f"{place}: has no column '{name}'; its columns: {columns}", hint=hint)
    return row[name]


def _no_text(place: str, column: str, value: Any) -> EvaluationError:
    held = "null" if value is None else f"a JSON {type(value).__name__}"
    return EvaluationError(f"{place}: its column '{column}' holds {held}, not text", hint="remove the line, or make it text")

"""Prompts and answers to train on: JSON lines with two named columns, rendered as a model's node renders its prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.errors import EvaluationError, ModelError
from counterpoint.evaluation.dataset import _parallel, check_characters, data_file, json_lines
from counterpoint.node import LeafModel
from counterpoint.prompt import Prompt
from counterpoint.rendering import render
from counterpoint.session import Backend


@dataclass(frozen=True)
class Pair:
    """A prompt, its answer, and where they stand (``FILE, line N``)."""

    place: str
    prompt: str
    response: str


@dataclass(frozen=True)
class EncodedPair:
    """Ids of a rendered prompt, and of its answer with the end-of-turn token."""

    place: str
    prompt: tuple[int, ...]
    response: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def find_data(source: str) -> Path:
    """A data file, here or in the data folder (``COUNTERPOINT_DATA``).

    Raises:
        EvaluationError: there is none.
    """
    return data_file(source)


def read_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, each with its place (``FILE, line N``).

    Raises:
        EvaluationError: a line is no JSON object, naming it; or there is no line at all.
    """
    rows = json_lines(path)
    for place, row in rows:
        _object(place, row)
    if not rows:
        raise EvaluationError(f"{path}: holds no example", hint="one JSON object a line")
    return rows


def read_parallel(source: Path, references: Sequence[Path]) -> list[tuple[str, dict[str, Any]]]:
    """Parallel text files as rows with the columns ``source`` and ``references`` (a list); blank sources are left out, as in an
    evaluation.

    Raises:
        EvaluationError: a file cannot be read, the files differ in their lines, or there is no line at all.
    """
    rows = _parallel(source, references)
    if not rows:
        raise EvaluationError(f"{source}: holds no example", hint="one source a line")
    return rows


def read_pairs(path: Path, prompt: str, response: str) -> list[Pair]:
    """The pairs of a file of JSON lines.

    Args:
        path: the file.
        prompt: name of the column with the prompt.
        response: name of the column with the answer.

    Raises:
        EvaluationError: a line is no JSON object, lacks a column, or has an empty one, naming it; or there is no line at all.
    """
    pairs = [
        Pair(place, _text(place, row, prompt, "prompt"), _text(place, row, response, "response"))
        for place, row in json_lines(path)
    ]
    if not pairs:
        raise EvaluationError(f"{path}: holds no example", hint="training data has one JSON object a line")
    return pairs


def _object(place: str, row: Any) -> None:
    if not isinstance(row, Mapping):
        raise EvaluationError(f"{place}: is a JSON {type(row).__name__}, not an object", hint="every line is one JSON object")


def _text(place: str, row: Any, column: str, field: str) -> str:
    _object(place, row)
    if column not in row:
        raise EvaluationError(
            f"{place}: has no column '{column}'",
            hint=f"it has {', '.join(map(str, row)) or 'none'}; name the right one with the trainer's field `{field}`",
        )
    value = row[column]
    if not isinstance(value, str):
        raise EvaluationError(f"{place}: column '{column}' is no text but {value!r}", hint="quote it, or remove the line")
    if not value.strip():
        raise EvaluationError(f"{place}: column '{column}' is empty", hint="there is nothing to train on: remove the line")
    check_characters(place, value)
    return value


def encode_pairs(pairs: Sequence[Pair], node: LeafModel, backend: Backend, path: str) -> list[EncodedPair]:
    """Pairs as token ids: prompts rendered as ``node`` renders them, answers encoded by themselves.

    Raises:
        ModelError: the node's ``prompt_format`` does not fit, or the model has no end-of-turn token.
    """
    end = end_of_turn(backend, path)
    encoded = []
    for pair in pairs:
        ids, _ = render(Prompt(text=pair.prompt), node.prompt_format, backend.tokenizer, path)
        encoded.append(EncodedPair(pair.place, tuple(ids), (*backend.tokenizer.encode(pair.response), end)))
    return encoded


def end_of_turn(backend: Backend, path: str) -> int:
    """The token that ends an answer: of several, the one that the model's chat template puts behind an answer.

    Raises:
        ModelError: the model has none.
    """
    stops = backend.stop_ids
    if not stops:
        raise ModelError(f"{path}: the model has no end-of-turn token to train on", hint="its tokenizer needs an eos_token")
    if len(stops) > 1:
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        rendered = backend.tokenizer.render_chat(turns)
        used = [token for token in backend.tokenizer.encode(rendered or "") if token in stops]
        if used:
            return used[-1]
    return min(stops)

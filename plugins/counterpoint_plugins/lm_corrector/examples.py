"""What a corrector is trained on: sources with their targets, from a file of JSON lines or from parallel text files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.plugin import EvaluationError
from counterpoint.training import check_characters, find_data, read_parallel, read_rows, split

if TYPE_CHECKING:
    from counterpoint_plugins.lm_corrector.training_node import CorrectorTraining


@dataclass(frozen=True)
class Example:
    """A source, its targets, and where they stand."""

    place: str
    name: str
    """What tells it apart from the others of this training, whatever else is in the files."""
    source: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Examples:
    """All that a training uses."""

    train: Sequence[Example]
    held_out: Sequence[Example]
    files: dict[str, Path]
    """By the field that names them."""


def read_examples(node: CorrectorTraining, path: str, seed: int) -> Examples:
    """Reads and splits what a node trains on: sources are held out with all their targets.

    Raises:
        EvaluationError: a file cannot be read, a line is no example, or nothing is left to train on.
    """
    data = find_data(node.data)
    files = {"data": data}
    if node.reference_files:
        found = [find_data(file) for file in node.reference_files]
        files |= {f"reference_files[{index}]": file for index, file in enumerate(found)}
        rows, columns = read_parallel(data, found), ("source", "references")
    else:
        rows, columns = read_rows(data), (node.source, node.target)
    examples = _examples(rows[: node.first], "data", columns, node)
    measured = None
    if node.held_out_file is not None:
        files["held_out_file"] = find_data(node.held_out_file)
        measured = _examples(read_rows(files["held_out_file"]), "held_out_file", (node.source, node.target), node)
    train, held_out = split(examples, node.held_out, seed, path, measured=measured, same=lambda one: one.source, noun="sources")
    return Examples(train, held_out, files)


def _examples(
    rows: Sequence[tuple[str, dict[str, Any]]], file: str, columns: tuple[str, str], node: CorrectorTraining
) -> list[Example]:
    found = []
    for number, (place, row) in enumerate(rows):
        source = _column(place, row, columns[0], "source")
        if not isinstance(source, str) or not source.strip():
            raise EvaluationError(f"{place}: column '{columns[0]}' is no text but {source!r}", hint="remove the line")
        given = _column(place, row, columns[1], "target")
        texts = [given] if isinstance(given, str) else given if isinstance(given, list) else [given]
        if not all(isinstance(text, str) for text in texts):
            raise EvaluationError(
                f"{place}: column '{columns[1]}' is neither a text nor a list of texts but {given!r}", hint="remove the line"
            )
        targets = [text.rstrip() for text in texts if text.strip()]
        if not targets:
            raise EvaluationError(
                f"{place}: column '{columns[1]}' holds no target", hint="there is nothing to train on: remove the line"
            )
        check_characters(place, source, *targets)
        found.append(Example(place, f"{file} {number}", source, tuple(targets if node.targets == "all" else targets[:1])))
    return found


def _column(place: str, row: dict[str, Any], column: str, field: str) -> Any:
    if column not in row:
        raise EvaluationError(
            f"{place}: has no column '{column}'",
            hint=f"it has {', '.join(row) or 'none'}; name the right one with the trainer's field `{field}`",
        )
    return row[column]

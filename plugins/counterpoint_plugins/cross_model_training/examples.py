"""What is trained on: examples of the files, split, and dealt out to steps as a pure function of the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.plugin import EvaluationError
from counterpoint.training import EncodedPair, encode_pairs, find_data, read_pairs

if TYPE_CHECKING:
    from counterpoint.plugin import Backend, LeafModel
    from counterpoint_plugins.cross_model_training import CrossModelTraining


@dataclass(frozen=True)
class Side:
    """What is to be learned, or what is to be forgotten."""

    train: list[EncodedPair]
    held_out: list[EncodedPair]


@dataclass(frozen=True)
class Examples:
    """All that a training uses."""

    learn: Side
    forget: Side | None
    dropped: int
    """Examples left out because they are too long."""
    files: dict[str, Path]
    """By the field that names them."""


def load_examples(node: CrossModelTraining, path: str, seed: int, template: LeafModel, backend: Backend) -> Examples:
    """Reads, renders and splits what a node trains on.

    Raises:
        EvaluationError: a file cannot be read, a line is not an example, one is too long, or nothing is left to train on.
        ModelError: the template cannot render a prompt.
    """
    dropped = 0
    files: dict[str, Path] = {}

    def encoded(field: str, file: str) -> list[EncodedPair]:
        nonlocal dropped
        files[field] = find_data(file)
        pairs = encode_pairs(read_pairs(files[field], node.prompt, node.response), template, backend, path)
        fitting = [pair for pair in pairs if len(pair) <= node.max_length]
        if len(fitting) < len(pairs) and node.too_long == "refuse":
            longest = next(pair for pair in pairs if len(pair) > node.max_length)
            raise EvaluationError(
                f"{longest.place}: prompt and answer have {len(longest)} tokens, and max_length of '{path}' is {node.max_length} "
                f"({len(pairs) - len(fitting)} of {len(pairs)} examples are too long)",
                hint="raise max_length, or set too_long to drop, which leaves them out",
            )
        if not fitting:
            raise EvaluationError(f"{files[field]}: all {len(pairs)} examples are too long", hint="raise max_length")
        dropped += len(pairs) - len(fitting)
        return fitting

    measured = encoded("held_out_file", node.held_out_file) if node.held_out_file is not None else None
    learn = _split(encoded("data", node.data), measured, node.held_out, seed, path)
    # what is forgotten is measured on a share of its own: a file of one's own holds what is to be retained
    forget = _split(encoded("forget", node.forget), None, node.held_out, seed, path) if node.forget is not None else None
    return Examples(learn, forget, dropped, files)


def _split(pairs: list[EncodedPair], measured: list[EncodedPair] | None, share: float, seed: int, path: str) -> Side:
    if measured is not None:
        return Side(pairs, measured)
    count = max(1, round(share * len(pairs))) if share else 0
    chosen = set(random.Random(f"{seed}|held out").sample(range(len(pairs)), count))
    if len(chosen) == len(pairs):
        raise EvaluationError(
            f"{path}: nothing is left to train on: {len(pairs)} examples, and {count} held out", hint="add data"
        )
    return Side(
        [pair for index, pair in enumerate(pairs) if index not in chosen],
        [pair for index, pair in enumerate(pairs) if index in chosen],
    )


def steps_per_epoch(examples: int, batch: int) -> int:
    """How many steps see every example once; the last may be a smaller one."""
    return -(-examples // batch)


def batch_of(pairs: Sequence[EncodedPair], batch: int, step: int, seed: int, purpose: str) -> list[EncodedPair]:
    """The examples of a step (from 0): a pure function of its arguments, so that a resumed training sees the same."""
    epoch, index = divmod(step, steps_per_epoch(len(pairs), batch))
    order = list(range(len(pairs)))
    random.Random(f"{seed}|{purpose}|{epoch}").shuffle(order)
    return [pairs[at] for at in order[index * batch : (index + 1) * batch]]


def micro_batches(pairs: Sequence[EncodedPair], size: int) -> list[list[EncodedPair]]:
    """Examples in passes of at most ``size``, those of like length together, so that little is padding."""
    by_length = sorted(pairs, key=len)
    return [by_length[at : at + size] for at in range(0, len(by_length), size)]

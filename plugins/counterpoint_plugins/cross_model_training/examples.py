"""What is trained on: examples of the files, encoded and split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.training import EncodedPair, Side, encode_pairs, find_data, fitting, read_pairs, split

if TYPE_CHECKING:
    from counterpoint.plugin import Backend, LeafModel
    from counterpoint_plugins.cross_model_training import CrossModelTraining


@dataclass(frozen=True)
class Examples:
    """All that a training uses."""

    learn: Side[EncodedPair]
    forget: Side[EncodedPair] | None
    dropped: int
    """Examples left out because they are too long."""
    files: dict[str, Path | None]
    """By the field that names them."""


def load_examples(node: CrossModelTraining, path: str, seed: int, template: LeafModel, backend: Backend) -> Examples:
    """Reads, renders and splits what a node trains on.

    Raises:
        EvaluationError: a file cannot be read, a line is not an example, one is too long, or nothing is left to train on.
        ModelError: the template cannot render a prompt.
    """
    dropped = 0
    named = {"held_out_file": node.held_out_file, "data": node.data, "forget": node.forget}
    files = {field: find_data(file) if file is not None else None for field, file in named.items()}

    def encoded(field: str) -> list[EncodedPair] | None:
        nonlocal dropped
        file = files[field]
        if file is None:
            return None
        pairs = encode_pairs(read_pairs(file, node.prompt, node.response), template, backend, path)
        kept = fitting(pairs, node.max_length, node.too_long, path, file)
        dropped += len(pairs) - len(kept)
        return kept

    measured = encoded("held_out_file")
    learned, forgotten = encoded("data"), encoded("forget")
    assert learned is not None
    if forgotten is None:
        return Examples(Side(*split(learned, node.held_out, seed, path, measured=measured, same=_prompt)), None, dropped, files)
    learn = Side(*split(learned, node.held_out, seed, path, measured=measured, same=_prompt), column="retain")
    # what is forgotten is measured on a share of its own: a file of one's own holds what is to be retained
    forget = Side(*split(forgotten, node.held_out, seed, path, same=_prompt), name="forget", weight=-1.0, column="forget")
    return Examples(learn, forget, dropped, files)


def _prompt(example: EncodedPair) -> tuple[int, ...]:
    """What answers to one prompt have in common."""
    return example.prompt

"""What the store hands out: a model's files, and a line of its list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Format = Literal["safetensors", "gguf"]
State = Literal["absent", "gguf", "converted"]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's files are.

    Attributes:
        directory: the folder transformers loads (config, safetensors, tokenizer); None if there is none (yet).
        gguf: the GGUF file llama.cpp loads; None if the model has none.
        licence: its name, as far as the source states it.
        key: identity of the weights: source, revision and checksum. Equal keys mean equal weights.
    """

    directory: Path | None
    gguf: Path | None
    licence: str
    key: str

    def has(self, formats: Iterable[Format]) -> bool:
        """Whether the model is here in all these formats."""
        there = {"safetensors": self.directory, "gguf": self.gguf}
        return all(there[name] is not None for name in formats)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One line of the list of models.

    Attributes:
        name: what to call it in commands and recipes: a catalogue name, or a source.
        description: a line about it.
        licence: its name.
        state: ``absent``, ``gguf`` (fetched) or ``converted`` (there is a transformers folder).
        bytes: what it takes on disk, an interrupted download included.
    """

    name: str
    description: str
    licence: str
    state: State
    bytes: int

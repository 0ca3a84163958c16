"""Judging a transformers folder without loading it: are its weights safetensors, whole, and of a native class?"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import ModelError, Unsupported
from counterpoint.store import files
from counterpoint.store.manifest import REMEDY

_PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_HEADER_LIMIT: Final = 100_000_000  # bytes; the format's own limit


def check_model(folder: Path) -> None:
    """Refuse a folder that is not a whole safetensors model of a class transformers has itself.

    Cheap enough for every start: only headers and small files are read.

    Raises:
        ModelError: a file is missing or damaged; the message names it.
        Unsupported: the weights are pickled, or the model needs code of its own.
    """
    if not check_weights(folder):
        raise ModelError(
            f"{folder} has no *.safetensors file",
            hint="give the folder of a transformers model (config.json, *.safetensors, tokenizer.json) or a .gguf file",
        )
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder / 'config.json'} is missing", hint="a transformers model has it beside its weights")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        for name in sorted(set(_json(index).get("weight_map", {}).values())):
            if not (folder / name).is_file():
                raise ModelError(f"{folder / name} is missing ({index.name} lists it)", hint=REMEDY)
    config = _json(folder / "config.json")
    if "auto_map" in config and not _is_native(str(config.get("model_type"))):
        raise Unsupported(
            f"{folder} needs Python code of its own (auto_map in config.json), which Counterpoint never runs",
            hint="use a model whose class is part of transformers",
        )


def check_weights(folder: Path) -> list[Path]:
    """The safetensors files of a folder, each checked by its header.

    Raises:
        ModelError: one of them is damaged.
        Unsupported: there are none, but pickled weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    pickled = [path.name for path in sorted(folder.iterdir()) if path.suffix in _PICKLED]
    if pickled and not weights:
        raise Unsupported(
            f"{folder} has its weights only in pickled form ({', '.join(pickled[:3])}), which can run code when read",
            hint="convert them to safetensors (model.save_pretrained(folder) in transformers writes them so)",
        )
    for path in weights:
        check_safetensors(path)
    return weights


def check_safetensors(path: Path) -> None:
    """Compare a safetensors file's size with what its header says.

    Raises:
        ModelError: the file is cut short or no safetensors file.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_HEADER_LIMIT, size - 8):
                raise ValueError("its header runs past its end")
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is damaged or no safetensors file: {error}", hint=REMEDY) from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise ModelError(f"{path} is cut short or altered: {size} bytes instead of {expected}", hint=REMEDY)


def fingerprint(folder: Path) -> str:
    """A checksum over the names, sizes and modification times of a folder's files: stable while nothing is changed."""
    digest = hashlib.sha256()
    for path in files.files_under(folder):
        status = path.stat()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}", hint=REMEDY) from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} is not a JSON object", hint=REMEDY)
    return data


def _is_native(model_type: str) -> bool:
    # only asked for the rare folder with code of its own: this import is slow
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

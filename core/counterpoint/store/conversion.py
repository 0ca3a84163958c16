"""Running the conversion of a GGUF file in a process of its own, and putting its result in place."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import ModelError, Unsupported
from counterpoint.store import files, subprocesses
from counterpoint.store.gguf_header import read_header
from counterpoint.store.manifest import MANIFEST, check_sizes, record
from counterpoint.store.progress import CONVERSION_STEPS, Meter, ProgressCallback

VERSION: Final = 1
"""Raised when ``convert`` or ``gguf_tokenizer`` change what they write: older conversions are then made anew."""

COMMAND: Final = (sys.executable, "-m", "counterpoint.store.convert")

_TOKENIZER_BYTES: Final = 40 << 20  # the largest tokenizer.json seen is 33 MB


def converted_bytes(gguf: Path) -> int:
    """About how large the bfloat16 folder made of a GGUF file is. Raises ModelError for a damaged file."""
    return 2 * read_header(gguf).parameters + _TOKENIZER_BYTES


def is_converted(folder: Path) -> bool:
    """Whether ``folder`` holds a whole conversion by this version (sizes are checked, contents are not).

    Raises:
        ModelError: it does, but a file of it is missing or has the wrong size.
    """
    manifest = files.read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("conversion") != VERSION:
        return False
    check_sizes(folder, manifest)
    return True


def convert(gguf: Path, folder: Path, partial: Path, about: Mapping[str, str], report: ProgressCallback) -> None:
    """Make the transformers folder ``folder`` of ``gguf``, working under ``partial``. The caller holds the lock.

    ``about`` is kept in the folder's manifest.

    Raises:
        Unsupported: the architecture or the tokenizer cannot be converted.
        ModelError: the disk is full, or the conversion failed; the GGUF file stays, nothing half-made does.
    """
    files.require_space(folder, converted_bytes(gguf), f"convert {gguf.name} to safetensors")
    files.remove(partial)
    result = partial / "transformers"
    try:
        result.mkdir(parents=True)
        _run(gguf, result, partial, report)
        record(result, {**about, "conversion": VERSION}, report)
        files.remove(folder)  # damaged, or of an older version
        files.place(result, folder)
    except OSError as error:
        raise ModelError(f"{gguf.name} cannot be converted: {error}", hint=_ROOM) from error
    finally:
        files.remove(partial)


_ROOM: Final = "make room or set COUNTERPOINT_HOME to another disk; the GGUF file is kept, nothing is fetched again"


def _run(gguf: Path, out: Path, folder: Path, report: ProgressCallback) -> None:
    package_root = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(path for path in (package_root, os.environ.get("PYTHONPATH")) if path)
    # offline: everything is in the file, a look at a model hub could only delay or mislead
    environment = {"PYTHONPATH": search, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with Meter(report, "convert", gguf.name, len(CONVERSION_STEPS), "steps") as meter:
        # it runs in `folder` because python -m searches the working directory, and the user's may hold a `tokenizers` folder
        status, output, errors = subprocesses.run(
            [*COMMAND, str(gguf.absolute()), str(out.absolute())],
            folder,
            environment,
            lambda output: meter.set(_last_message(output).get("done", 0), force=True),
        )
        if status:
            raise _error(gguf, status, _last_message(output), errors)


def _last_message(output: str) -> dict[str, Any]:
    for line in reversed(output.splitlines()):
        try:
            message = json.loads(line)
        except ValueError:
            continue  # half a line, or something a library printed
        if isinstance(message, dict):
            return message
    return {}


def _error(gguf: Path, status: int, answer: dict[str, Any], log: str) -> ModelError:
    kind, message, hint = (str(answer.get(name, "")) for name in ("error", "message", "hint"))
    if kind == "disk":
        return ModelError(f"the disk filled up while {gguf.name} was converted: {message}", hint=_ROOM)
    if kind == "unsupported":
        return Unsupported(f"{gguf.name}: {message}", hint=hint)
    if kind == "model":
        return ModelError(f"{gguf.name}: {message}", hint=hint)
    if not kind:  # it could not say anything, so it was killed
        message = f"the process ended with status {status}"
        hint = "most often memory ran out: close other programs, or use a machine with more memory"
    log_tail = "\n".join(log.strip().splitlines()[-12:])
    return ModelError(f"{gguf.name} cannot be converted: {message}\n{log_tail}".rstrip(), hint=hint or _REPORT)


_REPORT: Final = "the GGUF file is kept; llama.cpp backends can use it as it is"

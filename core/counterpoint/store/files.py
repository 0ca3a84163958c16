"""Files on disk: checksums, sizes, room, and putting things in place whole: a crash leaves the old or the new."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import ModelError
from counterpoint.store.progress import Meter
from counterpoint.writing import flush, write_whole

CHUNK: Final = 1 << 20
_SPARE: Final = 64 << 20  # bytes left free beyond what is asked for


def sha256(path: Path, meter: Meter | None = None) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
            if meter:
                meter.add(len(block))
    return digest.hexdigest()


def files_under(folder: Path) -> Iterator[Path]:
    """Every regular file under a folder, in a stable order."""
    for directory, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(directory, name)
            if path.is_file():
                yield path


def size_of(path: Path) -> int:
    """Bytes in a file, or in all files under a folder; 0 when there is none. Files may come and go meanwhile."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for file in files_under(path):
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Make sure that ``needed`` bytes can be written under ``folder`` (which need not exist yet).

    Raises:
        ModelError: the disk has less; the message says how many GB are needed and free.
    """
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed + _SPARE:
        raise ModelError(
            f"not enough room to {purpose}: {(needed + _SPARE) / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free at {existing}",
            hint="free some space (`counterpoint models list` shows sizes, `counterpoint models rm NAME` removes one), "
            "or set COUNTERPOINT_HOME to a folder on a larger disk",
        )


def sync(path: Path) -> None:
    """Flush a file, or a folder with every file in it, to the disk."""
    for file in [path] if path.is_file() else list(files_under(path)):
        flush(file)
    if path.is_dir():
        for directory, _, _ in os.walk(path):
            flush(Path(directory))


def place(new: Path, target: Path) -> None:
    """Move a finished file or folder to ``target`` in one step, flushed to disk; a file there is replaced.

    A folder must not exist at ``target``: the caller, who holds the model's lock, removes an old one first.
    """
    sync(new)
    target.parent.mkdir(parents=True, exist_ok=True)
    new.replace(target)  # os.replace: atomic
    flush(target.parent)


def write_json(path: Path, data: Any, *, sort_keys: bool = True) -> None:
    """Write a small JSON file atomically."""
    write_whole(path, json.dumps(data, indent=1, sort_keys=sort_keys) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; None when it is missing or cannot be read (what it says is then made anew)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def remove(path: Path) -> int:
    """Delete a file or folder, if it is there; returns the bytes that were in it."""
    freed = size_of(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return freed


def total_size(paths: Iterable[Path]) -> int:
    """Bytes in several files."""
    return sum(path.stat().st_size for path in paths)


class HashCache:
    """SHA-256 of files outside the store, remembered by path, size and modification time in one JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sha256(self, file: Path, meter: Meter | None = None) -> str:
        """The checksum of ``file``, computed only when its size or time have changed since the last time."""
        status = file.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        known = read_json(self._path)
        entries: dict[str, Any] = known if isinstance(known, dict) else {}
        entry = entries.get(str(file))
        if isinstance(entry, dict) and entry.get("stamp") == stamp and isinstance(entry.get("sha256"), str):
            return str(entry["sha256"])
        digest = sha256(file, meter)
        entries = {name: value for name, value in entries.items() if Path(name).exists()}
        write_json(self._path, entries | {str(file): {"stamp": stamp, "sha256": digest}})
        return digest

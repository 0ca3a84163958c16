"""Files written in one step."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(path: Path, data: str | bytes, *, replace: bool = True, errors: str = "strict") -> None:
    """Writes a file in one step: after a crash there is the old one or the new one.

    Args:
        path: the file. Its folder is made where there is none.
        data: what it is to hold; text is written in UTF-8.
        replace: whether a file of that name may be replaced.
        errors: what becomes of characters that UTF-8 cannot write, as of ``str.encode``.

    Raises:
        FileExistsError: there is one, and it may not.
        OSError: it cannot be written.
    """
    encoded = data.encode(errors=errors) if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            partial.replace(path)
        else:
            path.hardlink_to(partial)  # unlike a renaming, this fails when the name is taken
        flush(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def flush(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

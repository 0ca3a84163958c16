"""Files written in one step."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_whole(path: Path, text: str, *, replace: bool = True, errors: str = "strict") -> None:
    """Writes a file in one step: after a crash there is the old one or the new one.

    Args:
        path: the file; its folder exists.
        text: what it is to hold.
        replace: whether a file of that name may be replaced.
        errors: what becomes of characters that UTF-8 cannot write, as of ``open``.

    Raises:
        FileExistsError: there is one, and it may not.
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors=errors) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            partial.replace(path)
        else:
            path.hardlink_to(partial)  # unlike a renaming, this fails when the name is taken
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()

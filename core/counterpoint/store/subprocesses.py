"""Running a program to its end while saying how far it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from counterpoint.store.progress import INTERVAL


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], tick: Callable[[str], None]
) -> tuple[int, str, str]:
    """Run ``command`` in ``folder``, calling ``tick`` with its output so far every ``INTERVAL`` seconds.

    The program is killed when ``tick`` raises or the caller is interrupted. Its standard input stays open and empty until
    this process ends, however it ends: a program that watches it knows when nobody waits for it any more.

    Args:
        command: program and arguments.
        folder: working directory; its output goes through files in it, ``output`` and ``errors``.
        environment: variables set for it beside this process's own.
        tick: called in this thread.

    Returns:
        Exit status, standard output, standard error.
    """
    output, errors = folder / "output", folder / "errors"
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdin=subprocess.PIPE, stdout=out, stderr=err
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=INTERVAL)
                    break
                except subprocess.TimeoutExpired:
                    tick(_text(output))
        finally:
            process.kill()
            process.communicate()
    return status, _text(output), _text(errors)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")

"""The log of the command line: a small file, so that nothing a library has to say lands on the screen."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from typing import Any

from counterpoint import paths

_BYTES = 1_000_000


class _Handler(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A log that cannot be written ends no run."""

    def _open(self) -> Any:
        paths.home().mkdir(parents=True, exist_ok=True)
        return super()._open()


@contextlib.contextmanager
def log_file(*, everything: bool) -> Iterator[None]:
    """Keeps what is logged meanwhile, made at the first line: warnings and errors, or every detail."""
    handler = _Handler(paths.log(), maxBytes=_BYTES, backupCount=1, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("counterpoint")
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG if everything else logging.WARNING)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]

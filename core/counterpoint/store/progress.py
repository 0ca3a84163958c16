"""What the store reports while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

Phase = Literal["waiting", "download", "assemble", "verify", "convert"]
Unit = Literal["bytes", "steps", "seconds"]

CONVERSION_STEPS: Final = ("read", "weights", "tokenizer", "write", "check")
"""What a conversion goes through; its reports count these."""

INTERVAL: Final = 0.25
"""Seconds between two reports of something that is only watched (a subprocess, a lock)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One report. ``done`` and ``total`` count ``unit``; ``total`` is None when it is not known."""

    phase: Phase
    item: str
    done: int
    total: int | None
    unit: Unit


ProgressCallback = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """The callback of those who gave none."""


class Meter:
    """Reports one phase of one item, at most every ``INTERVAL`` seconds, and its start and end (a context manager)."""

    def __init__(self, report: ProgressCallback, phase: Phase, item: str, total: int | None, unit: Unit = "bytes") -> None:
        self._report = report
        self._phase: Phase = phase
        self._item = item
        self._total = total
        self._unit: Unit = unit
        self._last = 0.0
        self.done = 0

    def __enter__(self) -> Meter:
        self.set(self.done, force=True)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.set(self.done if self._total is None else self._total, force=True)

    def set(self, done: int, *, force: bool = False) -> None:
        """Say how far it is; ``force`` reports even if the last report was a moment ago."""
        self.done = done
        now = time.monotonic()
        if force or now - self._last >= INTERVAL:
            self._last = now
            self._report(Progress(self._phase, self._item, done, self._total, self._unit))

    def add(self, amount: int) -> None:
        """Advance by ``amount``."""
        self.set(self.done + amount)


@contextmanager
def watching(meter: Meter, measure: Callable[[], int]) -> Iterator[None]:
    """Report ``measure()`` every ``INTERVAL`` seconds while the block runs, from a thread of its own."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def watch() -> None:
        try:
            while not stop.wait(INTERVAL):
                meter.set(measure(), force=True)
        except BaseException as error:  # noqa: BLE001 - the callback's own; it belongs to the caller's thread
            failed.append(error)

    thread = threading.Thread(target=watch, name="counterpoint-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]

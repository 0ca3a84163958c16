"""Progress of downloads, conversions and loading: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from counterpoint.cli.console import bytes_text, seconds_text

_DOING = {
    "waiting": "waiting for",
    "download": "downloading",
    "assemble": "assembling",
    "verify": "verifying",
    "convert": "converting",
    "load": "loading",
    "sample": "sampling answers for",
    "train": "training",
    "evaluate": "evaluating",
}
_EVERY = 10.0  # seconds between two lines about the same thing where there is no terminal
_WORTH_SAYING = 2.0  # seconds that something must have taken for its end to be worth a line
_QUICK = frozenset({"assemble"})  # phases that are over before one could read their line


class Report(Protocol):
    """A progress event, or one of the model store's reports."""

    @property
    def phase(self) -> str: ...
    @property
    def item(self) -> str: ...
    @property
    def done(self) -> float: ...
    @property
    def total(self) -> float | None: ...
    @property
    def unit(self) -> str: ...


class ProgressDisplay:
    """Shows reports as they come. A context manager; whatever is on the screen goes when it ends."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[str, float]] = {}  # phase → what was said last, and when
        self._started: dict[tuple[str, str], float] = {}

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def add(self, report: Report) -> None:
        """Takes the next report (from any thread, one at a time)."""
        if self._quiet:
            return
        finished = report.total is not None and report.done >= report.total
        if self._console.is_terminal:
            self._draw(report, finished)
        else:
            self._say(report, finished)

    def close(self) -> None:
        """Takes the bars off the screen."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._tasks.clear()

    def _draw(self, report: Report, finished: bool) -> None:
        if finished and report.phase in self._tasks:
            assert self._bars is not None
            self._bars.remove_task(self._tasks.pop(report.phase))
            if not self._tasks:
                self.close()
            return
        if finished:
            return
        if self._bars is None:
            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[amount]}", markup=False),
                console=self._console,
                transient=True,
            )
            self._bars.start()
        text, amount = describe(report), amount_text(report)
        total = None if report.total == 1 else report.total  # what is only begun or not has no bar to fill: it pulses
        if report.phase not in self._tasks:
            self._tasks[report.phase] = self._bars.add_task(text, total=total, amount=amount)
        self._bars.update(self._tasks[report.phase], description=text, completed=report.done, total=total, amount=amount)

    def _say(self, report: Report, finished: bool) -> None:
        if report.phase in _QUICK:
            return
        now = time.monotonic()
        text = describe(report)
        key = (report.phase, report.item)
        if finished:
            took = now - self._started.pop(key, now)
            if took >= _WORTH_SAYING:
                self._line(f"{text}: done in {seconds_text(took)}")
            return
        self._started.setdefault(key, now)
        said, when = self._said.get(report.phase, ("", float("-inf")))
        amount = amount_text(report)
        if now - when < _EVERY and (said == text or (said != "" and _stem(said) == _stem(text))):
            return
        self._said[report.phase] = (text, now)
        self._line(f"{text}: {amount}" if amount else text)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _stem(text: str) -> str:
    """What is said of all parts of one thing: ``X (part 2 of 22)`` without its number."""
    return text.partition(" (part ")[0]


def describe(report: Report) -> str:
    """``downloading NAME``."""
    return f"{_DOING.get(report.phase, report.phase)} {report.item}".rstrip()


def amount_text(report: Report) -> str:
    """``82 MB of 1.1 GB``; empty where there is nothing to count."""
    if report.unit == "bytes":
        done = bytes_text(report.done)
        return f"{done} of {bytes_text(report.total)}" if report.total else done
    if report.unit == "seconds":
        return seconds_text(report.done)
    if report.total is None or report.total == 1:
        return ""
    return f"{report.done:g} of {report.total:g} {report.unit}".rstrip()

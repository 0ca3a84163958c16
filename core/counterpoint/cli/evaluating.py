"""What `eval` and `compare` show while they work, and of an evaluation at its end."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from counterpoint.cli import CANCELLED
from counterpoint.cli.console import Cli, flops_text, seconds_text, table

if TYPE_CHECKING:
    from counterpoint.evaluation.driver import Progress as State
    from counterpoint.evaluation.result import EvaluationResult

_EVERY = 30.0  # seconds between two lines where there is no terminal


class Counting:
    """A bar with an estimate on a terminal, a line now and then elsewhere; called with each new state."""

    def __init__(self, cli: Cli, label: str, *, quiet: bool = False) -> None:
        self._console = cli.err
        self._label = label
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._began: float | None = None
        self._known = 0
        self._said = 0.0

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def __call__(self, state: State) -> None:
        """Shows how far it is."""
        if self._quiet:
            return
        now = time.monotonic()
        if self._began is None:
            self._began, self._known = now, state.done
        speed = state.tokens / (now - self._began) if now > self._began else 0.0
        note = "  ".join(f"{name} {total / number:.3g}" for name, (total, number) in state.sums.items())
        if state.failed:
            note += f"  {state.failed} failed"
        if speed:
            note += f"  {speed:.3g} tokens/s"
        if self._console.is_terminal:
            self._draw(state, note.strip())
        elif now - self._said >= _EVERY or state.done == state.total:
            self._said = now
            rate = (state.done - self._known) / (now - self._began) if now > self._began else 0.0
            left = (
                f"  about {seconds_text((state.total - state.done) / rate)} left" if rate and state.done < state.total else ""
            )
            line = f"{self._label}: {state.done} of {state.total} examples  {note.strip()}{left}"
            self._console.print(line.rstrip(), markup=False, soft_wrap=True)

    def _draw(self, state: State, note: str) -> None:
        if self._bar is None:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}", markup=False),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=state.total, completed=state.done, note=note)
        assert self._task is not None
        self._bar.update(self._task, completed=state.done, note=note)


class Stop:
    """Ctrl-C: the first stops orderly, a second at once. A context manager; ``event`` says that it was asked for."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli
        self._before: Any = None
        self.event = threading.Event()

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self.event.is_set():
            os._exit(CANCELLED)  # what is kept is whole up to here
        self.event.set()
        self._cli.err.print("stopping; Ctrl-C again stops at once", markup=False)


def parse_shard(text: str) -> tuple[int, int]:
    """``2/4``."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise typer.BadParameter(f"--shard {text}: it has the form I/N, as in 2/4")
    return int(number), int(count)


def evaluation_table(cli: Cli, result: EvaluationResult) -> None:
    """Figures and costs on standard output."""
    head = f"{result.name} on {result.configuration.data.name}: {result.examples} examples, {len(result.records)} answers"
    cli.out.print(head, markup=False, soft_wrap=True)
    if not result.measures or not result.records:
        cli.out.print("not scored" if result.records else "no answers")
        return
    shown = table("score", "figure", "95 % interval", "answers", right="figure,95 % interval,answers")
    for name, figure in result.figures.items():
        estimate = figure.estimate
        if not estimate.n:
            shown.add_row(name, "–", "", "0")
            continue
        shown.add_row(name, f"{estimate.value:.4g}", f"{estimate.low:.4g} – {estimate.high:.4g}", str(figure.answers))
        for k, passed in result.passes.get(name, ()):
            shown.add_row(f"  pass@{k}", f"{passed.value:.4g}", f"{passed.low:.4g} – {passed.high:.4g}", "")
    cli.out.print(shown)
    costs = result.analysis.costs
    seconds = f", {seconds_text(costs.seconds)}" if costs.seconds is not None else ""
    cli.out.print(
        f"an answer costs {flops_text(costs.flops)}, {costs.tokens:.4g} tokens generated{seconds} "
        f"({seconds_text(costs.share)} of shared passes)",
        markup=False,
        soft_wrap=True,
    )

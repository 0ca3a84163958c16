"""Runs streams to their end in front of a user: drawn, stored, and stopped by Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from counterpoint.cli import BUDGET, CANCELLED, ERROR, OK
from counterpoint.cli.console import Cli, show_error
from counterpoint.cli.render import Renderer
from counterpoint.errors import CounterpointError
from counterpoint.runstore import RunStore
from counterpoint.trace import Summary

if TYPE_CHECKING:
    from counterpoint.streaming import RunResult, RunStream


_PATIENCE = 2.0  # seconds that stopping may take without a word


@dataclass(frozen=True)
class Show:
    """What a user wants to see."""

    json: bool = False
    quiet: bool = False
    store: bool = True


def drive(cli: Cli, streams: Sequence[RunStream], show: Show, interrupts: Interrupts) -> int:
    """Draws and stores runs one after the other (they may all be under way) and returns the exit status."""
    store = RunStore() if show.store else None
    statuses = []
    interrupts.watch(streams)
    for number, stream in enumerate(streams, 1):
        if len(streams) > 1 and not show.quiet and not show.json:
            cli.err.print(f"[bold]sample {number} of {len(streams)}[/]")
        result = _drive_one(cli, stream, store, show, interrupts)
        if result.error is not None and not interrupts.count:
            show_error(cli.err, result.error, debug=cli.debug)
        statuses.append(_status(result, interrupted=bool(interrupts.count)))
    for problem in store.problems if store else []:
        cli.warn(problem)
    return max(statuses, key=[OK, BUDGET, ERROR, CANCELLED].index, default=OK)


def _drive_one(cli: Cli, stream: RunStream, store: RunStore | None, show: Show, interrupts: Interrupts) -> RunResult:
    renderer = Renderer(cli, text=not show.json, quiet=show.quiet, notice=licence_notice)
    interrupts.closing = renderer.close
    warned = 0
    for event in store.record(stream) if store else stream:
        renderer.add(event)
        if event.type != "progress" and len(stream.warnings) > warned:
            renderer.close()
            for warning in stream.warnings[warned:]:
                cli.warn(warning)
            warned = len(stream.warnings)
    result = stream.wait()
    if show.json:
        renderer.close()
        cli.json(as_data(result, result.summary, stream.warnings), line=True)
    else:
        renderer.finish()
    return result


def as_data(result: RunResult, summary: Summary, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """A result as JSON."""
    error = result.error
    return {
        "run_id": result.run_id,
        "text": result.text,
        "ids": list(result.completion.ids),
        "finish_reason": result.finish_reason,
        "error": {
            "error": type(error).__name__,
            "message": error.message if isinstance(error, CounterpointError) else str(error),
            "hint": error.hint if isinstance(error, CounterpointError) else "",
        }
        if error
        else None,
        "warnings": list(warnings),
        "summary": summary.as_dict(),
    }


def licence_notice(node: dict[str, Any]) -> str:
    """The licence notice of the catalogue model that a node names; empty for other sources."""
    from counterpoint.store import builtin_catalogue

    name = str(node.get("source", "")).removeprefix("pypi:")
    entry = builtin_catalogue().models.get(name)
    return entry.notice if entry else ""


def _status(result: RunResult, *, interrupted: bool) -> int:
    if result.finish_reason == "cancelled" or (interrupted and result.error is not None):
        return CANCELLED
    if result.error is not None:
        return ERROR
    return BUDGET if result.finish_reason == "budget" else OK


class Interrupts:
    """Ctrl-C: the first ends the runs, keeping what there is; a second ends the process at once."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli
        self._streams: Sequence[RunStream] = ()
        self._before: Any = None
        self._patience = threading.Timer(_PATIENCE, self._explain)
        self._patience.daemon = True
        self.count = 0
        self.closing: Callable[[], None] = lambda: None
        """Gives the terminal back."""

    def watch(self, streams: Sequence[RunStream]) -> None:
        """From now on these are what the first Ctrl-C ends."""
        self._streams = streams
        if self.count:
            self._cancel()

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._patience.cancel()
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if not self._streams:
            raise KeyboardInterrupt
        if self.count > 1:
            # A pass or a load under way would hold up an orderly exit; what is stored is whole up to here.
            self.closing()
            sys.stdout.flush()
            os._exit(CANCELLED)
        self._patience.start()
        self._cancel()

    def _cancel(self) -> None:
        for stream in self._streams:
            stream.cancel()

    def _explain(self) -> None:
        self._cli.err.print("stopping once what is under way allows it; Ctrl-C again stops at once", markup=False)

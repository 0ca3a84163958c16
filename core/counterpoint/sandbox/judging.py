"""The judge: model-written code in one sandbox, the tests in another, plain data between them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Literal

from counterpoint.errors import RunError
from counterpoint.sandbox.isolation import Isolation, IsolationKind, choose
from counterpoint.sandbox.limits import Limits
from counterpoint.sandbox.spawning import Spawned, drain

Kind = Literal["passed", "failed", "timeout", "error"]

_at_once = threading.BoundedSemaphore(os.cpu_count() or 1)
"""How many judgments run at once. Their wall time counts from when they begin, not from when they were asked for."""


@dataclass(frozen=True)
class Verdict:
    """What became of a program."""

    kind: Kind
    """``error``: the checks are at fault (they do not load, say), which says nothing about the program."""
    detail: str
    """Such as "AssertionError in check, line 12: assert candidate([1]) == 2"; empty for a program that passed."""
    seconds: float
    """Wall time of the judgment."""

    @property
    def passed(self) -> bool:
        """Whether the program does what the checks ask for."""
        return self.kind == "passed"


def run_checks(
    candidate_source: str,
    entry_point: str,
    checks: str,
    helpers: str = "",
    *,
    limits: Limits | None = None,
    isolation: IsolationKind = "auto",
    unsafe_run_without_isolation: bool = False,
) -> Verdict:
    """Judges a program by tests (blocking; for any number of threads).

    The program runs in one sandboxed process and the tests in another. A call of ``candidate`` in the tests sends its arguments,
    and gets back what was returned or raised, as plain data.

    Args:
        candidate_source: untrusted Python that defines a function.
        entry_point: the name of the function.
        checks: trusted Python that defines ``check(candidate)``, which raises unless the function is right. They may call the function
            by its own name, too.
        helpers: trusted Python that runs before ``checks``, for what they need.
        limits: what each of the two processes may use, and the wall time of both.
        isolation: how to isolate them; see :func:`counterpoint.sandbox.choose`.
        unsafe_run_without_isolation: allows isolation ``none``.

    Raises:
        Unsupported: the isolation is not to be had here.
        RunError: the sandbox could not be set up, though it could before.
    """
    limits = limits or Limits()
    chosen = choose(isolation, unsafe_run_without_isolation=unsafe_run_without_isolation)
    program = json.dumps({"source": candidate_source, "entry_point": entry_point}).encode()
    tests = json.dumps({"helpers": helpers, "checks": checks, "entry_point": entry_point}).encode()
    with _at_once:
        return _judge(chosen, program, tests, limits)


def _judge(isolation: Isolation, program: bytes, tests: bytes, limits: Limits) -> Verdict:
    started = time.monotonic()
    try:
        kind, detail = _outcome(isolation, program, tests, limits, started + limits.wall_seconds)
    except OSError as error:
        raise RunError(
            f"the sandbox cannot be started: {error}", hint="is the machine out of memory, processes or files?"
        ) from error
    return Verdict(kind, _printable(detail), time.monotonic() - started)


def _outcome(isolation: Isolation, program: bytes, tests: bytes, limits: Limits, deadline: float) -> tuple[Kind, str]:
    with contextlib.ExitStack() as stack:
        open_fds: set[int] = set()

        def close(*fds: int) -> None:
            for fd in open_fds & set(fds):
                open_fds.discard(fd)
                os.close(fd)

        def pipe() -> tuple[int, int]:
            ends = os.pipe()
            open_fds.update(ends)
            return ends

        stack.callback(lambda: close(*open_fds))
        asked, asking = pipe()
        answered, answering = pipe()
        verdict, deciding = pipe()
        candidate = stack.enter_context(Spawned(isolation, "candidate", {"in": asked, "out": answering}, program, limits))
        close(asked, answering)
        fds = {"in": answered, "out": asking, "verdict": deciding}
        checker = stack.enter_context(Spawned(isolation, "checker", fds, tests, limits))
        close(answered, asking, deciding)
        said, ended = drain([candidate, checker], verdict, deadline)
        for process in (candidate, checker):
            if process.problem:
                raise RunError(f"the sandbox could not be set up: {process.problem}", hint="is the machine out of memory?")
        return _read(said, ended, candidate, limits)


def _read(said: bytes, ended: bool, candidate: Spawned, limits: Limits) -> tuple[Kind, str]:
    loaded, _, verdict = said.partition(b"\n")  # the program begins after the checks are loaded
    if not ended:
        if not loaded:
            return "error", f"the checks were not loaded after {limits.wall_seconds:g} s"
        return "timeout", f"timed out after {limits.wall_seconds:g} s"
    if not loaded:
        return "error", "the checks ended while they were loaded: out of memory or CPU time?"
    try:
        given = json.loads(verdict)
        kind, detail = given["kind"], str(given["detail"])
    except (ValueError, KeyError, TypeError):
        # What the program sent can have used up the checker's memory or time; it is not the tests' fault.
        return "failed", "the checks ended without a verdict: out of memory or CPU time"
    if kind == "failed" and detail.startswith("lost the program"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = candidate.process.wait(0.5)
            if code in (128 + signal.SIGXCPU, -signal.SIGXCPU):
                return "timeout", f"out of CPU time after {limits.cpu_seconds} s"
            detail += f" ({_ending(code)})"
    return kind, detail


def _printable(text: str) -> str:
    """A program words part of the detail: no terminal should obey it, and every file has to take it."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _ending(code: int) -> str:
    number = code - 128 if code > 128 else -code
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"exit code {code}"

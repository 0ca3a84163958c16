"""The process of the tests: runs them on a proxy of the candidate and writes the verdict, to a pipe that nobody else has."""

from __future__ import annotations

import builtins
import json
import os
import types
from collections.abc import Callable
from typing import Any

from . import codec, wire

CHECKS = "<check>"


class _Stopped(BaseException):
    """Ends the checks. Not an ``Exception``, so that tests which expect one do not take it for theirs."""


class Proxy:
    """Calls of the candidate, in the other process."""

    def __init__(self, fds: dict[str, int]) -> None:
        self._in, self._out = fds["in"], fds["out"]
        self._started = False
        self._answers = 0
        self.fatal = ""
        """Why nothing that the tests conclude counts any more; empty while all is well."""
        self.kind = "failed"
        """The verdict then."""

    def start(self) -> None:
        """Has the candidate loaded."""
        try:
            wire.send(self._out, None)
        except wire.GoneError:
            raise self._stopped("lost the program before it was loaded") from None
        problem = self._receive("while it was loaded")
        if problem != "":
            raise self._stopped(problem if isinstance(problem, str) else "the program sent a malformed greeting")
        self._started = True

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the candidate returns, or raises."""
        if self.fatal:
            raise self._stopped(self.fatal)
        if not self._started:
            raise RuntimeError("the checks call the candidate outside of check()")
        try:
            wire.send(self._out, (args, kwargs))
        except codec.NotPlainError as error:
            # The tests' fault, unless what the program returned before may have gone into an argument and made it too large.
            self.kind = "failed" if self._answers and isinstance(error, codec.TooMuchError) else "error"
            raise self._stopped(f"the checks pass an argument that is not plain data: {error}") from None
        except wire.GoneError:
            raise self._stopped("lost the program before a call") from None
        reply = self._receive("during a call")
        self._answers += 1
        match reply:
            case ("returned", value):
                return value
            case ("raised", str(builtin), str(name), str(message)):
                raise _exception(builtin, name, message)
            case ("unsendable", str(why)):
                raise self._stopped(f"returned something that is not plain data: {why}")
            case _:
                raise self._stopped("the program sent a malformed reply")

    def _receive(self, when: str) -> Any:
        try:
            return wire.receive(self._in)
        except wire.GoneError as error:
            raise self._stopped(f"lost the program {when}: {error}") from None

    def _stopped(self, why: str) -> _Stopped:
        self.fatal = why
        return _Stopped(why)


def _exception(builtin: str, name: str, message: str) -> Exception:
    kind = getattr(builtins, builtin, None)
    # StopIteration would end a `map` over the cases before the first comparison, and all() of nothing is true
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, (StopIteration, StopAsyncIteration)):
        try:
            raised = kind(message)
        except TypeError:  # UnicodeDecodeError and its like want more
            raised = RuntimeError(f"{name}: {message}")
    else:
        raised = RuntimeError(f"{name}: {message}")
    return raised


def main(fds: dict[str, int]) -> None:
    """Reads the job from standard input (JSON: ``helpers``, ``checks``, ``entry_point``), judges, and writes two lines:
    that the checks are loaded or do not load, and then the verdict (JSON). No untrusted code has run before the first."""
    job = json.loads(wire.read_all(0))
    checks, proxy = job["checks"], Proxy(fds)
    check, candidate, problem = _load(job["helpers"], checks, job["entry_point"], proxy)
    os.write(fds["verdict"], b"loaded\n")
    kind, detail = ("error", problem) if check is None else _outcome(check, candidate, proxy, checks)
    os.write(fds["verdict"], json.dumps({"kind": kind, "detail": detail[:600]}).encode() + b"\n")


def _load(helpers: str, checks: str, entry_point: str, proxy: Proxy) -> tuple[Any, Callable[..., Any], str]:
    """The function ``check``, the candidate to call it with, and why there is no such function."""

    def candidate(*args: Any, **kwargs: Any) -> Any:
        return proxy.call(args, kwargs)

    names: dict[str, Any] = {"__name__": "check"}
    try:
        exec(compile(helpers, "<helpers>", "exec", dont_inherit=True), names)
        names[entry_point] = candidate  # some checks call the function by its name
        exec(compile(checks, CHECKS, "exec", dont_inherit=True), names)
        return names["check"], candidate, ""
    except BaseException as error:  # noqa: BLE001 - the tests themselves are broken
        return None, candidate, f"the checks do not load: {_describe(error, checks)}"


def _outcome(check: Callable[..., Any], candidate: Callable[..., Any], proxy: Proxy, checks: str) -> tuple[str, str]:
    try:
        proxy.start()
        result = check(candidate)
    except BaseException as error:  # noqa: BLE001
        return (proxy.kind, proxy.fatal) if proxy.fatal else ("failed", _describe(error, checks))
    if proxy.fatal:
        return proxy.kind, proxy.fatal
    if isinstance(result, (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)):
        return "error", f"check() returned a {type(result).__name__}: nothing of it has run"
    return "passed", ""


def _describe(error: BaseException, checks: str) -> str:
    """Such as "AssertionError in check, line 12: assert candidate([1]) == 2"."""
    try:
        message = str(error)[:300]
    except BaseException:  # noqa: BLE001 - tests may have exceptions of their own
        message = ""
    place, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == CHECKS:
            place = step
        step = step.tb_next
    name = type(error).__name__
    if place is None:
        return f"{name}: {message}" if message else name
    lines = checks.splitlines()
    line = lines[place.tb_lineno - 1].strip()[:300] if place.tb_lineno <= len(lines) else ""
    said = f"{name}: {message}" if message else name
    return f"{said} in {place.tb_frame.f_code.co_name}, line {place.tb_lineno}: {line}"

"""The process of untrusted code: defines the function, then answers calls of it until nobody calls any more.

Nothing here defends against the code it runs, which can rewrite all of it. It can then give other answers, which is no more than
any function can do; the tests and the verdict are in another process.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import types
from typing import Any

from . import codec, wire

MODULE = "candidate"
_CUTS = 40
"""Most attempts to find where a program ends."""


def main(fds: dict[str, int]) -> None:
    """Reads the job from standard input (JSON: ``source``, ``entry_point``), waits for the checks to be loaded, then serves calls."""
    job = json.loads(wire.read_all(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    wire.receive(fds["in"])  # the checks are loaded: whatever they failed of so far, it was not the program
    function, problem = _define(job["source"], job["entry_point"])
    wire.send(fds["out"], problem)
    if function is None:
        return
    while True:
        args, kwargs = wire.receive(fds["in"])
        try:
            reply: tuple[Any, ...] = ("returned", function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - sys.exit included
            reply = ("raised", _builtin_name(error), type(error).__name__, _message(error))
        try:
            wire.send(fds["out"], reply)
        except codec.NotPlainError as error:
            wire.send(fds["out"], ("unsendable", str(error)))


def _define(source: str, entry_point: str) -> tuple[Any, str]:
    """The function, and what is wrong when there is none."""
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module  # dataclasses and typing look their module up
    try:
        code, cut_off = _compiled(source)
    except SyntaxError as error:
        return None, _in_source(error)
    except BaseException as error:  # noqa: BLE001 - too complex, say
        return None, f"{type(error).__name__} when the program was compiled: {_message(error)}"[:400]
    try:
        exec(code, module.__dict__)
    except SyntaxError as error:
        return None, _in_source(error)
    except BaseException as error:  # noqa: BLE001
        return None, f"{type(error).__name__} when the program was loaded: {_message(error)}"[:400]
    function = module.__dict__.get(entry_point)
    if not callable(function):
        if cut_off is not None:
            return None, _in_source(cut_off)
        return None, f"no function called {entry_point}"
    return function, ""


def _compiled(source: str) -> tuple[types.CodeType, SyntaxError | None]:
    """The program, and the mistake in what had to be cut off its end.

    Models explain what they have written, and are cut short. So a program ends before the first statement that is none: not inside
    of a function, of which nothing may be missing.
    """
    try:
        return _compile(source), None
    except SyntaxError as error:
        first = latest = error
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for _ in range(_CUTS):
        end = min(latest.lineno or 0, len(lines)) - 1
        while end > 0 and (not lines[end] or lines[end][0].isspace()):
            end -= 1
        if end <= 0:
            break
        del lines[end:]
        try:
            return _compile("\n".join(lines) + "\n"), first
        except SyntaxError as error:
            latest = error
    raise first


def _compile(source: str) -> types.CodeType:
    return compile(source, f"<{MODULE}>", "exec", dont_inherit=True)


def _in_source(error: SyntaxError) -> str:
    return f"{type(error).__name__}: {error.msg}, line {error.lineno}"


def _builtin_name(error: BaseException) -> str:
    """Name of the nearest builtin class of an exception, for ``except`` to catch on the other side."""
    for kind in type(error).__mro__:
        if kind.__module__ == "builtins" and getattr(builtins, kind.__name__, None) is kind:
            return str(kind.__name__)
    return ""


def _message(error: BaseException) -> str:
    try:
        only = error.args[0] if len(error.args) == 1 else error
        return str(only)[:400]
    except BaseException:  # noqa: BLE001
        return ""

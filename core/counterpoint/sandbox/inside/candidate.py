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


def main(fds: dict[str, int]) -> None:
    """Reads the job from standard input (JSON: ``source``, ``entry_point``), then serves calls."""
    job = json.loads(wire.read_all(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
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
        exec(compile(source, f"<{MODULE}>", "exec", dont_inherit=True), module.__dict__)
    except SyntaxError as error:
        return None, f"{type(error).__name__}: {error.msg}, line {error.lineno}"
    except BaseException as error:  # noqa: BLE001
        return None, f"{type(error).__name__} when the program was loaded: {_message(error)}"[:400]
    function = module.__dict__.get(entry_point)
    if not callable(function):
        return None, f"no function called {entry_point}"
    return function, ""


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

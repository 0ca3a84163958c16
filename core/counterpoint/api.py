"""`cp.run` and `cp.stream`: one call, with an engine of its own that stays loaded for the next."""

from __future__ import annotations

import threading
from typing import Any

from counterpoint.engine import Engine, RecipeLike
from counterpoint.prompt import PromptLike
from counterpoint.streaming import RunResult, RunStream

_lock = threading.Lock()
_engine: Engine | None = None


def _shared() -> Engine:
    """The engine behind :func:`run` and :func:`stream`, made at first use and closed at exit."""
    global _engine
    with _lock:
        if _engine is None:
            _engine = Engine()
        return _engine


def run(recipe: RecipeLike, prompt: PromptLike | None = None, **options: Any) -> RunResult:
    """Runs a recipe and returns its result; models stay loaded for the next call.

        cp.run("speculative", prompt="Write a haiku.", seed=7, budget="seconds=30").text

    Args:
        recipe: a recipe's name, the path of a YAML file, plain data, or a :class:`Recipe`.
        prompt: a string, a list of messages, or a :class:`Prompt`; by default the recipe's own.
        options: ``seed``, ``row``, ``budget``, ``sampling``; see :meth:`Engine.stream`.

    Raises:
        CounterpointError: it cannot run, or failed.
    """
    return _shared().run(recipe, prompt, **options)


def stream(recipe: RecipeLike, prompt: PromptLike | None = None, **options: Any) -> RunStream:
    """Starts a run and returns its events as they come, for ``for`` and for ``async for``.

        for event in cp.stream("speculative", "Write a haiku."):
            if event.type == "emitted" and event.span == 1:
                print(event.text, end="")

    Arguments and errors are those of :func:`run`.
    """
    return _shared().stream(recipe, prompt, **options)

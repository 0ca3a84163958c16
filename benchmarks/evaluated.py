"""Evaluations that are kept compressed in a folder, and made once: what the benchmarks of quality share."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import counterpoint as cp
from counterpoint.cli.backend import with_backend
from counterpoint.cli.console import Cli
from counterpoint.cli.evaluating import Counting
from counterpoint.evaluation.folder import EvaluationFolder
from counterpoint.evaluation.result import EvaluationResult


def evaluate(path: Path, recipe: Any, data: Any, *, backend: str | None = None, **options: Any) -> EvaluationResult:
    """One evaluation, in a folder that its name ends; one that is complete there is not made again.

    Args:
        path: where it is kept.
        recipe: a name or plain data.
        data: a file of the evaluation data, or examples.
        backend: what runs the models, where the recipe does not say.
        options: those of :func:`counterpoint.evaluate`.
    """
    folder = EvaluationFolder(path)
    if (path / "examples.jsonl.gz").exists() and (found := cp.load_evaluation(path)).complete:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with cp.Engine(offline=True) as engine, Counting(Cli(engine.registry), path.name) as counting:
        what = engine.recipe(recipe) if backend is None else with_backend(engine.recipe(recipe), backend, engine.registry)
        result = cp.evaluate(what, data, engine=engine, out=path, name=path.name, progress=counting, **options)
    folder.pack()
    print(f"{path.name}: {result.examples} examples, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return result


def estimate(result: EvaluationResult, scorer: str, scale: float = 1.0, digits: int = 3) -> list[float]:
    """A figure and its interval."""
    found = result.figures[scorer].estimate
    return [round(scale * value, digits) for value in (found.value, found.low, found.high)]

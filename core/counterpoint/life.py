"""The life of one run, from its first event to its last, however it ends."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from counterpoint.errors import CounterpointError, RecipeError, RunError
from counterpoint.events import Failed, RunFinished, RunStarted
from counterpoint.ledger import BudgetSpent
from counterpoint.node import Generator, Trainer, Verifier
from counterpoint.prompt import Completion, Prompt
from counterpoint.running import Run
from counterpoint.runstate import RunState
from counterpoint.sparing import Sparing

if TYPE_CHECKING:
    from counterpoint.engine import Engine
    from counterpoint.plan import Plan
    from counterpoint.recipe import Recipe
    from counterpoint.streaming import RunStream


async def live(
    engine: Engine,
    stream: RunStream,
    recipe: Recipe,
    prompt: Prompt,
    row: int,
    answers: Sequence[Completion] | None,
    scope: str = "",
    training: bool = False,
) -> None:
    """Runs a recipe and delivers its events to ``stream``.

    Args:
        engine: what runs it.
        stream: who hears of it.
        recipe: its output node generates; or it is a verifier, and there are ``answers`` to score.
        prompt: what is answered.
        row: which of several samples of the prompt this is.
        answers: completions to score.
        scope: with whom it shares beginnings that are processed.
        training: the output node is a trainer, and is to train.
    """
    state: RunState | None = None
    root: Run | None = None
    error: Exception | None = None
    completion = Completion(text="", finish_reason="failed")
    try:
        plan = await engine.serving.planned(recipe, prompt)
        deliver = Sparing(stream.deliver) if training else stream.deliver
        state = RunState(engine, recipe, plan.graph, prompt, seed=recipe.seed, row=row, deliver=deliver, scope=scope)
        started = RunStarted(
            run_id=stream.run_id,
            recipe=recipe.to_dict(),
            prompt=prompt,
            seed=recipe.seed,
            row=row,
            started=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
            versions=versions(),
        )
        state.emit(started, 0, None, "")
        for finding in plan.findings:
            if finding.level == "warning":
                stream.warnings.append(f"{finding.node}: {finding.message}")
        root = Run.root(state, recipe.budget)
        try:
            completion = await _work(plan, root, prompt, answers, training)
        finally:
            await state.end()
    except asyncio.CancelledError:
        completion = root.completion("cancelled") if root else completion.model_copy(update={"finish_reason": "cancelled"})
    except BudgetSpent as spent:  # one that nobody claims any more
        error = RunError(f"a budget was spent outside the call that set it: {spent}")
    except CounterpointError as failure:
        error = failure
    except (Exception, SystemExit, KeyboardInterrupt) as failure:  # noqa: BLE001 (a run ends with its events, whatever a plugin raises)
        error = RunError(f"{type(failure).__name__}: {failure}", hint="an unexpected failure: --debug shows the traceback")
        error.__cause__ = failure
    if state is None:
        state = RunState(engine, recipe, None, prompt, seed=recipe.seed, row=row, deliver=stream.deliver)  # type: ignore[arg-type]
        state.emit(
            RunStarted(run_id=stream.run_id, recipe=recipe.to_dict(), prompt=prompt, seed=recipe.seed, row=row), 0, None, ""
        )
    if error is not None:
        completion = root.completion("failed") if root else completion
        message, hint = (error.message, error.hint) if isinstance(error, CounterpointError) else (str(error), "")
        state.emit(Failed(error=type(error).__name__, message=message, hint=hint), 0, None, "")
    for host in state.hosts.values():
        host.users -= 1
    state.emit(RunFinished(completion=completion), 0, None, "")
    stream.finish(completion, error)


async def _work(plan: Plan, root: Run, prompt: Prompt, answers: Sequence[Completion] | None, training: bool) -> Completion:
    """What the output node does: it answers, it scores answers, or it trains."""
    recipe, node = plan.recipe, plan.graph.nodes[plan.graph.output]
    if isinstance(node, Verifier) and answers is not None:
        return await root.score(node, prompt, answers)
    if isinstance(node, Verifier):
        raise RecipeError(
            f"{recipe.name}: output '{recipe.output}' ({node.kind}) scores answers and gives none",
            hint="name a node that generates as the output, or hand answers to Engine.verify",
        )
    if isinstance(node, Trainer) and training:
        return await root.make(node)
    if isinstance(node, Trainer):
        raise RecipeError(
            f"{recipe.name}: output '{recipe.output}' ({node.kind}) trains a model and gives no answer",
            hint="run it with `counterpoint train RECIPE`",
        )
    assert isinstance(node, Generator)
    if answers is not None:
        raise RecipeError(
            f"{recipe.name}: output '{recipe.output}' ({node.kind}) generates, and does not score answers",
            hint="name a verifier as the output",
        )
    root.sampling = root.sampling.merged(node.sampling)
    return await root.answer(node, prompt)


def new_run_id() -> str:
    """An id that sorts by time: date, time, and a few random letters."""
    return time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(3)


def versions() -> dict[str, str]:
    """What a run was made with."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("counterpoint", "torch", "transformers", "llama-cpp-python"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

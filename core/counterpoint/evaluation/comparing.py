"""`compare`: several recipes answer the same examples under the same budget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from counterpoint.engine import Engine, RecipeLike
from counterpoint.errors import BudgetError, EvaluationError
from counterpoint.evaluation.comparison import Comparison
from counterpoint.evaluation.comparison import compare as compare_records
from counterpoint.evaluation.dataset import load_dataset
from counterpoint.evaluation.driver import Job, Progress, configuration_of
from counterpoint.evaluation.evaluating import DataLike, EvaluationOptions, load_evaluation, make_job, run_job, using
from counterpoint.evaluation.records import CONFIG
from counterpoint.evaluation.result import EvaluationResult
from counterpoint.inputs import parse_budget
from counterpoint.settings import Budget

Contestant = RecipeLike | EvaluationResult
"""A recipe to evaluate, or an evaluation that is finished (a folder of one counts as such)."""


def compare(
    recipes: Sequence[Contestant],
    data: DataLike | None = None,
    *,
    budget: Budget | str | None = None,
    engine: Engine | None = None,
    task: str | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    names: Sequence[str] = (),
    baseline: str | None = None,
    progress: Callable[[str, Progress], None] | None = None,
    cancelled: threading.Event | None = None,
    **options: Any,
) -> Comparison:
    """Evaluates recipes on the same examples and compares them, figure by figure and cost by cost.

        comparison = cp.compare(["sample", "small"], "humaneval.jsonl", budget="flops=1e12", limit=20)
        print(*comparison.verdicts, sep="\\n")

    Args:
        recipes: recipes, and finished evaluations (results, or their folders), which are taken as they are.
        data: the data set, where there is a recipe to evaluate.
        budget: what one answer may cost: limits as in ``"flops=1e12"``; or the name of one of the recipes in place of a
            number (``"flops=large"``), which stands for the mean cost of its answers to these examples, made without a budget.
        engine: an engine to use and keep.
        task: the task type.
        limit: only the first so many examples.
        out: a folder to keep each evaluation in, in a folder of its own that its configuration names; what is there already is
            not answered again.
        names: what the recipes are called, in their order; by default their own names.
        baseline: compare the others with this one only.
        progress: hears which recipe is how far.
        cancelled: set it to stop.
        options: the fields of :class:`EvaluationOptions`, for all recipes.

    Raises:
        EvaluationError: they cannot be compared; a recipe or the data set does not fit.
        BudgetError: no recipe can answer anything within the budget.
    """
    results = evaluate_all(
        recipes,
        data,
        budget=budget,
        engine=engine,
        task=task,
        limit=limit,
        out=out,
        names=names,
        progress=progress,
        cancelled=cancelled,
        **options,
    )
    return comparison_of(results, baseline=baseline)


def comparison_of(results: Sequence[EvaluationResult], *, baseline: str | None = None) -> Comparison:
    """Compares finished evaluations.

    Raises:
        EvaluationError: they do not belong together, or one is not finished.
        BudgetError: a budget let none of them answer anything.
    """
    for result in results:
        if not result.complete:
            raise EvaluationError(
                f"{result.path or result.name}: has answered {result.examples} of {result.configuration.wanted} examples",
                hint="the same command goes on with it",
            )
    _refuse_unmet_budget(results)
    measures = results[0].measures if results else ()
    return compare_records([(one.configuration, one.records) for one in results], measures, baseline=baseline)


def evaluate_all(
    recipes: Sequence[Contestant],
    data: DataLike | None,
    *,
    budget: Budget | str | None = None,
    engine: Engine | None = None,
    task: str | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    names: Sequence[str] = (),
    progress: Callable[[str, Progress], None] | None = None,
    cancelled: threading.Event | None = None,
    **options: Any,
) -> list[EvaluationResult]:
    """The evaluations behind :func:`compare`, in the order of ``recipes``; arguments and errors as there."""
    if names and len(names) != len(recipes):
        raise EvaluationError(f"{len(names)} names for {len(recipes)} recipes", hint="give each recipe one name")
    chosen = EvaluationOptions(**options)
    with using(engine) as used:
        finished: dict[int, EvaluationResult] = {}
        pending: dict[int, RecipeLike] = {}
        for index, one in enumerate(recipes):
            if isinstance(one, EvaluationResult):
                finished[index] = one
            elif isinstance(one, (str, Path)) and (Path(one) / CONFIG).is_file():
                finished[index] = load_evaluation(one, registry=used.registry)
            else:
                pending[index] = one
        if not pending:
            return [finished[index] for index in sorted(finished)]
        if data is None:
            raise EvaluationError("no data set was given for the recipes to answer", hint="--data FILE")
        dataset = load_dataset(data, registry=used.registry, task=task).first(limit)

        def run(index: int, limits: Budget | str | None) -> EvaluationResult:
            name = names[index] if names else ""
            job = make_job(used, pending[index], dataset, replace(chosen, budget=limits), name)
            folder = Path(out) / folder_name(job, chosen.in_flight) if out is not None else None
            heard = None if progress is None else lambda state: progress(job.label, state)
            return run_job(used, job, chosen, folder, heard, cancelled)

        if isinstance(budget, str) and (reference := _reference(budget)) is not None:
            unit, name = reference
            costing = _named(used, name, pending, names)
            budget = _cost_of(run(costing, None), unit)
        for index in pending:
            finished[index] = run(index, budget)
            if cancelled is not None and cancelled.is_set():
                break
        return [finished[index] for index in sorted(finished)]


def folder_name(job: Job, in_flight: int) -> str:
    """The folder of an evaluation among others: equal configurations have one, so that what was answered is found again."""
    timed = "-timed" if in_flight == 1 else ""
    text = f"{job.label}-{job.dataset.name}-{configuration_of(job, in_flight).fingerprint}{timed}"
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in text)


def _reference(budget: str) -> tuple[str, str] | None:
    """Unit and recipe of a budget such as ``flops=large``; None for one in numbers."""
    unit, equals, amount = (part.strip() for part in budget.partition("="))
    if not equals or unit not in Budget.model_fields or "," in amount:
        return None
    try:
        float(amount)
    except ValueError:
        return unit, amount
    return None


def _named(engine: Engine, name: str, pending: dict[int, RecipeLike], names: Sequence[str]) -> int:
    called = {names[index] if names else engine.recipe(one).name: index for index, one in pending.items()}
    if name not in called:
        raise BudgetError(
            f"budget: '{name}' is neither a number nor one of the recipes", hint=f"recipes: {', '.join(called)}; or flops=1e12"
        )
    return called[name]


def _cost_of(result: EvaluationResult, unit: str) -> Budget:
    """The mean cost of an answer, as a budget."""
    costs = [getattr(record.cost, unit) for record in result.records]
    if any(cost is None for cost in costs):
        raise BudgetError(
            f"budget: the seconds of '{result.name}' are not known, for several examples were in flight",
            hint="measure with one in flight: --in-flight 1",
        )
    return parse_budget(f"{unit}={sum(costs) / len(costs):.6g}")


def _refuse_unmet_budget(results: Sequence[EvaluationResult]) -> None:
    records = [record for result in results for record in result.records]
    if records and all(record.finish_reason == "budget" and not record.text for record in records):
        budget = ", ".join(f"{unit}={amount:g}" for unit, amount in (results[0].configuration.budget or {}).items())
        raise BudgetError(
            f"no recipe can answer anything within the budget {budget}",
            hint="raise it; or compare without one, and read from the report what answers cost",
        )

"""`compare`: several recipes answer the same examples under the same budget."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from counterpoint.engine import Engine, RecipeLike
from counterpoint.errors import BudgetError, EvaluationError
from counterpoint.evaluation.comparison import Comparison
from counterpoint.evaluation.comparison import compare as compare_records
from counterpoint.evaluation.dataset import Dataset, Example, load_dataset
from counterpoint.evaluation.driver import Driver, Progress
from counterpoint.evaluation.evaluating import (
    DataLike,
    EvaluationOptions,
    load_evaluation,
    make_job,
    refuse_unmet_budget,
    run_job,
    using,
)
from counterpoint.evaluation.folder import CONFIG
from counterpoint.evaluation.job import Job, configuration_of
from counterpoint.evaluation.outcomes import by_example, costs
from counterpoint.evaluation.records import Record
from counterpoint.evaluation.result import EvaluationResult
from counterpoint.evaluation.scoring import ScorerLike, make_scorers, split_scorers
from counterpoint.inputs import parse_budget
from counterpoint.settings import Budget
from counterpoint.tasks import Words

Contestant = RecipeLike | EvaluationResult
"""A recipe to evaluate, or an evaluation that is finished (a folder of one counts as such)."""


def compare(
    recipes: Sequence[Contestant],
    data: DataLike | None = None,
    *,
    budget: Budget | str | None = None,
    engine: Engine | None = None,
    task: str | None = None,
    skip: int = 0,
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
            number (``"flops=large"``), which stands for the mean cost of its answers to these examples. These are made
            without a budget, and stand as they are; the others have to keep within it.
        engine: an engine to use and keep.
        task: the task type.
        skip: leave out the first so many examples.
        limit: only the first so many examples, of those that are not skipped.
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
        skip=skip,
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
    refuse_unmet_budget(results)
    measures = results[0].measures if results else ()
    return compare_records([(one.configuration, one.records) for one in results], measures, baseline=baseline)


def evaluate_all(
    recipes: Sequence[Contestant],
    data: DataLike | None,
    *,
    budget: Budget | str | None = None,
    engine: Engine | None = None,
    task: str | None = None,
    skip: int = 0,
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
    with using(engine) as used:
        alone, together = split_scorers(options.pop("scorers", None), used.registry)
        chosen = EvaluationOptions(scorers=alone, **options)
        finished: dict[int, EvaluationResult] = {}
        pending: dict[int, RecipeLike] = {}
        for index, one in enumerate(recipes):
            name = names[index] if names else ""
            if isinstance(one, EvaluationResult):
                finished[index] = _called(one, name)
            elif isinstance(one, (str, Path)) and (Path(one) / CONFIG).is_file():
                finished[index] = _called(load_evaluation(one, registry=used.registry), name)
            else:
                pending[index] = one
        if not pending and not together:
            return [finished[index] for index in sorted(finished)]
        if data is None:
            wanted = "recipes to answer" if pending else f"scorer {together[0]} to compare answers on"
            raise EvaluationError(f"no data set was given for the {wanted}", hint="--data FILE")
        dataset = load_dataset(data, registry=used.registry, task=task).after(skip).first(limit)

        def run(index: int, limits: Budget | str | None) -> EvaluationResult:
            name = names[index] if names else ""
            job = make_job(used, pending[index], dataset, replace(chosen, budget=limits), name)
            folder = Path(out) / folder_name(job) if out is not None else None
            heard = None if progress is None else lambda state: progress(job.label, state)
            return run_job(used, job, chosen, folder, heard, cancelled)

        if isinstance(budget, str) and (reference := _reference(budget)) is not None:
            unit, name = reference
            called = {one.name: index for index, one in finished.items()}
            called |= {names[index] if names else used.recipe(one).name: index for index, one in pending.items()}
            if name not in called:
                raise BudgetError(
                    f"budget: '{name}' is neither a number nor one of the recipes",
                    hint=f"recipes: {', '.join(called)}; or flops=1e12",
                )
            costing = called[name]
            if costing in pending:  # its answers are the yardstick: they stand as they are
                finished[costing] = run(costing, None)
                del pending[costing]
            if not finished[costing].complete:
                return [finished[index] for index in sorted(finished)]
            budget = _cost_of(finished[costing], unit)
        for index in pending:
            if cancelled is None or not cancelled.is_set():
                finished[index] = run(index, budget)
        results = [finished[index] for index in sorted(finished)]
        if together and len(results) == len(recipes) and all(result.complete for result in results):
            heard = None if progress is None else lambda state: progress("comparing answers", state)
            results = compare_answers(used, results, dataset, together, heard, cancelled)
        return results


def compare_answers(
    engine: Engine,
    results: Sequence[EvaluationResult],
    dataset: Dataset,
    scorers: Sequence[ScorerLike],
    progress: Callable[[Progress], None] | None = None,
    cancelled: threading.Event | None = None,
) -> list[EvaluationResult]:
    """The same evaluations with the scores of verifiers that see the answers of all recipes side by side (a preference).

    The first answer of each recipe to an example is compared; examples that a recipe failed on are left out.
    """
    first = results[0].configuration
    if dataset.sha256 != first.data.sha256:
        raise EvaluationError(
            f"{dataset.name}: is not the data set that the recipes have answered ('{first.data.name}')",
            hint="name the file that was evaluated, as it was",
        )
    recipe = engine.recipe(first.recipe).model_copy(update={"budget": None})
    job = Job(
        recipe=recipe,
        dataset=dataset,
        scorers=make_scorers(scorers, recipe, dataset.task, engine.registry, together=True),
        words=Words(template=first.template, prefix=first.prefix, stop=first.stop),
    )
    answers = [{one.id: one for one in result.records if one.sample == 0 and not one.error} for result in results]
    driver = Driver(engine, job, cancelled=cancelled)
    driver.check()

    def score(example: Example) -> list[Record]:
        if not all(example.id in given for given in answers):
            return []
        beside = [given[example.id].model_copy(update={"sample": index}) for index, given in enumerate(answers)]
        return driver.score(example, beside)

    found = {(one.id, one.sample): one.scores for one in driver.run([], lambda records: None, progress, make=score)}
    added = {name: scorer.node.plain() for name, scorer in job.scorers.items()}
    return [
        replace(
            result,
            configuration=result.configuration.model_copy(update={"scorers": {**result.configuration.scorers, **added}}),
            records=tuple(
                one.model_copy(update={"scores": {**one.scores, **found[one.id, index]}})
                if one.sample == 0 and (one.id, index) in found
                else one
                for one in result.records
            ),
            measures=(*result.measures, *job.measures),
        )
        for index, result in enumerate(results)
    ]


def _called(result: EvaluationResult, name: str) -> EvaluationResult:
    """A finished evaluation under a name of the caller's."""
    return replace(result, configuration=result.configuration.model_copy(update={"name": name})) if name else result


def folder_name(job: Job) -> str:
    """The folder of an evaluation among others: equal configurations have one, so that what was answered is found again."""
    timed = "-timed" if job.in_flight == 1 else ""
    text = f"{job.label}-{job.dataset.name}-{configuration_of(job).fingerprint}{timed}"
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


def _cost_of(result: EvaluationResult, unit: str) -> Budget:
    """The mean cost of an answer, as a budget."""
    sound = [record for record in result.records if not record.error]
    if not sound:
        raise BudgetError(f"budget: all answers of '{result.name}' failed", hint="see what its records say")
    cost = getattr(costs(by_example(sound)), unit)
    if cost is None:
        raise BudgetError(
            f"budget: the seconds of '{result.name}' are not known, for several examples were in flight",
            hint="measure it with one in flight: --in-flight 1",
        )
    return parse_budget(f"{unit}={math.ceil(cost) if unit == 'tokens' else cost:.6g}")

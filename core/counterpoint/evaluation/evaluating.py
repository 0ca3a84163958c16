"""`evaluate`: a recipe over a data set, from what callers say to a result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.engine import Engine, RecipeLike
from counterpoint.errors import BudgetError, EvaluationError
from counterpoint.evaluation.dataset import Dataset, load_dataset
from counterpoint.evaluation.driver import Driver, Progress, answers_in
from counterpoint.evaluation.extras import require
from counterpoint.evaluation.folder import EvaluationFolder
from counterpoint.evaluation.job import Job, configuration_of, words_of
from counterpoint.evaluation.outcomes import Measure
from counterpoint.evaluation.records import Record
from counterpoint.evaluation.result import EvaluationResult
from counterpoint.evaluation.scoring import ScorerLike, make_scorers
from counterpoint.inputs import merge_sampling, parse_budget, parse_seed
from counterpoint.node import Verifier
from counterpoint.recipe import Recipe
from counterpoint.registry import InvalidNode, Registry, load_plugins
from counterpoint.settings import Budget, Sampling
from counterpoint.tasks import Words

DataLike = str | Path | Dataset | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class EvaluationOptions:
    """How an evaluation is made; the same for all recipes of a comparison.

    Raises:
        EvaluationError: a number makes no sense.
    """

    scorers: Sequence[ScorerLike] | ScorerLike | None = None
    """Kinds of verifiers, or nodes; by default the task type's. Empty: answers are made and not scored."""
    samples: int = 1
    """Answers to each example."""
    seed: int | None = None
    """Instead of the recipe's."""
    budget: Budget | str | None = None
    """What one answer may cost."""
    sampling: Sampling | None = None
    """Over the recipe's settings (only what is set)."""
    words: Words | None = None
    """How examples are asked; by default in the recipe's, the data set's or the task type's words."""
    shard: tuple[int, int] | None = None
    """Only part i of n, as ``(i, n)``."""
    in_flight: int | None = None
    """Examples at once. With 1, seconds are measured; more share passes, and answer more in an hour. By default 8, and 1 under
    a budget of seconds, which holds for one example alone."""
    retry_failed: bool = False
    """Whether answers that failed at an earlier start are made again."""

    def __post_init__(self) -> None:
        if self.samples < 1 or (self.in_flight is not None and self.in_flight < 1):
            raise EvaluationError("samples and in_flight have to be 1 or more", hint="for example samples=4, in_flight=8")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise EvaluationError(f"shard {self.shard[0]}/{self.shard[1]}: there is no such part", hint="for example 2/4")


def evaluate(
    recipe: RecipeLike,
    data: DataLike,
    *,
    engine: Engine | None = None,
    task: str | None = None,
    skip: int = 0,
    limit: int | None = None,
    out: str | Path | None = None,
    name: str = "",
    progress: Callable[[Progress], None] | None = None,
    cancelled: threading.Event | None = None,
    **options: Any,
) -> EvaluationResult:
    """Answers every example of a data set by a recipe, and scores the answers.

        result = cp.evaluate("small", "humaneval.jsonl", limit=20, out="evaluations/small")
        print(result.figures["unit_tests"])

    Args:
        recipe: a name, a path, plain data or a recipe.
        data: a file, a :class:`Dataset`, or examples as mappings.
        engine: an engine to use and keep; by default one of its own.
        task: the task type; by default the one whose columns fit.
        skip: leave out the first so many examples: those that something was trained on.
        limit: only the first so many examples, of those that are not skipped.
        out: a folder to keep answers in as they come; what it holds already is not answered again.
        name: what the recipe is called in reports; by default its own name.
        progress: hears how far it is.
        cancelled: set it to stop; the result then holds what is complete.
        options: the fields of :class:`EvaluationOptions`.

    Raises:
        EvaluationError: the data set, a scorer or the folder does not fit.
        BudgetError: nothing can be answered within the budget.
        CounterpointError: the recipe cannot run. Examples that fail are in the result.
    """
    chosen = EvaluationOptions(**options)
    with using(engine) as used:
        dataset = load_dataset(data, registry=used.registry, task=task).after(skip).first(limit)
        job = make_job(used, recipe, dataset, chosen, name)
        result = run_job(used, job, chosen, out, progress, cancelled)
    refuse_unmet_budget([result])
    return result


def refuse_unmet_budget(results: Sequence[EvaluationResult]) -> None:
    """Says so where a budget let nothing be answered.

    Raises:
        BudgetError: no answer has any text, and all ended for the budget.
    """
    records = [record for result in results for record in result.records]
    if records and all(record.finish_reason == "budget" and not record.text for record in records):
        budget = ", ".join(f"{unit}={amount:g}" for unit, amount in (results[0].configuration.budget or {}).items())
        raise BudgetError(
            f"no recipe can answer anything within the budget {budget}",
            hint="raise it; or leave it out, and read from the result what answers cost",
        )


@contextmanager
def using(engine: Engine | None) -> Iterator[Engine]:
    """The caller's engine, or one of its own that is closed at the end."""
    if engine is not None:
        yield engine
        return
    with Engine() as own:
        yield own


def make_job(engine: Engine, recipe: RecipeLike, dataset: Dataset, options: EvaluationOptions, name: str = "") -> Job:
    """Everything that decides what is answered, checked as far as it can be before weights load.

    Raises:
        EvaluationError: a scorer or a template does not fit.
        RecipeError: the recipe cannot run.
    """
    loaded = engine.recipe(recipe)
    changes: dict[str, Any] = {"sampling": merge_sampling(loaded.sampling, options.sampling)}
    if options.budget is not None:
        changes["budget"] = parse_budget(options.budget)
    if options.seed is not None:
        changes["seed"] = parse_seed(options.seed)
    loaded = loaded.model_copy(update=changes)
    job = Job(
        recipe=loaded,
        dataset=dataset,
        scorers=make_scorers(options.scorers, loaded, dataset.task, engine.registry),
        words=words_of(loaded, dataset, options.words),
        samples=options.samples,
        in_flight=_in_flight(options, loaded),
        shard=options.shard,
        name=name,
    )
    if job.scorers:
        require("scipy", "intervals of evaluations")  # now, and not after hours
    if not job.examples:
        raise EvaluationError(f"{dataset.name}: this part holds no example", hint="use fewer shards, or a larger limit")
    Driver(engine, job).check()
    return job


def _in_flight(options: EvaluationOptions, recipe: Recipe) -> int:
    """How many examples at once: one where a budget of seconds would otherwise be shared."""
    if recipe.budget is None or recipe.budget.seconds is None:
        return options.in_flight or 8
    if options.samples > 1:
        raise EvaluationError(
            "a budget of seconds holds for one answer at a time, and several samples of an example run together",
            hint="samples=1, or a budget of flops or tokens",
        )
    if options.in_flight not in (None, 1):
        raise EvaluationError(
            f"a budget of seconds holds for one example in flight, not {options.in_flight}", hint="leave in_flight out"
        )
    return 1


def run_job(
    engine: Engine,
    job: Job,
    options: EvaluationOptions,
    out: str | Path | None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: threading.Event | None = None,
) -> EvaluationResult:
    """Answers what is not answered yet, and keeps it in a folder if there is one."""
    configuration = configuration_of(job)
    driver = Driver(engine, job, cancelled=cancelled)
    if out is None:
        records = driver.run([], lambda records: None, progress)
        return EvaluationResult(configuration, tuple(records), job.measures)
    with EvaluationFolder(Path(out)).writing(configuration) as folder:
        known = answers_in(folder, job, retry_failed=options.retry_failed)
        records = driver.run(known, lambda records: folder.append(*records), progress)
        result = EvaluationResult(configuration, tuple(records), job.measures, Path(out))
        if result.complete:
            folder.finish(result.summary())
        return result


def load_evaluation(path: str | Path, *, registry: Registry | None = None) -> EvaluationResult:
    """An evaluation from its folder; no model is loaded.

    Args:
        path: the folder.
        registry: the plugins that bring its scorers; by default all installed ones.

    Raises:
        EvaluationError: the folder holds none.
        CounterpointError: no plugin brings one of its scorers.
    """
    folder = EvaluationFolder(Path(path))
    configuration = folder.configuration()
    registry = registry or load_plugins()
    measures = []
    for name, data in configuration.scorers.items():
        try:
            node = registry.build(data)
        except InvalidNode as error:
            problems = "; ".join(f"{'.'.join(map(str, place)) or 'node'}: {text}" for place, text in error.problems)
            raise EvaluationError(
                f"{folder.path}: its scorer '{name}' cannot be made: {problems}", hint="`counterpoint eval score` scores anew"
            ) from None
        assert isinstance(node, Verifier)
        measures.append(Measure.of(name, node))
    return EvaluationResult(configuration, _ordered(folder.records()), tuple(measures), folder.path)


def _ordered(records: Iterable[Record]) -> tuple[Record, ...]:
    """Answers in an order that does not hang on which ended first."""
    return tuple(sorted(records, key=lambda record: (record.id, record.sample)))


def score_again(
    path: str | Path,
    data: DataLike,
    *,
    engine: Engine | None = None,
    task: str | None = None,
    scorers: Sequence[ScorerLike] | ScorerLike | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: threading.Event | None = None,
) -> EvaluationResult:
    """Scores the answers in a folder anew, with other scorers or for the first time; nothing is answered again.

    Args:
        path: the folder.
        data: the data set of these answers; its columns are not in the folder.
        engine: an engine to use and keep.
        task: the task type, as it was evaluated.
        scorers: as in :class:`EvaluationOptions`.
        progress: hears how far it is.
        cancelled: set it to stop; the scores that are kept are then those from before.

    Raises:
        EvaluationError: the folder holds none, or answers to another data set.
    """
    folder = EvaluationFolder(Path(path))
    there = folder.configuration()
    records: dict[str, list[Record]] = {}
    for record in folder.records():
        records.setdefault(record.id, []).append(record)
    with using(engine) as used:
        dataset = load_dataset(data, registry=used.registry, task=task or there.task)
        dataset = dataset.after(there.data.skipped).first(there.data.examples)
        if dataset.sha256 != there.data.sha256:
            raise EvaluationError(
                f"{dataset.name}: is not the data set that {folder.path} holds answers to ('{there.data.name}')",
                hint="name the file that was evaluated, as it was",
            )
        words = Words(template=there.template, prefix=there.prefix, stop=there.stop)
        options = EvaluationOptions(
            scorers=scorers, samples=there.samples, words=words, seed=there.seed, shard=there.shard, in_flight=there.in_flight
        )
        job = make_job(used, there.recipe, dataset, options, there.name)
        driver = Driver(used, job, cancelled=cancelled)
        with folder.writing(there):
            scored = driver.run(
                [],
                lambda records: None,
                progress,
                make=lambda example: driver.score(example, records[example.id]) if example.id in records else [],
            )
            if len(scored) < sum(map(len, records.values())):
                return EvaluationResult(there, tuple(scored), job.measures, folder.path)  # cancelled: all is as it was
            now = configuration_of(job)
            update = {"scorers": now.scorers, "reads_references": now.reads_references}
            configuration = there.model_copy(update=update)
            folder.replace(scored, configuration)
            result = EvaluationResult(configuration, tuple(scored), job.measures, folder.path)
            if result.complete:
                folder.finish(result.summary())
        return result

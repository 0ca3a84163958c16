"""`calibrate`: how far a strategy's scores are to be trusted, and from which one it should accept, found on a data set."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.engine import Engine, RecipeLike
from counterpoint.errors import EvaluationError
from counterpoint.evaluation.accepting import Floats, Goal, Thresholds, Trust, fit_thresholds, refuse_few, trust
from counterpoint.evaluation.candidates import OWN_SCORE, CandidateDriver
from counterpoint.evaluation.dataset import load_dataset
from counterpoint.evaluation.driver import Progress, answers_in
from counterpoint.evaluation.evaluating import DataLike, EvaluationOptions, make_job, using
from counterpoint.evaluation.folder import EvaluationFolder
from counterpoint.evaluation.job import Job, configuration_of
from counterpoint.evaluation.outcomes import by_example
from counterpoint.evaluation.records import Record
from counterpoint.imperfect import ImperfectVerifier
from counterpoint.node import Node, Verifier
from counterpoint.plan import Plan
from counterpoint.recipe import Recipe, load_recipe
from counterpoint.registry import Registry
from counterpoint.verification import Accepting


@dataclass(frozen=True)
class Stakes:
    """What answers are worth, in one unit."""

    right: float = 1.0
    """Value of a right answer."""
    wrong: float = 0.0
    """Value of a wrong answer that is accepted; below 0 it costs."""
    price: float = 0.0
    """Price of a sample."""

    def __post_init__(self) -> None:
        for name, value, fits, wanted in (
            ("right", self.right, self.right > 0, "above 0"),
            ("wrong", self.wrong, self.wrong <= 0, "at most 0"),
            ("price", self.price, self.price >= 0, "at least 0"),
        ):
            if not (fits and math.isfinite(value)):
                raise EvaluationError(f"{name} {value:g} makes no sense", hint=f"it is a number, {wanted}")


@dataclass(frozen=True)
class Missing:
    """Answers that lack a score."""

    answers: int = 0
    first: str = ""
    """The first of them, and why."""


@dataclass(frozen=True)
class Calibration:
    """What was found, and the settings that follow from it."""

    recipe: Recipe
    """As it was given."""
    node: str
    """Name of the strategy."""
    data: str
    truth: str
    """The scorer that was taken for the truth."""
    examples: int
    candidates: int
    stakes: Stakes
    trust: Trust | None = None
    """For samples."""
    pays: int | None = None
    """How many samples pay, of at most twice as many as were made; 0: it is better to abstain."""
    thresholds: Thresholds | None = None
    """For stages."""
    resumed: tuple[int, ...] = ()
    """Stages whose model an earlier stage or its verifier uses as well: it had read the prompt by then, so that what such a stage costs
    alone is more than the thresholds say."""
    silent: Missing = Missing()
    """On which the strategy's verifier abstained or failed: they count as not accepted. Empty ones, which nobody is asked about, are
    not among them."""
    unknown: Missing = Missing()
    """Of which the scorer does not know whether they are right: they do not count, and neither do the other stages' answers to
    their examples."""

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of the node, as plain data."""
        if self.thresholds is not None:
            return {"thresholds": list(self.thresholds.thresholds)}
        assert self.trust is not None
        worth = self.trust.verified.model_dump(mode="json") | vars(self.stakes)
        return {"select": "first", "accept": self.trust.accept, "worth": worth}

    def calibrated(self, registry: Registry | None = None) -> Recipe:
        """The recipe with these settings."""
        overrides = [(f"{self.node}.{name}", value) for name, value in self.settings.items()]
        return load_recipe(self.recipe, registry=registry, overrides=overrides)


def calibrate(
    recipe: RecipeLike,
    data: DataLike,
    *,
    engine: Engine | None = None,
    node: str | None = None,
    goal: Goal | None = None,
    stakes: Stakes | None = None,
    task: str | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: threading.Event | None = None,
    **options: Any,
) -> Calibration | None:
    """Runs a strategy that accepts answers on a data set, with nothing ended early, and finds what it needs to know.

    Args:
        recipe: one with a strategy such as `best_of_n` or `cascade`.
        data: a file, a :class:`Dataset`, or examples as mappings; right answers must be known to the scorer.
        engine: an engine to use and keep; by default one of its own.
        node: name of the strategy; by default the recipe's output.
        goal: for stages, what thresholds are to reach.
        stakes: for samples, what answers are worth.
        task: the task type; by default the one whose columns fit.
        limit: only the first so many examples.
        out: a folder to keep candidates in as they come; what it holds already is not made again.
        progress: hears how far it is.
        cancelled: set it to stop; then there is no result.
        options: `scorers` (one, the truth), `seed`, `sampling`, `words`, `in_flight` of :class:`EvaluationOptions`.

    Raises:
        EvaluationError: nothing can be found: no such strategy, scorers that are no verdicts, answers that are all right.
        CounterpointError: the recipe cannot run.
    """
    with using(engine) as used:
        loaded = used.recipe(recipe)
        job, strategy, name = calibration_job(used, loaded, data, node, task, limit, options)
        driver = CandidateDriver(used, job, cancelled=cancelled)
        if out is None:
            records = driver.run([], lambda records: None, progress)
        else:
            with EvaluationFolder(Path(out)).writing(configuration_of(job)) as folder:
                records = driver.run(answers_in(folder, job), lambda records: folder.append(*records), progress)
        if cancelled is not None and cancelled.is_set():
            return None
        found = _found(loaded, job, strategy, name, records, goal or Goal(), stakes or Stakes())
        return replace(found, resumed=_resumed(used.plan(job.recipe), name)) if strategy.in_stages else found


def calibration_job(
    engine: Engine,
    recipe: Recipe,
    data: DataLike,
    node: str | None,
    task: str | None,
    limit: int | None,
    options: dict[str, Any],
) -> tuple[Job, Accepting, str]:
    """What is answered: the strategy with nothing ended early, each candidate as a sample of its example.

    Raises:
        EvaluationError: the node is no strategy that accepts answers, or there is no single scorer to take for the truth.
    """
    name = node or recipe.output
    strategy = recipe.nodes.get(name)
    if not isinstance(strategy, Accepting):
        known = [other for other, one in recipe.nodes.items() if isinstance(one, Accepting)]
        what = f"'{strategy.kind}'" if strategy is not None else "not there"
        raise EvaluationError(
            f"{recipe.name}: '{name}' is {what}, and accepts nothing that could be calibrated",
            hint=f"name one of {', '.join(known)}" if known else "a best_of_n or a cascade accepts answers",
        )
    _check_verifier(recipe, strategy, name)
    everything = recipe.model_copy(
        update={"nodes": {**recipe.nodes, name: strategy.exhaustive()}, "output": name, "budget": None}
    )
    dataset = load_dataset(data, registry=engine.registry, task=task).first(limit)
    scorers = options.pop("scorers", None) or dataset.task.scorers[:1]
    chosen = EvaluationOptions(scorers=scorers, samples=strategy.candidates, **options)
    job = make_job(engine, everything, dataset, chosen)
    if len(job.scorers) != 1:
        raise EvaluationError("the truth is one scorer", hint=f"name one of {', '.join(job.scorers)}")
    (scorer,) = job.scorers.values()
    if not strategy.in_stages and not scorer.node.verdicts:
        raise EvaluationError(
            f"'{scorer.name}' gives no verdicts, which the truth has to be", hint="name a scorer of right and wrong"
        )
    if strategy.in_stages:
        refuse_few(len(job.examples))
    return job, strategy, name


def _check_verifier(recipe: Recipe, strategy: Accepting, name: str) -> None:
    """Refuses samples whose scores decide about no single one. (Stages may have no verifier, and refuse such themselves.)"""
    if strategy.in_stages:
        return
    asked = (target for _, role, target in strategy.references() if role is Verifier)
    first = next((recipe.nodes.get(target) if isinstance(target, str) else target for target in asked), None)
    if first is None:
        raise EvaluationError(
            f"{recipe.name}: '{name}' has no verifier, and so no score that could be calibrated", hint="name one in `verifiers`"
        )
    if isinstance(first, Verifier) and first.compares:
        raise EvaluationError(
            f"{recipe.name}: the verifier of '{name}' ({first.kind}) compares answers with one another, so that none of them can be "
            "accepted by its score",
            hint="name first a verifier that judges each answer by itself",
        )


def _found(
    recipe: Recipe, job: Job, strategy: Accepting, name: str, records: list[Record], goal: Goal, stakes: Stakes
) -> Calibration:
    groups = by_example(records)
    (truth,) = job.scorers
    right = _table([[record.scores.get(truth) for record in samples] for samples in groups.values()])
    scores = _table([[record.scores.get(OWN_SCORE) for record in samples] for samples in groups.values()])
    judged = [record for record in records if not strategy.in_stages or record.sample < strategy.candidates - 1]
    found = Calibration(
        recipe,
        name,
        job.dataset.name,
        truth,
        len(groups),
        len(records),
        stakes,
        silent=_missing(OWN_SCORE, [record for record in judged if record.text.strip()], "it abstains"),
        unknown=_missing(truth, records, "it has no score"),
    )
    if all(record.scores[OWN_SCORE].value is None for record in judged if OWN_SCORE in record.scores):
        raise EvaluationError(
            "no answer has a score, so that nothing can be said of the verifier",
            hint=f"{found.silent.first or found.unknown.first or 'all answers are empty'}; `counterpoint run` shows more",
        )
    if not strategy.in_stages:
        accept = strategy.accepts_from
        if accept is None and set(np.unique(scores[~np.isnan(scores)])) <= {0.0, 1.0}:
            accept = 0.5
        known = trust(right, scores, accept)
        pays = ImperfectVerifier(known.verified).best_number(
            2 * strategy.candidates, right=stakes.right, wrong=stakes.wrong, price=stakes.price
        )
        return replace(found, trust=known, pays=pays)
    known_everywhere = ~np.isnan(right).any(axis=1)
    if not known_everywhere.any():
        raise EvaluationError(f"'{truth}' has scored no example at every stage", hint="see why with `counterpoint eval show`")
    cost = np.array([[_cost(record) for record in samples] for samples in groups.values()])
    thresholds = fit_thresholds(scores[known_everywhere][:, :-1], right[known_everywhere], cost[known_everywhere], goal)
    return replace(found, thresholds=thresholds)


def _resumed(plan: Plan, name: str) -> tuple[int, ...]:
    """Stages that find the prompt read, by number."""

    def models(target: str | Node) -> set[str]:
        return {plan.facts[path].key for path in plan.graph.leaves(plan.graph.path_of(target)) if path in plan.facts}

    references = list(plan.graph.nodes[name].references())
    stages = [models(target) for _, role, target in references if role is not Verifier]
    verifiers = [models(target) for _, role, target in references if role is Verifier]  # one for all, or one for each
    return tuple(
        number for number in range(1, len(stages)) if stages[number] & set().union(*stages[:number], *verifiers[:number])
    )


def _missing(scorer: str, records: list[Record], why: str) -> Missing:
    lacking = []
    for record in records:
        score = record.scores.get(scorer)
        if score is None or score.value is None:
            reason = record.error or (score is not None and (score.error or score.detail)) or why
            lacking.append(f"{record.id}, answer {record.sample}: {reason}")
    return Missing(len(lacking), lacking[0]) if lacking else Missing()


def _table(scores: list[list[Any]]) -> Floats:
    return np.array([[np.nan if one is None or one.value is None else one.value for one in row] for row in scores], dtype=float)


def _cost(record: Record) -> float:
    """FLOPs of a stage's answer and of its verification."""
    own = record.scores.get(OWN_SCORE)
    verifying = own.data.get("flops", 0.0) if own is not None and isinstance(own.data, dict) else 0.0
    assert isinstance(verifying, float)
    return record.cost.flops + verifying

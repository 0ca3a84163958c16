"""Records by example: what one scorer says of every example, and what the answers cost.

Examples are the unit of all statistics. Samples of one example are averaged first: they answer the same question, so eight
of them are not eight examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.estimators import Attempts, FrontierPoint, pass_frontier
from counterpoint.evaluation.records import Record
from counterpoint.node import Score, Verifier

Overall: TypeAlias = Callable[[Sequence[Score], Sequence[str]], float]
Unit: TypeAlias = Literal["flops", "seconds"]
Groups: TypeAlias = Mapping[str, tuple[Record, ...]]
"""The answers of every example by its id; ids and samples are sorted, so that the order of records changes no figure."""


@dataclass(frozen=True)
class Measure:
    """What has to be known of a scorer to read its scores."""

    name: str
    """The scorer's name in records."""
    verdicts: bool = False
    """Whether its scores are 1 or 0: right or wrong."""
    lower_is_better: bool = False
    """Whether a lower score is better."""
    overall: Overall | None = None
    """The figure from all scores and answers at once, for measures that are no mean over examples (corpus GLEU)."""

    @classmethod
    def of(cls, name: str, verifier: Verifier) -> Measure:
        """The measure of a recipe's or an evaluation's verifier."""
        own = type(verifier).overall is not Verifier.overall
        return cls(name, verifier.verdicts, verifier.lower_is_better, verifier.overall if own else None)


def by_example(records: Sequence[Record]) -> Groups:
    """Records grouped by example; of two records of one sample (it was answered again) the later counts."""
    latest: dict[tuple[str, int], Record] = {(record.id, record.sample): record for record in records}
    groups: dict[str, list[Record]] = {}
    for key in sorted(latest):
        groups.setdefault(key[0], []).append(latest[key])
    return {example: tuple(samples) for example, samples in groups.items()}


def value_of(record: Record, measure: Measure) -> float | None:
    """What one answer counts.

    A failed answer counts 0 where the measure is a verdict: whoever needed an answer had none. For other measures zero
    would be an arbitrary figure, and it is left out, as are abstentions, and failures of a scorer, everywhere.
    """
    score = score_of(record, measure)
    if score is not None:
        return float(score)
    return 0.0 if record.finish_reason == "failed" and measure.verdicts else None


def score_of(record: Record, measure: Measure) -> Score | None:
    """What the scorer said of one answer; None where it said nothing, or no number."""
    score = record.scores.get(measure.name)
    if score is None or score.value is None or math.isnan(score.value):
        return None
    return Score(score.value, score.detail, score.data)


def values(groups: Groups, measure: Measure) -> dict[str, float]:
    """The mean over its samples of every example that has a value."""
    found: dict[str, float] = {}
    for example, samples in groups.items():
        counted = [value for record in samples if (value := value_of(record, measure)) is not None]
        if counted:
            found[example] = _mean(counted)
    return found


def single_verdicts(groups: Groups, measure: Measure) -> bool:
    """Whether the measure is a verdict and every example has one answer, so that exact binomial statistics apply."""
    return measure.verdicts and all(len(samples) == 1 for samples in groups.values())


def scored(groups: Groups, measure: Measure) -> dict[str, list[tuple[Score, str]]]:
    """Scores with their answers, of every example that has some: what :attr:`Measure.overall` is computed from."""
    found: dict[str, list[tuple[Score, str]]] = {}
    for example, samples in groups.items():
        pairs = [(score, record.text) for record in samples if (score := score_of(record, measure)) is not None]
        if pairs:
            found[example] = pairs
    return found


@dataclass(frozen=True)
class Costs:
    """Mean costs of one answer, over examples. Of several samples, the prompt is charged to each as if it were alone."""

    flops: float
    """Floating-point operations."""
    tokens: float
    """Tokens generated at all models, drafts included."""
    answer_tokens: float
    """Tokens of the answer."""
    share: float
    """Seconds of model passes that were the answer's, by its share of the rows: throughput, whatever else was in flight."""
    seconds: float | None
    """Wall time, that of an example divided by its samples; None unless every example was measured alone."""
    flops_in_all: float
    """Floating-point operations of the whole evaluation, as executed."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self))


def costs(groups: Groups) -> Costs:
    """What answers cost.

    Raises:
        EvaluationError: there are no examples.
    """
    _some(groups)
    seconds = [_seconds(samples) for samples in groups.values()]
    timed = [second for second in seconds if second is not None]
    return Costs(
        flops=_mean([sum(_flops(samples)) for samples in groups.values()]),
        tokens=_mean([_mean([record.cost.tokens for record in samples]) for samples in groups.values()]),
        answer_tokens=_mean([_mean([record.cost.answer_tokens for record in samples]) for samples in groups.values()]),
        share=_mean([_mean([record.cost.share for record in samples]) for samples in groups.values()]),
        seconds=_mean(timed) if len(timed) == len(seconds) else None,
        flops_in_all=math.fsum(record.cost.flops for samples in groups.values() for record in samples),
    )


def attempts(groups: Groups, measure: Measure, unit: Unit = "flops") -> dict[str, Attempts]:
    """The samples of every example that has a value, as counts and costs, for the estimators of pass@k.

    In FLOPs, the samples of an example share its prompt: only the sample that computed it was charged, so its cost is the
    sum over samples, and comes once. In seconds, k of n samples are taken to need k/n of the example's time, for they were
    timed together: exact for k = n, and too little below it where a batch is as slow as one of its rows.

    Raises:
        EvaluationError: the measure is no verdict, or seconds are asked for and some example was not timed alone.
    """
    if not measure.verdicts:
        raise EvaluationError(
            f"pass@k is not defined for '{measure.name}': its scores are no verdicts",
            hint="use a scorer that says right or wrong",
        )
    found: dict[str, Attempts] = {}
    for example, samples in groups.items():
        counted = [value for record in samples if (value := value_of(record, measure)) is not None]
        if not counted:
            continue
        shared, each = _flops(samples) if unit == "flops" else (0.0, _timed(example, samples))
        found[example] = Attempts(len(counted), sum(value >= 0.5 for value in counted), shared, each)
    return found


def frontier(records: Sequence[Record], measure: Measure, unit: Unit = "flops") -> tuple[FrontierPoint, ...]:
    """Quality against cost: pass@k over k for verdicts on several samples, else one point, the mean.

    A measure defined over all answers at once has the point of its own figure.

    Args:
        records: the answers of one evaluation.
        measure: how they are scored.
        unit: of the cost, ``flops`` or ``seconds`` of one example.

    Raises:
        EvaluationError: no example has a score, or seconds are asked for and some example was not timed alone.
    """
    groups = by_example(records)
    if measure.verdicts and not single_verdicts(groups, measure):
        return pass_frontier(list(attempts(groups, measure, unit).values()))
    spent = costs(groups)
    cost = spent.flops if unit == "flops" else spent.seconds
    if cost is None:
        raise _untimed(next(example for example, samples in groups.items() if _seconds(samples) is None))
    return (FrontierPoint(1, cost, figure_value(groups, measure)),)


def figure_value(groups: Groups, measure: Measure) -> float:
    """The figure of an evaluation.

    Raises:
        EvaluationError: no example has a score.
    """
    if measure.overall is not None:
        pairs = [pair for example in scored(groups, measure).values() for pair in example]
        if pairs:
            return float(measure.overall([score for score, _ in pairs], [text for _, text in pairs]))
    elif found := values(groups, measure):
        return _mean(list(found.values()))
    raise EvaluationError(
        f"'{measure.name}' has scored no example", hint="see the errors of the records; scorers may have abstained on all"
    )


def _flops(samples: Sequence[Record]) -> tuple[float, float]:
    """FLOPs of the shared prompt, and of one sample beyond it."""
    shared = math.fsum(record.cost.prefill_flops for record in samples)
    return shared, (math.fsum(record.cost.flops for record in samples) - shared) / len(samples)


def _seconds(samples: Sequence[Record]) -> float | None:
    """Wall time of an example per sample, None where it was not measured. Each record tells the time of all of them."""
    times = [record.cost.seconds for record in samples]
    known = [time for time in times if time is not None]
    return max(known) / len(samples) if len(known) == len(times) else None


def _timed(example: str, samples: Sequence[Record]) -> float:
    seconds = _seconds(samples)
    if seconds is None:
        raise _untimed(example)
    return seconds


def _untimed(example: str) -> EvaluationError:
    return EvaluationError(
        f"example '{example}' has no wall time of its own: others were in flight with it",
        hint="evaluate with one example in flight, or compare FLOPs",
    )


def _some(groups: Groups) -> None:
    if not groups:
        raise EvaluationError("there are no answers", hint="evaluate at least one example")


def _mean(numbers: Sequence[float]) -> float:
    # Exact but for one rounding, so that no order shows; infinite scores (bits per byte) have no exact sum.
    total = math.fsum(numbers) if all(map(math.isfinite, numbers)) else sum(numbers)
    return total / len(numbers)

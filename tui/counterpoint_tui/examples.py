"""Evaluations example by example, one or two of them. Blocking, and fit for a thread; no Textual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from counterpoint.cli.console import flops_text, seconds_text
from counterpoint.errors import EvaluationError
from counterpoint.evaluation.outcomes import Measure, by_example, costs, figure_value, values
from counterpoint.evaluation.records import Record
from counterpoint.evaluation.result import EvaluationResult
from counterpoint.registry import Registry
from counterpoint_tui.answers import Answers, Side
from counterpoint_tui.questions import Questions, find_questions
from counterpoint_tui.state.changes import Change, text_changes
from counterpoint_tui.state.compare import FigureRow, compare_evaluations, figure_row

OUTCOMES = {
    "win": "Wins",
    "loss": "Losses",
    "tie": "Ties",
    "alone": "In one only",
    "wrong": "Wrong",
    "right": "Right",
    "scored": "Scored",
    "unscored": "No score",
    "failed": "Failed",
}
"""Kinds of examples, and what a list of them is called; the first four of two evaluations, the others of one."""
_ALONE = ("failed", "wrong", "scored", "unscored", "right")


@dataclass(frozen=True)
class Item:
    """One example of one or two evaluations."""

    id: str
    outcome: str
    scores: tuple[float | None, ...]
    """Of each evaluation, the mean over its samples."""
    records: tuple[tuple[Record, ...], ...] = field(repr=False)

    @property
    def samples(self) -> int:
        """Answers to it."""
        return max(map(len, self.records), default=0)


@dataclass(frozen=True)
class Examples:
    """One evaluation, or two, example by example."""

    names: tuple[str, ...]
    scorer: str
    """By which they are ordered; empty where there is none."""
    scorers: tuple[str, ...]
    """All by which they could be."""
    items: tuple[Item, ...] = field(repr=False)
    """Wins first, then losses; of one evaluation, what failed or is wrong first."""
    figures: tuple[FigureRow, ...]
    notes: tuple[str, ...]
    measures: tuple[Measure, ...] = field(repr=False)
    questions: Questions = field(repr=False)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many examples there are of each kind that there is."""
        kinds = [item.outcome for item in self.items]
        return {kind: kinds.count(kind) for kind in OUTCOMES if kind in kinds}

    def answers(self, item: Item, sample: int = 0) -> Answers:
        """What was answered to an example."""
        records = [given[min(sample, len(given) - 1)] if given else None for given in item.records]
        sides = tuple(Side(name, _facts(record)) for name, record in zip(self.names, records, strict=True))
        texts = [record.text if record else "" for record in records]
        changes = text_changes(*texts) if len(texts) == 2 else (Change(texts[0], texts[0]),)
        return Answers(
            sides, changes, self._example_figures(records), self._asked(item.id), remarks=tuple(_remarks(self.names, records))
        )

    def _example_figures(self, records: Sequence[Record | None]) -> tuple[FigureRow, ...]:
        a, b = records[0], records[-1]
        rows = []
        for measure in self.measures:
            scores = [one.scores.get(measure.name) if one else None for one in (a, b)]
            x, y = (one.value if one else None for one in scores)
            rows.append(figure_row(measure.name, x, y, lambda value: f"{value:.4g}", measure.lower_is_better))
        ended = [one.finish_reason if one else "–" for one in (a, b)]

        def cost(name: str, field_name: str, text: Callable[[Any], str], lower_is_better: bool | None) -> FigureRow:
            x, y = (getattr(one.cost, field_name) if one else None for one in (a, b))
            return figure_row(name, x, y, text, lower_is_better)

        return (
            *rows,
            FigureRow("ended", ended[0], ended[1], None, None),
            cost("tokens", "answer_tokens", str, None),
            cost("tokens drawn", "tokens", str, None),
            cost("FLOPs", "flops", flops_text, True),
            cost("time", "seconds", seconds_text, True),
            cost("time in passes", "share", seconds_text, True),
        )

    def _asked(self, example: str) -> tuple[tuple[str, str], ...]:
        question = self.questions.of(example)
        if question is None:
            return (("", self.questions.problem),)
        prefix = (("the answer begins with", question.prefix),) if question.prefix else ()
        return (("prompt", question.prompt), *prefix, *question.references)


def examples_of_two(a: EvaluationResult, b: EvaluationResult, registry: Registry, scorer: str | None) -> Examples:
    """Two evaluations.

    Raises:
        EvaluationError: they have no example, or no scorer, in common.
    """
    if a.configuration.data.sha256 != b.configuration.data.sha256 and a.configuration.data.name != b.configuration.data.name:
        names = [f"'{one.name}' answered '{one.configuration.data.name}'" for one in (a, b)]
        raise EvaluationError(" and ".join(names), hint="compare evaluations of one data set")
    made = compare_evaluations(a, b, scorer)
    items = tuple(Item(row.id, row.outcome, (row.a, row.b), (row.records_a, row.records_b)) for row in made.rows)
    theirs = {measure.name for measure in b.measures}
    common = tuple(measure for measure in a.measures if measure.name in theirs)
    return Examples(
        names=_told_apart(a, b),
        scorer=made.scorer,
        scorers=tuple(measure.name for measure in common),
        items=items,
        figures=made.figures,
        notes=(*made.notes, *_incomplete(a, b)),
        measures=common,
        questions=find_questions(a.configuration, registry),
    )


def _told_apart(a: EvaluationResult, b: EvaluationResult) -> tuple[str, str]:
    if a.name != b.name or a.path is None or b.path is None:
        return a.name, b.name
    return f"{a.name} ({a.path.name})", f"{b.name} ({b.path.name})"


def examples_of_one(result: EvaluationResult, registry: Registry, scorer: str | None) -> Examples:
    """One evaluation: what failed first, then what is wrong."""
    measure = next((one for one in result.measures if scorer in (None, one.name)), None)
    groups = by_example(result.records)
    scores = values(groups, measure) if measure else {}
    items = [
        Item(name, _kind(given, scores.get(name), measure), (scores.get(name),), (given,)) for name, given in groups.items()
    ]
    sign = -1.0 if measure and measure.lower_is_better else 1.0
    items.sort(key=lambda item: (_ALONE.index(item.outcome), sign * (item.scores[0] or 0.0)))
    cost = costs(groups)
    figure = figure_value(groups, measure) if measure and scores else None
    rows = [figure_row(measure.name, figure, None, lambda value: f"{value:.4g}", None)] if measure else []
    return Examples(
        names=(result.name,),
        scorer=measure.name if measure else "",
        scorers=tuple(one.name for one in result.measures),
        items=tuple(items),
        figures=(
            *rows,
            figure_row("FLOPs", cost.flops, None, flops_text, None),
            figure_row("time", cost.seconds, None, seconds_text, None),
            figure_row("time in passes", cost.share, None, seconds_text, None),
            figure_row("tokens", cost.answer_tokens, None, lambda value: f"{value:.0f}", None),
        ),
        notes=(*([f"{result.failed} answers failed"] if result.failed else []), *_incomplete(result)),
        measures=result.measures,
        questions=find_questions(result.configuration, registry),
    )


def _kind(records: Sequence[Record], score: float | None, measure: Measure | None) -> str:
    if all(record.failed for record in records):
        return "failed"
    if score is None or measure is None:
        return "unscored"
    return ("right" if score == 1.0 else "wrong") if measure.verdicts else "scored"


def _incomplete(*results: EvaluationResult) -> list[str]:
    return [
        f"'{one.name}' has answered {one.examples} of {one.configuration.wanted} examples so far"
        for one in results
        if not one.complete
    ]


def _facts(record: Record | None) -> str:
    if record is None:
        return "no answer"
    scores = [f"{name} {'–' if score.value is None else format(score.value, '.4g')}" for name, score in record.scores.items()]
    return ", ".join(
        [*([f"failed: {record.error}"] if record.error else scores), record.finish_reason, flops_text(record.cost.flops)]
    )


def _remarks(names: Sequence[str], records: Sequence[Record | None]) -> list[str]:
    """Why answers failed, and what scorers said besides their scores."""
    said = []
    for label, record in zip("AB", records, strict=False):
        who = f"{label}: " if len(names) > 1 else ""
        if record is None:
            continue
        if record.problem:
            said.append(f"{who}{record.problem}" + (f" ({record.hint})" if record.hint else ""))
        said += [f"{who}{name}: {score.detail}" for name, score in record.scores.items() if score.detail and not score.error]
    return said

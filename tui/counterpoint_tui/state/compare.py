"""Two runs side by side, and two evaluations example by example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from counterpoint.cli.console import flops_text, rate_text, seconds_text
from counterpoint.errors import EvaluationError
from counterpoint.evaluation.folder import CONFIG
from counterpoint.evaluation.outcomes import Groups, Measure, by_example, costs, figure_value, values
from counterpoint.evaluation.records import Record
from counterpoint.tally import Summary
from counterpoint_tui.state.changes import Change, text_changes
from counterpoint_tui.state.data import RunState
from counterpoint_tui.state.figures import summary
from counterpoint_tui.state.text import answer_text

if TYPE_CHECKING:
    from counterpoint.evaluation.result import EvaluationResult

_TIE = 1e-9
"""Means over samples that differ by less are the same, as in `counterpoint compare`."""
_EQUAL = 0.005
"""Figures that differ by less of themselves are not called better."""

Outcome = Literal["win", "loss", "tie", "alone"]


# --- two runs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A figure of two runs."""

    name: str
    a: str
    b: str
    ratio: float | None
    """Of ``a`` to ``b``; None for what is no number, or where one of them has none."""
    lower_is_better: bool | None
    """None where neither can be better."""
    better: Literal["A", "B", ""] = ""
    """Which one is, where they differ by more than a two-hundredth."""


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side."""

    changes: tuple[Change, ...]
    """Their answers from beginning to end."""
    figures: tuple[FigureRow, ...]
    same_prompt: bool
    notes: tuple[str, ...]
    """What a reader has to know."""


def compare_runs(a: RunState, b: RunState) -> RunComparison:
    """Two runs: where their answers differ, and what each did and cost."""
    same_prompt = a.prompt == b.prompt
    notes = [] if same_prompt else ["the prompts are not the same"]
    if a.seed != b.seed:
        notes.append(f"the seeds are {a.seed} and {b.seed}")
    notes += [
        f"run {name} has not ended: its figures are those so far" for name, one in (("A", a), ("B", b)) if not one.finished
    ]
    return RunComparison(text_changes(answer_text(a), answer_text(b)), _figures(a, b), same_prompt, tuple(notes))


def _figures(a: RunState, b: RunState) -> tuple[FigureRow, ...]:
    x, y = summary(a), summary(b)
    rows = [
        FigureRow("recipe", str(a.recipe.get("name", "")), str(b.recipe.get("name", "")), None, None),
        FigureRow("ended", _ended(a), _ended(b), None, None),
        figure_row("tokens", x.answer_tokens, y.answer_tokens, str, None),
        figure_row("tokens/s", x.tokens_per_second, y.tokens_per_second, rate_text, False),
        figure_row("first token", x.first_token_seconds, y.first_token_seconds, seconds_text, True),
        figure_row("time", x.seconds - x.preparing_seconds, y.seconds - y.preparing_seconds, seconds_text, True),
        figure_row("FLOPs", x.flops, y.flops, flops_text, True),
        figure_row("tokens drawn", x.generated_tokens, y.generated_tokens, str, None),
        figure_row("drafts accepted", _acceptance(x), _acceptance(y), lambda share: f"{share:.0%}", False),
    ]
    return tuple(rows)


def figure_row(
    name: str, a: float | None, b: float | None, text: Callable[[Any], str], lower_is_better: bool | None
) -> FigureRow:
    """A figure of two, written as ``text`` writes it."""
    ratio = a / b if a and b else None
    shown = ["–" if value is None else str(text(value)) for value in (a, b)]
    return FigureRow(name, shown[0], shown[1], ratio, lower_is_better, _better(a, b, lower_is_better))


def _better(a: float | None, b: float | None, lower_is_better: bool | None) -> Literal["A", "B", ""]:
    if a is None or b is None or lower_is_better is None or not abs(a - b) > _EQUAL * max(abs(a), abs(b)):
        return ""
    return "A" if (a < b) == lower_is_better else "B"


def _ended(state: RunState) -> str:
    return state.completion.finish_reason if state.completion else "not ended"


def _acceptance(figures: Summary) -> float | None:
    verified = sum(node.verified for node in figures.nodes)
    return sum(node.accepted for node in figures.nodes) / verified if verified else None


# --- two evaluations ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """One example of two evaluations."""

    id: str
    outcome: Outcome
    """For ``a``; ``alone`` where one of them has no score of it."""
    a: float | None
    """Its score, the mean over its samples."""
    b: float | None
    records_a: tuple[Record, ...]
    records_b: tuple[Record, ...]


@dataclass(frozen=True)
class EvaluationComparison:
    """Two evaluations example by example."""

    names: tuple[str, str]
    scorer: str
    rows: tuple[ExampleRow, ...] = field(repr=False)
    """Wins of ``a`` first, the greatest difference first; then its losses, ties, and what only one has a score of."""
    figures: tuple[FigureRow, ...]
    """The figure of the scorer and mean costs of an answer, over the examples that both have."""
    notes: tuple[str, ...]

    def count(self, outcome: Outcome) -> int:
        """How many examples have this outcome."""
        return sum(row.outcome == outcome for row in self.rows)


def compare_evaluations(a: EvaluationResult, b: EvaluationResult, scorer: str | None = None) -> EvaluationComparison:
    """Two evaluations, example by example, wins and losses first.

    Args:
        a: the one.
        b: the other.
        scorer: by which scorer; by default the first that both have.

    Raises:
        EvaluationError: they have no scorer, or no example, in common.
    """
    measure = _measure(a, b, scorer)
    left, right = by_example(a.records), by_example(b.records)
    if not set(left) & set(right):
        raise EvaluationError(
            f"'{a.name}' and '{b.name}' have no example in common", hint="compare evaluations of one data set"
        )
    x, y = values(left, measure), values(right, measure)
    sign = -1.0 if measure.lower_is_better else 1.0
    rows = []
    for example in sorted(set(left) | set(right)):
        one, other = x.get(example), y.get(example)
        outcome = _outcome(one, other, sign)
        rows.append(ExampleRow(example, outcome, one, other, left.get(example, ()), right.get(example, ())))
    return EvaluationComparison(
        names=(a.name, b.name),
        scorer=measure.name,
        rows=tuple(sorted(rows, key=_place)),
        figures=_evaluation_figures(left, right, x, y, measure),
        notes=tuple(_notes(a, b, rows)),
    )


def evaluations_in(folder: Path) -> tuple[Path, ...]:
    """The folders of evaluations at a place: it itself, or those in it (`counterpoint compare --out` makes one for each recipe)."""
    if (folder / CONFIG).is_file():
        return (folder,)
    try:
        return tuple(sorted(entry for entry in folder.iterdir() if (entry / CONFIG).is_file()))
    except OSError:
        return ()


def _measure(a: EvaluationResult, b: EvaluationResult, scorer: str | None) -> Measure:
    theirs = {measure.name for measure in b.measures}
    common = [measure for measure in a.measures if measure.name in theirs]
    found = next((measure for measure in common if scorer in (None, measure.name)), None)
    if found is None:
        wanted = f"scorer '{scorer}'" if scorer else "scorer"
        names = ", ".join(measure.name for measure in common)
        raise EvaluationError(
            f"'{a.name}' and '{b.name}' have no {wanted} in common",
            hint=f"scorers that both have: {names}" if names else "`counterpoint eval score` scores answers anew",
        )
    return found


def _outcome(a: float | None, b: float | None, sign: float) -> Outcome:
    if a is None or b is None:
        return "alone"
    difference = sign * (a - b)
    return "tie" if abs(difference) <= _TIE else "win" if difference > 0 else "loss"


def _place(row: ExampleRow) -> tuple[int, float, str]:
    order: tuple[Outcome, ...] = ("win", "loss", "tie", "alone")
    difference = abs(row.a - row.b) if row.a is not None and row.b is not None else 0.0
    return order.index(row.outcome), -difference, row.id


def _evaluation_figures(
    left: Groups, right: Groups, x: dict[str, float], y: dict[str, float], measure: Measure
) -> tuple[FigureRow, ...]:
    both = [example for example in left if example in right]
    scored = [example for example in both if example in x and example in y]
    means = [
        figure_value({example: groups[example] for example in scored}, measure) if scored else None for groups in (left, right)
    ]
    one, other = (costs({example: groups[example] for example in both}) for groups in (left, right))
    return (
        figure_row(measure.name, means[0], means[1], lambda value: f"{value:.4g}", measure.lower_is_better),
        figure_row("FLOPs", one.flops, other.flops, flops_text, True),
        figure_row("time", one.seconds, other.seconds, seconds_text, True),
        figure_row("time in passes", one.share, other.share, seconds_text, True),
        figure_row("tokens", one.tokens, other.tokens, lambda value: f"{value:.0f}", None),
    )


def _notes(a: EvaluationResult, b: EvaluationResult, rows: Sequence[ExampleRow]) -> list[str]:
    notes = []
    if a.configuration.data.sha256 != b.configuration.data.sha256:
        notes.append("they are of different data: only examples of the same id are compared")
    missing = sum(not (row.records_a and row.records_b) for row in rows)
    if missing:
        notes.append(f"{missing} examples were answered by one of them only")
    return notes + [f"{one.failed} answers of '{one.name}' failed" for one in (a, b) if one.failed]

"""A comparison in the terminal: a table of recipes, and what it shows in words."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from counterpoint.cli.console import flops_text, say, seconds_text, table
from counterpoint.evaluation import wording
from counterpoint.evaluation.comparison import Comparison
from counterpoint.evaluation.outcomes import Measure

_SCORERS = 3  # with intervals, so many fit in 80 columns


def comparison_table(comparison: Comparison) -> Table:
    """A row per recipe: figures over their intervals, and mean costs of one answer.

    Columns of wall time and of failures are there where some recipe has them. To be readable in 80 columns, three scorers
    leave no room for tokens, and further ones come without intervals.
    """
    costs = {recipe.name: recipe.costs for recipe in comparison.recipes}
    timed = any(cost.seconds is not None for cost in costs.values())
    failed = {recipe.name: sum(r.failed for group in recipe.groups.values() for r in group) for recipe in comparison.recipes}
    tokens = len(comparison.measures) < _SCORERS
    made = table("recipe")
    for measure in comparison.measures:
        made.add_column(_heading(measure), justify="right", no_wrap=True)
    for heading in ("FLOPs", *["time"] * timed, *["tokens"] * tokens, *["failed"] * any(failed.values())):
        made.add_column(heading, justify="right", no_wrap=True)
    for recipe in comparison.recipes:
        cells = [Text(recipe.name)]
        for index, measure in enumerate(comparison.measures):
            estimate = recipe.figures[measure.name].estimate
            cell = Text(wording.score(estimate.value, measure), "bold" if index == 0 else "")
            if index < _SCORERS:
                cell.append(f"\n{_narrow(wording.interval(estimate, measure))}", "not bold dim")
            cells.append(cell)
        cost = costs[recipe.name]
        cells.append(Text(flops_text(cost.flops)))
        cells += [Text(seconds_text(cost.seconds))] * timed
        cells += [Text(f"{cost.tokens:.0f}")] * tokens
        cells += [Text(str(failed[recipe.name]))] * any(failed.values())
        made.add_row(*cells)
    return made


def verdict_lines(comparison: Comparison, *, every: bool = False) -> list[Text]:
    """The verdicts by the headline scorer, or by ``every`` scorer; what is shown to be better stands out."""
    headline = comparison.measures[0].name
    return [Text(pair.verdict, "bold" if pair.better else "") for pair in comparison.pairs if every or pair.scorer == headline]


def show_comparison(console: Console, comparison: Comparison, *, every: bool = False) -> None:
    """Verdicts, the table, and what a reader has to know besides."""
    for line in verdict_lines(comparison, every=every):
        console.print(line)
    if comparison.pairs:
        console.print()
    console.print(comparison_table(comparison))
    console.print(
        f"{100 * comparison.settings.confidence:g} % intervals over {len(comparison.examples)} examples; costs of one answer",
        style="dim",
        markup=False,
    )
    for warning in comparison.warnings:
        say(console, "warning", warning)
    for note in comparison.notes:
        say(console, "note", note)


def _heading(measure: Measure) -> Text:
    heading = Text(measure.name)
    return heading.append("\n↓ better", "not bold") if measure.lower_is_better else heading


def _narrow(interval: str) -> str:
    return interval.replace(" – ", "–")

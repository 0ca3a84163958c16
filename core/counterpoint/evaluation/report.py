"""A comparison as one HTML file that needs nothing else: no server, no network, no script that loads anything.

Answers are text of models and may be anything: the template escapes whatever it shows, and the page's own policy forbids
it to fetch. Records hold no words of the data set, and neither does a report unless questions are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from counterpoint.errors import EvaluationError
from counterpoint.evaluation import plots, wording
from counterpoint.evaluation.comparison import Comparison
from counterpoint.evaluation.figures import RecipeResult
from counterpoint.evaluation.outcomes import Measure, score_of, value_of, values
from counterpoint.evaluation.records import Record
from counterpoint.printable import page_template
from counterpoint.writing import write_whole


@dataclass(frozen=True)
class Limits:
    """How much of the answers a report holds. What is left out is said in it."""

    examples: int = 1000
    characters: int = 3_000_000
    """Of all answers and questions together."""
    answer: int = 6000
    """Characters of one answer or question."""


DEFAULT_LIMITS = Limits()


def render_report(
    comparison: Comparison,
    *,
    title: str | None = None,
    questions: Mapping[str, str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> str:
    """The HTML text of a report. The same comparison gives the same text.

    Args:
        comparison: what to report.
        title: the heading; by default the recipes' names and the data set's.
        questions: what was asked, by example, to show beside the answers. Left out, the report holds ids and no words of the
            data set, so that it may be published.
        limits: how much of the answers to show.

    Raises:
        EvaluationError: matplotlib is not installed.
    """
    first = comparison.recipes[0].configuration
    names = [recipe.name for recipe in comparison.recipes]
    shown, left_out, cut = _examples(comparison, questions or {}, limits)
    return page_template(Path(__file__).parent, "report.html.j2").render(
        title=title or f"{' against '.join(names) if len(names) <= 2 else f'{len(names)} recipes'} on {first.data.name}",
        comparison=comparison,
        first=first,
        recipes=comparison.recipes,
        names=names,
        headline=comparison.measures[0],
        sections=[_section(comparison, measure) for measure in comparison.measures],
        examples=shown,
        left_out=left_out,
        cut=cut,
        limits=limits,
        configurations=[_configuration(recipe) for recipe in comparison.recipes],
        confidence=f"{100 * comparison.settings.confidence:g} %",
        w=wording,
    )


def write_report(
    path: Path,
    comparison: Comparison,
    *,
    title: str | None = None,
    questions: Mapping[str, str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Writes a report (:func:`render_report`).

    Raises:
        EvaluationError: it cannot be written, or matplotlib is not installed.
    """
    text = render_report(comparison, title=title, questions=questions, limits=limits)
    try:
        write_whole(path, text)
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be written: {error.strerror}", hint="name another file") from None


def _section(comparison: Comparison, measure: Measure) -> dict[str, Any]:
    """What one scorer says."""
    pairs = [pair for pair in comparison.pairs if pair.scorer == measure.name]
    frontiers = []
    for unit, words in (("flops", "FLOPs"), ("seconds", "seconds")):
        label = f"{measure.name} against {words} of an example. {_in_words(comparison, measure)}"
        if svg := plots.frontier_plot(comparison, measure, "flops" if unit == "flops" else "seconds", label):
            frontiers.append((f"Against {words}", Markup(svg)))
    untimed = [recipe.name for recipe in comparison.recipes if recipe.costs.seconds is None]
    label = f"Differences on {measure.name}. {' '.join(pair.verdict for pair in pairs)}"
    return {
        "measure": measure,
        "pairs": pairs,
        "frontiers": frontiers,
        "untimed": untimed if len(untimed) < len(comparison.recipes) else [],
        "forest": Markup(plots.forest_plot(pairs, measure, label)),
        "passes": [(recipe, recipe.passes[measure.name]) for recipe in comparison.recipes if measure.name in recipe.passes],
        "budgets": [row for row in comparison.budgets if row.scorer == measure.name],
    }


def _in_words(comparison: Comparison, measure: Measure) -> str:
    return "; ".join(
        f"{recipe.name}: {wording.score(recipe.figures[measure.name].estimate.value, measure)} "
        f"at {wording.flops(recipe.costs.flops)}"
        for recipe in comparison.recipes
    )


def _examples(comparison: Comparison, questions: Mapping[str, str], limits: Limits) -> tuple[list[dict[str, Any]], int, int]:
    """The examples to show, those on which recipes differ most first; how many are left out; how many texts were cut."""
    headline = comparison.measures[0]
    by_recipe = [values(recipe.groups, headline) for recipe in comparison.recipes]

    def spread(example: str) -> float:
        found = [one[example] for one in by_recipe if example in one]
        return max(found) - min(found) if len(found) > 1 else 0.0

    shown: list[dict[str, Any]] = []
    room, cut = limits.characters, 0
    for example in sorted(comparison.examples, key=lambda one: (-round(spread(one), 9), one)):
        texts = [questions.get(example, "")] + [recipe.groups[example][0].text for recipe in comparison.recipes]
        room -= sum(min(len(text), limits.answer) for text in texts)
        if len(shown) >= limits.examples or room < 0:
            break
        cut += sum(len(text) > limits.answer for text in texts)
        shown.append(
            {
                "id": example,
                "question": texts[0],
                "answers": [
                    _answer(index, recipe, example, one.get(example), comparison.measures)
                    for index, (recipe, one) in enumerate(zip(comparison.recipes, by_recipe, strict=True))
                ],
            }
        )
    return shown, len(comparison.examples) - len(shown), cut


def _answer(index: int, recipe: RecipeResult, example: str, value: float | None, measures: Sequence[Measure]) -> dict[str, Any]:
    samples = recipe.groups[example]
    record = samples[0]
    return {
        "index": index,
        "recipe": recipe.name,
        "value": value,
        "chip": _chip(value, measures[0], samples),
        "record": record,
        "samples": len(samples),
        "scores": [
            (measure.name, wording.number(float(score)), score.detail)
            for measure in measures
            if (score := score_of(record, measure)) is not None
        ],
    }


def _chip(value: float | None, measure: Measure, samples: Sequence[Record]) -> str:
    if value is None:
        return "–"
    if not measure.verdicts:
        return wording.number(value)
    if len(samples) == 1:
        return "right" if value >= 0.5 else "wrong"
    counted = [one for record in samples if (one := value_of(record, measure)) is not None]
    return f"{sum(one >= 0.5 for one in counted)} of {len(counted)} right"


def _configuration(recipe: RecipeResult) -> dict[str, Any]:
    configuration = recipe.configuration
    settings = {
        "samples": configuration.samples,
        "seed": configuration.seed,
        "budget of an answer": ", ".join(f"{key} = {value:g}" for key, value in _given(configuration.budget)) or "none",
        "examples in flight": configuration.in_flight,
        "shard": f"{configuration.shard[0]} of {configuration.shard[1]}" if configuration.shard else "none",
        "template": configuration.template or "the task’s own",
        "prefix": configuration.prefix or "none",
        "started": configuration.started or "not recorded",
        "data set": f"{configuration.data.name}, {configuration.data.examples} examples",
        "SHA-256 of the data": configuration.data.sha256,
    }
    return {
        "name": recipe.name,
        "recipe": _yaml(configuration.recipe),
        "scorers": _yaml(configuration.scorers),
        "settings": settings | dict(configuration.versions),
    }


def _given(budget: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in (budget or {}).items() if isinstance(value, (int, float))]


def _yaml(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=100)

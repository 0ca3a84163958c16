"""Several recipes on the same examples: figures, differences, costs, and a verdict in words.

comparison = compare([(configuration, records), …], [Measure.of(name, verifier), …])
for pair in comparison.pairs:
    print(pair.verdict)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import EvaluationError
from counterpoint.evaluation import wording
from counterpoint.evaluation.estimators import exhausted, pass_at_budget
from counterpoint.evaluation.extras import data_frame
from counterpoint.evaluation.figures import DEFAULT, RecipeResult, Settings, doubling, recipe_result
from counterpoint.evaluation.outcomes import Measure, attempts, by_example, frontier
from counterpoint.evaluation.pairs import Pair, compare_pairs
from counterpoint.evaluation.records import Configuration, Record
from counterpoint.evaluation.together import check_together, common_examples, names_of

__all__ = ["BudgetRow", "Comparison", "Pair", "RecipeResult", "compare", "frontier"]


@dataclass(frozen=True)
class BudgetRow:
    """pass@k of every recipe when each example may cost what ``k`` samples of the costliest recipe cost on it."""

    scorer: str
    reference: str
    """The recipe whose samples cost most."""
    k: int
    """How many of its samples make the budget."""
    flops: float
    """Mean budget of an example, in FLOPs."""
    values: Mapping[str, float]
    """By recipe: :func:`~counterpoint.evaluation.estimators.pass_at_budget`."""
    bounds: frozenset[str]
    """Recipes that could have afforded more samples than were made: their values are lower bounds."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self)) | {"values": dict(self.values), "bounds": sorted(self.bounds)}


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` finds."""

    measures: tuple[Measure, ...]
    """The headline first."""
    recipes: tuple[RecipeResult, ...]
    """In the order given."""
    pairs: tuple[Pair, ...]
    """By scorer, then in the order of recipes."""
    budgets: tuple[BudgetRow, ...]
    """Equal budgets, where a verdict was given on several samples."""
    examples: tuple[str, ...]
    """The examples compared on."""
    warnings: tuple[str, ...]
    """What may make the figures say something else than they seem to."""
    notes: tuple[str, ...]
    """How the figures were made."""
    settings: Settings = DEFAULT

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The sentences of all pairs, the headline's first."""
        return tuple(pair.verdict for pair in self.pairs)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the answers."""
        return {
            "scorers": [measure.name for measure in self.measures],
            "examples": len(self.examples),
            "verdicts": list(self.verdicts),
            "recipes": [recipe.as_dict() for recipe in self.recipes],
            "pairs": [pair.as_dict() for pair in self.pairs],
            "budgets": [row.as_dict() for row in self.budgets],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "confidence": self.settings.confidence,
        }

    def to_frame(self) -> Any:
        """A pandas ``DataFrame`` with a row per recipe and scorer.

        Raises:
            EvaluationError: pandas is not installed.
        """
        return data_frame(
            [
                {"recipe": recipe.name, **recipe.figures[measure.name].as_dict(), **recipe.costs.as_dict()}
                for recipe in self.recipes
                for measure in self.measures
            ]
        )

    def pairs_to_frame(self) -> Any:
        """A pandas ``DataFrame`` with a row per pair of recipes and scorer.

        Raises:
            EvaluationError: pandas is not installed.
        """
        rows = [pair.as_dict() for pair in self.pairs]
        return data_frame([row | row.pop("difference") for row in rows])


def compare(
    evaluations: Sequence[tuple[Configuration, Sequence[Record]]],
    measures: Sequence[Measure],
    *,
    baseline: str | None = None,
    settings: Settings = DEFAULT,
) -> Comparison:
    """Compares finished evaluations on the examples they have in common. One alone has figures and no pairs.

    Args:
        evaluations: configurations with their records, in any order.
        measures: how to read the scorers, the headline first.
        baseline: compare the others with the recipe of this name only; by default every recipe with every other.
        settings: confidence, resamples and seed of intervals and tests.

    Raises:
        EvaluationError: the evaluations do not belong together (other data, task or scorers, no example in common), hold no
            answers, or no recipe is called ``baseline``; scipy is not installed.
    """
    check_together([configuration for configuration, _ in evaluations], measures)
    names, named = names_of([configuration for configuration, _ in evaluations])
    if baseline is not None and baseline not in names:
        raise EvaluationError(f"no recipe is called '{baseline}'", hint=f"these are compared: {', '.join(names)}")
    grouped = [by_example(records) for _, records in evaluations]
    examples, missing = common_examples(names, grouped)
    recipes = tuple(
        recipe_result(name, configuration, {example: groups[example] for example in examples}, measures, settings)
        for name, (configuration, _), groups in zip(names, evaluations, grouped, strict=True)
    )
    pairs = compare_pairs(recipes, measures, baseline, settings)
    return Comparison(
        measures=tuple(measures),
        recipes=recipes,
        pairs=tuple(pairs),
        budgets=tuple(row for measure in measures for row in _budgets(recipes, measure)),
        examples=tuple(examples),
        warnings=tuple(wording.warnings(recipes, measures)),
        notes=(*named, *missing, *wording.notes(recipes, measures, pairs, len(examples), settings)),
        settings=settings,
    )


def _budgets(recipes: Sequence[RecipeResult], measure: Measure) -> list[BudgetRow]:
    """Budgets of 1, 2, 4 … samples of the recipe whose samples cost most, on each example its own."""
    if not measure.verdicts or len(recipes) < 2 or not any(measure.name in recipe.passes for recipe in recipes):
        return []
    tried = {recipe.name: attempts(recipe.groups, measure) for recipe in recipes}
    both = [example for example in tried[recipes[0].name] if all(example in found for found in tried.values())]
    every = {name: [found[example] for example in both] for name, found in tried.items()}
    reference = max(every, key=lambda name: math.fsum(example.cost(1) for example in every[name]))
    if not both or not any(example.cost(1) > 0 for example in every[reference]):
        return []
    rows = []
    for k in doubling(min(example.n for example in every[reference])):
        budgets = [example.cost(k) for example in every[reference]]
        rows.append(
            BudgetRow(
                scorer=measure.name,
                reference=reference,
                k=k,
                flops=math.fsum(budgets) / len(budgets),
                values={name: pass_at_budget(found, budgets) for name, found in every.items()},
                bounds=frozenset(name for name, found in every.items() if exhausted(found, budgets)),
            )
        )
    return rows

"""Comparisons in words: verdicts on pairs, warnings, notes, and numbers as reports write them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from counterpoint.evaluation.outcomes import Measure, single_verdicts

if TYPE_CHECKING:
    from counterpoint.evaluation.comparison import BudgetRow
    from counterpoint.evaluation.figures import RecipeResult, Settings
    from counterpoint.evaluation.pairs import Pair
    from counterpoint.evaluation.statistics import Estimate

_FEW = 30  # examples under which intervals are rough
_UNEQUAL = 1.25  # costs that differ by more are not equal


# --- numbers ------------------------------------------------------------------------------------------------------------


def number(value: float, digits: int = 3) -> str:
    """A number to some significant digits, with a true minus sign; a dash where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}g}" if 1e-4 <= abs(value) < 1e5 or value == 0 else f"{value:.{digits - 1}e}"
    return text.replace("-", "−")


def score(value: float, measure: Measure) -> str:
    """A figure: per cent for verdicts (``62.5 %``), else the number itself."""
    return f"{_tenths(100 * value)} %" if measure.verdicts and math.isfinite(value) else number(value)


def interval(estimate: Estimate, measure: Measure) -> str:
    """The bounds: ``51.2 – 72.6``, per cent for verdicts; a dash where there are none."""
    if math.isnan(estimate.low):
        return "–"
    if measure.verdicts:
        return f"{_tenths(100 * estimate.low)} – {_tenths(100 * estimate.high)}"
    return f"{number(estimate.low)} – {number(estimate.high)}"


def p_text(p: float) -> str:
    """``p = 0.012``, ``p < 0.001``."""
    if math.isnan(p):
        return "p unknown"
    if p < 0.001:
        return "p < 0.001"
    return "p = 1" if p >= 0.9995 else f"p = {p:.2g}"


def times(ratio: float) -> str:
    """``0.31 ×``, ``12 ×``."""
    return f"{ratio:.0f} ×" if ratio >= 99.5 else f"{ratio:.2g} ×"


def difference(value: float, measure: Measure) -> str:
    """A difference without its unit: percentage points for verdicts."""
    return _tenths(100 * value) if measure.verdicts and math.isfinite(value) else number(value)


def flops(amount: float) -> str:
    """``3.2 TFLOP``."""
    prefixes = ("", "k", "M", "G", "T", "P", "E")
    power = min(max(math.floor(math.log10(amount) / 3 + 1e-9), 0), len(prefixes) - 1) if amount > 0 else 0
    return f"{_few_digits(amount / 1000**power)} {prefixes[power]}FLOP"


def seconds(amount: float | None) -> str:
    """``0.42 s``, ``35 ms``; a dash where it is not known."""
    if amount is None:
        return "–"
    return f"{_few_digits(1000 * amount)} ms" if amount < 0.1 else f"{_few_digits(amount)} s"


def _few_digits(amount: float) -> str:
    return f"{amount:.2g}" if amount < 99.5 else f"{amount:.0f}"


def _tenths(value: float) -> str:
    text = f"{value:.1f}"
    return ("0.0" if text == "-0.0" else text).replace("-", "−")


# --- verdicts -----------------------------------------------------------------------------------------------------------


def verdict(pair: Pair, measure: Measure, pairs: int) -> str:
    """What a pair shows, in a sentence: which is better, by how much, how sure that is, and at what cost.

    Args:
        pair: the figures; its ``better`` is set where a difference is shown.
        measure: how to read them.
        pairs: how many were tested together.
    """
    second_ahead = pair.difference.value != 0 and (pair.difference.value < 0) != measure.lower_is_better
    flipped = pair.better == pair.b if pair.better else second_ahead
    first, second = (pair.b, pair.a) if flipped else (pair.a, pair.b)
    oriented = -pair.difference if flipped != measure.lower_is_better else pair.difference
    unit = " points" if measure.verdicts else ""
    bounds = (
        f"{100 * oriented.confidence:g} % interval {difference(oriented.low, measure)} to {difference(oriented.high, measure)}"
        if math.isfinite(oriented.low)
        else "no interval"
    )
    test = f"{pair.test} {p_text(pair.adjusted)}" + (f" after Holm’s correction for {pairs} pairs" if pairs > 1 else "")
    lower = "; lower is better" if measure.lower_is_better else ""
    amount = f"{difference(oriented.value, measure)}{unit}"
    cost = _cost(pair, flipped)
    if pair.better:
        return f"{first} is better than {second} by {amount} on {pair.scorer} ({bounds}; {test}{lower})" + (
            f", at {cost}." if cost else "."
        )
    seen = f"{first} ahead by {amount}, {bounds}" if pair.difference.value else f"both the same, {bounds}"
    return f"No difference shown between {first} and {second} on {pair.scorer} ({seen}; {test}{lower})" + (
        f"; {first} took {cost}." if cost else "."
    )


def at_budget(row: BudgetRow, recipe: str, measure: Measure) -> str:
    """What a sampled recipe reaches for the price of another's samples, in a sentence."""
    least = "at least " if recipe in row.bounds else ""
    samples = "one sample" if row.k == 1 else f"{row.k} samples"
    return (
        f"For the FLOPs of {samples} of {row.reference} ({flops(row.flops)} an example), samples of {recipe} hold a right answer "
        f"on {least}{score(row.values[recipe], measure)} of the examples, against {score(row.values[row.reference], measure)} "
        f"on {row.scorer}; to use that, something must tell right answers from wrong ones."
    )


def _cost(pair: Pair, flipped: bool) -> str:
    parts = []
    for ratio, what in ((pair.flops_ratio, "FLOPs"), (pair.seconds_ratio, "time")):
        if ratio:
            ratio = 1 / ratio if flipped else ratio
            parts.append(f"about the same {what}" if 0.95 < ratio < 1.05 else f"{times(ratio)} the {what}")
    return " and ".join(parts)


# --- what else a reader has to know ---------------------------------------------------------------------------------------


def warnings(recipes: Sequence[RecipeResult], measures: Sequence[Measure]) -> Iterator[str]:
    """What may make figures say something else than they seem to."""
    for recipe in recipes:
        for verifier, columns in recipe.configuration.reads_references.items():
            yield (
                f"{recipe.name}: its verifier {verifier} reads {', '.join(columns)}, which a scorer reads too: it chooses "
                "by the reference answers, so its figures are a ceiling and not what it would do elsewhere"
            )
    for recipe in recipes:
        answers = [record for samples in recipe.groups.values() for record in samples]
        if failed := sum(record.failed for record in answers):
            wrong = [measure.name for measure in measures if measure.verdicts]
            left = [measure.name for measure in measures if not measure.verdicts]
            effects = [f"count as wrong for {', '.join(wrong)}"] * bool(wrong) + [f"are left out of {', '.join(left)}"] * bool(
                left
            )
            yield f"{recipe.name}: {failed} of {len(answers)} answers failed or could not be scored; they {' and '.join(effects)}"
        reasons = Counter(record.finish_reason for record in answers if not record.failed)
        if reasons["budget"]:
            yield f"{recipe.name}: the budget ended {reasons['budget']} of {len(answers)} answers early"
        if reasons["length"]:
            yield f"{recipe.name}: {reasons['length']} of {len(answers)} answers were cut at the limit of tokens"
        if (missing := len(recipe.groups) * recipe.configuration.samples - len(answers)) > 0:
            yield f"{recipe.name}: {missing} samples are missing; the evaluation was not finished"
    counts = {recipe.configuration.samples for recipe in recipes}
    for measure in measures:
        if measure.overall is not None and len(counts) > 1:
            yield (
                f"{measure.name} is computed from all answers at once, and recipes have {_list(sorted(counts))} samples an "
                "example: compare evaluations with as many"
            )
    yield from _unequal(recipes)


def _list(items: Sequence[object]) -> str:
    *some, last = map(str, items)
    return f"{', '.join(some)} and {last}" if some else last


def _unequal(recipes: Sequence[RecipeResult]) -> Iterator[str]:
    budgets = [recipe.configuration.budget for recipe in recipes]
    priced = [recipe for recipe in recipes if recipe.costs.flops > 0]
    if len(priced) < 2 or any(budget != budgets[0] for budget in budgets):
        return
    more, less = (choose(priced, key=lambda recipe: recipe.costs.flops) for choose in (max, min))
    if (ratio := more.costs.flops / less.costs.flops) > _UNEQUAL:
        if budgets[0] is None:
            yield f"no budget was set, and costs differ: {more.name} took {times(ratio)} the FLOPs of {less.name} per answer"
        else:
            yield f"costs under the same budget differ: {more.name} took {times(ratio)} the FLOPs of {less.name} per answer"


def notes(
    recipes: Sequence[RecipeResult], measures: Sequence[Measure], pairs: Sequence[Pair], examples: int, settings: Settings
) -> Iterator[str]:
    """How the figures were made, and what differs besides the recipes."""
    if examples < _FEW:
        yield f"there are {examples} examples only: intervals are rough, and nothing but large differences can show"
    first = recipes[0].configuration
    whole = first.data.examples
    if examples < whole:
        yield f"the data set {first.data.name} has {whole} examples, of which {examples} are compared"
    for other in recipes[1:]:
        ignored = frozenset({"recipe", "reads_references", "shard"})
        if differences := first.differences(other.configuration, besides=ignored):
            yield f"{other.name} was evaluated with other settings than {recipes[0].name}: {', '.join(differences)}"
    for recipe in recipes:
        for one in recipe.figures.values():
            if one.abstained:
                yield f"{recipe.name}: {one.scorer} abstained on {one.abstained} answers; they are left out"
    tested = len(pairs) // len(measures)
    if tested > 1:
        yield f"{tested} pairs are tested together, by scorer: p-values are adjusted by Holm’s method, intervals are not"
    if pairs and len(measures) > 1:
        yield f"the headline is {measures[0].name}; p-values are not adjusted for looking at {len(measures)} scorers"
    methods = {one.estimate.method for recipe in recipes for one in recipe.figures.values()}
    methods |= {pair.difference.method for pair in pairs}
    yield f"{100 * settings.confidence:g} % intervals over examples: {', '.join(sorted(methods))}; seed {settings.seed}"
    if any(not single_verdicts(recipe.groups, measure) for recipe in recipes for measure in measures if measure.verdicts):
        yield "several samples of an example count as one observation, their mean"

"""Plots of a comparison, as SVG to stand inside an HTML page.

Colours are the page's CSS variables (``--ink``, ``--rule``, ``--series-0`` …), so that plots follow light and dark; every
recipe has a marker of its own too, for those who tell no colours apart. The same comparison gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from counterpoint.evaluation import wording
from counterpoint.evaluation.comparison import Comparison
from counterpoint.evaluation.extras import require
from counterpoint.evaluation.figures import RecipeResult
from counterpoint.evaluation.outcomes import Measure, Unit
from counterpoint.evaluation.pairs import Pair

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
"""matplotlib's markers of recipes, in the order of the comparison."""
SERIES = len(MARKERS)
# Stand-ins that matplotlib writes and the page's variables replace.
_INK, _RULE, _PAGE = "#010201", "#010202", "#010203"
_COLOURS = tuple(f"#0103{index:02x}" for index in range(SERIES))
_VARIABLES = {_INK: "var(--ink)", _RULE: "var(--rule)", _PAGE: "var(--page)"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(_COLOURS)
}
_WIDTH = 5.4  # inches: about a telephone's width at the size of the page's text
_NAME = 26  # characters of a recipe's name in a plot


def frontier_plot(comparison: Comparison, measure: Measure, unit: Unit, label: str) -> str:
    """Quality against cost: a point with its interval for every recipe, and for several samples the curve of pass@k.

    Args:
        comparison: the recipes.
        measure: the figure on the vertical axis.
        unit: of the cost; recipes without wall times of their own are left out of seconds.
        label: what the plot shows, in words, for those who do not see it.

    Returns:
        An ``<svg>`` element; empty where no recipe has a cost in this unit.

    Raises:
        EvaluationError: matplotlib is not installed.
    """
    shown = [(index, recipe) for index, recipe in enumerate(comparison.recipes) if _cost(recipe, unit)]
    if not shown:
        return ""
    with _figure(3.5) as (figure, axes):
        costs: list[float] = []
        for index, recipe in shown:
            costs += _draw_recipe(axes, index, recipe, measure, unit)
        _scale(axes.xaxis, axes.set_xscale, costs, wording.flops if unit == "flops" else wording.seconds)
        samples = any(measure.name in recipe.passes for _, recipe in shown)
        axes.set_xlabel(
            ("FLOPs" if unit == "flops" else "wall time") + " of an example" + (", all its samples together" if samples else "")
        )
        axes.set_ylabel(_axis(measure, "pass@k" if samples else ""), parse_math=False)
        if measure.verdicts:
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        return _svg(figure, label)


def _draw_recipe(axes: Any, index: int, recipe: RecipeResult, measure: Measure, unit: Unit) -> list[float]:
    """Draws one recipe, and returns its costs."""
    colour, marker = _COLOURS[index % SERIES], MARKERS[index % SERIES]
    points = recipe.frontier(measure, unit)
    bars = dict(recipe.passes.get(measure.name, ())) or {1: recipe.figures[measure.name].estimate}
    if len(points) > 1:
        axes.plot([point.cost for point in points], [point.value for point in points], color=colour, linewidth=1.6, zorder=2)
    for point in points:
        if (estimate := bars.get(point.k)) is None:
            continue
        if math.isfinite(estimate.low):
            axes.plot([point.cost] * 2, [estimate.low, estimate.high], color=colour, linewidth=1.1, alpha=0.65, zorder=2)
        axes.plot([point.cost], [point.value], marker=marker, color=colour, markeredgecolor=_PAGE, markersize=8, zorder=3)
        if len(points) > 1 and point.k in (1, points[-1].k):
            axes.annotate(
                f"{point.k}",
                (point.cost, point.value),
                xytext=(6, -3) if point.k > 1 else (-6, 5),
                ha="left" if point.k > 1 else "right",
                va="top" if point.k > 1 else "bottom",
                textcoords="offset points",
                color=_INK,
                fontsize=8.5,
            )
    return [point.cost for point in points]


def forest_plot(pairs: Sequence[Pair], measure: Measure, label: str) -> str:
    """Differences of pairs with their intervals; to the right of zero the first is better, and filled means shown.

    Args:
        pairs: of one scorer.
        measure: that scorer.
        label: what the plot shows, in words.

    Returns:
        An ``<svg>`` element; empty where there is no pair.

    Raises:
        EvaluationError: matplotlib is not installed.
    """
    if not pairs:
        return ""
    with _figure(0.75 + 0.52 * len(pairs)) as (figure, axes):
        axes.axvline(0, color=_INK, linewidth=1, zorder=1)
        for row, pair in enumerate(pairs):
            difference = -pair.difference if measure.lower_is_better else pair.difference
            scale, colour = 100 if measure.verdicts else 1, _COLOURS[0]
            if math.isfinite(difference.low):
                axes.plot([scale * difference.low, scale * difference.high], [row, row], color=colour, linewidth=1.8)
            axes.plot(
                [scale * difference.value],
                [row],
                marker="o",
                markersize=7,
                markerfacecolor=colour if pair.better else _PAGE,
                markeredgecolor=colour,
                zorder=3,
            )
            axes.text(
                0.0,
                row - 0.3,
                f"{_short(pair.a)} against {_short(pair.b)}",
                transform=axes.get_yaxis_transform(),
                color=_INK,
                fontsize=9,
                va="bottom",
                bbox={"facecolor": _PAGE, "edgecolor": "none", "pad": 1.5},
                parse_math=False,
            )
        axes.set_ylim(len(pairs) - 0.5, -0.95)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(False, axis="y")
        axes.margins(x=0.08)
        unit = "percentage points" if measure.verdicts else f"{_short(measure.name)}"
        axes.set_xlabel(f"difference in {unit}; right of 0, the first is better", parse_math=False)
        axes.xaxis.set_major_formatter(lambda value, _: wording.number(value))
        return _svg(figure, label)


def _axis(measure: Measure, also: str) -> str:
    note = "lower is better" if measure.lower_is_better else also
    return _short(measure.name) + (f" ({note})" if note else "")


def _cost(recipe: RecipeResult, unit: Unit) -> float | None:
    return recipe.costs.flops if unit == "flops" else recipe.costs.seconds


def _short(name: str) -> str:
    name = re.sub(r"[\x00-\x1f\x7f]", "\N{REPLACEMENT CHARACTER}", name)  # no XML holds these
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _scale(axis: Any, set_scale: Any, costs: Sequence[float], text: Any) -> None:
    """A logarithmic axis where costs span more than a factor of three, with few labels."""
    ticker = require("matplotlib.ticker", "plots")
    low, high = min(costs), max(costs)
    if low > 0 and high / low > 3:
        set_scale("log")
        low, high = low / 1.35, high * 1.35
        axis.axes.set_xlim(low, high)
        axis.set_major_locator(ticker.FixedLocator(_ticks(low, high)))
        axis.set_minor_locator(ticker.NullLocator())
    else:
        axis.set_major_locator(ticker.MaxNLocator(5))
        axis.axes.margins(x=0.15)
    axis.set_major_formatter(lambda value, _: text(value))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, no more than fit side by side."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    found: list[float] = []
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [value for decade in decades for step in steps if low <= (value := step * 10.0**decade) <= high]
        if len(found) <= 5:
            break
    return found[:: math.ceil(len(found) / 5)] if found else []


@contextmanager
def _figure(height: float) -> Iterator[tuple[Any, Any]]:
    """A figure with one pair of axes in the page's style, made without pyplot, so that nothing global changes."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the first use builds a font cache, and says so
    try:
        matplotlib = require("matplotlib", "plots")
        figure_class = require("matplotlib.figure", "plots").Figure
        style = {
            "svg.fonttype": "none",
            "svg.hashsalt": "counterpoint",
            "font.size": 9.5,
            "font.family": "sans-serif",
            "axes.edgecolor": _RULE,
            "axes.labelcolor": _INK,
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.formatter.use_mathtext": False,
            "grid.color": _RULE,
            "grid.linewidth": 0.6,
            "xtick.color": _RULE,
            "ytick.color": _RULE,
            "xtick.labelcolor": _INK,
            "ytick.labelcolor": _INK,
            "text.color": _INK,
        }
        with matplotlib.rc_context(style):
            figure = figure_class(figsize=(_WIDTH, height), layout="constrained")
            yield figure, figure.add_subplot()
    finally:
        logger.setLevel(level)


def _svg(figure: Any, label: str) -> str:
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    # its style sheet has a rule for every element of the page
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    # several plots in one page must not share ids
    prefix = f"p{hashlib.sha256(label.encode()).hexdigest()[:8]}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}").replace('href="#', f'href="#{prefix}')
    head, _, rest = svg.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)  # the page decides
    return head.replace("<svg ", f'<svg role="img" aria-label="{_escape(label)}" ', 1) + ">" + rest


def _escape(text: str) -> str:
    clean = re.sub(r"[\x00-\x1f\x7f]", "\N{REPLACEMENT CHARACTER}", text)
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")

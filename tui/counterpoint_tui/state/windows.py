"""Weak-to-strong decoding as a plot: scores of windows of the draft against the threshold, and where the target took over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.criterion import SwitchCriterion
from counterpoint.registry import InvalidNode, Registry
from counterpoint_tui.state.data import RunState, Switch
from counterpoint_tui.state.graph import settings_at
from counterpoint_tui.state.spans import base_path


@dataclass(frozen=True, slots=True)
class WindowPlot:
    """Scores of a draft, and the hand-over."""

    span: int
    node: str
    points: tuple[tuple[int, float], ...]
    """Position in the response, and score, in order."""
    threshold: float | None
    """From which score the target takes over; None where nothing tells."""
    criterion: str
    """Kind of the criterion; empty where nothing tells."""
    switch: Switch | None
    """The hand-over; None while there is none."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest finite value to be shown, threshold included."""
        values = [score for _, score in self.points] + ([] if self.threshold is None else [self.threshold])
        finite = [value for value in values if math.isfinite(value)]
        return (min(finite), max(finite)) if finite else (0.0, 1.0)


def window_plots(state: RunState, registry: Registry | None = None) -> tuple[WindowPlot, ...]:
    """The plots of all calls that hand over or score windows, in the order in which they began.

    Args:
        state: the run.
        registry: plugins, which know thresholds that a recipe leaves at their defaults.
    """
    calls = sorted({*state.windows, *(switch.span for switch in state.switches)})
    return tuple(_plot(state, span, registry) for span in calls)


def window_plot(state: RunState, span: int | None = None, registry: Registry | None = None) -> WindowPlot | None:
    """The plot of a call, by default of the last one that has any; None where there is none."""
    calls = {*state.windows, *(switch.span for switch in state.switches)}
    chosen = max(calls, default=None) if span is None else span
    return _plot(state, chosen, registry) if chosen in calls and chosen is not None else None


def _plot(state: RunState, span: int, registry: Registry | None) -> WindowPlot:
    window = state.windows.get(span)
    call = state.spans.get(span)
    node = window.node if window else call.node if call else ""
    kind, threshold = _criterion(state.recipe, base_path(node), registry)
    if window is not None and window.threshold is not None:
        threshold = window.threshold
    points = tuple((position, score) for position, score, _ in window.points) if window else ()
    switch = next((one for one in state.switches if one.span == span), None)
    return WindowPlot(span, node, points, threshold, kind, switch)


def _criterion(recipe: Mapping[str, Any], path: str, registry: Registry | None) -> tuple[str, float | None]:
    """Kind and threshold of the criterion of a node, from the plugins that bring it, or else from what the recipe says."""
    settings = settings_at(recipe, path)
    given = settings.get("criterion")
    if isinstance(given, str):
        given = settings_at(recipe, given)
    if registry is not None:
        try:
            node = registry.build(given if isinstance(given, Mapping) else settings)
            criterion = node if isinstance(given, Mapping) else getattr(node, "criterion", None)
        except InvalidNode:
            criterion = None
        if isinstance(criterion, SwitchCriterion):
            return criterion.kind, criterion.threshold
    if not isinstance(given, Mapping):
        return "", None
    for name, sign in (("gamma", 1.0), ("threshold", 1.0), ("bound", -1.0)):
        if isinstance(value := given.get(name), (int, float)):
            return str(given.get("kind", "")), sign * value
    return str(given.get("kind", "")), None

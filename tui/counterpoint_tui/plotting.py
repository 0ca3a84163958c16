"""Scores of windows of a draft as a plot in characters. Pure: no Textual."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

from counterpoint_tui.state import WindowPlot
from counterpoint_tui.texts import one_line

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LABEL = 9
"""Columns of the scale."""
BELOW = 4
"""Lines below the bars: the axis, its scale, and what is to be said."""


def plot_text(plot: WindowPlot, width: int, height: int, styles: Mapping[str, str]) -> Text:
    """A plot: a bar for each window (where there are more than columns, for the best of several), the threshold, and the switch.

    Args:
        plot: what is shown.
        width: columns.
        height: lines for the bars; below them come :data:`BELOW` more.
        styles: of ``over`` and ``under`` the threshold, of the ``threshold`` and of the ``switch``.
    """
    room = max(1, width - _LABEL - 1)
    columns = _columns(plot.points, room)
    low, high = _scale(plot)
    text = Text(no_wrap=True, overflow="ellipsis")
    line = None if plot.threshold is None or not math.isfinite(plot.threshold) else _level(plot.threshold, low, high, height)
    cut = None if line is None else min(height - 1, int(line))
    switch = _column_of_switch(plot, columns)
    for row in range(height - 1, -1, -1):
        label = (
            f"{plot.threshold:.3g}" if row == cut else f"{high:.3g}" if row == height - 1 else f"{low:.3g}" if row == 0 else ""
        )
        text.append(f"{label:>{_LABEL - 1}} ", style=styles["threshold"] if row == cut else "dim")
        text.append("┼" if row == cut else "│", style="dim")
        for place, (_, score) in enumerate(columns):
            level = _level(score, low, high, height)
            filled = max(0, min(8, round((level - row) * 8)))
            over = plot.threshold is not None and score >= plot.threshold
            if filled:
                text.append(_EIGHTHS[filled], style=styles["over" if over else "under"])
            elif place == switch:
                text.append("╎", style=styles["switch"])
            else:
                text.append("╌" if row == cut else " ", style=styles["threshold"])
        text.append("\n")
    text.append(" " * _LABEL + "└", style="dim")
    for place in range(len(columns)):
        text.append("▲" if place == switch else "─", style=styles["switch"] if place == switch else "dim")
    text.append("\n")
    text.append(_axis(columns))
    text.append("\n")
    text.append(_said(plot))
    return text


def _axis(columns: Sequence[tuple[int, float]]) -> Text:
    """The first and the last position under their bars."""
    text = Text(" " * (_LABEL + 1), no_wrap=True)
    if not columns:
        return text
    first, last = str(columns[0][0]), str(columns[-1][0])
    cells = first.ljust(len(columns))
    if len(columns) > len(first) + len(last):
        cells = cells[: len(columns) - len(last)] + last
    return text.append(cells, style="dim")


def _said(plot: WindowPlot) -> str:
    """The plot in words."""
    rule = one_line(plot.criterion) or "scores of windows"
    if plot.threshold is not None:
        rule += f", hands over from {plot.threshold:.3g}"
    if plot.switch is None:
        last = f"the last, at token {plot.points[-1][0]}, is {plot.points[-1][1]:.3g}" if plot.points else ""
        return f"{rule}\n{last}"
    switch = plot.switch
    handed = f"▲ at token {switch.position} {one_line(switch.giver)} handed over to {one_line(switch.taker)}"
    return f"{handed}\n{one_line(switch.reason) or rule}"


def _columns(points: Sequence[tuple[int, float]], room: int) -> list[tuple[int, float]]:
    """A point for each column: where there are too many, the highest of each few, so that none over the threshold is lost."""
    finite = [(position, score) for position, score in points if not math.isnan(score)]
    if len(finite) <= room:
        return finite
    each = math.ceil(len(finite) / room)
    return [max(finite[start : start + each], key=lambda point: point[1]) for start in range(0, len(finite), each)]


def _scale(plot: WindowPlot) -> tuple[float, float]:
    low, high = plot.bounds
    low = min(low, 0.0) if high > 0 else low  # bars of probabilities stand on zero
    span = (high - low) or abs(high) or 1.0
    return (low if low == 0.0 else low - span * 0.1), high


def _level(value: float, low: float, high: float, height: int) -> float:
    """How many lines high a value stands; whatever there is can be seen."""
    if math.isinf(value):
        return float(height) if value > 0 else 0.125
    return max(0.125, (value - low) / ((high - low) or 1.0) * height)


def _column_of_switch(plot: WindowPlot, columns: Sequence[tuple[int, float]]) -> int | None:
    """The column at which another model took over."""
    if plot.switch is None:
        return None
    before = [place for place, (position, _) in enumerate(columns) if position <= plot.switch.position]
    return before[-1] if before else 0

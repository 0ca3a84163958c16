"""Which lines are kept, and what of several answers is selected: pure functions of scores."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from counterpoint.errors import EvaluationError

Scores = Sequence[float | None]
"""The scores of one line's answers; None abstains."""

QUANTILES = (0, 10, 25, 50, 75, 90, 100)
"""Per cent."""


@dataclass(frozen=True)
class Top:
    """So many lines: a number of them, or a share of all."""

    number: int = 0
    percent: Decimal | None = None

    @classmethod
    def of(cls, given: int | str) -> Top:
        """From ``100`` or ``"10%"``.

        Raises:
            EvaluationError: it is neither.
        """
        text = str(given).strip()
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?\s*%", text) and 0 < (percent := Decimal(text.rstrip("% "))) <= 100:
            return cls(percent=percent)
        if re.fullmatch(r"[0-9]+", text) and int(text) > 0:
            return cls(int(text))
        raise EvaluationError(f"top {given}: is no number of lines, nor a share of them", hint="for example 500, or 10%")

    def count(self, lines: int) -> int:
        """How many that is of so many lines: a share is rounded down, and at least one."""
        return self.number if self.percent is None else max(1, int(lines * self.percent / 100))


@dataclass(frozen=True)
class Wanted:
    """Which answers and lines are kept.

    Raises:
        EvaluationError: a threshold is no number, or nothing can be between the two.
    """

    below: float | None = None
    """Answers with a lower score."""
    above: float | None = None
    """Answers with a higher score."""
    top: Top | None = None
    """The best lines, of those that are left."""

    def __post_init__(self) -> None:
        for name, value in (("below", self.below), ("above", self.above)):
            if value is not None and math.isnan(value):
                raise EvaluationError(f"keep {name} {value}: is no number", hint=f"for example --keep-{name} 1")
        if self.below is not None and self.above is not None and self.above >= self.below:
            raise EvaluationError(
                f"no score is below {self.below:g} and above {self.above:g}", hint="the lower one of the two is --keep-above"
            )

    @property
    def everything(self) -> bool:
        """Whether all lines are kept, those without a score too."""
        return self.below is None and self.above is None and self.top is None

    def allows(self, score: float | None) -> bool:
        """Whether an answer with this score is kept."""
        if score is None:
            return False
        return (self.below is None or score < self.below) and (self.above is None or score > self.above)


def choose(scores: Sequence[Scores], wanted: Wanted, *, lower_is_better: bool = False) -> dict[int, int | None]:
    """The lines that are kept, in their order, and of each the answer that is selected.

    Thresholds hold for answers: a line stays while one of its answers does, and the best of these is selected, the first where
    several are equal. The best lines are those with the best selected answers; of equal ones, the earlier.

    Args:
        scores: of every line.
        wanted: what is kept.
        lower_is_better: whether the best score is the lowest.

    Returns:
        By the line's number. None is selected where nothing has a score, which happens only where everything is kept.
    """
    sign = -1 if lower_is_better else 1
    ranks: dict[int, float] = {}
    selected: dict[int, int | None] = {}
    for line, values in enumerate(scores):
        allowed = {index: sign * value for index, value in enumerate(values) if value is not None and wanted.allows(value)}
        if allowed:
            best = max(allowed, key=allowed.__getitem__)
            ranks[line], selected[line] = allowed[best], best
        elif wanted.everything:
            selected[line] = None
    if wanted.top is None:
        return selected
    best_lines = sorted(ranks, key=ranks.__getitem__, reverse=True)[: wanted.top.count(len(scores))]
    return {line: selected[line] for line in sorted(best_lines)}


def quantiles(scores: Sequence[Scores]) -> dict[str, float]:
    """Quantiles of all scores by their per cent, interpolated linearly; empty where there is no score."""
    found = [value for values in scores for value in values if value is not None]
    if not found:
        return {}
    import numpy as np

    return {str(percent): float(value) for percent, value in zip(QUANTILES, np.percentile(found, QUANTILES), strict=True)}

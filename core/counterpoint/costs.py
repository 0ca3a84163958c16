"""What passes cost, by their number of tokens."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from counterpoint.shape import ModelShape


_NEWS = 0.2
"""Weight of a pass just seen against what was known."""
_OUTLIER = 2.0
"""A pass that took longer than this many times what was expected counts as no longer than that."""


@dataclass(frozen=True)
class PassCosts:
    """Cost of a pass by its number of new tokens: ``(tokens, cost)`` points, straight lines between and after them.

    A pass is far from linear in its tokens: up to a handful cost as much as one, for the weights have to be read anyway.
    """

    points: tuple[tuple[int, float], ...]
    unit: str = "seconds"

    def at(self, tokens: float) -> float:
        """Cost of a pass with so many new tokens."""
        index = min(max(1, bisect.bisect_left(self.points, (tokens,))), len(self.points) - 1)
        (left, low), (right, high) = self.points[index - 1], self.points[index]
        return max(low + (high - low) * (tokens - left) / (right - left), 0.0)

    def one_more(self, tokens: float) -> float:
        """What one more token adds to a pass with so many."""
        return self.at(tokens + 1) - self.at(tokens)

    def observed(self, tokens: int, cost: float) -> PassCosts:
        """These costs with what a pass has just taken: the machine may be busier, or freer, than when they were measured."""
        nearest = min(range(len(self.points)), key=lambda index: abs(math.log(self.points[index][0] / tokens)))
        size, before = self.points[nearest]
        expected = self.at(tokens)
        scaled = cost * before / expected if expected > 0 else cost
        after = before + _NEWS * (min(scaled, _OUTLIER * before) - before)
        points = list(self.points)
        points[nearest] = (size, after)
        for index in range(1, len(points)):  # a larger pass is never counted as cheaper than a smaller one
            points[index] = (points[index][0], max(points[index][1], points[index - 1][1]))
        return PassCosts(tuple(points), self.unit)

    def as_data(self) -> dict[str, float]:
        """Plain data, rounded, for the trace."""
        return {str(tokens): float(f"{cost:.4g}") for tokens, cost in self.points}


def total_costs(parts: Sequence[PassCosts], unit: str) -> PassCosts:
    """Costs of a pass through several models."""
    sizes = sorted({tokens for part in parts for tokens, _ in part.points}) or [1, 2]
    return PassCosts(tuple((size, sum(part.at(size) for part in parts)) for size in sizes), unit)


_FREE_TOKENS = 32
"""Tokens whose arithmetic is taken to cost as much as reading the weights once: 30 on two cores in bfloat16 (0.5B and 1.5B),
hundreds on a GPU."""


def nominal_costs(shape: ModelShape) -> PassCosts:
    """Costs that no clock can change, for what must be the same on every machine.

    A pass reads every weight once, whatever its size, and each of its tokens adds a fixed share of that.
    """
    weights = float(shape.parameters + shape.hidden * shape.vocabulary)
    return PassCosts(tuple((size, weights * (1 + (size - 1) / _FREE_TOKENS)) for size in (1, _FREE_TOKENS)), "weights read")

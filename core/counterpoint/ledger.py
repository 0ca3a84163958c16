"""Costs while a run is going on: what has been spent, and what may still be."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from counterpoint.settings import Budget

Unit = Literal["flops", "seconds", "tokens"]


class BudgetSpent(BaseException):
    """The next pass would exceed a budget; unwinds to the call that set it, past every ``except Exception``."""

    def __init__(self, meter: BudgetMeter, unit: Unit, limit: float, spent: float, needed: float) -> None:
        super().__init__(f"{unit}: {spent:g} of {limit:g} spent, {needed:g} needed")
        self.meter = meter
        self.unit: Unit = unit
        self.limit = limit
        self.spent = spent
        self.needed = needed


@dataclass
class BudgetMeter:
    """One budget in force, inside those of the callers (whoever spends, spends from all of them)."""

    budget: Budget
    started: float = field(default_factory=time.perf_counter)
    flops: float = 0.0
    tokens: float = 0.0
    reserved_flops: float = 0.0

    def admit(self, *, flops: float = 0.0, seconds: float = 0.0, tokens: int = 0) -> None:
        """Checks that an estimate fits what is left, counting what is already under way.

        Raises:
            BudgetSpent: it does not.
        """
        spent_flops = self.flops + self.reserved_flops
        if self.budget.flops is not None and spent_flops + flops > self.budget.flops:
            raise BudgetSpent(self, "flops", self.budget.flops, spent_flops, flops)
        elapsed = time.perf_counter() - self.started
        if self.budget.seconds is not None and elapsed + seconds > self.budget.seconds:
            raise BudgetSpent(self, "seconds", self.budget.seconds, elapsed, seconds)
        if self.budget.tokens is not None and self.tokens + tokens > self.budget.tokens:
            raise BudgetSpent(self, "tokens", self.budget.tokens, self.tokens, tokens)

"""Costs while a run is going on: what has been spent, and what may still be."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Literal

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
    """One budget in force, inside those of the callers (whoever spends, spends from all of them); several calls may share it."""

    budget: Budget
    started: float = field(default_factory=time.perf_counter)
    flops: float = 0.0
    tokens: float = 0.0
    reserved_flops: float = 0.0
    spent: bool = False
    """Whether something did not fit any more."""

    @property
    def elapsed(self) -> float:
        """Seconds since it has been in force."""
        return time.perf_counter() - self.started

    def admit(self, *, flops: float = 0.0, seconds: float = 0.0, tokens: int = 0) -> None:
        """Checks that an estimate fits what is left, counting what is already under way.

        Raises:
            BudgetSpent: it does not.
        """
        asked: tuple[tuple[Unit, float | None, float, float], ...] = (
            ("flops", self.budget.flops, self.flops + self.reserved_flops, flops),
            ("seconds", self.budget.seconds, self.elapsed, seconds),
            ("tokens", self.budget.tokens, self.tokens, tokens),
        )
        for unit, limit, so_far, needed in asked:
            if limit is not None and so_far + needed > limit:
                self.spent = True
                raise BudgetSpent(self, unit, limit, so_far, needed)


class Account:
    """What one call may spend: every budget in force, its own innermost. Whoever spends, spends from all of them."""

    def __init__(self, meters: tuple[BudgetMeter, ...] = ()) -> None:
        self._meters = meters

    def within(self, budget: Budget | BudgetMeter | None) -> Account:
        """The account of a call below, with an allowance of its own, one that it shares with others, or none."""
        if budget is None:
            return self
        return Account((*self._meters, budget if isinstance(budget, BudgetMeter) else BudgetMeter(budget)))

    def allowance(self, share: float) -> BudgetMeter | None:
        """A meter of a share of what every unit still allows; None where nothing is limited."""
        left = {
            "flops": [limit - meter.flops for meter in self._meters if (limit := meter.budget.flops) is not None],
            "seconds": [limit - meter.elapsed for meter in self._meters if (limit := meter.budget.seconds) is not None],
            "tokens": [limit - meter.tokens for meter in self._meters if (limit := meter.budget.tokens) is not None],
        }
        limits: dict[str, Any] = {unit: max(0.0, share * min(amounts)) for unit, amounts in left.items() if amounts}
        # not validated: an allowance may be nothing, which no budget that is written down may be
        return BudgetMeter(Budget.model_construct(**limits)) if limits else None

    @property
    def limited(self) -> bool:
        """Whether any budget is in force."""
        return bool(self._meters)

    @property
    def spent(self) -> bool:
        """Whether any budget in force has not allowed something."""
        return any(meter.spent for meter in self._meters)

    def set_here(self, spent: BudgetSpent) -> bool:
        """Whether it is the innermost budget that is spent."""
        return bool(self._meters) and spent.meter is self._meters[-1]

    def admit(self, *, flops: float = 0.0, seconds: float = 0.0, tokens: int = 0) -> None:
        """Raises BudgetSpent where an estimate does not fit what is left."""
        for meter in self._meters:
            meter.admit(flops=flops, seconds=seconds, tokens=tokens)

    def reserve(self, flops: float) -> None:
        """Counts a pass under way (negative: no longer)."""
        for meter in self._meters:
            meter.reserved_flops += flops

    def spend(self, flops: float) -> None:
        """Counts what a pass took."""
        for meter in self._meters:
            meter.flops += flops

    def count(self, tokens: int) -> None:
        """Counts generated tokens."""
        for meter in self._meters:
            meter.tokens += tokens

    @property
    def reserved(self) -> float:
        """FLOPs under way."""
        return sum(meter.reserved_flops for meter in self._meters)

    @property
    def tokens_left(self) -> float:
        """Tokens that may still be generated; infinite where no budget limits them."""
        limits = [(meter.budget.tokens, meter.tokens) for meter in self._meters]
        return min((limit - spent for limit, spent in limits if limit is not None), default=math.inf)

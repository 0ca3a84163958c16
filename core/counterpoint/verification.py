"""Strategies that accept answers by their scores, and how far these are to be trusted: for plugin authors.

What follows from it, how many samples pay, is in :mod:`counterpoint.imperfect`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from counterpoint.node import Generator


class Verified(BaseModel):
    """How far a verifier is to be trusted, and how difficulty is spread: what `counterpoint calibrate` finds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    completeness: float = Field(ge=0, le=1, description="Share of the right answers that the verifier accepts.")
    soundness: float = Field(ge=0, le=1, description="Share of the wrong answers that it rejects.")
    difficulty: tuple[float, float] = Field(
        description="Parameters of the Beta distribution, over prompts, of the probability that one sample is right."
    )

    def model_post_init(self, context: Any) -> None:
        """Checks what no bound of a single field can say."""
        if not all(math.isfinite(value) and value > 0 for value in self.difficulty):
            raise ValueError("difficulty: both parameters of a Beta distribution are above 0")


class Accepting(Generator):
    """A generator that accepts answers by their scores; from which score, and how far to trust it, `counterpoint calibrate` finds
    on a data set. It emits a `CandidateFinished` for every answer, and its verifiers score these under the same numbers."""

    in_stages: ClassVar[bool] = False
    """Whether candidates are stages, each dearer than the one before; else they are samples, alike to one another."""

    @abstractmethod
    def exhaustive(self) -> Accepting:
        """The same with nothing ended early: every candidate is made, and scored where it ever is."""

    @property
    @abstractmethod
    def candidates(self) -> int:
        """How many candidates it makes then."""

    @property
    @abstractmethod
    def accepts_from(self) -> float | None:
        """The score from which it accepts now, where that is set; None where it is to be found."""

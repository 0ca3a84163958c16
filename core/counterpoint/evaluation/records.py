"""What is kept of an evaluation: what was evaluated, and one record per answer."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

SCHEMA = 1


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ScoreRecord(_Data):
    """What one scorer said of one answer."""

    value: float | None = Field(description="The score; null where the scorer abstains or failed.")
    detail: str = Field(default="", description="Why, for readers.")
    data: JsonValue = Field(default=None, description="What the figure of the whole evaluation is computed from.")
    error: str = Field(default="", description="Why the scorer failed; empty when it did not.")


class Cost(_Data):
    """What one answer cost. Scoring is not part of it."""

    flops: float = Field(default=0.0, description="Floating-point operations, as executed.")
    prefill_flops: float = Field(
        default=0.0, description="How many of them processed the prompt; samples of one example share these."
    )
    tokens: int = Field(default=0, description="Tokens generated at all models, drafts included, prompts not.")
    answer_tokens: int = Field(default=0, description="Tokens of the answer.")
    seconds: float | None = Field(
        default=None,
        description="Wall time of the example, all its samples together, with no other example in flight; else null.",
    )
    share: float = Field(default=0.0, description="Seconds of model passes that were this answer's, by its share of the rows.")


class Record(_Data):
    """One answer to one example: what came of it, what it scored and cost."""

    id: str = Field(description="The example.")
    sample: int = Field(default=0, description="Which of its answers, from 0.")
    text: str = Field(default="", description="The answer, without the prompt's prefix.")
    finish_reason: str = "stop"
    error: str = Field(default="", description="Why there is no whole answer; empty when there is one.")
    hint: str = ""
    scores: dict[str, ScoreRecord] = Field(default_factory=dict, description="By the scorer's name.")
    cost: Cost = Field(default_factory=Cost)

    @property
    def failed(self) -> bool:
        """Whether there is no answer, or a scorer failed on it."""
        return bool(self.problem)

    @property
    def problem(self) -> str:
        """What failed first; empty when nothing did."""
        failures = (f"scorer '{name}': {score.error}" for name, score in self.scores.items() if score.error)
        return self.error or next(failures, "")


class DataDescription(_Data):
    """Which data set, without its words."""

    name: str
    sha256: str = Field(description="Of the examples as read.")
    examples: int
    skipped: int = Field(default=0, description="How many examples before these were left out.")

    @model_serializer(mode="wrap")
    def _brief(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what most evaluations do not do: their fingerprints stay what they were before it could be said."""
        data: dict[str, Any] = serialize(self)
        return {name: value for name, value in data.items() if name != "skipped" or value}


_FREE = frozenset({"in_flight", "started", "versions", "name"})
"""What may differ between two starts of one evaluation."""


class Configuration(_Data):
    """What was evaluated. Equal configurations give equal answers, up to the arithmetic of the machine."""

    schema_version: int = SCHEMA
    name: str = Field(description="What the recipe is called in reports.")
    recipe: dict[str, Any]
    task: str
    data: DataDescription
    template: str = ""
    prefix: str = ""
    stop: tuple[str, ...] = ()
    scorers: dict[str, dict[str, Any]] = Field(description="Nodes by name, the headline first.")
    samples: int = 1
    seed: int = 0
    budget: dict[str, Any] | None = Field(default=None, description="What one answer may cost.")
    shard: tuple[int, int] | None = Field(default=None, description="Which part of how many.")
    reads_references: dict[str, list[str]] = Field(
        default_factory=dict, description="Columns that a verifier of the recipe reads, and a scorer too."
    )
    in_flight: int = Field(default=1, description="How many examples at once; not part of what is compared.")
    started: str = Field(default="", description="Wall-clock time of the first start; not part of what is compared.")
    versions: dict[str, str] = Field(default_factory=dict, description="Not part of what is compared.")

    @property
    def wanted(self) -> int:
        """How many examples it has, those of its shard."""
        number, count = self.shard or (1, 1)
        return len(range(number - 1, self.data.examples, count))

    @property
    def fingerprint(self) -> str:
        """Eight letters that equal configurations share."""
        return hashlib.sha256(self.model_dump_json(exclude=set(_FREE)).encode()).hexdigest()[:8]

    def differences(self, other: Configuration, *, besides: frozenset[str] = frozenset()) -> list[str]:
        """Names of the settings in which another evaluation differs."""
        free = _FREE | besides
        return [name for name in type(self).model_fields if name not in free and getattr(self, name) != getattr(other, name)]

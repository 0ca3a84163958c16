"""Settings shared by recipes and nodes: how tokens are chosen, and what a run may spend."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

_TRUNCATION = ("top_k", "top_p", "min_p")
_WHOLE = {"settings": "stand alone"}
"""Validation context: defaults count as well, for nothing else will go under these settings."""


class Sampling(BaseModel):
    """Settings of sampling, applied in this order: repetition penalty, temperature, top-k, top-p, min-p.

    A temperature of 0 is greedy decoding; truncation settings beside it contradict it and are refused. Settings may go over
    others (a node's over its recipe's), so what is not set contradicts nothing until the settings are merged, or are those
    of a recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=0.0, ge=0, le=100, description="0 is greedy; 1 samples the model as it is.")
    top_k: int | None = Field(default=None, ge=1, description="Keep only the k most probable tokens.")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="Keep the smallest set of most probable tokens whose mass reaches p."
    )
    min_p: float | None = Field(
        default=None, ge=0, le=1, description="Drop tokens less probable than this fraction of the most probable one."
    )
    repetition_penalty: float = Field(
        default=1.0,
        gt=0,
        le=10,
        description="Divides positive and multiplies negative logits of tokens seen in prompt or response "
        "(CTRL, arXiv 1909.05858, section 4.1); 1 is off.",
    )
    max_tokens: int = Field(default=512, ge=1, description="Most response tokens, in the output model's vocabulary.")
    min_tokens: int = Field(default=0, ge=0, description="No end-of-turn token before this many response tokens.")
    stop: tuple[str, ...] = Field(default=(), description="Stop strings, besides the model's own.")
    ignore_stop: bool = Field(default=False, description="Never stop at an end-of-turn token (for measurements).")

    @model_validator(mode="after")
    def _no_contradiction(self, info: ValidationInfo) -> Sampling:
        message = self.contradiction() if info.context is _WHOLE else self.contradiction(self.model_fields_set)
        if message:
            raise ValueError(message)
        return self

    def contradiction(self, among: Collection[str] | None = None) -> str:
        """What contradicts what among the named settings (None: all); empty when nothing does."""
        among = type(self).model_fields if among is None else among
        if self.temperature == 0 and "temperature" in among:
            named = [name for name in _TRUNCATION if getattr(self, name) is not None]
            if named:
                return (
                    f"temperature 0 is greedy decoding, which {', '.join(named)} contradict(s): "
                    "set a temperature above 0 or drop them"
                )
        if self.min_tokens > self.max_tokens and "min_tokens" in among and "max_tokens" in among:
            return f"min_tokens ({self.min_tokens}) is above max_tokens ({self.max_tokens})"
        if any(not text for text in self.stop):
            return "a stop string is empty"
        return ""

    def merged(self, other: Sampling | None) -> Sampling:
        """These settings with what was set in ``other`` on top. A temperature of 0 on top lifts the truncation below it.

        Raises:
            pydantic.ValidationError: together they contradict one another.
        """
        if other is None:
            return self
        changed = {name: getattr(other, name) for name in other.model_fields_set}
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        if changed.get("temperature") == 0:
            kept = {name: value for name, value in kept.items() if name not in _TRUNCATION}
        return Sampling.model_validate({**kept, **changed}, context=_WHOLE)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0


class Budget(BaseModel):
    """Limits on the cost of one example; they nest, a child's allowance lying inside its parent's.

    A pass whose estimate exceeds what is left is not started. Where a budget ends a run, its result says so (finish reason
    ``budget``), and wall time may have had a say: of seconds always, of tokens and FLOPs where several calls share what is left
    and some of them wait for work in threads, such as tests. Nothing else lets wall time influence an answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flops: float | None = Field(default=None, gt=0, description="Floating-point operations, as executed.")
    seconds: float | None = Field(default=None, gt=0, description="Wall time in seconds.")
    tokens: int | None = Field(default=None, gt=0, description="Tokens generated at leaf models, drafts included.")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        limits: dict[str, str] = {}
        for part in value.split(","):
            name, equals, amount = part.partition("=")
            if not equals:
                raise ValueError(f"'{part}' is not NAME=AMOUNT; write for example flops=1e12,seconds=30,tokens=200")
            if name.strip() in limits:
                raise ValueError(f"{name.strip()} is limited twice")
            limits[name.strip()] = amount.strip()
        return limits

    @model_validator(mode="after")
    def _some_limit(self) -> Budget:
        if self.flops is None and self.seconds is None and self.tokens is None:
            raise ValueError("a budget needs at least one of flops, seconds, tokens")
        return self

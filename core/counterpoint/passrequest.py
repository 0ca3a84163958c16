"""What sessions ask of a loaded model and what a pass brings them: requests, their parts in a pass, and what these cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from counterpoint.errors import ModelError
from counterpoint.session import CacheFull, Session, Step, StepResult


@dataclass(frozen=True)
class PassShare:
    """One row's part in a pass, as the ledger sees it."""

    pass_id: int
    pass_rows: int
    tokens: int
    context: int
    logits_rows: int
    flops: float
    seconds: float
    share: float
    prefill: bool


class Meter(Protocol):
    """Who pays for a pass."""

    def admit(self, flops: float, seconds: float) -> None:
        """Raises BudgetSpent when an estimate does not fit."""

    def reserve(self, flops: float) -> None:
        """Counts (or, negative, uncounts) what is under way."""

    def charge(self, path: str, share: PassShare) -> None:
        """Records what was spent."""

    def keep(self, session: Session) -> None:
        """Takes over closing a session when the call it belongs to ends."""


@dataclass
class PassRequest:
    """Tokens that a session wants fed, and what it wants to know of them; passes serve it in parts."""

    slot: int
    ids: Sequence[int]
    rows: int
    score: bool
    hidden: bool
    prompt_tokens: int
    meter: Meter
    path: str
    future: asyncio.Future[tuple[Tensor, Tensor | None]]
    estimate: float
    fed: int = 0
    collected: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    last_row: Tensor | None = None

    def take(self, part: PassPart, result: StepResult) -> None:
        """Takes what a pass has brought."""
        if part.again:
            return
        self.fed += len(part.step.ids)
        if part.step.score:
            if self.last_row is not None:  # the chunk's first token is scored by the last row of the chunk before
                row = torch.log_softmax(self.last_row, dim=-1)
                self.scores.append(row[:, part.step.ids[0]])
            assert result.logprobs is not None
            self.scores.append(result.logprobs)
            self.last_row = result.rows[-1:]
        elif part.step.rows:
            self.collected.append(result.rows)

    def resolve(self) -> None:
        """Gives what all its parts have brought to who asked."""
        if self.future.done():
            return
        if self.score:
            assert self.last_row is not None
            self.future.set_result((self.last_row, torch.cat(self.scores)))
        else:
            rows = self.collected
            self.future.set_result((torch.cat(rows) if len(rows) > 1 else rows[0], None))

    def fail(self, error: Exception) -> None:
        """Raises a failure where it was asked from."""
        if not self.future.done():
            self.future.set_exception(as_model_error(self.path, error))


@dataclass
class PassPart:
    """A request's share of one pass."""

    request: PassRequest
    step: Step
    again: bool
    """Whether it only feeds what the slot has lost."""

    @property
    def tokens(self) -> int:
        """New tokens, those of a prompt that the encoder reads included."""
        return len(self.step.ids) + len(self.step.prompt)


def check_results(steps: Sequence[Step], results: Sequence[StepResult]) -> None:
    """A backend that returns something else than it was asked for fails who asked, not the thread of all runs."""
    if len(results) != len(steps):
        raise RuntimeError(f"the backend returned {len(results)} results for {len(steps)} steps")
    for step, result in zip(steps, results, strict=True):
        if len(result.rows) != step.rows:
            raise RuntimeError(f"the backend returned {len(result.rows)} rows where {step.rows} were asked for")
        if step.score and (result.logprobs is None or len(result.logprobs) != len(step.ids) - 1):
            raise RuntimeError("the backend returned no log-probability for each token it was asked to score")


def as_model_error(path: str, error: Exception) -> Exception:
    """A failure inside a pass as a ModelError with a hint."""
    if isinstance(error, ModelError):
        return error
    hint = "see the traceback with --debug"
    if isinstance(error, CacheFull):
        return ModelError(f"{path}: {error}", hint="give the model a larger context, shorten the prompt, or lower max_tokens")
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in str(error):
        hint = "not enough memory: run fewer prompts at once, shorten them, or use a smaller model or dtype"
    failure = ModelError(f"{path}: the forward pass failed: {type(error).__name__}: {error}", hint=hint)
    failure.__cause__ = error
    return failure


def rows_of_head(tokens: int, rows: int, score: bool, hidden: bool) -> int:
    """For how many of a step's tokens the head computes logits."""
    return tokens if score else 0 if hidden else rows


def attended(held: int, tokens: int, prompt: Sequence[int]) -> int:
    """Positions attended to by ``tokens`` new tokens after ``held``, each including itself; and, where an encoder has read the
    prompt, all of that."""
    return tokens * (held + len(prompt)) + tokens * (tokens + 1) // 2

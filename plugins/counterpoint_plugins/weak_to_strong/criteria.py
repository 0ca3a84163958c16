"""When a target takes a draft over: the criterion of the paper, and others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import SwitchCriterion

if TYPE_CHECKING:
    from torch import Tensor


class _Confidence(SwitchCriterion):
    """What criteria on probabilities have in common."""

    gamma: float = Field(
        default=0.8, gt=0, le=1, description="γ: least score, a probability, at which the target takes over (0.8 in the paper)."
    )

    @property
    def threshold(self) -> float:
        return self.gamma


class _WindowedConfidence(_Confidence):
    """Criteria on several tokens together."""

    window: int = Field(default=6, ge=1, le=64, description="w: tokens of the target that count together (6 in the paper).")


class WindowConfidence(_WindowedConfidence):
    """The target is sure of the draft's last few tokens together.

    Weak-to-strong decoding (arXiv 2506.07434): the score of token i is the geometric mean of the target's probabilities of the
    last ``window`` tokens up to it, and 0 before there are so many.
    """

    kind: Literal["window_confidence"] = "window_confidence"

    def scores(self, ids: Sequence[int], logprobs: Sequence[float], new: int, rows: Tensor | None = None) -> list[float]:
        return [geometric_mean(logprobs, end, self.window) for end in range(len(ids) - new + 1, len(ids) + 1)]


class TokenConfidence(_Confidence):
    """The target is sure of a single token: its score is the target's probability of it."""

    kind: Literal["token_confidence"] = "token_confidence"

    def scores(self, ids: Sequence[int], logprobs: Sequence[float], new: int, rows: Tensor | None = None) -> list[float]:
        return [math.exp(value) for value in logprobs[len(ids) - new :]]


class LoopDiscounted(_WindowedConfidence):
    """The target is sure of the draft's last few tokens together, and they are no repetition.

    In a repetition loop a model is sure of every token, so that the paper's criterion fires on the loop. Here a token that
    completes an n-gram of the draft that has occurred before (wherever, overlaps included) has its probability multiplied by
    ``weight``; the rest is as for ``window_confidence``.
    """

    kind: Literal["loop_discounted"] = "loop_discounted"
    ngram: int = Field(default=4, ge=2, le=64, description="n: tokens of the target that have to come again for a repetition.")
    weight: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="What a repeated token's probability is multiplied by: 0 waits for a window without repetition, "
        "1 discounts nothing.",
    )

    def scores(self, ids: Sequence[int], logprobs: Sequence[float], new: int, rows: Tensor | None = None) -> list[float]:
        discount = math.log(self.weight) if self.weight > 0 else -math.inf
        values, seen = list(logprobs), set[tuple[int, ...]]()
        for end in range(self.ngram, len(ids) + 1):
            gram = tuple(ids[end - self.ngram : end])
            if gram in seen:
                values[end - 1] += discount
            seen.add(gram)
        return [geometric_mean(values, end, self.window) for end in range(len(ids) - new + 1, len(ids) + 1)]


class Entropy(SwitchCriterion):
    """The target has little doubt what belongs in a token's place, whatever the draft has put there.

    The score is minus the entropy, in nats, of the target's distribution in the place of the token; it reaches its threshold
    when the entropy is at most ``bound``. Reads whole rows over the vocabulary, which costs more than reading probabilities.
    """

    kind: Literal["entropy"] = "entropy"
    bound: float = Field(default=0.5, ge=0, description="Greatest entropy, in nats, at which the target takes over.")
    reads: ClassVar[Literal["nothing", "logprobs", "rows"]] = "rows"

    @property
    def threshold(self) -> float:
        return -self.bound

    def scores(self, ids: Sequence[int], logprobs: Sequence[float], new: int, rows: Tensor | None = None) -> list[float]:
        import torch

        assert rows is not None, "a criterion that reads rows is given them"
        entropies = -(rows.exp() * rows.masked_fill(rows == -torch.inf, 0.0)).sum(-1)  # 0·log 0 is 0
        return [-float(value) for value in entropies.clamp(min=0)]


class Never(SwitchCriterion):
    """The target never takes over in the middle of a draft, and does not look at it: only when the draft was cut off."""

    kind: Literal["never"] = "never"
    reads: ClassVar[Literal["nothing", "logprobs", "rows"]] = "nothing"

    @property
    def threshold(self) -> float:
        return math.inf

    def scores(self, ids: Sequence[int], logprobs: Sequence[float], new: int, rows: Tensor | None = None) -> list[float]:
        return [0.0] * new


def geometric_mean(logprobs: Sequence[float], end: int, window: int) -> float:
    """Geometric mean of the last ``window`` probabilities before ``end``, from their logarithms; 0 when there are fewer."""
    if end < window:
        return 0.0
    return math.exp(sum(logprobs[end - window : end]) / window)

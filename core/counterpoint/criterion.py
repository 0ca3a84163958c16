"""The protocol of switch criteria: when a target takes a draft over."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from counterpoint.node import Node

if TYPE_CHECKING:
    from torch import Tensor


class SwitchCriterion(Node):
    """Decides from what a target thinks of a draft where the target takes over: right after the first token whose score
    reaches the threshold.

    No role of its own; fields refer to one as ``Ref[SwitchCriterion]``, and :meth:`counterpoint.running.Run.node_of` gives it.
    """

    reads: ClassVar[Literal["nothing", "logprobs", "rows"]] = "logprobs"
    """What the scores are made of. The target computes only that: with ``nothing`` it does not look at the draft at all."""

    @property
    @abstractmethod
    def threshold(self) -> float:
        """The least score at which the target takes over."""

    @abstractmethod
    def scores(self, ids: Sequence[int], logprobs: Sequence[float], new: int, rows: Tensor | None = None) -> Sequence[float]:
        """One finite score for each of the last ``new`` tokens: a pure function of the draft up to that token.

        Args:
            ids: the draft so far, in the target's vocabulary; what was scored before comes again.
            logprobs: log-probability (natural log, untempered) of each of these tokens under the target; −inf where it is
                impossible.
            new: how many of the tokens are to be scored, at the end.
            rows: with ``reads = "rows"``: ``[new, vocabulary]`` float32, log-probabilities of all tokens in the place of each
                of the last ``new``.
        """

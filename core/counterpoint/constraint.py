"""Constraints: what may follow a text. A plugin brings kinds of them; the node `constrained` holds a model to some.

A constraint plays no role of its own; fields refer to it as ``Ref[Constraint]``, and :meth:`counterpoint.running.Run.node_of` gives
the node. Its states are immutable, so that rolling back is taking an earlier one and forking is keeping the same.
:func:`counterpoint.testing.constraint_laws.assert_constraint_laws` tests an implementation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from counterpoint.node import Node

if TYPE_CHECKING:
    from torch import Tensor

    from counterpoint.prompt import Prompt
    from counterpoint.tokenizer import Tokenizer


class ConstraintState(ABC):
    """What may follow a response. Never changes in what it says, whatever is asked of it or made from it."""

    @abstractmethod
    def mask(self) -> Tensor | None:
        """Which tokens may follow, ``[vocabulary]`` bool on the CPU; None when anything may, so that it costs nothing.

        The end-of-turn tokens are those for which the text may end here. What is said of other control tokens counts for nothing:
        they are no text.
        """

    @abstractmethod
    def advance(self, token_id: int) -> ConstraintState | None:
        """The state after one more token, which is no control token; None for a token that may not follow."""


class Constraint(Node):
    """What an answer has to be like, decided token by token."""

    @abstractmethod
    def begin(self, tokenizer: Tokenizer, stop_ids: frozenset[int], prompt: Prompt) -> ConstraintState:
        """The state before the first token of a response (blocking; called in a worker thread).

        Args:
            tokenizer: the vocabulary in which the response is written.
            stop_ids: its end-of-turn tokens.
            prompt: what is answered. The tokens of its ``prefix`` are part of the response and come through
                :meth:`ConstraintState.advance`.

        Raises:
            RecipeError: it cannot be compiled for this vocabulary.
            Unsupported: a package that it needs is not installed.
        """

"""Sessions on a base model whose logits a delta model shifts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.composition import Component, ComposedSession
from counterpoint.plugin import Run, RunError
from counterpoint.tensors import log_normalizer


class ShiftedSession(ComposedSession):
    """Rows of the base plus α times those of delta.

    Rows are unnormalised, so that the normaliser of the base, a constant of its row, is left out: log p_base + α·z_delta and
    z_base + α·z_delta are one distribution. That of delta is no constant where some tokens have no image.

    Raises:
        RunError: (by its rows) the two leave no token possible between them.
    """

    def __init__(
        self, path: str, base: Component, delta: Component, run: Run, alpha: float, *, normalized: bool, mean: bool
    ) -> None:
        super().__init__(path, [base, delta], run)
        self._alpha = alpha
        self._normalized = normalized
        self._mean = mean

    def combine(self, rows: Sequence[Tensor], first: int) -> Tensor:
        base, shift = rows
        delta = self.components[1]
        if self._normalized:
            shift = shift - log_normalizer(shift)[:, None]
        shift = delta.onto(shift, 0.0)
        if self._mean and not bool((known := delta.mapped(shift.device)).all()):
            shift = torch.where(known, shift, expected(shift, base, known)[:, None])
        scores = torch.add(base, shift, alpha=self._alpha)
        scores.masked_fill_(scores.isfinite().logical_not_(), -torch.inf)  # impossible for one, whatever the sign of α
        if bool(scores.amax(-1).isneginf().any()):
            raise RunError(
                f"{self.path}: after {first} tokens or a few more, base and delta leave no token possible between them",
                hint="take a constraint from one of the two",
            )
        return scores


def expected(shift: Tensor, base: Tensor, known: Tensor) -> Tensor:
    """The mean shift of tokens that have one, each as much as the base finds it probable, ``[n]``.

    Args:
        shift: ``[n, vocabulary]``; −inf is none.
        base: the base's rows, ``[n, vocabulary]``.
        known: which tokens have a shift, ``[vocabulary]``.
    """
    share = torch.softmax(base.masked_fill(~(known & shift.isfinite()), -torch.inf), -1)
    return share.mul_(shift.nan_to_num(neginf=0.0)).sum(-1).nan_to_num_(0.0)  # none that is possible: no shift

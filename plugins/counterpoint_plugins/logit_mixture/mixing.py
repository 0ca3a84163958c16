"""Sessions on mixtures: the rows of several models, brought into one vocabulary and made into one.

Rows are unnormalised, and constants of a row change nothing, so a mixture of logits is one of log-probabilities. Models' rows may
be those that their sessions keep: nothing here changes them in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from counterpoint.composition import Component, ComposedSession
from counterpoint.plugin import Rows, Run, RunError, row_count
from counterpoint.tensors import log_normalizer


class Mix(NamedTuple):
    """How rows are mixed.

    Attributes:
        weights: one for each component.
        alpha: plausibility, of the sum of log-probabilities only: tokens less probable under the first model than this times
            its most probable one are left out.
        unmapped: what a model says of tokens that it does not have.
        arithmetic: average probabilities (the weights have a sum of 1) instead of summing log-probabilities.
    """

    weights: tuple[float, ...]
    alpha: float = 0.0
    unmapped: Literal["base", "impossible"] = "base"
    arithmetic: bool = False


class MixtureSession(ComposedSession):
    """A session on a mixture; the first component is the base.

    Raises:
        RunError: (by its rows) the models leave no token possible between them.
    """

    def __init__(self, path: str, components: Sequence[Component], run: Run, mix: Mix) -> None:
        super().__init__(path, components, run)
        self._mix = mix
        self._ids: dict[int, Tensor] = {}  # of each component that does not have all tokens, those that it has

    def combine(self, rows: Sequence[Tensor], first: int) -> Tensor:
        mix, lead = self._mix, rows[0]
        others = []
        for index in range(1, len(rows)):
            part = self.components[index]
            if index not in self._ids and mix.unmapped == "base" and not _is_plain(part, self.stop_ids):
                self._ids[index] = known_ids(part, lead.device)
            subtracted, known = mix.weights[index] < 0, self._ids.get(index)
            others.append(completed(part, rows[index], lead, self.stop_ids, mix.unmapped, subtracted=subtracted, known=known))
        mixed = average(lead, others, mix.weights) if mix.arithmetic else weighted(lead, others, mix.weights, mix.alpha)
        if bool(mixed.amax(-1).isneginf().any()):
            raise RunError(
                f"{self.path}: after {first} tokens or a few more, its models leave no token possible between them",
                hint="set unmapped: base, or take a constraint from all but one of them",
            )
        return mixed


class GatedSession(MixtureSession):
    """A mixture whose other models are asked only where the base is unsure.

    Whether it is depends on its own row alone, so rows stay a function of the response. What the others have not been asked
    about they are fed with the next question, in the pass that answers it.
    """

    def __init__(self, path: str, components: Sequence[Component], run: Run, mix: Mix, gate: float) -> None:
        super().__init__(path, components, run, mix)
        self._gate = gate

    def _unsure(self, lead: Tensor) -> list[int]:
        """Which rows' most probable token has a probability below the gate."""
        top = (lead.amax(-1) - log_normalizer(lead)).exp()
        return [index for index, value in enumerate(top.tolist()) if value < self._gate]

    async def logits(self) -> Tensor:
        row = self._known.at(self.length)
        if row is None:
            leader, *others = self.components
            row = await leader.logits()
            if self._unsure(row[None]):
                found = await self._together([part.logits() for part in others])
                row = self.combine([row[None], *(other[None] for other in found)], self.length)[0]
            self._known.put(row[None], self.length)
        return row

    async def extend(self, ids: Sequence[int], rows: Rows = "last") -> Tensor:
        leader, *others = self.components
        wanted = row_count(rows, len(ids))
        lead = await leader.extend(ids, wanted)
        unsure = self._unsure(lead)
        asked = len(ids) - wanted + unsure[-1] + 1 if unsure else 0
        span = unsure[-1] - unsure[0] + 1 if unsure else 0
        found = await self._together([part.extend(ids[:asked], span) for part in others]) if unsure else []
        for part in others:
            await part.extend(ids[asked:], 0)
        self.response.extend(ids)
        if wanted == 0:
            return lead
        first = self.length - wanted + 1
        if len(unsure) == wanted:
            lead = self.combine([lead, *found], first)
        elif unsure:
            within = [index - unsure[0] for index in unsure]
            mixed = self.combine([lead[unsure], *(row[within] for row in found)], first + unsure[0])
            lead = lead.clone()
            lead[unsure] = mixed
        self._known.put(lead, first)
        return lead


def completed(
    part: Component,
    rows: Tensor,
    lead: Tensor,
    ends: frozenset[int],
    unmapped: Literal["base", "impossible"],
    *,
    subtracted: bool = False,
    known: Tensor | None = None,
) -> Tensor:
    """A model's rows in the base's vocabulary, with a value for every token: ``[n, outer vocabulary]``, up to a constant.

    The end of a turn is one: the model's probability of it is shared out among the base's end-of-turn tokens as the base does.
    With ``unmapped="base"`` the model says of tokens it does not have what the base says: together they have the base's
    probability, and the model distributes the rest. So a model that agrees with the base on all that both have agrees with it.

    Args:
        part: the model.
        rows: ``[n, its vocabulary]``.
        lead: the base's rows, ``[n, outer vocabulary]``.
        ends: the base's end-of-turn tokens.
        unmapped: what it says of tokens without an image; ``impossible`` makes them −inf.
        subtracted: whether its weight is negative. What it finds impossible then counts as what it does not have: it would
            win over everything else.
        known: :func:`known_ids` of the model, where they have been found before.
    """
    plain = _is_plain(part, ends)
    brought = rows if plain else part.onto(rows)
    if not plain and len(ends) > 1:
        index = sorted(ends)
        share = torch.log_softmax(lead[:, index], -1)  # not a number where none of them is possible
        brought[:, index] += torch.where(share.isnan(), -math.log(len(index)), share)
    if unmapped == "impossible" or (plain and not (subtracted and _has_bars(rows))):
        return brought
    known = known_ids(part, rows.device) if known is None else known
    said, lent = brought.index_select(-1, known), lead.index_select(-1, known)
    barred = said.isneginf() if subtracted and _has_bars(said) else None
    own = log_normalizer(said)
    base = log_normalizer(lent if barred is None else lent.masked_fill(barred, -torch.inf))
    values = said + (base - own)[:, None]
    if barred is not None:
        values = torch.where(barred, lent, values)
    if bool((silent := own.isneginf()).any()):  # nothing that both have is possible for it
        values = torch.where(silent[:, None], lent, values)
    return lead.index_copy(-1, known, values)


def known_ids(part: Component, device: torch.device) -> Tensor:
    """The base's tokens that a model has: working on these is several times as fast as masks over the whole vocabulary."""
    return part.mapped(device).nonzero()[:, 0]


def _is_plain(part: Component, ends: frozenset[int]) -> bool:
    """Whether a model has the base's very tokens and ends, so that its rows need no translation."""
    return part.bridge.exact and part.session.stop_ids == ends


def _has_bars(rows: Tensor) -> bool:
    return rows.numel() > 0 and bool(rows.amin().isneginf())


def weighted(lead: Tensor, others: Sequence[Tensor], weights: Sequence[float], alpha: float) -> Tensor:
    """Σ wᵢ·zᵢ over the base's rows and the others', ``[n, vocabulary]``.

    −inf where one of them is, whatever its weight's sign; then, with ``alpha``, where the base has less than ``alpha`` times the
    probability of the most probable token that is left.
    """
    scores = lead * weights[0]
    for rows, weight in zip(others, weights[1:], strict=True):
        scores.add_(rows, alpha=weight)
    out = scores.isfinite().logical_not_()
    if alpha > 0:
        left = lead.masked_fill(out, -torch.inf)
        out = left < left.amax(-1, keepdim=True) + math.log(alpha)
        out.logical_or_(left.isneginf())
    return scores.masked_fill_(out, -torch.inf)


def average(lead: Tensor, others: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """log Σ wᵢ·pᵢ over the base's rows and the others', ``[n, vocabulary]``, normalised where each can be."""
    mixed = lead + (_log(weights[0]) - log_normalizer(lead))[:, None]
    for rows, weight in zip(others, weights[1:], strict=True):
        own = log_normalizer(rows)
        own = own.masked_fill(own.isneginf(), 0.0)  # impossible throughout: it has no share in this row
        torch.logaddexp(mixed, rows + (_log(weight) - own)[:, None], out=mixed)
    return mixed


def _log(weight: float) -> float:
    return math.log(weight) if weight > 0 else -math.inf

"""How long to draft: as long as another token is worth more than it costs.

Tokens per second is a renewal reward: with the seconds a token is worth at the present rate, drafting one more token pays exactly
when the chance that it will stand, times that worth, exceeds its cost. The chance comes from the drafter's confidence, corrected
by how often tokens of such confidence have stood in this run; a draft that was not worth verifying is compared with what came
instead, so that a drafter proves itself, or does not, at no cost.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from counterpoint.plugin import Draft, PassCosts

_EDGES = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.88, 0.94, 0.97, 0.99, 0.999, 1.01)
_PRIOR_WEIGHT = 8.0
_MEMORY = 0.9
"""Weight of the past in running means over steps."""
_RETRY = 16
"""Steps after which a drafter that did not pay is asked again; twice as many each time it does not."""
_HOPE, _TYPICAL = 0.9, 0.8
"""Chance that a token stands, of a drafter not asked yet: when the question is whether to try it, and when others are at hand."""
_MARGIN = 0.1
"""A draft has to gain this share of a plain step, for costs are estimates."""
_STAKE, _SHARE = 1.5, 0.01
"""What drafting may lose against plain decoding: the cost of so many plain steps, and this share of all of them so far. A draft
is staked from that and from what drafts have gained."""


@dataclass(frozen=True)
class StepCosts:
    """Costs of passes, in one unit throughout (seconds, or weights read)."""

    target: PassCosts
    drafters: dict[str, PassCosts] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """Plain data for the trace."""
        return {
            "unit": self.target.unit,
            "target": self.target.as_data(),
            "drafters": {path: costs.as_data() for path, costs in self.drafters.items()},
        }


class Acceptance:
    """How often tokens of a given confidence have stood, starting from the belief that confidence is right."""

    def __init__(self) -> None:
        edges = (0.0, *_EDGES)
        middles = [min(1.0, (low + high) / 2) for low, high in itertools.pairwise(edges)]
        self._accepted = [_PRIOR_WEIGHT * middle for middle in middles]
        self._seen = [_PRIOR_WEIGHT] * len(middles)

    def _bin(self, confidence: float) -> int:
        return next(index for index, edge in enumerate(_EDGES) if confidence < edge)

    def chance(self, confidence: float) -> float:
        """The chance that a token of this confidence will stand, given that those before it do."""
        index = self._bin(confidence)
        return self._accepted[index] / self._seen[index]

    def observe(self, confidence: float, accepted: bool) -> None:
        """Learns from one verified token."""
        index = self._bin(confidence)
        self._seen[index] += 1
        self._accepted[index] += accepted


@dataclass
class _Unverified:
    """A draft whose end was not verified."""

    position: int
    draft: Draft
    verified: int
    compared: int = 0


class DraftPolicy:
    """Decides, for one response, whom to ask for drafts and how long they should be.

    Args:
        costs: costs of the target's and the drafters' passes.
        max_draft: most tokens in a draft.
        adaptive: False drafts ``max_draft`` tokens always.
    """

    def __init__(self, costs: StepCosts, *, max_draft: int, adaptive: bool = True) -> None:
        self._costs = costs
        self._max_draft = max_draft
        self._adaptive = adaptive
        self._acceptance: dict[str, Acceptance] = {}
        self._typical: dict[str, float] = {}  # running mean chance per token, for the token not yet drafted
        self._gain: dict[str, float] = {}  # running mean of what a draft gained, net of its cost
        self._steps = 0
        self._asked: dict[str, int] = {}
        self._patience: dict[str, int] = {}  # steps until a drafter that does not pay is asked again
        self._unverified: dict[str, _Unverified] = {}
        self._tokens = 1.0
        self._spent = costs.target.at(1)  # one token, drafted by nobody
        self._purse = _STAKE * costs.target.at(1)
        self.rows = 1
        """Rows that share the passes: what a pass costs whatever its size is divided by them."""

    def refresh(self, costs: StepCosts) -> None:
        """Takes over what passes cost by now."""
        self._costs = costs

    @property
    def worth(self) -> float:
        """What one token costs at the present rate, and so what it is worth to have one more: never more than without drafts."""
        return min(self._spent / self._tokens, self._plain)

    @property
    def _plain(self) -> float:
        """Cost of a step without a draft."""
        return self._costs.target.at(self.rows) / self.rows

    def _affordable(self, drafter: str, drafted: int) -> bool:
        """Whether a draft of this length could be lost altogether."""
        return self._step(drafter, drafted) - self._plain <= self._purse

    def _verification(self, drafted: int) -> float:
        """What one more token adds to the target's pass, which has this row's and those of the rows that share it."""
        return self._costs.target.one_more(self.rows * (drafted + 1))

    def _drafting(self, drafter: str) -> float:
        """Cost of one more token by a drafter."""
        costs = self._costs.drafters.get(drafter)
        return 0.0 if costs is None else costs.at(self.rows) / self.rows

    def _step(self, drafter: str, drafted: int) -> float:
        """Cost of a whole step: the drafter's passes, and the target's over the draft and one more token."""
        target = self._costs.target.at(self.rows * (drafted + 1)) / self.rows
        return target + self._drafting(drafter) * drafted

    def worth_asking(self, drafter: str) -> bool:
        """Whether a drafter has paid so far; one that has not is tried again from time to time."""
        if not self._adaptive or drafter not in self._costs.drafters:
            return True
        if not self._affordable(drafter, 1):
            return False
        if drafter not in self._gain:
            return self._expected_gain(drafter, _HOPE) > 0
        if self._gain[drafter] >= 0 or self._expected_gain(drafter, self._typical.get(drafter, 0.0)) > 0:
            self._patience[drafter] = _RETRY
            return True
        patience = self._patience.setdefault(drafter, _RETRY)
        if self._steps - self._asked.get(drafter, 0) < patience:
            return False
        self._patience[drafter] = 2 * patience
        return True

    def asker(self, drafter: str) -> Callable[[float], bool]:
        """Tells a drafter, after each token's confidence, whether to draft another."""
        acceptance = self._acceptance.setdefault(drafter, Acceptance())
        self._asked[drafter] = self._steps
        chance, drafted = 1.0, 0

        def proceed(confidence: float) -> bool:
            nonlocal chance, drafted
            if not self._adaptive:
                return True
            chance *= acceptance.chance(confidence)
            drafted += 1
            next_chance = chance * self._typical.get(drafter, _TYPICAL)
            pays = next_chance * self.worth > self._drafting(drafter) + self._verification(drafted)
            return pays and self._affordable(drafter, drafted + 1)

        return proceed

    def trim(self, drafter: str, draft: Draft) -> Draft:
        """The beginning of a draft that is worth verifying; nothing, when a later drafter promises more.

        A draft that brings its distribution is verified whole: the rejection rule counts on tokens that were drawn from it, and
        tokens of which the less probable have been left out were not.
        """
        if not self._adaptive or not draft.ids or draft.logits is not None:
            return draft
        acceptance = self._acceptance.setdefault(drafter, Acceptance())
        chance, gain, best, keep = 1.0, 0.0, self._least_gain, 0
        for index, confidence in enumerate(
            draft.confidence
        ):  # all of them: a pass over 16 may cost little more than one over 8
            chance *= acceptance.chance(confidence)
            gain += chance * self.worth - self._verification(index)
            if gain > best and self._affordable(drafter, index + 1):
                best, keep = gain, index + 1
        if keep and drafter not in self._costs.drafters:  # it was free: leave it for one that usually gains more
            rivals = [self._gain.get(other, self._expected_gain(other, _TYPICAL)) for other in self._costs.drafters]
            if best < max(rivals, default=0.0):
                return Draft()
        if not keep and drafter in self._costs.drafters:
            lost = self._drafting(drafter) * len(draft.ids)
            self._purse -= lost
            self._count(drafter, -lost)
        if keep == len(draft.ids):
            return draft
        return replace(draft, ids=draft.ids[:keep], confidence=draft.confidence[:keep])

    @property
    def _least_gain(self) -> float:
        return _MARGIN * self._plain

    def _expected_gain(self, drafter: str, chance: float) -> float:
        """Gain of the best draft by a drafter not tried yet, whose tokens each stand with some chance."""
        gain, best = -self._least_gain, 0.0
        for drafted in range(self._max_draft):
            gain += chance ** (drafted + 1) * self.worth - self._drafting(drafter) - self._verification(drafted)
            best = max(best, gain)
        return best

    def remember(self, drafter: str, position: int, full: Draft, verified: int) -> None:
        """Keeps the end of a draft that is not verified, to be compared with what comes instead (:meth:`look_back`)."""
        if drafter not in self._unverified and verified < len(full.ids):
            self._unverified[drafter] = _Unverified(position, full, verified)

    def look_back(self, response: Sequence[int]) -> None:
        """Learns from drafts that were not verified, as far as their positions are taken by now.

        Args:
            response: all response tokens.
        """
        for drafter, left in list(self._unverified.items()):
            ids, confidence = left.draft.ids, left.draft.confidence
            while left.position + left.compared < len(response):
                stood = response[left.position + left.compared] == ids[left.compared]
                if left.compared >= left.verified:  # those before have been learned from when they were verified
                    self._learn(drafter, confidence[left.compared] if confidence else 0.5, stood)
                left.compared += 1
                if not stood or left.compared == len(ids):
                    del self._unverified[drafter]
                    break

    def _count(self, drafter: str, gain: float) -> None:
        """Counts what a draft has gained, net of its cost."""
        self._gain[drafter] = _MEMORY * self._gain.get(drafter, gain) + (1 - _MEMORY) * gain

    def _learn(self, drafter: str, confidence: float, stood: bool) -> None:
        self._acceptance.setdefault(drafter, Acceptance()).observe(confidence, stood)
        self._typical[drafter] = _MEMORY * self._typical.get(drafter, _TYPICAL) + (1 - _MEMORY) * stood

    def observe(self, drafter: str, draft: Draft, accepted: int) -> None:
        """Learns from a verified draft (an empty one was a plain step)."""
        self._steps += 1
        count = len(draft.ids)
        spent = self._step(drafter, count)
        gain = accepted * self.worth - (spent - self._plain)
        self._purse += (accepted + 1) * self._plain - spent + _SHARE * (accepted + 1) * self._plain
        self._tokens = _MEMORY * self._tokens + (accepted + 1)
        self._spent = _MEMORY * self._spent + spent
        if not draft.ids:
            return
        self._count(drafter, gain)
        for index in range(min(accepted + 1, count)):
            self._learn(drafter, draft.confidence[index] if draft.confidence else 0.5, index < accepted)

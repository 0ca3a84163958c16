"""Draws of a call: their keys, and what they count for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from counterpoint.childstream import Valve
from counterpoint.draws import Drawn, DrawRequest, Purpose, Verdict, draw_key
from counterpoint.ledger import Account
from counterpoint.place import Place
from counterpoint.runstate import RunState
from counterpoint.settings import Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from counterpoint.session import Draft, Session


class DrawingCall(Place):
    """A call that draws tokens, within the budgets in force.

    Attributes:
        sampling: the sampling settings in force.
    """

    def __init__(
        self,
        state: RunState,
        path: str,
        *,
        indices: tuple[int, ...],
        sampling: Sampling | None,
        account: Account | None,
        valve: Valve | None,
    ) -> None:
        super().__init__(state, path)
        self.sampling = sampling or state.recipe.sampling
        self._indices = indices
        self._account = account or Account()
        self._valve = valve  # whoever works for a streamed child waits with it
        self._generated = 0
        self._counts_for: DrawingCall = self

    @property
    def ordinal(self) -> int:
        """Which of the generators that its caller calls this is, from 0; for the recipe's output node, which of several samples."""
        return self._indices[-1] if self._indices else self._state.row

    @property
    def lineage(self) -> tuple[int, ...]:
        """The ordinals of this call's callers below the output node and its own, outermost first; none for the output node."""
        return self._indices

    def keys(self, position: int, count: int, purpose: Purpose) -> list[int]:
        """Keys of draws at consecutive response positions."""
        state = self._state
        return [draw_key(state.seed, self._indices, state.row, position + i, purpose) for i in range(count)]

    async def draw(
        self,
        rows: Tensor,
        session: Session,
        response: Sequence[int],
        following: Sequence[int] = (),
        *,
        purpose: Purpose = "sample",
        new: int | None = None,
    ) -> Drawn:
        """Draws a token from each of ``rows`` under the sampling settings in force.

        Args:
            rows: ``[n, vocabulary]`` or ``[vocabulary]``; row i is the distribution after ``response + following[:i]``.
            session: whose rows they are (its prompt counts for the repetition penalty, its stop tokens for min_tokens).
            response: response tokens before the first row, the prefix included.
            following: the tokens after each row, when there are several.
            purpose: what the draw is for; equal positions and purposes have equal noise.
            new: how many of the tokens are counted as generated; by default all.
        """
        request = self._request(rows, session, response, following, purpose)
        result = await self._draw(request, len(request.keys) if new is None else new)
        assert isinstance(result, Drawn)
        return result

    async def verify_draft(self, rows: Tensor, session: Session, response: Sequence[int], draft: Draft) -> Verdict:
        """Rejection sampling of a draft against the target's ``rows`` (one more than there are draft tokens).

        The lossless rule of speculative sampling (arXiv 2302.01318, 2211.17192): the tokens that result are distributed as
        if drawn from the target.
        """
        request = self._request(rows, session, response, draft.ids, "residual")
        request.draft_ids = draft.ids
        request.draft_logits = draft.logits
        request.accept_keys = self.keys(len(response), len(request.keys), "accept")
        result = await self._draw(request, 1)
        assert isinstance(result, Verdict)
        return result

    def _request(
        self, rows: Tensor, session: Session, response: Sequence[int], following: Sequence[int], purpose: Purpose
    ) -> DrawRequest:
        rows = rows if rows.dim() == 2 else rows[None]
        keys = self.keys(len(response), rows.shape[0], purpose)
        request = DrawRequest.on(session, rows, keys, self.sampling, response, following)
        request.alternatives = 5 if self._state.recipe.record == "full" else 0
        return request

    async def _draw(self, request: DrawRequest, new: int) -> Drawn | Verdict:
        if self._valve is not None:
            await self._valve.passing()
        self._account.admit(tokens=new)
        self.count_tokens(new)  # before the draw, for others may draw at the same time
        try:
            return await self._state.engine.draws.submit(request)
        except BaseException:
            self.count_tokens(-new)
            raise

    def count_tokens(self, tokens: int) -> None:
        """Counts tokens as generated that no draw has counted: those a look-up proposed and the target let stand."""
        self._counts_for._generated += tokens
        self._account.count(tokens)

    @property
    def tokens_left(self) -> float:
        """Tokens that the budgets in force still allow to be generated; infinite where none limits them."""
        return self._account.tokens_left

    @property
    def budget_spent(self) -> bool:
        """Whether a budget in force, this call's or a caller's, has not allowed something; allowances given to calls below do not
        count."""
        return self._account.spent

    def admit(self, flops: float, seconds: float) -> None:
        """Raises BudgetSpent when a pass does not fit a budget in force."""
        self._account.admit(flops=flops, seconds=seconds)

    def reserve(self, flops: float) -> None:
        """Counts a pass under way."""
        self._account.reserve(flops)

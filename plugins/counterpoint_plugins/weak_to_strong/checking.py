"""A draft before the target: scored block by block, kept up to the token at which the target takes over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from counterpoint.plugin import Note, Response, Run, Session, SwitchCriterion

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 64
"""Most rows over the vocabulary held at once, for criteria that read them."""


class DraftCheck:
    """Scores a draft's tokens with the target and adds those that are kept to the response.

    Args:
        run: the node's run.
        target: the target's session, at the end of the prompt's prefix.
        response: where kept tokens go: each is certain as soon as none before it reaches the threshold.
        criterion: when the target takes over.
        giver: path of the node that drafts.
        whole: whether what is kept has to end with a whole character (a text is handed over, not tokens).
    """

    def __init__(
        self, run: Run, target: Session, response: Response, criterion: SwitchCriterion, giver: str, *, whole: bool
    ) -> None:
        self.reason = ""
        """Why the target takes over; empty while it does not."""
        self._run = run
        self._target = target
        self._response = response
        self._criterion = criterion
        self._giver = giver
        self._whole = whole
        self._ids: list[int] = []
        self._logprobs: list[float] = []

    async def take(self, ids: Sequence[int]) -> None:
        """Checks the draft's next tokens."""
        size = _ROWS if self._criterion.reads == "rows" else max(1, len(ids))
        for start in range(0, len(ids), size):
            if self._response.finish_reason is None and not self.reason:
                await self._block(list(ids[start : start + size][: self._response.room]))

    async def _block(self, ids: list[int]) -> None:
        first = len(self._ids)
        if self._criterion.reads == "nothing":
            await self._target.extend(ids, rows="none")
            self._keep(ids, [None] * len(ids), self._giver)
            return
        logprobs, rows = await self._read(ids)
        self._ids += ids
        self._logprobs += logprobs
        scores = self._criterion.scores(self._ids, self._logprobs, len(ids), rows)
        data = {"positions": list(range(first, len(self._ids))), "scores": [round(score, 6) for score in scores]}
        self._run.emit(Note(name="window_scores", data=data))
        threshold = self._criterion.threshold
        sure = next((index for index, score in enumerate(scores) if score >= threshold), None)
        barred = next((index for index, value in enumerate(logprobs) if value == -math.inf), None)
        if barred is not None and (sure is None or barred <= sure):  # a constraint, say: the draft may not go on like this
            kept, reason = ids[:barred], "the target finds the next token of the draft impossible"
        elif sure is not None:
            kept, reason = ids[: sure + 1], f"{self._criterion.kind}: {scores[sure]:.4g} reaches {threshold:g}"
        else:
            kept, reason = ids, ""
        if reason and self._whole:
            while kept and self._target.tokenizer.decode(kept).endswith("\ufffd"):
                kept = kept[:-1]
        self._keep(kept, logprobs, self._target.path)
        if reason and self._response.finish_reason is None:
            self.reason = reason
            self._target.rollback(len(self._response.history))

    async def may_end(self) -> bool:
        """Whether an answer may end where the draft does, as far as the target looks at it (a constraint may want more)."""
        if self._criterion.reads == "nothing" or not self._target.stop_ids:
            return True
        return bool((await self._target.logits())[sorted(self._target.stop_ids)].isfinite().any())

    async def _read(self, ids: list[int]) -> tuple[list[float], Tensor | None]:
        """The log-probabilities of tokens that follow, and the rows they are in, if the criterion reads those."""
        if self._criterion.reads == "logprobs":
            return [float(value) for value in await self._target.score(ids)], None
        import torch

        before = await self._target.logits()
        rows = torch.cat([before[None], await self._target.extend(ids, rows="all")])[:-1].log_softmax(-1)
        own = rows.gather(-1, torch.tensor(ids, device=rows.device)[:, None])[:, 0]
        return own.tolist(), rows

    def _keep(self, ids: Sequence[int], logprobs: Sequence[float | None], decider: str) -> None:
        for token_id, logprob in zip(ids, logprobs, strict=False):
            if not self._response.add(token_id, proposer=self._giver, decider=decider, logprob=logprob):
                return

"""The `model_drafter` drafter: a smaller language model with the target's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import (
    BridgeError,
    Draft,
    Drafter,
    DraftSession,
    LanguageModel,
    Node,
    Prompt,
    Purpose,
    Ref,
    Run,
    Session,
    hookimpl,
)

if TYPE_CHECKING:
    from torch import Tensor


class ModelDrafter(Drafter):
    """Drafts with a language model. A language model that stands where a drafter is expected is wrapped in this."""

    kind: Literal["model_drafter"] = "model_drafter"
    adapts: ClassVar[str | None] = "model"
    model: Ref[LanguageModel] = Field(description="The draft model; it must have the target's vocabulary.")

    async def draft(self, prompt: Prompt, target: Session, run: Run) -> DraftSession:
        session = await run.open(self.model, prompt)
        if session.tokenizer.fingerprint != target.tokenizer.fingerprint:
            raise BridgeError(
                f"{session.path} and {target.path} have different vocabularies, so one cannot draft for the other",
                hint="draft with a model of the target's family, or with prompt_lookup",
            )
        return ModelDraftSession(session, target, run)


class ModelDraftSession(DraftSession):
    """A draft model's session, kept in step with what the target accepts.

    It draws as the target does: what the target has seen counts for a repetition penalty, and the target's stop tokens for
    min_tokens. So drafts agree more often, and rejection sampling judges them by the very distribution they were drawn from.
    """

    def __init__(self, session: Session, target: Session, run: Run) -> None:
        self.path = session.path
        self._session = session
        self._target = target
        self._run = run
        self._fed = list(session.prefix_ids)  # response tokens the session holds
        self._agreed = len(self._fed)  # how many of them are known to stand

    async def propose(
        self,
        response: Sequence[int],
        limit: int,
        proceed: Callable[[float], bool],
        purpose: Purpose = "sample",
    ) -> Draft:
        limit = min(limit, self._session.room - len(response))
        if limit <= 0:
            return Draft()  # the draft model's context is full; the target's may be longer
        row = await self._follow(response)
        ids: list[int] = []
        rows: list[Tensor] = []
        confidence: list[float] = []
        while len(ids) < limit:
            if ids:
                row = (await self._session.extend(ids[-1:]))[-1]
                self._fed.append(ids[-1])
            drawn = await self._run.draw(row, self._target, [*response, *ids], purpose=purpose)
            ids.append(drawn.ids[0])
            rows.append(row)
            confidence.append(drawn.probabilities[0])
            if drawn.ids[0] in self._target.stop_ids or not proceed(confidence[-1]):
                break
        logits = None
        if purpose != "sample" and rows:
            import torch

            logits = torch.stack(rows)
        return Draft(tuple(ids), logits, tuple(confidence))

    async def _follow(self, response: Sequence[int]) -> Tensor:
        """Drops what was rejected, feeds what was accepted, and returns the row after it."""
        while self._agreed < min(len(self._fed), len(response)) and self._fed[self._agreed] == response[self._agreed]:
            self._agreed += 1
        self._session.rollback(self._agreed)
        new = list(response[self._agreed :])
        self._fed[self._agreed :] = new
        self._agreed = len(response)
        if not new:
            return await self._session.logits()
        return (await self._session.extend(new))[-1]


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `model_drafter` node."""
    return [ModelDrafter]

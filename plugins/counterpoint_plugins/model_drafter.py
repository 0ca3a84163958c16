"""The `model_drafter` drafter: a smaller language model, of the target's vocabulary or of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import (
    Draft,
    Drafter,
    DraftSession,
    LanguageModel,
    Node,
    NodePlan,
    Prompt,
    Purpose,
    Ref,
    Run,
    Session,
    TokenizerBridge,
    hookimpl,
)

if TYPE_CHECKING:
    from torch import Tensor

    from counterpoint.composition import Component

_WINDOW = 4
"""Tokens of the response that a draft's text is encoded together with, so that it is cut as the target cuts it."""


class ModelDrafter(Drafter):
    """Drafts with a language model. A language model that stands where a drafter is expected is wrapped in this.

    A model of another vocabulary drafts in one of two ways (Timor et al. 2025, arXiv 2502.05202): at the level of tokens, among
    those that both vocabularies have, so that drafts have a distribution in the target's; or at that of strings, its text encoded
    anew, where a token stands if it is the very one that the target draws.
    """

    kind: Literal["model_drafter"] = "model_drafter"
    adapts: ClassVar[str | None] = "model"
    model: Ref[LanguageModel] = Field(description="The draft model.")
    level: Literal["auto", "token", "string"] = Field(
        default="auto",
        description="For a model of another vocabulary: draft among the tokens that both have (`token`), or draft text, encoded "
        "anew (`string`). `auto`: text where sampling is greedy, tokens elsewhere.",
    )

    def level_for(self, bridge: TokenizerBridge, greedy: bool) -> tuple[Literal["same", "token", "string"], str]:
        """How it drafts across a bridge from the target's vocabulary, and why."""
        if bridge.exact:
            return "same", "both have one vocabulary"
        if self.level != "auto":
            return self.level, "as set"
        if greedy:
            return "string", "sampling is greedy, so a draft has to be the target's text, however either cuts it"
        return (
            "token",
            f"sampling is random, so drafts share the target's noise, on the {bridge.coverage:.0%} of tokens both have",
        )

    def check_beside(self, target: str | Node, plan: NodePlan) -> None:
        bridge = plan.bridge(target, self.model, "shared")
        if bridge is not None and not bridge.exact:
            level, reason = self.level_for(bridge, plan.sampling.greedy)
            plan.inform(f"'{plan.resolve(self.model)[0]}' drafts at the level of {level}s: {reason}")

    async def draft(self, prompt: Prompt, target: Session, run: Run) -> DraftSession:
        from counterpoint.composition import BridgedSession, Component

        component = await Component.open(self.model, prompt, run, like=target, mapping="shared")
        level, _ = self.level_for(component.bridge, run.sampling.greedy)
        if level == "same":
            return ModelDraftSession(component.session, target, run)
        if level == "token":
            return ModelDraftSession(
                BridgedSession(component.session.path, [component], run, like=target), target, run, component
            )
        return TextDraftSession(component, target, run)


class ModelDraftSession(DraftSession):
    """A draft model's session, kept in step with what the target accepts.

    It draws as the target does: what the target has seen counts for a repetition penalty, and the target's stop tokens for
    min_tokens. So drafts agree more often, and rejection sampling judges them by the very distribution they were drawn from.
    """

    def __init__(self, session: Session, target: Session, run: Run, bridged: Component | None = None) -> None:
        self.path = session.path
        self._session = session
        self._target = target
        self._run = run
        self._bridged = bridged
        self._fed = list(session.prefix_ids)  # response tokens the session holds
        self._agreed = len(self._fed)  # how many of them are known to stand

    async def propose(
        self,
        response: Sequence[int],
        limit: int,
        proceed: Callable[[float], bool],
        purpose: Purpose = "sample",
    ) -> Draft:
        ids: list[int] = []
        rows: list[Tensor] = []
        confidence: list[float] = []
        new = self._step_back(response)
        while len(ids) < limit:
            if not await self._feed(new):
                break  # the draft model's context is full; the target's may be longer
            row = await self._session.logits()
            drawn = await self._run.draw(row, self._target, [*response, *ids], purpose=purpose)
            new = drawn.ids
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

    def _step_back(self, response: Sequence[int]) -> Sequence[int]:
        """Drops what was rejected, and returns what was accepted beyond that."""
        while self._agreed < min(len(self._fed), len(response)) and self._fed[self._agreed] == response[self._agreed]:
            self._agreed += 1
        self._session.rollback(self._agreed)
        del self._fed[self._agreed :]
        return response[self._agreed :]

    async def _feed(self, ids: Sequence[int]) -> bool:
        """Adds tokens of the target; False where the draft model's context does not take them."""
        if self._bridged is None and len(self._fed) + len(ids) >= self._session.room:
            return False  # a last token that fits would leave no room for one to follow
        await self._session.extend(ids, rows="none")
        self._fed += ids
        return self._bridged is None or self._bridged.spare > 0


class TextDraftSession(DraftSession):
    """A draft model of another vocabulary that drafts text, which the target's tokenizer then cuts."""

    def __init__(self, component: Component, target: Session, run: Run) -> None:
        self.path = component.session.path
        self._model = component
        self._target = target
        self._run = run
        self._followed = list(target.prefix_ids)  # response tokens the model has been shown

    async def propose(
        self,
        response: Sequence[int],
        limit: int,
        proceed: Callable[[float], bool],
        purpose: Purpose = "sample",
    ) -> Draft:
        inner = self._model.session
        common = 0
        while common < min(len(self._followed), len(response)) and self._followed[common] == response[common]:
            common += 1
        self._model.rollback(common)
        self._followed = list(response)
        await self._model.extend(response[common:], 0)
        limit = min(limit, self._model.spare)
        if limit <= 0:
            return Draft()  # the draft model's context is full; the target's may be longer
        row = await self._model.logits()
        before = list(self._model.inner_ids)
        ids: list[int] = []
        pieces: list[tuple[str, float]] = []
        text = ""
        while len(ids) < limit:
            drawn = await self._run.draw(row, inner, [*before, *ids], purpose=purpose)
            ids.append(drawn.ids[0])
            now = inner.tokenizer.decode(ids)
            pieces.append((now[len(text) :], drawn.probabilities[0]))
            text = now
            if ids[-1] in inner.stop_ids or not proceed(drawn.probabilities[0]) or len(ids) == limit:
                break
            row = await self._model.run_ahead(ids[-1])
        return self._cut(response, text.rstrip("\ufffd"), pieces, ends=ids[-1] in inner.stop_ids, limit=limit)

    def _cut(self, response: Sequence[int], text: str, pieces: list[tuple[str, float]], *, ends: bool, limit: int) -> Draft:
        """A text as tokens of the target, each as sure as the draft's tokens that begin in it were."""
        tokenizer = self._target.tokenizer
        window = list(response[-_WINDOW:])
        tokens = tokenizer.encode(tokenizer.decode(window) + text)
        tokens = tokens[len(window) :] if tokens[: len(window)] == window else tokenizer.encode(text)
        begins: list[tuple[int, float]] = []
        at = 0
        for piece, probability in pieces:
            begins.append((at, probability))
            at += len(piece)
        confidence, done = [], 0
        for count in range(1, len(tokens) + 1):
            end = len(tokenizer.decode(tokens[:count]))
            sure = 1.0
            while done < len(begins) and begins[done][0] < max(end, 1):
                sure *= begins[done][1]
                done += 1
            confidence.append(sure)
        if ends and (end_id := self._end()) is not None:
            tokens.append(end_id)
            confidence.append(pieces[-1][1])
        return Draft(tuple(tokens[:limit]), None, tuple(confidence[:limit]))

    def _end(self) -> int | None:
        """The target's end of turn: that of the draft model's name, where both have one."""
        ends = sorted(self._target.stop_ids)
        names = {self._model.session.tokenizer.token(token_id) for token_id in self._model.session.stop_ids}
        return next((end for end in ends if self._target.tokenizer.token(end) in names), ends[0] if ends else None)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `model_drafter` node."""
    return [ModelDrafter]

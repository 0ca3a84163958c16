"""The `weak_to_strong` generator: a weak model begins the answer, a strong one takes it over when it is sure of the beginning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from counterpoint.plugin import (
    Completion,
    Generator,
    LanguageModel,
    Node,
    NodePlan,
    Note,
    Prompt,
    Ref,
    Response,
    Run,
    Session,
    SwitchCriterion,
    Switched,
    hookimpl,
)
from counterpoint_plugins.weak_to_strong.checking import DraftCheck
from counterpoint_plugins.weak_to_strong.criteria import Entropy, LoopDiscounted, Never, TokenConfidence, WindowConfidence
from counterpoint_plugins.weak_to_strong.retokenised import RetokenisedText


class WeakToStrong(Generator):
    """Weak-to-strong decoding: a weak (aligned) model drafts, and a strong (base) model takes over once it is sure of the draft.

    Source: Song et al. 2025 (arXiv 2506.07434). The draft is made and checked in turn, so that answers stream and nothing is
    drafted after the switch; the switch is where the paper's three separate stages have it.
    """

    kind: Literal["weak_to_strong"] = "weak_to_strong"
    draft: Ref[Generator] = Field(description="What begins the answer: any generator, or a language model.")
    target: Ref[LanguageModel] = Field(description="The language model that checks the draft, and goes on from it.")
    criterion: Ref[SwitchCriterion] = Field(
        default_factory=WindowConfidence, description="When the target takes over: by default as in the paper (γ 0.8, w 6)."
    )
    continue_with: Ref[Generator] | None = Field(
        default=None, description="What goes on after the switch, from the kept text; by default the target is sampled."
    )
    draft_tokens: int = Field(
        default=512,
        ge=1,
        description="Most tokens of the draft, in the draft's own vocabulary (`max_tokens` of the draft node counts instead, "
        "where it sets one).",
    )
    block: int = Field(
        default=8,
        ge=1,
        le=512,
        description="Tokens of the target that are drafted between two checks. Changes costs and streaming, never the switch.",
    )
    finished_draft: Literal["accept", "continue"] = Field(
        default="accept",
        description="What happens to a draft that ends by itself and was never taken over: it is the answer (`accept`), or "
        "the target continues it all the same (`continue`, the paper's procedure).",
    )

    def check(self, plan: NodePlan) -> None:
        if plan.resolve(self.draft)[0] == plan.resolve(self.target)[0]:
            plan.warn("the target drafts for itself, and takes its own text over", "draft with a weaker, better aligned model")
        criterion = plan.resolve(self.criterion)[1]
        if isinstance(criterion, SwitchCriterion) and criterion.reads == "nothing" and (path := _forbidding(self.target, plan)):
            plan.refuse(
                f"the target does not look at the draft (criterion '{criterion.kind}'), so what '{path}' forbids would stand in it",
                "take a criterion that looks, for example `window_confidence`",
            )

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        criterion = run.node_of(self.criterion, SwitchCriterion)
        assert isinstance(criterion, SwitchCriterion)
        target = await run.open(self.target, prompt)
        response = Response(run, target, run.sampling)
        text = RetokenisedText(target.tokenizer, keep_start=bool(prompt.prefix))
        check = DraftCheck(run, target, response, criterion, run.path_of(self.draft), whole=self.continue_with is not None)
        limits = {"max_tokens": self.draft_tokens, "min_tokens": min(run.sampling.min_tokens, self.draft_tokens)}
        under = run.sampling.model_copy(update=limits)
        async with run.stream(self.draft, prompt, sampling=run.sampling_of(self.draft, under)) as pieces:
            while response.finish_reason is None and not check.reason:
                piece = await anext(pieces, None)
                if piece is None:
                    await check.take(text.finish())
                    break
                text.push(piece.text)
                if text.waiting >= self.block:
                    await check.take(text.take())
        if text.recut:
            run.emit(Note(name="recut", data={"position": len(response.ids)}))
        if response.finish_reason is not None:
            return response.finish()
        reason = check.reason
        if not reason:
            ended = pieces.completion is not None and pieces.completion.finish_reason == "stop"
            if ended and self.finished_draft == "accept" and response.ids and await check.may_end():
                response.finish_reason = "stop"
                return response.finish()
            reason = "the draft is empty" if not response.ids else "the draft has ended" if ended else "the draft was cut off"
        return await self._continue(prompt, run, target, response, reason)

    async def _continue(self, prompt: Prompt, run: Run, target: Session, response: Response, reason: str) -> Completion:
        """The rest of the answer, by whoever takes over."""
        switched = Switched(
            position=len(response.ids),
            giver=run.path_of(self.draft),
            taker=run.path_of(self.continue_with or self.target),
            reason=reason,
        )
        if self.continue_with is None:
            run.emit(switched)
            return await response.sample()
        kept = response.finish()  # what is held back comes out, for the other generator goes on from the text
        if response.finish_reason == "stop":
            return kept
        run.emit(switched)
        target.close()  # its cache is there for whoever goes on
        settings = run.sampling_of(self.continue_with)
        most = min(settings.max_tokens, response.room)
        least = min(max(0, settings.min_tokens - len(kept.ids)), most)
        rest = await run.generate(
            self.continue_with,
            prompt.continued(prompt.prefix + kept.text),
            sampling=settings.model_copy(update={"max_tokens": most, "min_tokens": least}),
            relay=True,
        )
        if rest.tokenizer == kept.tokenizer:
            return run.completion(rest.finish_reason, target.tokenizer)
        whole = run.completion(rest.finish_reason)  # tokens of two vocabularies: only the text is one
        return whole.model_copy(update={"ids": (), "tokenizer": ""})


def _forbidding(reference: str | Node, plan: NodePlan) -> str | None:
    """Path of a model, this one or a part of it, that forbids tokens."""
    path, node = plan.resolve(reference)
    if not isinstance(node, LanguageModel):
        return None
    if node.forbids:
        return path
    return next((found for _, _, part in node.references() if (found := _forbidding(part, plan))), None)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `weak_to_strong` node and its criteria."""
    return [WeakToStrong, WindowConfidence, TokenConfidence, Entropy, LoopDiscounted, Never]

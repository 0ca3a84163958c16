"""The `speculative` generator: drafters propose, the target verifies many tokens in one pass, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from counterpoint.plugin import (
    Completion,
    Draft,
    Drafted,
    Drafter,
    DraftSession,
    Drawn,
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
    Verified,
    hookimpl,
)
from counterpoint_plugins.speculative.policy import DraftPolicy, StepCosts

if TYPE_CHECKING:
    from torch import Tensor


_REFRESH = 8
"""Steps after which costs are looked up again: they follow the machine."""


class Speculative(Generator):
    """Speculative decoding: the tokens of the target alone, in fewer of its passes.

    Sources: Leviathan et al. 2023 (arXiv 2211.17192), Chen et al. 2023 (arXiv 2302.01318); the drafter-invariant rule is that of
    Daliri, Musco and Suresh 2024 (arXiv 2408.07978).
    """

    kind: Literal["speculative"] = "speculative"
    target: Ref[LanguageModel] = Field(description="The model whose answer it is.")
    draft: Ref[Drafter] | tuple[Ref[Drafter], ...] = Field(
        description="A drafter (a smaller language model, prompt_lookup), or several in order of preference."
    )
    rule: Literal["invariant", "rejection"] = Field(
        default="invariant",
        description="`invariant`: a draft token stands when it is the very token the target draws at its position, so the "
        "answer is that of plain sampling with the same seed. `rejection`: the classic accept/reject rule, equal in "
        "distribution.",
    )
    max_draft: int = Field(default=32, ge=1, le=64, description="Most tokens drafted before the target verifies.")
    adaptive: bool = Field(
        default=True,
        description="Whether the draft length follows measured acceptance and cost; otherwise it is always max_draft.",
    )

    @property
    def drafters(self) -> tuple[str | Drafter, ...]:
        """The drafters in order of preference."""
        return self.draft if isinstance(self.draft, tuple) else (self.draft,)

    def check(self, plan: NodePlan) -> None:
        for draft in self.drafters:
            drafter = plan.play(draft, Drafter)[1]
            assert isinstance(drafter, Drafter)
            drafter.check_beside(self.target, plan)
            if plan.resolve(draft)[0] == plan.resolve(self.target)[0]:
                plan.warn("the target drafts for itself, which only costs time", "draft with a smaller model")

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        target = await run.open(self.target, prompt)
        response = Response(run, target, run.sampling)
        if response.finish_reason is None:  # the first token costs nothing more: its row is there
            first = await run.draw(await target.logits(), target, response.history)
            _add(response, target, first, 0, target.path)
        if response.finish_reason is not None:
            return response.finish()
        costs = await self._costs(run)
        run.emit(Note(name="draft_costs", data=costs.as_data()))
        policy = DraftPolicy(costs, max_draft=self.max_draft, adaptive=self.adaptive)
        drafters = [_LazyDrafter(node, run, prompt, target) for node in self.drafters]
        steps = 1
        waiting = [response.history[-1]]  # the token drawn last, which the target has not seen yet
        while response.finish_reason is None:
            if self.rule == "invariant":
                policy.rows = run.rows_in_flight(self.target)
                if steps % _REFRESH == 0:
                    policy.refresh(await self._costs(run))
            steps += 1
            drafter, draft = await self._propose(run, drafters, response, policy, target)
            rows = await target.extend([*waiting, *draft.ids], rows=len(draft.ids) + 1)
            drawn, accepted = await self._decide(run, rows, target, response, draft)
            policy.observe(drafter.path if drafter else "", draft, accepted)
            proposer = target.path
            if drafter:
                proposer = drafter.proposer
                run.emit(
                    Verified(position=len(response.history), proposed=len(draft.ids), accepted=accepted, proposer=proposer)
                )
                if drafter.path not in costs.drafters:
                    run.count_tokens(accepted)  # no model has drawn them
            kept = len(response.history) + accepted
            for index in range(accepted + 1):
                if not _add(response, target, drawn, index, proposer if index < accepted else target.path):
                    break
            policy.look_back(response.history)
            target.rollback(min(kept, target.length))
            waiting = [drawn.ids[accepted]]
        return response.finish()

    async def _costs(self, run: Run) -> StepCosts:
        """Costs of passes: seconds from a calibration; nominal ones where drafts decide what is drawn, so that clocks do not."""
        measured = self.rule == "invariant"
        models = [draft for draft in self.drafters if run.leaves_of(draft)]
        drafters = {_cost_path(run, draft): await run.pass_costs(draft, measured=measured) for draft in models}
        return StepCosts(await run.pass_costs(self.target, measured=measured), drafters)

    async def _propose(
        self, run: Run, drafters: list[_LazyDrafter], response: Response, policy: DraftPolicy, target: Session
    ) -> tuple[_LazyDrafter | None, Draft]:
        """The first draft worth verifying, in order of preference, and who proposed it."""
        limit = int(min(self.max_draft, response.room - 1, run.tokens_left - 1))
        for drafter in drafters if limit > 0 else ():
            if not policy.worth_asking(drafter.path):
                continue
            purpose = "sample" if self.rule == "invariant" else "draft"
            session = await drafter.open()
            full = await session.propose(response.history, limit, policy.asker(drafter.path), purpose)
            draft = policy.trim(drafter.path, full)
            policy.remember(drafter.path, len(response.history), full, len(draft.ids))
            if full.ids:
                run.emit(
                    Drafted(
                        position=len(response.history),
                        ids=draft.ids,
                        text=target.tokenizer.decode(draft.ids),
                        proposer=drafter.proposer,
                        confidence=tuple(round(value, 4) for value in draft.confidence),
                        discarded=len(full.ids) - len(draft.ids),
                    )
                )
            if draft.ids:
                return drafter, draft
        return None, Draft()

    async def _decide(self, run: Run, rows: Tensor, target: Session, response: Response, draft: Draft) -> tuple[Drawn, int]:
        """The tokens that stand (those of the draft and one more), and how many of them were drafted."""
        if self.rule == "rejection" and draft.ids:
            verdict = await run.verify_draft(rows, target, response.history, draft)
            return verdict.drawn, verdict.accepted
        drawn = await run.draw(rows, target, response.history, draft.ids, new=1)
        accepted = 0
        while accepted < len(draft.ids) and drawn.ids[accepted] == draft.ids[accepted]:
            accepted += 1
        return drawn, accepted


def _add(response: Response, target: Session, drawn: Drawn, index: int, proposer: str) -> bool:
    return response.add(
        drawn.ids[index],
        proposer=proposer,
        decider=target.path,
        logprob=drawn.logprobs[index],
        alternatives=drawn.alternatives[index] if drawn.alternatives else (),
    )


def _cost_path(run: Run, drafter: str | Drafter) -> str:
    """What a drafter's costs go by: its model, so that two drafters with one model share what is known of it."""
    return run.leaf_of(drafter) or run.path_of(drafter)


class _LazyDrafter:
    """A drafter that is opened when it is asked first: one that never pays never processes the prompt."""

    def __init__(self, node: str | Drafter, run: Run, prompt: Prompt, target: Session) -> None:
        self._node, self._run, self._prompt, self._target = node, run, prompt, target
        self.path = _cost_path(run, node)
        """What its costs go by."""
        self.proposer = self.path
        """Whose tokens they are."""
        self._session: DraftSession | None = None

    async def open(self) -> DraftSession:
        """Its session."""
        if self._session is None:
            self._session = await self._run.draft(self._node, self._prompt, self._target)
            self.proposer = self._session.path
        return self._session


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `speculative` node."""
    return [Speculative]

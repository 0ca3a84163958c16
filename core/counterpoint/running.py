"""All a node may touch while it works: one :class:`Run` per call of a node.

Nodes never call one another directly; they ask their run, so that the engine meters, stamps and stops everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from counterpoint.childstream import ChildStream
from counterpoint.costs import PassCosts, total_costs
from counterpoint.drawingcall import DrawingCall
from counterpoint.errors import ContextFull, RunError, Unsupported
from counterpoint.events import BudgetSpent as BudgetSpentEvent
from counterpoint.events import CandidateScored, Emitted, EventBase, Forward, NodeFinished, NodeStarted
from counterpoint.inputs import merge_sampling
from counterpoint.ledger import Account, BudgetSpent
from counterpoint.node import Drafter, Generator, LanguageModel, LeafModel, Node, Score, Trainer, Verifier
from counterpoint.prompt import Completion, FinishReason, Prompt
from counterpoint.runstate import RunState
from counterpoint.settings import Budget, Sampling

if TYPE_CHECKING:
    from counterpoint.host import PassShare
    from counterpoint.response import Response
    from counterpoint.session import Backend, DraftSession, Session
    from counterpoint.tokenizer import Tokenizer

T = TypeVar("T")


class Run(DrawingCall):
    """One node's call within a run: where it stands (:class:`~counterpoint.place.Place`), what it draws
    (:class:`~counterpoint.drawingcall.DrawingCall`), and here its events and its calls of other nodes."""

    def __init__(
        self,
        state: RunState,
        path: str,
        *,
        indices: tuple[int, ...] = (),
        parent: Run | None = None,
        sampling: Sampling | None = None,
        account: Account | None = None,
        relay: Run | ChildStream | None = None,
    ) -> None:
        valve = parent._valve if parent else None
        super().__init__(state, path, indices=indices, sampling=sampling, account=account, valve=valve)
        self._parent = parent
        self._relay = relay
        self._children = 0
        self._span = state.new_span()
        self._sessions: list[Session | DraftSession] = []
        self._text: list[str] = []
        self._ids: list[int] = []
        self._responses: list[Response] = []

    @classmethod
    def root(cls, state: RunState, budget: Budget | None) -> Run:
        """The span of the recipe's output node."""
        return cls(state, state.graph.output, account=Account().within(budget))

    async def answer(self, node: Generator, prompt: Prompt) -> Completion:
        """Runs the output node (the engine's part)."""
        return await self._call("Generator", node, lambda: node.generate(_public(prompt), self), self._account.limited)

    async def make(self, node: Trainer) -> Completion:
        """Runs the output node where it is a trainer (the engine's part); the text is what loads the artifact in recipes."""

        async def call() -> Completion:
            self.emit(Emitted(text=f"artifact:{await node.train(self)}"))
            return self.completion("stop")

        return await self._call("Trainer", node, call, own_budget=False)

    # --- events -----------------------------------------------------------------------------------------------------

    def emit(self, event: EventBase) -> None:
        """Adds an event to the trace; the engine stamps it."""
        if isinstance(event, Emitted):
            self._text.append(event.text)
            self._ids.extend(event.ids)
            if self._relay is not None:
                self._relay.emit(event)
        self._state.emit(event, self._span, self._parent._span if self._parent else 0, self.path)

    def completion(self, finish_reason: FinishReason, tokenizer: Tokenizer | None = None) -> Completion:
        """What has been emitted so far, as a completion."""
        if tokenizer is None and self._responses:
            tokenizer = self._responses[-1].tokenizer
        return Completion(
            text="".join(self._text),
            ids=tuple(self._ids),
            tokenizer=tokenizer.fingerprint if tokenizer else "",
            finish_reason=finish_reason,
        )

    def begin(self, response: Response) -> None:
        """Registers a response, so that what it holds back comes out however the call ends (:class:`Response` does it)."""
        self._responses.append(response)

    # --- calls of other nodes ---------------------------------------------------------------------------------------

    def generate(
        self,
        child: str | Generator | LanguageModel | Node,
        prompt: Prompt,
        *,
        budget: Budget | None = None,
        sampling: Sampling | None = None,
        relay: bool = False,
    ) -> Coroutine[Any, Any, Completion]:
        """A completion by another node.

        Args:
            child: the field that refers to it; a language model samples plainly.
            prompt: what it is to answer, and from what prefix.
            budget: an allowance for the call; when it is spent, what has been made so far is returned.
            sampling: settings in force below, instead of this node's own.
            relay: whether the child's text is also emitted as this node's own.
        """
        path, node = self._state.graph.target(child, Generator)
        assert isinstance(node, Generator)
        settings = sampling or self.sampling_of(child)
        run = self._child(path, budget, settings, self if relay else None)
        return run._call("Generator", node, lambda: node.generate(_public(prompt), run), budget is not None)

    def stream(
        self,
        child: str | Generator | LanguageModel | Node,
        prompt: Prompt,
        *,
        budget: Budget | None = None,
        sampling: Sampling | None = None,
    ) -> ChildStream:
        """A completion by another node, piece by piece, made no faster than the pieces are taken; may be left early.

            async with run.stream(self.draft, prompt) as pieces:
                async for piece in pieces:
                    ...

        Args:
            child: the field that refers to it; a language model samples plainly.
            prompt: what it is to answer, and from what prefix.
            budget: an allowance for the call; when it is spent, the stream ends with what has been made so far.
            sampling: settings in force below, instead of this node's own.
        """
        path, node = self._state.graph.target(child, Generator)
        assert isinstance(node, Generator)
        run = self._child(path, budget, sampling or self.sampling_of(child), None)

        def call(stream: ChildStream) -> Coroutine[Any, Any, Completion]:
            run._relay, run._valve = stream, stream.valve
            return run._call("Generator", node, lambda: node.generate(_public(prompt), run), budget is not None)

        return ChildStream(call, self._valve)

    def sampling_of(self, child: str | Generator | LanguageModel | Node, under: Sampling | None = None) -> Sampling:
        """The sampling settings of a child: what it sets itself, over ``under`` (by default this node's).

        Raises:
            RecipeError: together they contradict one another.
        """
        path, node = self._state.graph.target(child, Generator)
        assert isinstance(node, Generator)
        return merge_sampling(under or self.sampling, node.sampling, path)

    async def verify(self, verifier: str | Verifier, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        """Scores of completions; the verifier sees the prompt's fields it requires."""
        path, node = self._state.graph.target(verifier, Verifier)
        assert isinstance(node, Verifier)
        return await self._child(path, None, None, None).judge(node, prompt, completions)

    async def judge(self, node: Verifier, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        """Scores completions by the verifier of this span, and records every score (the engine's part)."""
        fields = {name: value for name, value in self._state.prompt.fields.items() if name in node.requires}
        seen = prompt.model_copy(update={"fields": fields})
        self.emit(NodeStarted(kind=node.kind, role="Verifier"))
        reason = "failed"
        try:
            scores = list(await node.verify(seen, completions, self))
            if len(scores) != len(completions):
                raise RunError(
                    f"{self.path}: scored {len(scores)} completions of {len(completions)}",
                    hint=f"this is a bug of the plugin that brings '{node.kind}'",
                )
            reason = ""
        except BudgetSpent:
            reason = "budget"
            raise
        except asyncio.CancelledError:
            reason = "cancelled"
            raise
        finally:
            self._close()
            if not reason:
                for index, given in enumerate(scores):
                    score = given if isinstance(given, Score) else Score(given)
                    self.emit(
                        CandidateScored(
                            candidate=index, verifier=self.path, score=float(score), detail=score.detail, data=score.data
                        )
                    )
            self._finished(reason)
        return scores

    async def open(self, model: str | LanguageModel | Node, prompt: Prompt) -> Session:
        """A session on ``prompt`` (and its prefix); the longest known beginning is not computed again.

        Raises:
            ModelError: the model cannot be loaded, or the prompt does not fit it.
        """
        path, node = self._state.graph.target(model, LanguageModel)
        if isinstance(node, LeafModel):
            session = await self._state.engine.open_leaf(path, node, prompt, self)
        else:
            assert isinstance(node, LanguageModel)
            session = await node.open(_public(prompt), self._part(path, node, "LanguageModel"))
        self._sessions.append(session)
        return session

    async def draft(self, drafter: str | Drafter | LanguageModel | Node, prompt: Prompt, target: Session) -> DraftSession:
        """A draft session beside ``target``; it draws with this node's noise, so that draft and target agree often."""
        path, node = self._state.graph.target(drafter, Drafter)
        assert isinstance(node, Drafter)
        session = await node.draft(_public(prompt), target, self._part(path, node, "Drafter"))
        self._sessions.append(session)
        return session

    async def load(self, model: str | LanguageModel | Node) -> tuple[str, LeafModel, Backend]:
        """Path, node and loaded backend of a leaf model, held until the run ends. Trainers use its module, its tokenizer and its
        stop tokens; what passes it makes are the engine's.

        Raises:
            ModelError: the model cannot be loaded.
            Unsupported: it is a composition, which has no weights of its own.
        """
        path, node = self._state.graph.target(model, LanguageModel)
        if not isinstance(node, LeafModel):
            raise Unsupported(f"{path}: '{node.kind}' has no weights of its own", hint="name a model with weights here")
        host = await self._state.engine.leaf_host(path, node, self)
        return path, node, host.backend

    async def pass_costs(self, reference: str | Node, *, measured: bool = True) -> PassCosts:
        """What passes of a model cost: in seconds, from this machine's calibration, or nominally, by the weights read.

        A composition costs what its leaf models cost together. A model that has not been opened is loaded only if its costs are
        not known from before.
        """
        costs = []
        for leaf in self.leaves_of(reference):
            node = self._state.graph.nodes[leaf]
            assert isinstance(node, LeafModel)
            costs.append(await self._state.engine.leaf_costs(leaf, node, self, measured=measured))
        return total_costs(costs, "seconds" if measured else "weights read")

    async def gather(self, *calls: Awaitable[T]) -> list[T]:
        """Several calls at once, sharing passes; if one fails, the others are stopped."""
        tasks = [asyncio.ensure_future(call) for call in calls]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    def _part(self, path: str, node: Node, role: str) -> Run:
        """The run of a node that works as a part of this one: it draws with this node's noise, and ends with it."""
        run = Run(self._state, path, indices=self._indices, parent=self, sampling=self.sampling, account=self._account)
        run._sessions = self._sessions  # what it opens is closed with this call, even if it fails half-way
        run._counts_for = self._counts_for
        run.emit(NodeStarted(kind=node.kind, role=role))
        return run

    def _child(self, path: str, budget: Budget | None, sampling: Sampling | None, relay: Run | None) -> Run:
        index = self._children
        self._children += 1
        return Run(
            self._state,
            path,
            indices=(*self._indices, index),
            parent=self,
            sampling=sampling or self.sampling,
            account=self._account.within(budget),
            relay=relay,
        )

    async def _call(self, role: str, node: Node, call: Callable[[], Awaitable[Completion]], own_budget: bool) -> Completion:
        """Runs the node of this span between its events; a spent budget of its own makes a partial completion."""
        self.emit(NodeStarted(kind=node.kind, role=role))
        try:
            completion = await self._flushed(call)
        except BudgetSpent as spent:
            event = BudgetSpentEvent(unit=spent.unit, limit=spent.limit, spent=spent.spent, needed=spent.needed)
            if not own_budget or not self._account.set_here(spent):
                self._finished("budget")
                raise
            self.emit(event)
            completion = self.completion("budget")
        except ContextFull:  # of a model that cuts the response otherwise, say, so that nobody could count ahead
            if not self._text:
                self._finished("failed")
                raise
            completion = self.completion("length")
        except asyncio.CancelledError:
            self._finished("cancelled")
            raise
        except Exception:
            self._finished("failed")
            raise
        finally:
            self._close()
        if not isinstance(completion, Completion):
            self._finished("failed")
            raise RunError(
                f"{self.path}: returned {completion!r} instead of a completion",
                hint=f"this is a bug of the plugin that brings '{node.kind}'",
            )
        if completion.text != "".join(self._text):
            self._finished("failed")
            raise RunError(
                f"{self.path}: the completion is not the text it emitted",
                hint=f"this is a bug of the plugin that brings '{node.kind}': emit every piece of text",
            )
        self._finished(completion.finish_reason)
        return completion

    async def _flushed(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call; if it is cut short, its responses give out what they hold back."""
        try:
            return await call()
        except BaseException:
            for response in self._responses:
                response.flush()
            raise

    def keep(self, session: Session) -> None:
        """Closes a session (a fork, say) when this call ends."""
        self._sessions.append(session)

    def charge(self, path: str, share: PassShare) -> None:
        """Records a pass."""
        self._account.spend(share.flops)
        self.emit(Forward(node=path, **vars(share)))

    def _finished(self, reason: str) -> None:
        self.emit(NodeFinished(finish_reason=reason, tokens=len(self._ids), generated=self._generated))

    def _close(self) -> None:
        for session in reversed(self._sessions):
            session.close()
        self._sessions.clear()


def _public(prompt: Prompt) -> Prompt:
    """A prompt as generators see it: the fields are for verifiers only."""
    return prompt.model_copy(update={"fields": {}}) if prompt.fields else prompt

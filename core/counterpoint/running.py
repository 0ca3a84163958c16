"""All a node may touch while it works: one :class:`Run` per call of a node.

Nodes never call one another directly; they ask their run, so that the engine meters, stamps and stops everything.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from counterpoint.childstream import ChildStream
from counterpoint.emittingcall import EmittingCall
from counterpoint.errors import ContextFull
from counterpoint.events import BudgetSpent as BudgetSpentEvent
from counterpoint.events import Emitted, NodeStarted
from counterpoint.inputs import merge_sampling
from counterpoint.ledger import Account, BudgetMeter, BudgetSpent
from counterpoint.modelcall import public
from counterpoint.node import Generator, LanguageModel, Node, Score, Trainer, Verifier, roles_of
from counterpoint.prompt import Completion, Prompt
from counterpoint.runstate import RunState
from counterpoint.scores import checked_scores, score_events
from counterpoint.settings import Budget, Sampling

if TYPE_CHECKING:
    from pydantic import JsonValue


T = TypeVar("T")


class Run(EmittingCall):
    """One node's call within a run: where it stands (:class:`~counterpoint.place.Place`), what it draws
    (:class:`~counterpoint.drawingcall.DrawingCall`), its models (:class:`~counterpoint.modelcall.ModelCall`), its
    events (:class:`~counterpoint.emittingcall.EmittingCall`), and here its calls of other nodes.

    Attributes:
        candidates: of a verifier's call, the numbers in events of the completions it scores.
    """

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
        super().__init__(state, path, indices=indices, parent=parent, sampling=sampling, account=account, relay=relay)
        self._parent = parent
        self._children = 0
        self._turns: Counter[str] = Counter()
        self._turn = 0
        self._verifications: Counter[int | None] = Counter()
        self._fields: Mapping[str, JsonValue] = parent._fields if parent else state.prompt.fields
        self.candidates: tuple[int, ...] = ()

    @classmethod
    def root(cls, state: RunState, budget: Budget | None) -> Run:
        """The span of the recipe's output node."""
        return cls(state, state.graph.output, account=Account().within(budget))

    async def answer(self, node: Generator, prompt: Prompt) -> Completion:
        """Runs the output node (the engine's part)."""
        return await self._call("Generator", node, lambda: node.generate(public(prompt), self), self._account.limited)

    async def score(self, node: Verifier, prompt: Prompt, answers: Sequence[Completion]) -> Completion:
        """Runs the output node where it is a verifier (the engine's part): its scores are events; there is no text."""
        scores = await self.judge(node, prompt, answers)
        return self.completion("stop" if len(scores) == len(answers) else "budget")

    async def make(self, node: Trainer) -> Completion:
        """Runs the output node where it is a trainer (the engine's part); the text is what loads the artifact in recipes."""

        async def call() -> Completion:
            self.emit(Emitted(text=f"artifact:{await node.train(self)}"))
            return self.completion("stop")

        return await self._call("Trainer", node, call, own_budget=False)

    # --- calls of other nodes ---------------------------------------------------------------------------------------

    def generate(
        self,
        child: str | Generator | LanguageModel | Node,
        prompt: Prompt,
        *,
        budget: Budget | BudgetMeter | None = None,
        sampling: Sampling | None = None,
        relay: bool = False,
        keep_partial: bool = False,
    ) -> Coroutine[Any, Any, Completion]:
        """A completion by another node.

        Args:
            child: the field that refers to it; a language model samples plainly.
            prompt: what it is to answer, and from what prefix.
            budget: an allowance for the call, of its own or shared (:meth:`allowance`); when it is spent, what has been made so
                far is returned.
            sampling: settings in force below, instead of this node's own.
            relay: whether the child's text is also emitted as this node's own.
            keep_partial: whether what has been made so far is returned when any budget is spent, a caller's too; the next pass
                that does not fit unwinds as ever.
        """
        path, node = self._state.graph.target(child, Generator)
        assert isinstance(node, Generator)
        settings = sampling or self.sampling_of(child)
        run = self._child(path, budget, settings, self if relay else None)
        return run._call("Generator", node, lambda: node.generate(public(prompt), run), budget is not None, keep_partial)

    def stream(
        self,
        child: str | Generator | LanguageModel | Node,
        prompt: Prompt,
        *,
        budget: Budget | BudgetMeter | None = None,
        sampling: Sampling | None = None,
        keep_partial: bool = False,
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
            keep_partial: whether it ends so when any budget is spent, a caller's too.
        """
        path, node = self._state.graph.target(child, Generator)
        assert isinstance(node, Generator)
        run = self._child(path, budget, sampling or self.sampling_of(child), None)

        def call(stream: ChildStream) -> Coroutine[Any, Any, Completion]:
            run._relay, run._valve = stream, stream.valve
            return run._call("Generator", node, lambda: node.generate(public(prompt), run), budget is not None, keep_partial)

        return ChildStream(call, self._valve)

    def allowance(self, share: float) -> BudgetMeter | None:
        """A share (0 to 1) of what the budgets in force still allow, for several calls to spend together; None where there are
        none."""
        return self._account.allowance(share)

    def sampling_of(self, child: str | Generator | LanguageModel | Node, under: Sampling | None = None) -> Sampling:
        """The sampling settings of a child: what it sets itself, over ``under`` (by default this node's).

        Raises:
            RecipeError: together they contradict one another.
        """
        path, node = self._state.graph.target(child, Generator)
        assert isinstance(node, Generator)
        return merge_sampling(under or self.sampling, node.sampling, path)

    def fields_read(self, reference: str | Node) -> dict[str, JsonValue]:
        """Those fields of the prompt that verifiers at or below a reference read: what they choose depends on them."""
        names = self._state.graph.fields_read(self.path_of(reference))
        return {name: value for name, value in self._fields.items() if name in names}

    async def verify(
        self,
        verifier: str | Verifier,
        prompt: Prompt,
        completions: Sequence[Completion],
        *,
        candidates: Sequence[int] | None = None,
        fields: Mapping[str, JsonValue] | None = None,
    ) -> list[Score]:
        """Scores of completions; the verifier sees those fields that it requires of the prompt that the run was started with.

        Args:
            verifier: the field that refers to it.
            prompt: what they answer.
            completions: what is scored.
            candidates: their numbers, in events and for what the verifier draws; by default 0, 1, ….
            fields: instead of the run's, for a caller that brings prompts of its own (a trainer).
        """
        path, node = self._state.graph.target(verifier, Verifier)
        assert isinstance(node, Verifier)
        # Numbered apart from generators, so that what these draw does not depend on what was verified before; and each candidate's
        # apart from the others', so that what a verifier draws does not depend on which of them ended first.
        first = candidates[0] if candidates else None
        self._verifications[first] += 1
        turn = -self._verifications[first]
        run = self._child(path, None, None, None, index=(turn,) if first is None else (turn, first))
        if fields is not None:
            run._fields = fields
        return await run.judge(node, prompt, completions, candidates)

    async def judge(
        self, node: Verifier, prompt: Prompt, completions: Sequence[Completion], candidates: Sequence[int] | None = None
    ) -> list[Score]:
        """Scores completions by the verifier of this span, and records every score (the engine's part); none where a budget of its own,
        the recipe's, is spent."""
        fields = {name: value for name, value in self._fields.items() if name in node.requires}
        seen = prompt.model_copy(update={"fields": fields})
        self.candidates = tuple(candidates or range(len(completions)))
        with self._spanned(node, "Verifier") as end:
            try:
                given = await node.verify(seen, completions, self)
            except BudgetSpent as spent:
                if self._parent is not None or not self._account.set_here(spent):
                    raise
                self.emit(BudgetSpentEvent(unit=spent.unit, limit=spent.limit, spent=spent.spent, needed=spent.needed))
                end.reason = "budget"
                return []
            scores = checked_scores(given, len(completions), self.path, node.kind)
            for event in score_events(scores, self.candidates, self.path, node.kind):
                self.emit(event)
        return scores

    async def once(self, name: str, make: Callable[[Run], Awaitable[T]]) -> T:
        """What ``make`` returns, made once in a run: all calls of this node that ask for ``name`` get the same.

        Args:
            name: which of several things this node shares.
            make: gets the run of a span of its own, directly below the root, whoever asks first.
        """
        shared = self._state.shared
        if (self.path, name) not in shared:
            shared[self.path, name] = asyncio.ensure_future(self._shared(name, make))
        return await asyncio.shield(shared[self.path, name])

    async def _shared(self, name: str, make: Callable[[Run], Awaitable[T]]) -> T:
        root = self
        while root._parent is not None:
            root = root._parent
        node = self._state.graph.nodes[self.path]
        # what it draws depends on which node asks and for what, not on who came first; names of nodes do not count
        indices = (-1 - list(self._state.graph.nodes).index(self.path), zlib.crc32(name.encode()))
        run = Run(self._state, self.path, indices=indices, parent=root, account=root._account)
        with run._spanned(node, roles_of(type(node))[0]):
            return await make(run)

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
        run._turn = self._turn
        run.emit(NodeStarted(kind=node.kind, role=role))
        return run

    def _child(
        self,
        path: str,
        budget: Budget | BudgetMeter | None,
        sampling: Sampling | None,
        relay: Run | None,
        index: tuple[int, ...] | None = None,
    ) -> Run:
        turn = 0
        if index is None:
            index = (self._children,)
            self._children += 1
            turn = self._turns[path]
            self._turns[path] += 1
        child = Run(
            self._state,
            path,
            indices=(*self._indices, *index),
            parent=self,
            sampling=sampling or self.sampling,
            account=self._account.within(budget),
            relay=relay,
        )
        child._turn = self._turn + turn
        return child

    @property
    def turn(self) -> int:
        """Whose turn it is among calls of one node: how many its caller has called of it before, added to the caller's own turn and
        so on up to the output node, whose turn is the row of the sample."""
        return self._turn + self._state.row

    async def _call(
        self,
        role: str,
        node: Node,
        call: Callable[[], Awaitable[Completion]],
        own_budget: bool,
        keep_partial: bool = False,
    ) -> Completion:
        """Runs the node of this span between its events; a spent budget of its own makes a partial completion, that of a caller
        where this is wanted."""
        with self._spanned(node, role) as end:
            try:
                completion = await self._flushed(call)
            except BudgetSpent as spent:
                if not keep_partial and not (own_budget and self._account.set_here(spent)):
                    raise
                self.emit(BudgetSpentEvent(unit=spent.unit, limit=spent.limit, spent=spent.spent, needed=spent.needed))
                completion = self.completion("budget")
            except ContextFull:  # of a model that cuts the response otherwise, say, so that nobody could count ahead
                if not self._text:
                    raise
                completion = self.completion("length")
            self._check(completion, node)
            end.reason = completion.finish_reason
        return completion

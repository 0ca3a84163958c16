"""Models of a call: sessions opened, drafters set beside them, weights loaded, passes priced."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from counterpoint.costs import PassCosts, total_costs
from counterpoint.drawingcall import DrawingCall
from counterpoint.errors import Unsupported
from counterpoint.events import EventBase
from counterpoint.node import Drafter, LanguageModel, LeafModel, Node
from counterpoint.prompt import Prompt

if TYPE_CHECKING:
    from counterpoint.passrequest import PassShare
    from counterpoint.running import Run
    from counterpoint.session import Backend, DraftSession, Session


class ModelCall(DrawingCall):
    """A call that opens models. What it opens is closed when it ends."""

    _sessions: list[Session | DraftSession]

    @abstractmethod
    def emit(self, event: EventBase) -> None:
        """Adds an event to the trace; the engine stamps it."""

    @abstractmethod
    def charge(self, path: str, share: PassShare) -> None:
        """Records a pass."""

    @abstractmethod
    def _part(self, path: str, node: Node, role: str) -> Run:
        """The run of a node that works as a part of this one: it draws with this node's noise, and ends with it."""

    async def open(self, model: str | LanguageModel | Node, prompt: Prompt) -> Session:
        """A session on ``prompt`` (and its prefix); the longest known beginning is not computed again.

        Raises:
            ModelError: the model cannot be loaded, or the prompt does not fit it.
        """
        path, node = self._state.graph.target(model, LanguageModel)
        if isinstance(node, LeafModel):
            session = await self._state.engine.serving.open(path, node, prompt, self)
        else:
            assert isinstance(node, LanguageModel)
            session = await node.open(public(prompt), self._part(path, node, "LanguageModel"))
        self._sessions.append(session)
        return session

    async def draft(self, drafter: str | Drafter | LanguageModel | Node, prompt: Prompt, target: Session) -> DraftSession:
        """A draft session beside ``target``; it draws with this node's noise, so that draft and target agree often."""
        path, node = self._state.graph.target(drafter, Drafter)
        assert isinstance(node, Drafter)
        session = await node.draft(public(prompt), target, self._part(path, node, "Drafter"))
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
        host = await self._state.engine.serving.host(path, node, self)
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
            costs.append(await self._state.engine.serving.costs(leaf, node, self, measured=measured))
        return total_costs(costs, "seconds" if measured else "weights read")

    def keep(self, session: Session) -> None:
        """Closes a session (a fork, say) when this call ends."""
        self._sessions.append(session)

    def _close(self) -> None:
        for session in reversed(self._sessions):
            session.close()
        self._sessions.clear()


def public(prompt: Prompt) -> Prompt:
    """A prompt as generators see it: the fields are for verifiers only."""
    return prompt.model_copy(update={"fields": {}}) if prompt.fields else prompt

"""Where a call of a node stands: its place in the model graph, and what the models that it refers to cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from counterpoint.identity import identity_of
from counterpoint.node import LeafModel, Node
from counterpoint.prompt import Prompt
from counterpoint.runstate import RunState

if TYPE_CHECKING:
    from counterpoint.bridge import TokenizerBridge
    from counterpoint.host import ModelHost
    from counterpoint.recipe import Recipe
    from counterpoint.tokenizer import Tokenizer

T = TypeVar("T")


class Place:
    """A node in a graph that runs: what can be asked there without calling another node.

    Attributes:
        path: path of the node.
    """

    def __init__(self, state: RunState, path: str) -> None:
        self._state = state
        self.path = path

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self._state.seed

    @property
    def recipe(self) -> Recipe:
        """The recipe that runs."""
        return self._state.recipe

    @property
    def root_prompt(self) -> Prompt:
        """The prompt the run was started with."""
        return self._state.prompt

    @property
    def hosts(self) -> dict[str, ModelHost]:
        """Loaded models by the path of their node (the engine's)."""
        return self._state.hosts

    @property
    def row(self) -> int:
        """Which of several samples of the same prompt this is."""
        return self._state.row

    @property
    def scope(self) -> str:
        """With whom this run shares the beginnings that models have processed (the engine's)."""
        return self._state.scope

    def path_of(self, reference: str | Node) -> str:
        """The path of a node referred to by one of this node's fields."""
        return self._state.graph.path_of(reference)

    def node_of(self, reference: str | Node, protocol: type[Node]) -> Node:
        """The node that one of this node's fields refers to, for a protocol that is no role (a constraint, say)."""
        return self._state.graph.target(reference, protocol)[1]

    async def identity(self, reference: str | Node, role: type[Node]) -> dict[str, Any]:
        """Plain data that two nodes have in common exactly when they do the same: kinds, fields, weights, and no names."""
        plan = await self._state.engine.serving.planned(self.recipe, self.root_prompt)
        return identity_of(reference, role, self._state.graph.target, lambda path: plan.facts[path].key)

    async def bridge(self, outer: Tokenizer, inner: Tokenizer) -> TokenizerBridge:
        """The bridge from an outer vocabulary, in which tokens are chosen, to an inner one."""
        return await self.thread(self._state.engine.bridges.between, outer, inner)

    async def thread(self, function: Callable[..., T], *args: Any) -> T:
        """Runs blocking work (a subprocess, a file) off the engine's thread; passes go on meanwhile."""
        return await asyncio.to_thread(function, *args)

    def leaf_of(self, reference: str | Node) -> str | None:
        """Path of the leaf model behind a reference (through a drafter that wraps one); None when there is none."""
        graph = self._state.graph
        path = graph.path_of(reference)
        node = graph.nodes[path]
        if isinstance(node, LeafModel):
            return path
        if node.adapts is not None:
            return self.leaf_of(getattr(node, node.adapts))
        return None

    def leaves_of(self, reference: str | Node) -> list[str]:
        """Paths of the leaf models at or below a reference: one for a model, several for a composition, none for a look-up."""
        return self._state.graph.leaves(self._state.graph.path_of(reference))

    def rows_in_flight(self, reference: str | Node) -> int:
        """Sessions open on a model, in all runs: how many rows may share its passes (of a composition's, its busiest)."""
        leaves = self.leaves_of(reference)
        return max([1, *(self._state.hosts[path].slots for path in leaves if path in self._state.hosts)])

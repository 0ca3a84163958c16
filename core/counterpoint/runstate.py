"""What all spans of one run share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from counterpoint.events import Event, EventBase
from counterpoint.prompt import Prompt

if TYPE_CHECKING:
    from counterpoint.engine import Engine
    from counterpoint.graph import Graph
    from counterpoint.host import ModelHost
    from counterpoint.recipe import Recipe


class RunState:
    """What all spans of one run share."""

    def __init__(
        self,
        engine: Engine,
        recipe: Recipe,
        graph: Graph,
        prompt: Prompt,
        *,
        seed: int,
        row: int,
        deliver: Callable[[Event], None],
        scope: str = "",
    ) -> None:
        self.engine = engine
        self.recipe = recipe
        self.graph = graph
        self.prompt = prompt
        self.seed = seed
        self.row = row
        self.scope = scope
        self.hosts: dict[str, ModelHost] = {}
        self.shared: dict[tuple[str, str], asyncio.Future[Any]] = {}
        """What is made once in this run, by node and name."""
        self._deliver = deliver
        self._started = time.perf_counter()
        self._seq = 0
        self._spans = 0

    async def end(self) -> None:
        """Stops what is still being made for all, and waits for it."""
        for task in self.shared.values():
            task.cancel()
        await asyncio.gather(*self.shared.values(), return_exceptions=True)

    def new_span(self) -> int:
        """The number of the next span; 0 is the run itself."""
        self._spans += 1
        return self._spans

    def emit(self, event: EventBase, span: int, parent: int | None, node: str) -> None:
        """Stamps an event and hands it on."""
        stamp = {
            "seq": self._seq,
            "t": round(time.perf_counter() - self._started, 6),
            "span": span,
            "parent": parent,
            "node": event.node or node,
        }
        self._seq += 1
        if event.seq >= 0:  # stamped before: whoever emits an event twice has two
            event = event.model_copy()
        event.__dict__.update(stamp)  # frozen for everyone else; a copy of every event would cost more than making it
        self._deliver(event)  # type: ignore[arg-type]

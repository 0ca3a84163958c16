"""What is kept of the events of a training, which may sample as much as a whole evaluation: all of them would not fit the memory."""

from __future__ import annotations

from collections.abc import Callable

from counterpoint.events import Event, Forward, Progress, RunFinished
from counterpoint.recording import merge_passes
from counterpoint.tally import ROOT_SPAN


class Sparing:
    """Passes on what the trainer itself says and what models report while they come in; passes are summed, one event a model at
    the end; what other nodes say is dropped.

    Args:
        deliver: takes the events that are kept, numbered anew.
    """

    def __init__(self, deliver: Callable[[Event], None]) -> None:
        self._deliver = deliver
        self._passes: dict[tuple[str, bool], Forward] = {}
        self._count = 0

    def __call__(self, event: Event) -> None:
        """Takes the next event."""
        if isinstance(event, Forward):
            key = (event.node, event.prefill)
            self._passes[key] = merge_passes(self._passes[key], event) if key in self._passes else event
            return
        if isinstance(event, RunFinished):
            for passes in self._passes.values():
                self._number(passes.model_copy(update={"t": event.t, "span": ROOT_SPAN, "parent": 0}))
        if event.span <= ROOT_SPAN or isinstance(event, Progress):
            self._number(event)

    def _number(self, event: Event) -> None:
        self._deliver(event.model_copy(update={"seq": self._count}))
        self._count += 1

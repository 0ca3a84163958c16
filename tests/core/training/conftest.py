"""A trainer that counts: what every trainer does, without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from counterpoint.plugin import Node, Run, Trainer, hookimpl
from counterpoint.registry import Registry, load_plugins
from counterpoint.testing import fake
from counterpoint.training import Reporter, Workshop, in_thread


class Counting:
    """Plugin of the `counting` trainer; ``after`` is called after every step."""

    after: Callable[[int], None] = staticmethod(lambda step: None)

    @hookimpl
    def counterpoint_nodes(self) -> list[type[Node]]:
        return [CountingTrainer]


class CountingTrainer(Trainer):
    """Counts to ``steps``."""

    kind: Literal["counting"] = "counting"
    artifact: str
    steps: int = 4
    minutes: float | None = None

    async def train(self, run: Run) -> str:
        report = Reporter(run, self.artifact)

        def work(stopping: Callable[[], bool]) -> bool:
            with Workshop(self.artifact, run.path) as workshop:
                workshop.agree({"steps": self.steps})
                found = workshop.latest()
                step = found[1]["step"] if found else 0
                workshop.rewind(step)
                report.begin(step, self.steps)
                while step < self.steps:
                    if stopping():
                        return False
                    step += 1
                    workshop.log({"step": step, "loss": 1 / step})
                    workshop.checkpoint(step, {}, {"more": [step, 0.1]})
                    report.step(step, self.steps, 1 / step, 10)
                    Counting.after(step)
                report.held_out(step, self.steps, 0.5)
                loss = {"first": 1.0, "last": 1 / step}
                held = {"untrained": 2.0, "best": 0.5, "best_step": step}
                card: dict[str, Any] = {"what": "a count", "steps": step, "seconds": 3.0, "loss": loss, "held_out_loss": held}
                workshop.finish(lambda folder: (folder / "count.txt").write_text(str(step)) and None, card, "# A count\n")
                return True

        await in_thread(run, work)
        return self.artifact


@pytest.fixture(scope="session")
def trainers() -> Registry:
    """The installed plugins, the fake model and the counting trainer."""
    return load_plugins([fake, Counting()])


@pytest.fixture
def counting() -> Iterator[type[Counting]]:
    """The counting trainer's plugin, whose ``after`` a test may set."""
    yield Counting
    Counting.after = staticmethod(lambda step: None)

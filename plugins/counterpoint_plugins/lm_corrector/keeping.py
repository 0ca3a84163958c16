"""Candidates of a training: made a few examples at a time, and kept as they come, so that a kill costs none that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from counterpoint.keeping import KeptLines, key_of
from counterpoint.plugin import Budget, BudgetMeter, Generator, Progress, Prompt, Run, RunError
from counterpoint_plugins.lm_corrector.examples import Example, Examples

if TYPE_CHECKING:
    from counterpoint.training import Workshop
    from counterpoint_plugins.lm_corrector.training_node import CorrectorTraining

IN_FLIGHT = 16
"""Examples whose candidates are made at once."""


@dataclass
class Material:
    """Examples with the texts of their candidates, by the example's name, and what all of these cost. An example whose candidates
    are all empty has none: it is not trained on, as `lm_corrector` gives no answer in its place."""

    examples: Examples
    wanted: bool
    """Whether any are made."""
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    flops: float = 0.0
    tokens: int = 0
    left_out: int = 0
    """Candidates that were empty or failed."""
    made_by: dict[str, Any] = field(default_factory=dict)
    """All that decides candidates besides the sources."""

    def with_candidates(self, examples: Sequence[Example]) -> list[Example]:
        """The examples that can be used."""
        return [example for example in examples if self.candidates[example.name] or not self.wanted]


async def with_candidates(node: CorrectorTraining, examples: Examples, workshop: Workshop, run: Run) -> Material:
    """The candidates of all examples, made where they are not kept yet.

    Raises:
        RunError: all candidates of an example failed, naming it; or the disk refuses what is kept.
    """
    material = Material(examples, wanted=sum(node.counts) > 0)
    everything = [*examples.train, *examples.held_out]
    making = _Making(node, workshop, run)
    if not material.wanted:
        material.candidates = {example.name: () for example in everything}
        material.made_by = await making.made_by()
        return material
    waiting = iter(everything)

    def tell() -> None:
        done = len(material.candidates)
        run.emit(Progress(phase="sample", item=node.artifact, done=done, total=len(everything), unit="examples"))

    async def work() -> None:
        for example in waiting:
            line = await making.line(example)
            material.candidates[example.name] = tuple(line["candidates"])
            material.flops += line["cost"]["flops"]
            material.tokens += line["cost"]["tokens"]
            material.left_out += line["left_out"]
            tell()

    tell()
    await run.gather(*(work() for _ in range(IN_FLIGHT)))
    material.made_by = await making.made_by()
    return material


def _usable(line: dict[str, Any]) -> bool:
    """Whether a line that is kept says what is kept of an example."""
    texts, cost, out = (line.get(name) for name in ("candidates", "cost", "left_out"))
    return (
        isinstance(texts, list)
        and all(isinstance(text, str) for text in texts)
        and isinstance(cost, dict)
        and all(isinstance(cost.get(name), int | float) for name in ("flops", "tokens"))
        and isinstance(out, int)
    )


class _Making:
    """Makes candidates, or finds those that are kept."""

    def __init__(self, node: CorrectorTraining, workshop: Workshop, run: Run) -> None:
        self._node = node
        self._workshop = workshop
        self._run = run
        self._files: dict[str, KeptLines] = {}

    async def made_by(self) -> dict[str, Any]:
        """All that decides candidates besides the sources. Asked anew every time: of a model that was fetched meanwhile more is known
        than before."""
        node, run = self._node, self._run
        return {
            "candidates": [await run.identity(generator, Generator) for generator in node.proposers],
            "n": list(node.counts),
            "greedy_first": node.greedy_first,
            "temperature": node.temperature,
            "ask": node.ask,
            "sampling": run.sampling.model_dump(mode="json"),
            "seed": run.seed,
        }

    async def line(self, example: Example) -> dict[str, Any]:
        """What is kept of an example's candidates; made if it is not there."""
        run, key = self._run, key_of([example.name, example.source])
        kept = await self._kept()
        line = await run.thread(kept.find, key)
        if line is not None and not _usable(line):
            raise kept.damaged(line)
        if line is None:
            # in a span of the example's own: what is drawn does not depend on which examples came before
            line = await run.once(example.name, partial(self._made, example))
            await run.thread((await self._kept()).add, key, line)
        return line

    async def _kept(self) -> KeptLines:
        """The file for candidates made in this way; those made in another way are in a file of their own."""
        header = await self.made_by()
        name = f"candidates-{key_of(header)[:16]}.jsonl"
        if name not in self._files:
            self._files[name] = KeptLines(self._workshop.path / name, header, self._run.path)
        return self._files[name]

    async def _made(self, example: Example, run: Run) -> dict[str, Any]:
        meter = BudgetMeter(Budget.model_construct())  # it limits nothing and counts what is spent
        candidates = await self._node.propose(Prompt(text=example.source), run, budget=meter)
        if all(one.completion is None for one in candidates):
            raise RunError(
                f"{run.path}: {example.place}: none of its {len(candidates)} candidates could be made; the first, of "
                f"'{candidates[0].proposer}', {candidates[0].problem}",
                hint=candidates[0].hint or f"run '{candidates[0].proposer}' alone to see why, or remove the line",
            )
        texts = [one.text for one in candidates if not one.problem]
        return {
            "candidates": texts,
            "left_out": len(candidates) - len(texts),
            "cost": {"flops": meter.flops, "tokens": int(meter.tokens)},
        }

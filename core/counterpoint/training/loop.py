"""The training loop that all trainers share, and what a trainer's objective tells it. Imports torch: import it inside methods.

A *loop* knows steps, passes, gradients, measurements and checkpoints; an *objective* knows parameters, examples and their loss.
Blocking; every step is a pure function of the seed and the steps before it, so that a training which goes on from a checkpoint has
the losses of one that was never stopped.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Generic, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor

from counterpoint.errors import RunError
from counterpoint.training.cards import Trained
from counterpoint.training.examples import Side, batch_of, micro_batches, steps_per_epoch
from counterpoint.training.progress import Reporter
from counterpoint.training.supervised import SupervisedTraining
from counterpoint.training.workshop import Workshop

T = TypeVar("T", bound=Sized)


class Objective(ABC, Generic[T]):
    """What is minimised: parameters, examples, and the loss of some of them.

    The ``len`` of an example is its number of tokens; examples of like length share a pass. Losses must not draw (no dropout): a
    training that goes on would not repeat the draw.
    """

    parameters: Mapping[str, Tensor]
    """What learns, by name: float32, on one device, each tensor once. Checkpoints hold these and nothing else."""
    sides: Sequence[Side[T]]
    """Usually one. An epoch is that of the first."""

    @abstractmethod
    def losses(self, examples: Sequence[T]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The *sum* of the loss over all tokens of some examples, a scalar with a gradient; and, by name and without one, sums of
        the same measure for what the training is to be compared with (the model that is not trained, say)."""

    @abstractmethod
    def tokens(self, example: T) -> int:
        """How many tokens of an example have a loss."""

    def weight(self, example: T) -> float:
        """What an example counts in the mean of a batch, whose loss is the sum of all losses by the sum of all weights."""
        return self.tokens(example)


@dataclass
class Standing:
    """Where a training is, apart from weights and moments: what a checkpoint says."""

    step: int = 0
    tokens: int = 0
    """Tokens learned from."""
    seconds: float = 0.0
    references: dict[str, float] = field(default_factory=dict)
    """Held-out losses of what the training is compared with."""
    untrained: float | None = None
    """Held-out loss before the first step."""
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    """Measurements since the best one."""


def fit(
    node: SupervisedTraining,
    path: str,
    seed: int,
    objective: Objective[T],
    workshop: Workshop,
    report: Reporter,
    stopping: Callable[[], bool],
    *,
    artifact_bytes: int = 0,
) -> Trained | None:
    """Trains what an objective's parameters say, in place, or goes on from the last checkpoint (blocking).

    Args:
        node: the trainer, whose fields say how.
        path: its path, for errors.
        seed: of the run: the order of examples.
        objective: what is minimised.
        workshop: the artifact's working folder, taken; :meth:`Workshop.agree` has been called.
        report: hears of every step.
        stopping: asked before every step; then there is a checkpoint and no artifact.
        artifact_bytes: size of the artifact beyond the parameters, so that too small a disk is told before the work.

    Returns:
        How it went, with the parameters of the lowest held-out loss in place (the last ones where nothing was held out); None when
        it was stopped.

    Raises:
        ModelError: the disk is too small.
        RunError: losses that are no numbers, or a full disk.
    """
    with _accelerator(node, next(iter(objective.parameters.values())).device) as accelerator:
        loop = _Loop(node, path, seed, objective, workshop, report, accelerator)
        if not loop.run(stopping, artifact_bytes):
            return None
    loop.load_best()
    standing = loop.standing
    return Trained(
        steps=standing.step,
        planned=loop.steps,
        tokens=standing.tokens,
        seconds=standing.seconds,
        losses=workshop.losses(),
        references=standing.references,
        untrained=standing.untrained,
        best=standing.best,
        best_step=standing.best_step,
    )


@contextmanager
def _accelerator(node: SupervisedTraining, device: torch.device) -> Iterator[Accelerator]:
    """accelerate on the parameters' device. Its settings are the process's: whoever else uses it there finds his own again."""
    states = AcceleratorState._shared_state, PartialState._shared_state
    others = [dict(state) for state in states]
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        yield Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if node.precision == "bfloat16" else "no")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        for state, other in zip(states, others, strict=True):
            state.update(other)


class _Loop(Generic[T]):
    def __init__(
        self,
        node: SupervisedTraining,
        path: str,
        seed: int,
        objective: Objective[T],
        workshop: Workshop,
        report: Reporter,
        accelerator: Accelerator,
    ) -> None:
        self._node = node
        self._path = path
        self._seed = seed
        self._objective = objective
        self._sides = objective.sides
        self._measured = all(side.held_out for side in objective.sides)
        self._workshop = workshop
        self._report = report
        self._accelerator = accelerator
        self._parameters = dict(objective.parameters)
        self._optimizer = torch.optim.AdamW(self._parameters.values(), lr=node.learning_rate, weight_decay=node.weight_decay)
        steps = node.epochs * steps_per_epoch(len(self._sides[0].train), node.batch)
        self.steps = min(steps, node.max_steps or steps)
        self.standing = Standing()

    def run(self, stopping: Callable[[], bool], artifact_bytes: int) -> bool:
        """Trains to the end; False when it was stopped, and a checkpoint kept."""
        self._workshop.require_space(20 * sum(weight.numel() for weight in self._parameters.values()) + artifact_bytes)
        self._resume()
        standing = self.standing
        began = time.perf_counter() - standing.seconds
        self._report.begin(standing.step, self.steps)
        if standing.untrained is None and self._measured:
            standing.untrained, standing.references = self._measure()
            self._workshop.log({"step": 0, "held_out": standing.untrained, **standing.references})
            self._report.held_out(0, self.steps, standing.untrained)
        while standing.step < self.steps and standing.stale < self._node.patience:
            if stopping():
                self._checkpoint()
                return False
            self._step()
            standing.seconds = time.perf_counter() - began
            last = standing.step == self.steps
            if self._measured and (last or standing.step % self._node.evaluate_every == 0):
                self._evaluate()
            if last or standing.step % self._node.checkpoint_every == 0:
                self._checkpoint()
        return True

    def _step(self) -> None:
        node, step = self._node, self.standing.step
        rate = node.learning_rate * schedule(step, self.steps, node.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        total = 0.0
        own: dict[str, float] = {}
        batches = [batch_of(side.train, node.batch, step, self._seed, side.name) for side in self._sides]
        for side, examples in zip(self._sides, batches, strict=True):
            loss = self._mean(examples, train=side.weight)[0]
            total += side.weight * loss
            if side.column:
                own[side.column] = loss
        norm = float(self._accelerator.clip_grad_norm_(self._parameters.values(), node.max_gradient))
        if not math.isfinite(total) or not math.isfinite(norm):
            raise self._not_finite(step + 1, total, norm)
        self._optimizer.step()
        tokens = sum(self._objective.tokens(example) for example in batches[0])
        self.standing.step += 1
        self.standing.tokens += tokens
        line = {"step": step + 1, "loss": total, **own, "learning_rate": rate, "gradient": norm, "tokens": tokens}
        self._workshop.log(line)
        self._report.step(step + 1, self.steps, total, tokens)

    def _mean(self, examples: Sequence[T], train: float = 0.0) -> tuple[float, dict[str, float]]:
        """Mean loss, and those of the references. ``train`` weighs the gradient; 0 takes none. The mean is over the whole batch,
        so that the sizes of passes do not matter."""
        total = sum(self._objective.weight(example) for example in examples)
        mean = 0.0
        references: dict[str, float] = {}
        for part in micro_batches(examples, self._node.micro_batch):
            with self._accelerator.autocast(), torch.set_grad_enabled(train != 0):
                loss, compared = self._objective.losses(part)
            if train:
                self._accelerator.backward(loss * (train / total))
            mean += float(loss.detach())
            for name, value in compared.items():
                references[name] = references.get(name, 0.0) + float(value)
        return mean / total, {name: value / total for name, value in references.items()}

    def _measure(self) -> tuple[float, dict[str, float]]:
        """Held-out loss over all sides, and those of the references."""
        total = 0.0
        references: dict[str, float] = {}
        for side in self._sides:
            loss, compared = self._mean(side.held_out)
            total += side.weight * loss
            for name, value in compared.items():
                references[name] = references.get(name, 0.0) + side.weight * value
        return total, references

    def _evaluate(self) -> None:
        standing = self.standing
        loss, _ = self._measure()
        if not math.isfinite(loss):
            raise self._not_finite(standing.step, loss, 0.0)
        if standing.best is None or loss < standing.best:
            standing.best, standing.best_step, standing.stale = loss, standing.step, 0
            self._workshop.save("best", self._parameters, {"step": standing.step})
        else:
            standing.stale += 1
        self._workshop.log({"step": standing.step, "held_out": loss})
        self._report.held_out(standing.step, self.steps, loss)

    def _not_finite(self, step: int, loss: float, norm: float) -> RunError:
        last = self._workshop.latest()
        kept = f"; the checkpoint of step {last[1]['step']} is whole" if last else ""
        return RunError(
            f"{self._path}: at step {step} the loss is {loss:g} and its gradient {norm:g}: the training has diverged{kept}",
            hint="lower learning_rate, raise warmup, or set precision to float32, under another artifact name or with "
            f"{self._workshop.path} removed",
        )

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        tensors = {f"weights.{name}": weight for name, weight in self._parameters.items()}
        for name, weight in self._parameters.items():
            tensors |= {f"{key}.{name}": moment for key, moment in self._optimizer.state[weight].items()}
        self._workshop.checkpoint(self.standing.step, tensors, asdict(self.standing))

    def _resume(self) -> None:
        # at the end the best weights are wanted: without them nothing later than the checkpoint before them is of use
        best = self._workshop.step_of("best")
        found = self._workshop.latest(lambda state: state["best"] is None or (best is not None and state["best_step"] <= best))
        if found is None:
            self._workshop.rewind(-1)
            return
        tensors, state = found
        self.standing = Standing(**state)
        with torch.no_grad():
            for name, weight in self._parameters.items():
                weight.copy_(tensors.pop(f"weights.{name}"))
        for full, moment in tensors.items():
            key, _, name = full.partition(".")
            weight = self._parameters[name]
            # Adam counts its steps on the CPU, whatever the device of the weights
            self._optimizer.state[weight][key] = moment if key == "step" else moment.to(weight.device)
        self._workshop.rewind(self.standing.step)

    @torch.no_grad()
    def load_best(self) -> None:
        """Puts the weights with the lowest held-out loss in place; the last ones stay where nothing was held out."""
        if self.standing.best is not None:
            for name, weight in self._workshop.load("best")[0].items():
                self._parameters[name].copy_(weight)


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate of a step (from 0): rising through the share ``warmup``, then a cosine to 0."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

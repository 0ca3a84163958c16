"""The training loop: accumulate, step, measure, keep. Blocking; every step is a pure function of the seed and the steps before."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from transformers.utils import logging

from counterpoint.plugin import Backend, LeafModel, ModelError, RunError
from counterpoint.training import EncodedPair, Reporter, Workshop
from counterpoint_plugins.cross_model_training.card import card_of, describe, identity
from counterpoint_plugins.cross_model_training.delta import Combination, make_delta
from counterpoint_plugins.cross_model_training.examples import (
    Examples,
    batch_of,
    load_examples,
    micro_batches,
    steps_per_epoch,
)

if TYPE_CHECKING:
    from counterpoint_plugins.cross_model_training import CrossModelTraining

Loaded = tuple[str, LeafModel, Backend]


@dataclass
class Standing:
    """Where a training is, apart from weights and moments: what a checkpoint says."""

    step: int = 0
    tokens: int = 0
    """Answer tokens learned from."""
    seconds: float = 0.0
    template_alone: float | None = None
    """Held-out loss of the template without δ."""
    untrained: float | None = None
    """Held-out loss before the first step."""
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    """Measurements since the best one."""


def train(
    node: CrossModelTraining,
    path: str,
    seed: int,
    template: Loaded,
    start: Loaded | None,
    report: Reporter,
    stopping: Callable[[], bool],
) -> None:
    """Trains δ and puts the artifact in place; a training that was begun goes on from its last checkpoint.

    Args:
        node: the trainer.
        path: its path.
        seed: of the recipe.
        template: the frozen model.
        start: what δ is cut from.
        report: hears of every step.
        stopping: asked after every step; then there is a checkpoint and no artifact.

    Raises:
        EvaluationError: the data cannot be trained on.
        ModelError: δ cannot be made of these models, or a disk is too small.
        RunError: losses that are no numbers, a full disk, other settings than those of the checkpoints.
    """
    backend = template[2]
    if start is not None and start[2].tokenizer.fingerprint != backend.tokenizer.fingerprint:
        raise ModelError(
            f"{path}: '{start[0]}' does not have the vocabulary of the template '{template[0]}'", hint="see `counterpoint plan`"
        )
    examples = load_examples(node, path, seed, template[1], backend)
    with Workshop(node.artifact, path) as workshop:
        workshop.agree(identity(node, seed, examples, backend.tokenizer, template[1], start[1] if start else None))
        module: Any = backend.module()
        delta = make_delta(node, path, seed, module, start[2].module() if start else None)
        with _accelerator(node, next(module.parameters()).device) as accelerator:
            loop = _Loop(node, path, seed, examples, delta, module, backend, workshop, report, accelerator)
            if not loop.run(stopping):
                return
        loop.load_best()

        def write(folder: Path) -> None:
            with _no_progress_bars():
                delta.save_pretrained(folder)
            backend.save_tokenizer(folder)

        card = card_of(node, seed, examples, template, start, workshop.losses(), asdict(loop.standing), loop.steps)
        workshop.finish(write, card, describe(card))


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Progress is an event here; transformers' bars would be drawn over the screen of whoever shows it."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _accelerator(node: CrossModelTraining, device: torch.device) -> Iterator[Accelerator]:
    """accelerate on the template's device; its settings are the process's, and are given back for the next training."""
    try:
        yield Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if node.precision == "bfloat16" else "no")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


class _Loop:
    def __init__(
        self,
        node: CrossModelTraining,
        path: str,
        seed: int,
        examples: Examples,
        delta: Any,
        template: Any,
        backend: Backend,
        workshop: Workshop,
        report: Reporter,
        accelerator: Accelerator,
    ) -> None:
        self._node = node
        self._path = path
        self._seed = seed
        self._learn = examples.learn
        self._forget = examples.forget
        self._delta = delta
        self._workshop = workshop
        self._report = report
        self._accelerator = accelerator
        self._combination = Combination(template, delta, backend.tokenizer.size, node.alpha)
        self._parameters: dict[str, Tensor] = dict(delta.named_parameters())  # a tied weight once
        self._optimizer = torch.optim.AdamW(self._parameters.values(), lr=node.learning_rate, weight_decay=node.weight_decay)
        steps = node.epochs * steps_per_epoch(len(self._learn.train), node.batch)
        self.steps = min(steps, node.max_steps or steps)
        self.standing = Standing()

    def run(self, stopping: Callable[[], bool]) -> bool:
        """Trains to the end; False when it was stopped, and a checkpoint kept."""
        self._workshop.require_space(20 * sum(weight.numel() for weight in self._parameters.values()))
        self._resume()
        standing = self.standing
        began = time.perf_counter() - standing.seconds
        self._report.begin(standing.step, self.steps)
        if standing.untrained is None and self._learn.held_out:
            standing.untrained, standing.template_alone = self._measure()
            line = {"step": 0, "held_out": standing.untrained, "template_alone": standing.template_alone}
            self._workshop.log(line)
            self._report.held_out(0, self.steps, standing.untrained)
        while standing.step < self.steps and standing.stale < self._node.patience:
            if stopping():
                self._checkpoint()
                return False
            self._step()
            standing.seconds = time.perf_counter() - began
            last = standing.step == self.steps
            if self._learn.held_out and (last or standing.step % self._node.evaluate_every == 0):
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
        learned = batch_of(self._learn.train, node.batch, step, self._seed, "learn")
        loss = self._mean(learned, train=1.0)[0]
        line = {"step": step + 1, "loss": loss}
        if self._forget is not None:
            forgotten = self._mean(batch_of(self._forget.train, node.batch, step, self._seed, "forget"), train=-1.0)[0]
            line |= {"loss": loss - forgotten, "retain": loss, "forget": forgotten}
        norm = float(self._accelerator.clip_grad_norm_(self._parameters.values(), node.max_gradient))
        if not math.isfinite(line["loss"]) or not math.isfinite(norm):
            raise self._not_finite(step + 1, line["loss"], norm)
        self._optimizer.step()
        tokens = _tokens(learned)
        self.standing.step += 1
        self.standing.tokens += tokens
        self._workshop.log({**line, "learning_rate": rate, "gradient": norm, "tokens": tokens})
        self._report.step(step + 1, self.steps, line["loss"], tokens)

    def _mean(self, pairs: Sequence[EncodedPair], train: float = 0.0) -> tuple[float, float]:
        """Mean loss of an answer token: of the combination, and of the template alone. ``train`` weighs the gradient; 0 takes
        none. The mean is over the whole batch, so that the sizes of passes do not matter."""
        total = _tokens(pairs)
        combined = alone = 0.0
        for part in micro_batches(pairs, self._node.micro_batch):
            with self._accelerator.autocast(), torch.set_grad_enabled(train != 0):
                loss, template = self._combination.losses(part)
            if train:
                self._accelerator.backward(loss * (train / total))
            combined, alone = combined + float(loss.detach()), alone + float(template)
        return combined / total, alone / total

    def _measure(self) -> tuple[float, float]:
        """Held-out objective of the combination, and of the template alone."""
        combined, alone = self._mean(self._learn.held_out)
        if self._forget is not None:
            lost, known = self._mean(self._forget.held_out)
            return combined - lost, alone - known
        return combined, alone

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
        found = self._workshop.latest()
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
        """Puts the weights with the lowest held-out loss into δ; the last ones where nothing was held out."""
        if self.standing.best is not None:
            for name, weight in self._workshop.load("best")[0].items():
                self._parameters[name].copy_(weight)


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate of a step (from 0): rising through the share ``warmup``, then a cosine to 0."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _tokens(pairs: Sequence[EncodedPair]) -> int:
    return sum(len(pair.response) for pair in pairs)

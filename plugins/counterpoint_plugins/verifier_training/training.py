"""One training: the model with its head, the loop, what the verifier is worth, and the artifact. Blocking."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from counterpoint.plugin import Backend, LeafModel
from counterpoint.training import Reporter, Workshop, micro_batches
from counterpoint.training.learner import Learner, hidden_at
from counterpoint.training.loop import Objective, fit
from counterpoint_plugins.verifier_training.card import make_card
from counterpoint_plugins.verifier_training.examples import Examples, Labelled, make_examples
from counterpoint_plugins.verifier_training.measuring import Choice, measure
from counterpoint_plugins.verifier_training.sampling import Sample, Sampler

if TYPE_CHECKING:
    from counterpoint_plugins.verifier_training import VerifierTraining


class Correctness(Objective[Labelled]):
    """Binary cross-entropy of the head at every token of answers, with whether the answer is right as the label."""

    def __init__(self, learner: Learner, examples: Examples, width: int) -> None:
        self._module = learner.module
        self._device = learner.device
        self._weights = examples.weights
        # From nothing: the first loss is that of a coin, and no random weight has to be unlearned.
        self.head = {name: torch.zeros(size, device=self._device, requires_grad=True) for name, size in _shape(width).items()}
        self.parameters = {**learner.parameters, **{f"head.{name}": weight for name, weight in self.head.items()}}
        self.sides = [examples.side]

    def losses(self, examples: Sequence[Labelled]) -> tuple[Tensor, Mapping[str, Tensor]]:
        outputs = self._outputs(examples, [range(len(example.response)) for example in examples])
        labels, weights = (
            torch.tensor([value for value, example in zip(values, examples, strict=True) for _ in example.response])
            for values in (
                [float(example.right) for example in examples],
                [self._weights[example.right] for example in examples],
            )
        )
        labels, weights = labels.to(self._device), weights.to(self._device)
        return binary_cross_entropy_with_logits(outputs, labels, weights, reduction="sum"), {}

    def tokens(self, example: Labelled) -> int:
        return len(example.response)

    def weight(self, example: Labelled) -> float:
        return self._weights[example.right] * len(example.response)

    @torch.no_grad()
    def scores(self, examples: Sequence[Labelled], size: int) -> list[float]:
        """The verifier's scores: the probability at the last token of each answer."""
        numbered = {id(example): number for number, example in enumerate(examples)}
        found = [0.0] * len(examples)
        for part in micro_batches(examples, size):
            outputs = self._outputs(part, [(len(example.response) - 1,) for example in part])
            for example, value in zip(part, outputs.sigmoid().tolist(), strict=True):
                found[numbered[id(example)]] = value
        return found

    def _outputs(self, examples: Sequence[Labelled], at: Sequence[Sequence[int]]) -> Tensor:
        """The head's outputs at some tokens of answers, one after the other."""
        longest = max(map(len, examples))
        # Padding follows the text, where causal attention does not see it, so no mask is needed.
        ids = torch.tensor([[*e.prompt, *e.response, *[0] * (longest - len(e))] for e in examples], device=self._device)
        rows = [row for row, places in enumerate(at) for _ in places]
        columns = [len(example.prompt) + place for example, places in zip(examples, at, strict=True) for place in places]
        wanted = (torch.tensor(rows, device=self._device), torch.tensor(columns, device=self._device))
        states = hidden_at(self._module, ids, wanted).float()
        return (states * self.head["weight"]).sum(-1) + self.head["bias"]  # no matrix product: it stays float32 under autocast


def _shape(width: int) -> dict[str, int]:
    return {"weight": width, "bias": 1}


def train(
    node: VerifierTraining,
    path: str,
    seed: int,
    loaded: tuple[str, LeafModel, Backend],
    sampler: Sampler,
    samples: Sequence[Sample],
    workshop: Workshop,
    report: Reporter,
    stopping: Callable[[], bool],
) -> bool:
    """Trains on sampled answers and puts the artifact in place; a training that was begun goes on from its last checkpoint.

    Args:
        node: the trainer.
        path: its path.
        seed: of the recipe.
        loaded: the model that the verifier starts from.
        sampler: what made the answers.
        samples: the answers.
        workshop: the working folder, taken.
        report: hears of every step.
        stopping: asked before every step; then there is a checkpoint and no artifact.

    Returns:
        Whether the artifact is there; False where it was stopped before.

    Raises:
        EvaluationError: an answer is too long, or nothing is left to train on.
        RunError: all answers are right, or all are wrong; losses that are no numbers, a full disk.
    """
    _, model, backend = loaded
    examples = make_examples(node, path, seed, samples, model, backend.tokenizer)
    learner = Learner(node, path, seed, backend)
    objective = Correctness(learner, examples, backend.shape.hidden)
    trained = fit(node, path, seed, objective, workshop, report, stopping, artifact_bytes=learner.artifact_bytes)
    if trained is None:
        return False
    firsts = {sample.problem.place: bool(sample.right) for sample in samples if sample.number == 0}
    choice: Choice | None = None
    if held_out := examples.side.held_out:
        with torch.autocast(learner.device.type, torch.bfloat16, enabled=node.precision == "bfloat16"):
            choice = measure(held_out, objective.scores(held_out, node.micro_batch), firsts)

    def write(folder: Path) -> None:
        learner.save(folder, backend)
        head = {name: weight.detach().cpu() for name, weight in objective.head.items()}
        save_file(head, folder / "head.safetensors")
        with (folder / "samples.jsonl").open("w", encoding="utf-8") as file:
            for one in samples:
                line = {"prompt": one.problem.prompt.text, "response": one.text, "right": one.right}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    workshop.finish(write, *make_card(node, seed, examples, sampler, model, backend, trained, choice))
    return True

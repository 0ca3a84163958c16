"""Training a corrector: cross-entropy of the target's tokens after what the template makes of source and candidates. Blocking."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from counterpoint.plugin import Backend, EvaluationError, LeafModel
from counterpoint.training import (
    EncodedPair,
    Pair,
    Reporter,
    Side,
    Workshop,
    card_of,
    describe,
    encode_pairs,
    fitting,
    identity,
    sha256,
    source_of,
)
from counterpoint.training.learner import Learner
from counterpoint.training.loop import Objective, fit
from counterpoint_plugins.lm_corrector.examples import Example
from counterpoint_plugins.lm_corrector.keeping import Material
from counterpoint_plugins.lm_corrector.wording import lay_out

if TYPE_CHECKING:
    from counterpoint_plugins.lm_corrector.training_node import CorrectorTraining


class Targets(Objective[EncodedPair]):
    """Cross-entropy of targets."""

    def __init__(self, learner: Learner, side: Side[EncodedPair], vocabulary: int) -> None:
        self.parameters = learner.parameters
        self.sides = [side]
        self._learner = learner
        self._vocabulary = vocabulary

    def losses(self, examples: Sequence[EncodedPair]) -> tuple[Tensor, Mapping[str, Tensor]]:
        logits, targets = self._learner.answer_logits(examples)
        logits = logits[:, : self._vocabulary]  # what is beyond is padding of the weights
        return cross_entropy(logits.float(), targets, reduction="sum"), {}

    def tokens(self, example: EncodedPair) -> int:
        return len(example.response)


def train(
    node: CorrectorTraining,
    path: str,
    seed: int,
    corrector: tuple[str, LeafModel, Backend],
    material: Material,
    workshop: Workshop,
    report: Reporter,
    stopping: Callable[[], bool],
) -> bool:
    """Trains the corrector and puts the artifact in place; a training that was begun goes on from its last checkpoint.

    Args:
        node: the trainer.
        path: its path.
        seed: of the recipe.
        corrector: path, node and backend of the model that learns.
        material: examples and their candidates.
        workshop: the artifact's working folder, taken.
        report: hears of every step.
        stopping: asked before every step; then there is a checkpoint and no artifact.

    Returns:
        Whether the artifact is there; False where it was stopped before.

    Raises:
        EvaluationError: an example is too long, or nothing is left to train on.
        ModelError: the model cannot learn, or a disk is too small.
        RunError: losses that are no numbers, a full disk, other settings than those of the checkpoints.
    """
    _, model, backend = corrector
    words, files = node.words, material.examples.files
    train_on, measure_on = (material.with_candidates(given) for given in (material.examples.train, material.examples.held_out))
    if not train_on:
        raise EvaluationError(
            f"{path}: nothing is left to train on: every candidate of {len(material.examples.train)} sources is empty",
            hint="run a generator of candidates alone, asked as `ask` says, to see why",
        )

    def encoded(given: Sequence[Example], file: object, *, allow_none: bool = False) -> tuple[list[EncodedPair], int]:
        pairs = [
            Pair(example.place, lay_out(words, example.source, material.candidates[example.name], path), target)
            for example in given
            for target in example.targets
        ]
        whole = encode_pairs(pairs, model, backend, path)
        fit_in = fitting(whole, node.max_length, node.too_long, path, file, allow_none=allow_none)
        return fit_in, len(whole) - len(fit_in)

    learned, dropped = encoded(train_on, files["data"])
    measured, dropped_too = encoded(measure_on, files.get("held_out_file", files["data"]), allow_none=True)
    if material.examples.held_out and not measured:
        why = f"{dropped_too} are too long" if measure_on else "they have only empty candidates"
        remedy = "name another held_out_file" if node.held_out_file is not None else "hold more out, or set held_out to 0"
        raise EvaluationError(
            f"{path}: of {len(material.examples.held_out)} sources held out none is left to measure on: {why}",
            hint=f"{'raise max_length, ' if measure_on else ''}{remedy}; the candidates are kept",
        )
    side = Side(learned, measured)
    named = {name: file for name, file in files.items() if name in type(node).model_fields}
    workshop.agree(
        identity(
            node,
            seed,
            models={"corrector": model},
            tokenizer=backend.tokenizer,
            files=named,
            reference_files=[sha256(file) for name, file in files.items() if name not in named],
            candidates=material.made_by,
            template=words,
        )
    )
    learner = Learner(node, path, seed, backend, encoders=True)
    objective = Targets(learner, side, backend.tokenizer.size)
    trained = fit(node, path, seed, objective, workshop, report, stopping, artifact_bytes=learner.artifact_bytes)
    if trained is None:
        return False
    card = card_of(
        node,
        seed,
        trained,
        what=f"a corrector of candidates, made of {source_of(model)}",
        objective="cross-entropy of targets",
        models={"corrector": model},
        tokenizer=backend.tokenizer,
        files=files,
        examples={
            "sources": len(train_on) + len(measure_on),
            "without_candidates": len(material.candidates) - len(train_on) - len(measure_on),
            "trained": len(learned),
            "held_out": len(measured),
            "dropped": dropped + dropped_too,
        },
        template=words,
        prompt_format=prompt_format_of(model, backend),
        use=_use(node, model, prompt_format_of(model, backend)),
        ask=node.ask,
        n=list(node.counts),
        greedy_first=node.greedy_first,
        temperature=node.temperature,
        candidates={
            "made": sum(map(len, material.candidates.values())),
            "left_out": material.left_out,
            "flops": material.flops,
            "tokens": material.tokens,
        },
    )
    workshop.finish(partial(learner.save, backend=backend), card, _described(card))
    return True


def prompt_format_of(model: LeafModel, backend: Backend) -> str:
    """The prompt format in force: the node's, or what it is by default."""
    if model.prompt_format is not None:
        return model.prompt_format
    return "chat" if backend.tokenizer.render_chat([{"role": "user", "content": "a"}]) is not None else "raw"


def _use(node: CorrectorTraining, model: LeafModel, prompt_format: str) -> str:
    """How a recipe loads it, as YAML."""
    if node.learn == "lora" and node.save == "adapter":
        source = f"source: {source_of(model)}, adapter: artifact:{node.artifact}"
    else:
        source = f"source: artifact:{node.artifact}"
    shown = prompt_format if prompt_format in ("raw", "chat", "roles") else json.dumps(prompt_format)
    return f"{{kind: {model.kind}, {source}, prompt_format: {shown}}}"


def _described(card: Mapping[str, Any]) -> str:
    counts = card["candidates"]
    return describe(
        card,
        [
            f"This is {card['what']}. The node `lm_corrector` uses it: it reads a source and candidates, and writes the answer.",
        ],
        [
            f"A recipe loads it as `{card['use']}`.",
            f"It reads, as Jinja text: {card['template']!r}.",
            f"Candidates: {' and '.join(map(str, card['n']))} of each generator, asked with {card['ask']!r}; "
            f"{counts['made']} made, {counts['left_out']} left out, {counts['flops']:.3g} FLOPs.",
        ],
    )

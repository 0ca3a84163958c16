"""One training: examples, δ, the loop, and the artifact. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from counterpoint.plugin import Backend, LeafModel, ModelError
from counterpoint.training import EncodedPair, Reporter, Workshop, identity
from counterpoint.training.learner import no_progress_bars, refuse_encoder
from counterpoint.training.loop import Objective, fit
from counterpoint_plugins.cross_model_training.card import make_card
from counterpoint_plugins.cross_model_training.delta import Combination, make_delta
from counterpoint_plugins.cross_model_training.examples import Examples, load_examples

if TYPE_CHECKING:
    from counterpoint_plugins.cross_model_training import CrossModelTraining

Loaded = tuple[str, LeafModel, Backend]


class Answers(Objective[EncodedPair]):
    """Cross-entropy of the combination on the tokens of answers; what is to be forgotten counts against it."""

    def __init__(self, examples: Examples, delta: Any, combination: Combination) -> None:
        self.parameters = dict(delta.named_parameters())  # a tied weight once
        self.sides = [examples.learn] if examples.forget is None else [examples.learn, examples.forget]
        self._combination = combination

    def losses(self, examples: Sequence[EncodedPair]) -> tuple[Tensor, Mapping[str, Tensor]]:
        loss, alone = self._combination.losses(examples)
        return loss, {"template_alone": alone}

    def tokens(self, example: EncodedPair) -> int:
        return len(example.response)


def train(
    node: CrossModelTraining,
    path: str,
    seed: int,
    template: Loaded,
    start: Loaded | None,
    report: Reporter,
    stopping: Callable[[], bool],
) -> bool:
    """Trains δ and puts the artifact in place; a training that was begun goes on from its last checkpoint.

    Args:
        node: the trainer.
        path: its path.
        seed: of the recipe.
        template: the frozen model.
        start: what δ is cut from.
        report: hears of every step.
        stopping: asked before every step; then there is a checkpoint and no artifact.

    Returns:
        Whether the artifact is there; False where it was stopped before.

    Raises:
        EvaluationError: the data cannot be trained on.
        ModelError: δ cannot be made of these models, or a disk is too small.
        RunError: losses that are no numbers, a full disk, other settings than those of the checkpoints.
    """
    backend = template[2]
    for loaded in (template, start):
        if loaded is not None:
            refuse_encoder(loaded[2], f"{path}: '{loaded[0]}'")
    if start is not None and start[2].tokenizer.fingerprint != backend.tokenizer.fingerprint:
        raise ModelError(
            f"{path}: '{start[0]}' does not have the vocabulary of the template '{template[0]}'", hint="see `counterpoint plan`"
        )
    examples = load_examples(node, path, seed, template[1], backend)
    models = {"template": template[1], "start": start[1] if start is not None else None}
    with Workshop(node.artifact, path) as workshop:
        workshop.agree(identity(node, seed, models=models, tokenizer=backend.tokenizer, files=examples.files))
        module: Any = backend.module()
        delta = make_delta(node, path, seed, module, start[2].module() if start else None)
        objective = Answers(examples, delta, Combination(module, delta, backend.tokenizer.size, node.alpha))
        trained = fit(node, path, seed, objective, workshop, report, stopping)
        if trained is None:
            return False

        def write(folder: Path) -> None:
            with no_progress_bars():
                delta.save_pretrained(folder)
            backend.save_tokenizer(folder)

        workshop.finish(write, *make_card(node, seed, examples, models, backend, trained))
    return True

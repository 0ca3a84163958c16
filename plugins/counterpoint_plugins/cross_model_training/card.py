"""The card of the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from counterpoint.plugin import Backend, LeafModel
from counterpoint.training import Trained, card_of, describe, source_of
from counterpoint_plugins.cross_model_training.examples import Examples

if TYPE_CHECKING:
    from counterpoint_plugins.cross_model_training import CrossModelTraining


def make_card(
    node: CrossModelTraining,
    seed: int,
    examples: Examples,
    models: Mapping[str, LeafModel | None],
    backend: Backend,
    trained: Trained,
) -> tuple[dict[str, Any], str]:
    """The card, plain JSON, and the same for readers."""
    template, start = models["template"], models["start"]
    assert template is not None
    card = card_of(
        node,
        seed,
        trained,
        what=f"cross-model control: the delta model trained beside {source_of(template)}",
        objective="retain − forget" if examples.forget else "cross-entropy of answers",
        models=models,
        tokenizer=backend.tokenizer,
        files=examples.files,
        examples={
            "trained": len(examples.learn.train),
            "held_out": len(examples.learn.held_out),
            "forgotten": len(examples.forget.train) if examples.forget else 0,
            "dropped": examples.dropped,
        },
        alpha=node.alpha,
    )
    about = [
        f"A delta model for {card['what']}. It makes no sense alone: its logits shift those of another model,",
        f"`log_softmax(z) + {node.alpha:g} · z_delta`.",
    ]
    points = [
        f"Recipes load it as `artifact:{node.artifact}`, or as `path:FOLDER`; transformers loads the folder as it is.",
        f"Template: {source_of(template)}; its tokenizer, which is this model's too, has fingerprint `{card['tokenizer']}`.",
        f"Start: {f'{node.layers} lower layers of {source_of(start)}' if start is not None else 'random weights'}.",
    ]
    return card, describe(card, about, points)

"""The card of the artifact."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from counterpoint.plugin import Backend, LeafModel
from counterpoint.training import Trained, card_of, describe, source_of
from counterpoint_plugins.verifier_training.examples import Examples
from counterpoint_plugins.verifier_training.measuring import Choice
from counterpoint_plugins.verifier_training.sampling import Sampler

if TYPE_CHECKING:
    from counterpoint_plugins.verifier_training import VerifierTraining

_ITSELF = "artifact:"
"""Stands for the artifact, whatever it is called."""


def make_card(
    node: VerifierTraining,
    seed: int,
    examples: Examples,
    sampler: Sampler,
    model: LeafModel,
    backend: Backend,
    trained: Trained,
    choice: Choice | None,
) -> tuple[dict[str, Any], str]:
    """The card, plain JSON, and the same for readers."""
    under = _under_the_head(node, model)
    named = {name: f"artifact:{node.artifact}" if value == _ITSELF else value for name, value in under.items() if value}
    inner = ", ".join(f"{name}: {value}" for name, value in named.items())
    head = "" if _ITSELF in under.values() else f", head: artifact:{node.artifact}"
    use = f"{{kind: learned, model: {{kind: {model.kind}, {inner}}}{head}}}"
    counts = examples.counts
    share = counts["right"] / (counts["right"] + counts["wrong"])
    card = card_of(
        node,
        seed,
        trained,
        what=f"a verifier: {source_of(model)} with a head that tells right answers from wrong ones",
        objective="binary cross-entropy of whether an answer is right, at each of its tokens",
        models={"model": model},
        tokenizer=backend.tokenizer,
        files=sampler.files,
        examples={"trained": len(examples.side.train), "held_out": len(examples.side.held_out)},
        use=use,
        head={"width": backend.shape.hidden, "model": under},
        **sampler.parts,
        answers={**counts, "right_share": round(share, 4)},
        weights={"right": examples.weights[True], "wrong": examples.weights[False]},
        choice=asdict(choice) if choice is not None else None,
    )
    about = [
        f"{card['what'][0].upper()}{card['what'][1:]}. A recipe scores with it as",
        f"`{use}`.",
    ]
    left_out = ", ".join(
        f"{counts[name]} {name.replace('_', ' ')}" for name in ("abstained", "empty", "too_long") if counts[name]
    )
    points = [
        f"Model: {source_of(model)}; what learned: {node.learn}; its tokenizer has fingerprint `{card['tokenizer']}`.",
        f"Answers: {counts['sampled']} sampled by `{sampler.parts['generator']['kind']}` and checked by "
        f"`{sampler.parts['checker']['kind']}`; {counts['right']} right ({share:.1%}), {counts['wrong']} wrong"
        + (f"; left out: {left_out}." if left_out else ".")
        + " They are in `samples.jsonl`.",
    ]
    if choice is not None:
        auc = f"area under the ROC curve {choice.auc:.3f}; " if choice.auc is not None else ""
        points.append(
            f"On {choice.problems} problems held out: {auc}the answer with the highest score is right on {choice.chosen:.1%}, the "
            f"first one on {choice.first:.1%}, any one on {choice.oracle:.1%}."
        )
    return card, describe(card, about, points)


def _under_the_head(node: VerifierTraining, model: LeafModel) -> dict[str, Any]:
    """Fields of the model that the head belongs to."""
    source, adapter = (getattr(model, name, None) for name in ("source", "adapter"))
    if node.learn == "head":
        return {"source": source, "adapter": adapter}
    if node.learn == "lora" and node.save == "adapter":
        return {"source": source, "adapter": _ITSELF}
    return {"source": _ITSELF, "adapter": None}

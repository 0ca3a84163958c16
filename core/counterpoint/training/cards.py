"""What is recorded of a training: its identity, so that checkpoints are not mixed up, and the card of the artifact."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.node import LeafModel
from counterpoint.tokenizer import Tokenizer
from counterpoint.training.supervised import SupervisedTraining

_ABOUT_KEEPING = {"kind", "artifact", "checkpoint_every", "minutes"}
"""Fields that do not change what is trained."""


@dataclass
class Trained:
    """How a training went."""

    steps: int
    """Steps taken."""
    planned: int
    tokens: int
    """Tokens learned from."""
    seconds: float
    losses: list[dict[str, Any]] = field(default_factory=list)
    """The lines of ``losses.jsonl``."""
    references: dict[str, float] = field(default_factory=dict)
    """Held-out losses of what the training is compared with."""
    untrained: float | None = None
    """Held-out loss before the first step; None where nothing was held out."""
    best: float | None = None
    """Lowest held-out loss, of the weights that are kept."""
    best_step: int = 0


def identity(
    node: SupervisedTraining,
    seed: int,
    *,
    models: Mapping[str, LeafModel | None],
    tokenizer: Tokenizer,
    files: Mapping[str, Path | None],
    **more: Any,
) -> dict[str, Any]:
    """What two trainings have in common when one can go on from the other's checkpoint (:meth:`Workshop.agree`).

    Args:
        node: the trainer.
        seed: of the run.
        models: by the fields that refer to them.
        tokenizer: of the model that learns.
        files: data, by the fields that name it.
        more: what else changes what is trained, plain JSON.
    """
    return {
        **node.model_dump(mode="json", exclude={*_ABOUT_KEEPING, *models, *files}),
        "seed": seed,
        **{name: model.plain() if model is not None else None for name, model in models.items()},
        "tokenizer": tokenizer.fingerprint,
        **{name: sha256(file) for name, file in files.items() if file is not None},
        **more,
    }


def card_of(
    node: SupervisedTraining,
    seed: int,
    trained: Trained,
    *,
    what: str,
    objective: str,
    models: Mapping[str, LeafModel | None],
    tokenizer: Tokenizer,
    files: Mapping[str, Path | None],
    examples: Mapping[str, int],
    **more: Any,
) -> dict[str, Any]:
    """The card of an artifact, plain JSON (``counterpoint.json`` in its folder).

    Args:
        node: the trainer.
        seed: of the run.
        trained: how it went.
        what: the artifact is, for readers.
        objective: what was minimised.
        models: by the fields that refer to them.
        tokenizer: of the model that learned.
        files: data, by the fields that name it.
        examples: how many of which.
        more: what else is to be known, plain JSON.
    """
    losses = [line["loss"] for line in trained.losses if "loss" in line]
    return {
        "what": what,
        "kind": node.kind,
        **{name: model.plain() if model is not None else None for name, model in models.items()},
        "tokenizer": tokenizer.fingerprint,
        **more,
        "objective": objective,
        "data": {name: {"file": file.name, "sha256": sha256(file)} for name, file in files.items() if file is not None},
        "examples": dict(examples),
        "steps": trained.steps,
        "steps_planned": trained.planned,
        "answer_tokens": trained.tokens,
        "seconds": round(trained.seconds, 1),
        "loss": {"first": losses[0], "last": losses[-1], "lowest": min(losses)},
        "held_out_loss": {
            **trained.references,
            "untrained": trained.untrained,
            "best": trained.best,
            "best_step": trained.best_step,
        }
        if trained.best is not None
        else None,
        "seed": seed,
        "settings": node.model_dump(mode="json", exclude=set(models)),
        "versions": {name: importlib.metadata.version(name) for name in ("counterpoint", "torch", "transformers")},
    }


def describe(card: Mapping[str, Any], about: Sequence[str], points: Iterable[str]) -> str:
    """A card for readers, in Markdown (``README.md``).

    Args:
        card: as :func:`card_of` makes it.
        about: lines that say what it is.
        points: what is particular to its kind; what all cards have follows.
    """
    held, loss = card["held_out_loss"], card["loss"]
    files = "; ".join(f"`{file['file']}` as {name} (sha256 {file['sha256'][:16]}…)" for name, file in card["data"].items())
    examples = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in card["examples"].items())
    listed = [
        *points,
        f"Data: {files}; {examples}.",
        f"Objective: {card['objective']}.",
        f"Steps: {card['steps']} of {card['steps_planned']} planned, {card['answer_tokens']} answer tokens, {card['seconds']:g} s.",
        f"Loss of training (natural log, a token): {loss['first']:.4f} first, {loss['last']:.4f} last, "
        f"{loss['lowest']:.4f} lowest.",
    ]
    if held:
        references = {name: value for name, value in held.items() if name not in ("untrained", "best", "best_step")}
        listed.append(
            "Held-out loss: "
            + "".join(f"{value:.4f} {name.replace('_', ' ')}, " for name, value in references.items())
            + f"{held['untrained']:.4f} before training, {held['best']:.4f} at step {held['best_step']}, whose weights these are."
        )
    listed.append("Every step's loss is in `losses.jsonl`; settings, versions and checksums are in `counterpoint.json`.")
    title = f"# {card['settings']['artifact']}"
    return "\n".join([title, "", *about, "", *(f"- {point}" for point in listed), ""])


def source_of(model: LeafModel | Mapping[str, Any]) -> str:
    """What readers know a model by: its source, or its kind where it has none."""
    plain = model.plain() if isinstance(model, LeafModel) else model
    return str(plain.get("source", plain["kind"]))


def sha256(file: Path) -> str:
    """Checksum of a data file, hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()

"""What is recorded of a training: its identity, so that checkpoints are not mixed up, and the card of the artifact."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.plugin import Backend, LeafModel, Tokenizer
from counterpoint_plugins.cross_model_training.examples import Examples

if TYPE_CHECKING:
    from counterpoint_plugins.cross_model_training import CrossModelTraining

_ABOUT_KEEPING = {"kind", "artifact", "template", "start", "checkpoint_every", "minutes", "data", "forget", "held_out_file"}
"""Fields that do not change what is trained, or that are recorded as what they refer to."""


def identity(
    node: CrossModelTraining, seed: int, examples: Examples, tokenizer: Tokenizer, template: LeafModel, start: LeafModel | None
) -> dict[str, Any]:
    """What two trainings have in common when one can go on from the other's checkpoint."""
    return {
        **node.model_dump(mode="json", exclude=_ABOUT_KEEPING),
        "seed": seed,
        "template": template.plain(),
        "start": start.plain() if start is not None else None,
        "tokenizer": tokenizer.fingerprint,
        **{field: _sha256(file) for field, file in examples.files.items()},
    }


def card_of(
    node: CrossModelTraining,
    seed: int,
    examples: Examples,
    template: tuple[str, LeafModel, Backend],
    start: tuple[str, LeafModel, Backend] | None,
    losses: Sequence[Mapping[str, Any]],
    standing: Mapping[str, Any],
    planned: int,
) -> dict[str, Any]:
    """The card, plain JSON (``counterpoint.json`` in the artifact's folder)."""
    trained = [line["loss"] for line in losses if "loss" in line]
    return {
        "what": f"cross-model control: the delta model trained beside {_name(template[1])}",
        "kind": node.kind,
        "template": template[1].plain(),
        "tokenizer": template[2].tokenizer.fingerprint,
        "start": start[1].plain() if start is not None else None,
        "alpha": node.alpha,
        "objective": "retain − forget" if examples.forget else "cross-entropy of answers",
        "data": {field: {"file": file.name, "sha256": _sha256(file)} for field, file in examples.files.items()},
        "examples": {
            "trained": len(examples.learn.train),
            "held_out": len(examples.learn.held_out),
            "forgotten": len(examples.forget.train) if examples.forget else 0,
            "dropped": examples.dropped,
        },
        "steps": standing["step"],
        "steps_planned": planned,
        "answer_tokens": standing["tokens"],
        "seconds": round(standing["seconds"], 1),
        "loss": {"first": trained[0], "last": trained[-1], "lowest": min(trained)},
        "held_out_loss": {
            "template_alone": standing["template_alone"],
            "untrained": standing["untrained"],
            "best": standing["best"],
            "best_step": standing["best_step"],
        }
        if standing["best"] is not None
        else None,
        "seed": seed,
        "settings": node.model_dump(mode="json", exclude={"template", "start"}),
        "versions": {name: importlib.metadata.version(name) for name in ("counterpoint", "torch", "transformers")},
    }


def describe(card: Mapping[str, Any]) -> str:
    """The card for readers, in Markdown."""
    held, loss, settings = card["held_out_loss"], card["loss"], card["settings"]
    files = "; ".join(f"`{file['file']}` as {field} (sha256 {file['sha256'][:16]}…)" for field, file in card["data"].items())
    examples = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in card["examples"].items())
    lines = [
        f"# {settings['artifact']}",
        "",
        f"A delta model for {card['what']}. It makes no sense alone: its logits shift those of another model,",
        f"`log_softmax(z) + {card['alpha']:g} · z_delta`.",
        "",
        f"- Recipes load it as `artifact:{settings['artifact']}`, or as `path:FOLDER`; transformers loads the folder as it is.",
        f"- Template: {_name_of(card['template'])}; its tokenizer, which is this model's too, has fingerprint `{card['tokenizer']}`.",
        f"- Start: {f'''{settings['layers']} lower layers of {_name_of(card['start'])}''' if card['start'] else 'random weights'}.",
        f"- Data: {files}; {examples}.",
        f"- Objective: {card['objective']}.",
        f"- Steps: {card['steps']} of {card['steps_planned']} planned, {card['answer_tokens']} answer tokens, {card['seconds']:g} s.",
        f"- Loss of training (natural log, a token): {loss['first']:.4f} first, {loss['last']:.4f} last, {loss['lowest']:.4f} lowest.",
    ]
    if held:
        lines.append(
            f"- Held-out loss: {held['template_alone']:.4f} template alone, {held['untrained']:.4f} before training, "
            f"{held['best']:.4f} at step {held['best_step']}, whose weights these are."
        )
    lines += ["- Every step's loss is in `losses.jsonl`; settings, versions and checksums are in `counterpoint.json`.", ""]
    return "\n".join(lines)


def _name(node: LeafModel) -> str:
    return _name_of(node.plain())


def _name_of(node: Mapping[str, Any]) -> str:
    return str(node.get("source", node["kind"]))


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()

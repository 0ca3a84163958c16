"""Whether a corrector is used as it was trained, by the card of its artifact."""

from __future__ import annotations

from typing import Any

from counterpoint.plugin import LanguageModel, NodePlan
from counterpoint.training import read_card, same_source

TRAINER = "corrector_training"


def check_card(corrector: str | LanguageModel, template: str, plan: NodePlan) -> None:
    """Refuses an artifact that is no corrector, and one that was trained with another template or prompt format. Models that are no
    artifacts are taken as they are."""
    path, node = plan.resolve(corrector)
    for field in ("source", "adapter"):
        source = str(getattr(node, field, None) or "")
        card = read_card(source.removeprefix("artifact:")) if source.startswith("artifact:") else None
        if card is None:
            continue
        if card.get("kind") != TRAINER:
            if field == "adapter" or not getattr(node, "adapter", None):
                plan.refuse(
                    f"'{path}' ({source}) is no corrector: '{card.get('kind')}' made it",
                    f"name an artifact of a '{TRAINER}' node, or a model that is no artifact",
                )
            continue
        if field == "adapter":
            _check_base(card, source, path, str(getattr(node, "source", "")), plan)
        _check_words(card, source, path, template, plan)
        _check_format(card, source, path, node, plan)


def _check_base(card: dict[str, Any], source: str, path: str, base: str, plan: NodePlan) -> None:
    trained_on = (card.get("corrector") or {}).get("source")
    if not isinstance(trained_on, str) or same_source(trained_on, base):
        return
    # a folder may have been moved, and be the same model
    say = plan.warn if base.startswith("path:") and trained_on.startswith("path:") else plan.refuse
    say(
        f"'{path}' ({source}) is an adapter that was trained on {trained_on}, and is put on {base}",
        f"name {trained_on} as its source",
    )


def _check_words(card: dict[str, Any], source: str, path: str, template: str, plan: NodePlan) -> None:
    if card.get("template") != template:
        plan.refuse(
            f"'{path}' ({source}) was trained with another template: {card.get('template')!r}",
            "set `template` to that, or train a corrector with this one",
        )


def _check_format(card: dict[str, Any], source: str, path: str, node: Any, plan: NodePlan) -> None:
    facts = plan.facts(path)
    if facts is None or facts.has_chat_template is None:
        return
    given = node.prompt_format or ("chat" if facts.has_chat_template else "raw")
    if given != card.get("prompt_format"):
        plan.refuse(
            f"'{path}' ({source}) was trained on prompts in the format '{card.get('prompt_format')}', and is given '{given}'",
            f"say `prompt_format: {card.get('prompt_format')}` on '{path}'",
        )

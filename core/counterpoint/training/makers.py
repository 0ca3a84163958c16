"""Which recipe makes an artifact that is not there."""

from __future__ import annotations

import re
from typing import Any

import yaml

from counterpoint import paths
from counterpoint.node import Node, Trainer
from counterpoint.recipe import recipe_files
from counterpoint.registry import Registry
from counterpoint.store.manifest import MANIFEST

_PREFIX = "artifact:"
_NAMED = re.compile(r'"artifact:([A-Za-z0-9][A-Za-z0-9._-]*)"')


def absent_artifact(node: Node) -> str | None:
    """An artifact that a node's fields name and that is not there, as ``artifact:NAME``; None when there is none."""
    named = [value for _, value in node if isinstance(value, str) and value.startswith(_PREFIX)]
    return next((value for value in named if not (paths.artifacts() / value.removeprefix(_PREFIX)).is_dir()), None)


def standing(recipe: str) -> str:
    """What there is at this moment of the artifacts that a recipe, as JSON, names: one that is made anew is told apart."""
    found = []
    for name in sorted(set(_NAMED.findall(recipe))):
        try:
            status = (paths.artifacts() / name / MANIFEST).stat()
        except OSError:
            continue
        found.append(f"{name}:{status.st_ino}-{status.st_mtime_ns}")
    return "|".join(found)


def how_to_make(node: Node, registry: Registry) -> str:
    """For a node that names an absent artifact: the command that makes it, and how long it takes; empty when unknown."""
    name = (absent_artifact(node) or "").removeprefix(_PREFIX)
    if not name or (found := _maker(name, registry)) is None:
        return ""
    recipe, minutes = found
    time = f", in about {minutes:g} minutes on two cores" if minutes else ""
    begun = " (it has been begun, and goes on)" if (paths.artifacts() / ".partial" / name).is_dir() else ""
    return f"`counterpoint train {recipe}` makes it{time}{begun}"


def _maker(name: str, registry: Registry) -> tuple[str, float | None] | None:
    trainers = {entry.kind for entry in registry.kinds() if issubclass(entry.node, Trainer)}
    for recipe, text in sorted(recipe_files(registry).items()):
        if name not in text:
            continue
        try:
            data: Any = yaml.safe_load(text)
            node = data["nodes"][data["output"]]
        except (yaml.YAMLError, LookupError, TypeError):
            continue  # a recipe that cannot be read makes nothing
        if isinstance(node, dict) and node.get("kind") in trainers and node.get("artifact") == name:
            return recipe, node.get("minutes")
    return None

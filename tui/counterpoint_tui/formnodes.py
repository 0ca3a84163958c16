"""Which parts of a recipe have a form: the recipe itself, its nodes, and the nodes written inside others. Pure: no Textual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.node import wanted_role
from counterpoint.registry import Registry
from counterpoint_tui.fields import FormField, fields_of, recipe_fields
from counterpoint_tui.recipe_text import Path

RECIPE = "(recipe)"


@dataclass(frozen=True)
class FormNode:
    """A part of a recipe that has a form."""

    name: str
    """As in the graph: ``answer``, ``answer.verifiers``; :data:`RECIPE` for the recipe itself."""
    path: Path
    """Where it stands in the recipe's data."""
    kind: str = ""


def form_nodes(data: Mapping[str, Any], registry: Registry) -> list[FormNode]:
    """The parts of a recipe (plain data, right or wrong) that have a form."""
    found = [FormNode(RECIPE, ())]
    nodes = data.get("nodes")
    for name, node in nodes.items() if isinstance(nodes, Mapping) else ():
        found += _nodes(str(name), ("nodes", str(name)), node, registry)
    return found


def _nodes(name: str, path: Path, data: Any, registry: Registry) -> Iterator[FormNode]:
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        return
    try:
        fields = registry.kind(data["kind"]).node.model_fields
    except CounterpointError:  # an unknown kind, which the text is marked for
        return
    yield FormNode(name, path, data["kind"])
    for key, info in fields.items():
        if wanted_role(info) is not None:
            yield from _inline(f"{name}.{key}", (*path, key), data.get(key), registry)


def _inline(name: str, path: Path, value: Any, registry: Registry) -> Iterator[FormNode]:
    if isinstance(value, Mapping) and "kind" in value:
        yield from _nodes(name, path, value, registry)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _inline(f"{name}.{key}", (*path, str(key)), item, registry)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _inline(f"{name}[{index}]", (*path, index), item, registry)


def form_fields(node: FormNode, registry: Registry) -> tuple[FormField, ...]:
    """The inputs of a part's form."""
    return fields_of(registry.kind(node.kind).node) if node.kind else recipe_fields()


def value_at(data: Any, path: Path) -> Any:
    """What stands in a place of plain data; None where nothing does."""
    for step in path:
        if isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[int(step)]
        else:
            return None
    return data

"""`--backend`: a recipe whose models another kind of node runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from counterpoint.cli.completion import complete_kind
from counterpoint.errors import RecipeError
from counterpoint.node import LeafModel
from counterpoint.recipe import Recipe, load_recipe
from counterpoint.registry import Registry

BackendKind = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="KIND",
        help="The kind of node that runs the models, as in --backend llama_cpp.",
        autocompletion=complete_kind,
    ),
]


def with_backend(
    recipe: Recipe, backend: str | None, registry: Registry, note: Callable[[str], None] = lambda _: None
) -> Recipe:
    """A recipe whose models are run by another kind of node; artifacts, which trainers make, stay with theirs.

    Args:
        recipe: the recipe.
        backend: the kind; None changes nothing.
        registry: the kinds there are.
        note: hears which settings that kind does not have.

    Raises:
        RecipeError: the kind is none that runs a model from a source.
    """
    if backend is None:
        return recipe
    kinds = _backends(registry)
    if backend not in kinds:
        raise RecipeError(f"no backend is called '{backend}'", hint=f"backends: {', '.join(kinds) or 'none installed'}")
    fields = registry.kind(backend).node.model_fields
    dropped: list[str] = []

    def changed(value: Any, place: str) -> Any:
        if isinstance(value, list):
            return [changed(one, f"{place}[{index}]") for index, one in enumerate(value)]
        if not isinstance(value, dict):
            return value
        made = str(value.get("source")).startswith("artifact:")  # by a trainer, for the kind that the recipe names
        if value.get("kind") in kinds and value["kind"] != backend and not made:
            dropped.extend(f"{place}.{name}" for name in value if name not in fields)
            return {**{name: one for name, one in value.items() if name in fields}, "kind": backend}
        return {name: changed(one, f"{place}.{name}") for name, one in value.items()}

    data = recipe.to_dict()
    data["nodes"] = {name: changed(node, name) for name, node in data["nodes"].items()}
    if dropped:
        note(f"{backend} has no such settings, they are left out: {', '.join(dropped)}")
    return load_recipe(data, registry=registry)


def _backends(registry: Registry) -> list[str]:
    return [kind.kind for kind in registry.kinds() if issubclass(kind.node, LeafModel) and "source" in kind.node.model_fields]

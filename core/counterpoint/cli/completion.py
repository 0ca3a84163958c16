"""What the shell completes: names that are cheap to find."""

from __future__ import annotations

from collections.abc import Iterable

from counterpoint.errors import CounterpointError


def complete_recipe(incomplete: str) -> list[str]:
    """Names of recipes."""
    from counterpoint.recipe import recipe_files
    from counterpoint.registry import load_plugins

    return _matching(recipe_files(load_plugins()), incomplete)


def complete_run(incomplete: str) -> list[str]:
    """Ids of stored runs."""
    from counterpoint.runstore import RunStore

    try:
        return _matching(["last", *(run.id for run in RunStore().list())], incomplete)
    except CounterpointError:
        return []


def complete_kind(incomplete: str) -> list[str]:
    """Kinds of nodes."""
    from counterpoint.registry import load_plugins

    return _matching([entry.kind for entry in load_plugins().kinds()], incomplete)


def complete_model(incomplete: str) -> list[str]:
    """Names of catalogue models."""
    from counterpoint.store import builtin_catalogue

    return _matching(builtin_catalogue().models, incomplete)


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]

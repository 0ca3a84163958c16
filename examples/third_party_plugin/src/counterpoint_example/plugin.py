"""What this package brings; the entry point in ``pyproject.toml`` names this module."""

from __future__ import annotations

from counterpoint.plugin import Node, hookimpl
from counterpoint_example.bigram import Bigram
from counterpoint_example.vote import Vote


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `bigram` and `vote` nodes."""
    return [Bigram, Vote]


@hookimpl
def counterpoint_recipes() -> str:
    """The package whose YAML files are recipes."""
    return "counterpoint_example.recipes"

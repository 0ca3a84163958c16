"""The hooks a plugin may implement (all optional), each in a module named by an entry point of the group ``counterpoint``.

from counterpoint.plugin import hookimpl

@hookimpl
def counterpoint_nodes():
    return [MyNode]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from counterpoint.node import Node
    from counterpoint.tasks import TaskType

hookspec = pluggy.HookspecMarker("counterpoint")
hookimpl = pluggy.HookimplMarker("counterpoint")


@hookspec
def counterpoint_nodes() -> Sequence[type[Node]]:  # type: ignore[empty-body]
    """The node classes this plugin brings."""


@hookspec
def counterpoint_commands(app: typer.Typer) -> None:
    """Adds commands to the command line; import what they need inside the command, not here."""


@hookspec
def counterpoint_recipes() -> str:  # type: ignore[empty-body]
    """The import name of the package whose ``*.yaml`` files are recipes, addressable by file name."""


@hookspec
def counterpoint_panels() -> dict[str, str]:  # type: ignore[empty-body]
    """Panels of the terminal application for the plugin's own notes: note name → ``"module:Widget"``, imported when shown."""


@hookspec
def counterpoint_tasks() -> Sequence[TaskType]:  # type: ignore[empty-body]
    """Task types: kinds of data sets that ``counterpoint eval`` can read."""

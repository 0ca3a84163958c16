"""How nodes are told apart: by a place in the graph, from which their colour, style and letter follow wherever they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.registry import Registry
from counterpoint_tui.state.data import RunState
from counterpoint_tui.state.graph import graph_order, graph_view
from counterpoint_tui.state.spans import base_path

_SILENT = frozenset({"Verifier", "Trainer", "SwitchCriterion"})
"""Roles that write no text."""


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """How one node is shown."""

    path: str
    index: int
    """Its place in the graph, from 0: which colour and style of a theme it has (``counterpoint_tui.themes.node_mark``)."""
    letter: str
    """Which stands for it where there is no room for its name, and no colour."""
    speaks: bool
    """Whether text may be its own: shown in a legend of an answer. Not so of the output node, whose own text is shown plain."""


def legend(
    recipe: Mapping[str, Any], state: RunState | None = None, registry: Registry | None = None
) -> dict[str, LegendEntry]:
    """All nodes of a recipe by path, in their order; then those of a run that it does not know.

    Args:
        recipe: the recipe as plain data; it need not be valid.
        state: the run, if there is one.
        registry: plugins, which know what plays no part in an answer.
    """
    view = graph_view(recipe, registry)
    roles = {node.path: frozenset(node.roles) for node in view.nodes}
    silent = {path for path, played in roles.items() if played and played <= _SILENT}
    unknown = {node.path for node in view.nodes if not node.known}
    silent |= {path for path in roles if registry is not None and not roles[path] and path not in unknown}
    order = graph_order(recipe, registry)
    spoken = [base_path(node.node) for node in state.nodes.values() if node.emitted or node.drafted] if state else []
    paths = dict.fromkeys([*order, *filter(None, spoken)])
    output = recipe.get("output")
    return {
        path: LegendEntry(path, index, letter(index), path != output and (path in spoken or path not in silent))
        for index, path in enumerate(paths)
    }


def letter(place: int) -> str:
    """``A`` for the first node, ``B`` for the second, and after ``Z``, ``AA``."""
    return chr(ord("A") + place % 26) * (place // 26 + 1)

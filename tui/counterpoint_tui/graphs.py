"""From a recipe's graph to what is drawn of it: boxes, arrows, and the order by which nodes are marked. Pure: no Textual."""

from __future__ import annotations

import re
from collections.abc import Mapping

from counterpoint.graph import Graph
from counterpoint.node import roles_of
from counterpoint_tui.drawing import Arrow, Box


def paths(graph: Graph) -> list[str]:
    """The nodes that a recipe writes down, inline ones after the named ones; a node's place here decides its mark.

    What only wraps a model, so that it plays another role, is not among them.
    """
    return [path for path in graph.nodes if ":" not in path]


def boxes(graph: Graph, letters: Mapping[str, str]) -> list[Box]:
    """A box for each node: its letter and path, its kind, and its roles, those included that it plays because it is wrapped."""
    found = []
    for path in paths(graph):
        node = graph.nodes[path]
        notes = [_words(role) for role in roles_of(type(node))]
        notes += [f"as {_words(role)}" for role in _roles_by_wrapping(graph, path)]
        if path == unwrapped(graph.output):
            notes.append("the output")
        if path in graph.unused:
            notes.append("not used")
        found.append(Box(path, (f"{letters.get(path, '')} {path}".strip(), node.kind, ", ".join(notes))))
    return found


def arrows(graph: Graph) -> list[Arrow]:
    """An arrow for each reference, with the field that holds it."""
    return [Arrow(edge.owner, edge.field, unwrapped(edge.target)) for edge in graph.edges if ":" not in edge.owner]


def unwrapped(path: str) -> str:
    """The path of a node, without what wraps it."""
    return path.partition(":")[0]


def _roles_by_wrapping(graph: Graph, path: str) -> list[str]:
    targets = {edge.target for edge in graph.edges} | {graph.output}
    wrapped = sorted(target for target in targets if target.startswith(f"{path}:"))
    return list(dict.fromkeys(role for target in wrapped for role in roles_of(type(graph.nodes[target]))))


def _words(role: str) -> str:
    """``SwitchCriterion`` as ``switch criterion``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", role).lower()

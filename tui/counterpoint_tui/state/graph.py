"""The model graph of a recipe, laid out in layers so that it can be drawn in text.

Works on plain data, so that the graph of a stored run is there whatever is installed: what the plugins know of a kind is used where
they know it, and of any other kind what the data shows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from counterpoint.cli.render import settings_of
from counterpoint.node import Node
from counterpoint.registry import InvalidNode, NodeKind, Registry
from counterpoint_tui.state.spans import base_path

_DEPTH = 64
"""Deepest nesting that is drawn."""


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node of the graph."""

    path: str
    kind: str
    roles: tuple[str, ...]
    """Names of the roles it plays; empty for a kind that no plugin brings."""
    summary: str
    """The kind in a sentence."""
    layer: int
    """0 is the output; a node stands below all that refer to it."""
    output: bool = False
    unused: bool = False
    """Whether nothing refers to it."""
    inline: bool = False
    """Whether it is written inside another node."""
    known: bool = True
    """Whether a plugin brings its kind."""
    active: bool = False


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """A reference from one node to another."""

    owner: str
    field: str
    """``target``, ``draft[0]``."""
    role: str
    """What the field wants; empty where no plugin says it."""
    target: str


@dataclass(frozen=True, slots=True)
class GraphView:
    """A model graph in layers, the output's first."""

    layers: tuple[tuple[GraphNode, ...], ...]
    edges: tuple[GraphEdge, ...]

    @property
    def nodes(self) -> tuple[GraphNode, ...]:
        """All nodes, layer by layer."""
        return tuple(node for layer in self.layers for node in layer)


def recipe_nodes(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """The nodes that a recipe names, as plain data; empty where it has none that can be read."""
    nodes = recipe.get("nodes")
    return nodes if isinstance(nodes, Mapping) else {}


def settings_at(recipe: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What a recipe, which need not be valid, says of the node at a path; empty when nothing."""
    return settings_of({"nodes": recipe_nodes(recipe)}, path)


def graph_view(recipe: Mapping[str, Any], registry: Registry | None = None, active: Collection[str] = ()) -> GraphView:
    """The model graph of a recipe.

    Args:
        recipe: the recipe as plain data; it need not be valid.
        registry: plugins, which know roles, and references that a recipe leaves at their defaults.
        active: paths of nodes that work now (:func:`counterpoint_tui.state.figures.active_nodes`).
    """
    reader = _Reader(recipe, registry)
    working = {base_path(path) for path in active}
    output = recipe.get("output")
    depths = _layers(reader.found, reader.edges, output if isinstance(output, str) else "")
    targets = {edge.target for edge in reader.edges}
    placed = [
        replace(
            node,
            layer=depths[path],
            output=path == output,
            unused=path != output and path not in targets,
            active=path in working,
        )
        for path, node in reader.found.items()
    ]
    layers: list[list[GraphNode]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for node in placed:
        layers[node.layer].append(node)
    return GraphView(tuple(tuple(layer) for layer in _ordered(layers, reader.edges)), tuple(reader.edges))


def graph_order(recipe: Mapping[str, Any], registry: Registry | None = None) -> list[str]:
    """The nodes of a recipe in the order of the engine's graph: named ones as written, then inline ones as they are reached."""
    reader = _Reader(recipe, registry)
    below: dict[str, list[str]] = {}
    for edge in reader.edges:
        below.setdefault(edge.owner, []).append(edge.target)
    reached: dict[str, None] = {}
    left = [str(recipe.get("output"))]
    while left:
        path = left.pop()
        if path not in reached:
            reached[path] = None
            left.extend(reversed(below.get(path, [])))
    named = [path for path, node in reader.found.items() if not node.inline]
    inline = [path for path in reached if path in reader.found]
    return list(dict.fromkeys([*named, *inline, *reader.found]))


class _Reader:
    """Finds the nodes and references of a recipe."""

    def __init__(self, recipe: Mapping[str, Any], registry: Registry | None) -> None:
        self.found: dict[str, GraphNode] = {}
        self.edges: list[GraphEdge] = []
        self._names = set(recipe_nodes(recipe))
        self._kinds: dict[str, NodeKind] = {entry.kind: entry for entry in registry.kinds()} if registry else {}
        self._registry = registry
        for name, data in recipe_nodes(recipe).items():
            self._read(str(name), data, inline=False, depth=0)

    def _read(self, path: str, data: Any, *, inline: bool, depth: int) -> None:
        kind = str(data.get("kind", "")) if isinstance(data, Mapping) else ""
        entry = self._kinds.get(kind)
        self.found[path] = GraphNode(
            path,
            kind,
            entry.roles if entry else (),
            entry.summary if entry else "",
            layer=0,
            inline=inline,
            known=entry is not None,
        )
        if not isinstance(data, Mapping) or depth > _DEPTH:
            return
        for field, role, target in self._references(data):
            if isinstance(target, str):
                if target in self._names:
                    self.edges.append(GraphEdge(path, field, role, target))
            else:
                below = f"{path}.{field}"
                self.edges.append(GraphEdge(path, field, role, below))
                self._read(below, target, inline=True, depth=depth + 1)

    def _references(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """Field, wanted role and target (a name, or plain data of an inline node) of every reference of a node."""
        node = self._built(data)
        if node is None:
            yield from self._apparent(data)
            return
        for field, role, target in node.references():
            yield field, role.__name__, target if isinstance(target, str) else target.plain()

    def _built(self, data: Mapping[str, Any]) -> Node | None:
        if self._registry is None or data.get("kind") not in self._kinds:
            return None
        try:
            return self._registry.build(data)
        except (InvalidNode, RecursionError):
            return None

    def _apparent(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """What looks like a reference: the name of a node, or a mapping with a kind, alone or in a list or mapping."""
        for field, value in data.items():
            if field == "kind":
                continue
            items: list[tuple[str, Any]] = [(str(field), value)]
            if isinstance(value, (list, tuple)):
                items = [(f"{field}[{place}]", item) for place, item in enumerate(value)]
            elif isinstance(value, Mapping) and "kind" not in value:
                items = [(f"{field}.{key}", item) for key, item in value.items()]
            for place, item in items:
                if (isinstance(item, str) and item in self._names) or (isinstance(item, Mapping) and "kind" in item):
                    yield place, "", item


def _layers(nodes: Mapping[str, GraphNode], edges: Collection[GraphEdge], output: str) -> dict[str, int]:
    """Each node's layer: one below the lowest that refers to it (a circle is cut where it closes)."""
    below: dict[str, list[str]] = {}
    for edge in edges:
        below.setdefault(edge.owner, []).append(edge.target)
    targets = {edge.target for edge in edges}
    roots = [path for path in nodes if path == output] + [path for path in nodes if path != output and path not in targets]
    depths = dict.fromkeys(nodes, 0)
    order: list[str] = []
    visited: dict[str, int] = {}  # 1 while a node's references are followed, 2 when they all have been
    back: set[tuple[str, str]] = set()
    for root in [*roots, *nodes]:  # the others stand in circles that nothing outside refers to
        stack = [(root, iter(below.get(root, ())))] if visited.setdefault(root, 0) == 0 else []
        while stack:
            path, rest = stack[-1]
            visited[path] = 1
            target = next(rest, None)
            if target is None:
                visited[path] = 2
                order.append(path)
                stack.pop()
            elif visited.get(target, 0) == 1:
                back.add((path, target))
            elif visited.get(target, 0) == 0 and target in nodes:
                stack.append((target, iter(below.get(target, ()))))
    for path in reversed(order):
        for target in below.get(path, ()):
            if (path, target) not in back and target in nodes:
                depths[target] = max(depths[target], depths[path] + 1)
    return depths


def _ordered(layers: list[list[GraphNode]], edges: Collection[GraphEdge]) -> list[list[GraphNode]]:
    """Each layer in the order of what stands above it, so that few lines cross."""
    places: dict[str, float] = {}
    made: list[list[GraphNode]] = []
    for layer in layers:
        means: dict[str, float] = {}
        for number, node in enumerate(layer):
            above = [places[edge.owner] for edge in edges if edge.target == node.path and edge.owner in places]
            means[node.path] = sum(above) / len(above) if above else float(number)
        row = sorted(layer, key=lambda node: (node.unused, means[node.path]))
        places.update({node.path: float(number) for number, node in enumerate(row)})
        made.append(row)
    return made

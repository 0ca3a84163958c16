"""The model graph of a recipe: references resolved, roles checked, no cycles."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from counterpoint.errors import PluginError, RecipeError
from counterpoint.node import Generator, LeafModel, Node, Trainer, Verifier, roles_of
from counterpoint.recipe import Recipe
from counterpoint.registry import Registry


@dataclass(frozen=True)
class Edge:
    """One node's reference to another."""

    owner: str
    field: str
    target: str


@dataclass
class Graph:
    """Nodes by path. A named node's path is its name; an inline one's is ``owner.field``; a language model wrapped to play
    another role has the path of the model, a colon and the kind that wraps it."""

    registry: Registry
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    output: str = ""
    unused: tuple[str, ...] = ()
    _paths: dict[int, str] = field(default_factory=dict)

    def path_of(self, reference: str | Node) -> str:
        """The path of a referenced node, as written (not wrapped)."""
        return reference if isinstance(reference, str) else self._paths[id(reference)]

    def target(self, reference: str | Node, role: type[Node]) -> tuple[str, Node]:
        """Path and node that play ``role`` for a reference."""
        path = self.path_of(reference)
        node = self.nodes[path]
        if isinstance(node, role):
            return path, node
        wrapped = self.wrap(path, role)  # made when the graph was built, if the field that refers to it wants this role
        if wrapped is None:
            roles = " and ".join(roles_of(type(node))) or "node without a role"
            raise PluginError(
                f"'{path}' ({node.kind}) is a {roles}, but was called as a {role.__name__}",
                hint=f"this is a bug of the plugin that calls it: its field has to be a Ref[{role.__name__}]",
            )
        return wrapped, self.nodes[wrapped]

    def leaves(self, path: str) -> list[str]:
        """Paths of the leaf models at or below a node."""
        if isinstance(self.nodes[path], LeafModel):
            return [path]
        below = [edge.target for edge in self.edges if edge.owner == path]
        return list(dict.fromkeys(leaf for target in below for leaf in self.leaves(target)))

    def fields_read(self, path: str) -> set[str]:
        """Fields of the prompt that verifiers at or below a node read."""
        node = self.nodes[path]
        found = set(node.requires) if isinstance(node, Verifier) else set()
        return found.union(*(self.fields_read(edge.target) for edge in self.edges if edge.owner == path))

    def wrap(self, path: str, role: type[Node]) -> str | None:
        """Makes the node at ``path`` play ``role`` by wrapping it, if it is a language model and a plugin can."""
        adapter = self.registry.adapter(role)
        if adapter is None or "LanguageModel" not in roles_of(type(self.nodes[path])):
            return None
        wrapped = f"{path}:{adapter.kind}"
        if wrapped not in self.nodes:
            assert adapter.node.adapts is not None
            self.nodes[wrapped] = adapter.node.model_validate({"kind": adapter.kind, adapter.node.adapts: path})
            self.edges.append(Edge(wrapped, adapter.node.adapts, path))
        return wrapped


def build_graph(recipe: Recipe, registry: Registry) -> Graph:
    """Resolves a recipe.

    Raises:
        RecipeError: a reference to a node that is not there, to one that plays another role, or in a circle.
    """
    graph = Graph(registry, dict(recipe.nodes))
    for name, node in recipe.nodes.items():
        graph._paths[id(node)] = name
    graph.output = _visit(graph, recipe, recipe.output, Generator, ("output",), [])
    used = {edge.target for edge in graph.edges} | {graph.output, recipe.output}
    graph.unused = tuple(name for name in recipe.nodes if name not in used)
    return graph


def _visit(
    graph: Graph, recipe: Recipe, reference: str | Node, role: type[Node], place: tuple[str, ...], trail: list[str]
) -> str:
    """Checks what is below a reference and returns the path of the node that plays ``role`` for it."""
    where = f"{recipe.name}, {'.'.join(place)}"
    if isinstance(reference, str):
        path = reference
        if path not in graph.nodes:
            close = difflib.get_close_matches(path, recipe.nodes, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise RecipeError(f"{where}: no node is called '{path}'", hint=f"{hint}nodes: {', '.join(recipe.nodes)}")
    else:
        path = ".".join(place)
        graph.nodes[path] = reference
        graph._paths[id(reference)] = path
    if path in trail:
        raise RecipeError(
            f"{where}: circular reference {' → '.join([*trail[trail.index(path) :], path])}",
            hint="a model graph has no circles: let one of these refer to another node",
        )
    node = graph.nodes[path]
    last = place == ("output",) and isinstance(node, (Trainer, Verifier))  # these two are outputs as well
    if not isinstance(node, role) and not last:
        wrapped = graph.wrap(path, role)
        if wrapped is None:
            raise RecipeError(
                f"{where}: '{path}' ({node.kind}) is a {' and '.join(roles_of(type(node))) or 'node without a role'}, "
                f"but a {role.__name__} is wanted here",
                hint=_candidates(graph, recipe, role),
            )
        path_below, path = path, wrapped
        _descend(graph, recipe, path_below, trail)
        return path
    _descend(graph, recipe, path, trail)
    return path


def _descend(graph: Graph, recipe: Recipe, path: str, trail: list[str]) -> None:
    known = {(edge.owner, edge.field) for edge in graph.edges}
    for name, role, reference in graph.nodes[path].references():
        target = _visit(graph, recipe, reference, role, (path, name), [*trail, path])
        if (path, name) not in known:
            graph.edges.append(Edge(path, name, target))


def _candidates(graph: Graph, recipe: Recipe, role: type[Node]) -> str:
    fitting = [name for name, node in recipe.nodes.items() if isinstance(node, role)]
    if fitting:
        return f"nodes of this recipe that fit: {', '.join(fitting)}"
    kinds = [entry.kind for entry in graph.registry.kinds() if issubclass(entry.node, role)]
    return f"kinds that fit: {', '.join(kinds) or 'none installed'}"

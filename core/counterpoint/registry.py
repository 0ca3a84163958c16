"""Plugins and the node kinds, commands and recipes they bring.

Built-ins and strangers come in by the same door: entry points of the group ``counterpoint``, each a module with pluggy hook
implementations. They are loaded one at a time, so that one that fails is reported by name and the rest still work.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from pydantic import ValidationError

from counterpoint import hooks
from counterpoint.errors import CounterpointError, PluginError, RecipeError
from counterpoint.node import Node, roles_of, wanted_role
from counterpoint.tasks import TaskType

GROUP = "counterpoint"


Problem = tuple[tuple[str | int, ...], str]
"""Where in a recipe something is wrong (keys and indices), and what."""


class InvalidNode(ValueError):
    """Plain data that describes no node."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, path))}: {message}" for path, message in problems))
        self.problems = problems


@dataclass(frozen=True)
class NodeKind:
    """A node class and the plugin that brought it."""

    kind: str
    node: type[Node]
    plugin: str

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the roles the kind plays."""
        return roles_of(self.node)

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.node.__doc__ or "").strip().split("\n")[0]


@dataclass
class Registry:
    """What the loaded plugins provide. Built by :func:`load_plugins` and passed in; there is no global one."""

    manager: pluggy.PluginManager
    failures: dict[str, str] = field(default_factory=dict)
    """Plugins that could not be loaded, by name, and why."""

    def __post_init__(self) -> None:
        self._kinds: dict[str, list[NodeKind]] = {}
        for name, plugin in self.manager.list_name_plugin():
            if plugin is None or not hasattr(plugin, "counterpoint_nodes"):
                continue
            try:
                for node in plugin.counterpoint_nodes():
                    self._add(node, name)
            except Exception as error:  # noqa: BLE001 (a broken plugin is reported, the rest work)
                self.failures[name] = f"{type(error).__name__}: {error}"

    def _add(self, node: Any, plugin: str) -> None:
        if not (isinstance(node, type) and issubclass(node, Node)):
            raise PluginError(f"plugin '{plugin}' offers {node!r} as a node, which is not a class derived from Node")
        kind = node.model_fields["kind"].default
        if not isinstance(kind, str):
            raise PluginError(
                f"plugin '{plugin}': node class {node.__name__} has no kind",
                hint=f'give it `kind: Literal["{node.__name__.lower()}"] = "{node.__name__.lower()}"`',
            )
        self._kinds.setdefault(kind, []).append(NodeKind(kind, node, plugin))

    def kinds(self) -> list[NodeKind]:
        """All kinds that can be used, sorted by name."""
        return [found[0] for _, found in sorted(self._kinds.items()) if len(found) == 1]

    def conflicts(self) -> dict[str, list[str]]:
        """Kinds claimed by several plugins, with the plugins' names."""
        return {kind: [entry.plugin for entry in found] for kind, found in self._kinds.items() if len(found) > 1}

    def kind(self, name: str) -> NodeKind:
        """The kind of this name.

        Raises:
            RecipeError: no plugin brings it.
            PluginError: several plugins do.
        """
        found = self._kinds.get(name, [])
        if len(found) > 1:
            plugins = " and ".join(f"'{entry.plugin}'" for entry in found)
            raise PluginError(
                f"node kind '{name}' is claimed by plugins {plugins}", hint="uninstall one of them, or rename its kind"
            )
        if not found:
            close = difflib.get_close_matches(name, self._kinds, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            hint += f"valid kinds: {', '.join(sorted(self._kinds)) or 'none'}"
            if self.failures:
                hint += f"; plugins that failed to load: {', '.join(sorted(self.failures))}"
            raise RecipeError(f"unknown node kind '{name}'", hint=hint)
        return found[0]

    def build(self, value: Any, path: tuple[str | int, ...] = ()) -> Node:
        """The node that plain data describes, inline nodes in its fields included.

        Args:
            value: a mapping with a ``kind``, or a node already built.
            path: where in the recipe the mapping stands, for the problems.

        Raises:
            InvalidNode: it describes none; every problem found, with its place.
        """
        if isinstance(value, Node):
            return value
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            raise InvalidNode([(path, f"a node is a mapping with a `kind`, one of: {', '.join(sorted(self._kinds))}")])
        try:
            node = self.kind(value["kind"]).node
        except CounterpointError as error:
            raise InvalidNode([((*path, "kind"), f"{error.message} ({error.hint})")]) from None
        data, problems = dict(value), list[Problem]()
        for name, info in node.model_fields.items():
            if name in data and wanted_role(info) is not None:
                data[name] = self._build_inline(data[name], (*path, name), problems)
        try:
            built = node.model_validate(data)
        except ValidationError as error:
            problems += [(place, _with_fields(message, node)) for place, message in describe_validation(error, path)]
        if problems:
            raise InvalidNode(problems)
        return built

    def _build_inline(self, value: Any, path: tuple[str | int, ...], problems: list[Problem]) -> Any:
        if isinstance(value, Mapping) and "kind" in value:
            try:
                return self.build(value, path)
            except InvalidNode as error:
                problems += error.problems
                return ""
        if isinstance(value, Mapping):
            return {key: self._build_inline(item, (*path, key), problems) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._build_inline(item, (*path, index), problems) for index, item in enumerate(value)]
        return value

    def tasks(self) -> dict[str, TaskType]:
        """Task types by name; one that two plugins bring is taken from the first, as hooks are called."""
        found: dict[str, TaskType] = {}
        for implementation in self.manager.hook.counterpoint_tasks.get_hookimpls():
            try:
                brought: Any = implementation.function()
                for task in brought:
                    found.setdefault(task.name, task)
            except Exception as error:  # noqa: BLE001 (a broken plugin is reported, the rest work)
                self.failures[implementation.plugin_name] = f"its task types: {type(error).__name__}: {error}"
        return dict(sorted(found.items()))

    def adapter(self, role: type[Node]) -> NodeKind | None:
        """The kind that wraps a bare language model to play ``role``, if a plugin brings one."""
        for entry in self.kinds():
            if issubclass(entry.node, role) and entry.node.adapts:
                return entry
        return None


def load_plugins(extra: Iterable[object] = (), *, entry_point_group: str | None = GROUP) -> Registry:
    """A registry of all installed plugins.

    Args:
        extra: plugin modules or objects to register besides the installed ones (tests, notebooks).
        entry_point_group: the group to load from; None loads only ``extra``.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hooks)
    failures: dict[str, str] = {}
    for name, point in _installed(entry_point_group) if entry_point_group else []:
        if manager.has_plugin(name):
            continue
        try:
            _register(manager, point.load(), name)
        except Exception as error:  # noqa: BLE001 (a broken plugin is reported, the rest work)
            failures[name] = f"{type(error).__name__}: {error}"
    for plugin in extra:
        if manager.is_registered(plugin):
            continue  # installed as well
        name = str(getattr(plugin, "__name__", type(plugin).__name__))
        try:
            _register(manager, plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin '{name}': {error}", hint="its hooks must be among those of counterpoint.hooks") from None
    return Registry(manager, failures)


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    manager.register(plugin, name)
    try:
        manager.check_pending()  # a misspelt hook is an error, not silence
    except pluggy.PluginValidationError:
        manager.unregister(plugin)
        raise


def _installed(group: str) -> list[tuple[str, EntryPoint]]:
    """The entry points of a group by ``distribution:name``, in that order."""
    names: dict[int, str] = {}  # whenever it is asked for its name, a distribution parses its metadata anew
    found = []
    for point in entry_points(group=group):
        if id(point.dist) not in names:
            names[id(point.dist)] = point.dist.name if point.dist else "?"
        found.append((f"{names[id(point.dist)]}:{point.name}", point))
    return sorted(found, key=lambda named: named[0])


def describe_validation(error: ValidationError, path: tuple[str | int, ...] = ()) -> list[Problem]:
    """The places and messages of a validation error, in the words of a recipe's author."""
    found = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "no such field"
        elif item["type"] == "missing":
            message = "this field is required"
        found.append(((*path, *item["loc"]), message))
    return found


def _with_fields(message: str, node: type[Node]) -> str:
    if message != "no such field":
        return message
    return f"no such field; {node.model_fields['kind'].default} has: {', '.join(node.model_fields)}"

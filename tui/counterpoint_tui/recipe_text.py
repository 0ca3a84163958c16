"""The text of a recipe as it is edited: what is wrong on which line, and changes that leave the rest of it alone.

Pure: no Textual.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from counterpoint import yamlplaces as places
from counterpoint.errors import CounterpointError
from counterpoint.graph import Graph, build_graph
from counterpoint.recipe import Recipe, parse_recipe
from counterpoint.registry import Registry
from counterpoint_tui.yamltext import block, flow

Path = tuple[str | int, ...]
"""Keys and indices from the top of a recipe down to a value."""

PLACE: Final = "recipe"
"""What the text is called in messages, so that places in them can be found again."""
_PROBLEM = re.compile(rf"^{PLACE}(?:, line (?P<line>\d+))?(?:, (?P<path>[^:\s]+))?: (?P<message>.*)$", re.DOTALL)
_GRAPH = re.compile(r"^[^:]*?, (?P<path>[^:\s]+): (?P<message>.*)$", re.DOTALL)
UNSET: Final = object()
"""In place of a value: the key is taken out."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a text."""

    message: str
    line: int | None = None
    """Counted from 0."""


@dataclass(frozen=True)
class Checked:
    """What a text says, as far as it can be read."""

    text: str = field(repr=False)
    data: dict[str, Any] | None = None
    """It as plain data; None where it is no mapping."""
    recipe: Recipe | None = None
    graph: Graph | None = None
    problems: tuple[Problem, ...] = ()
    hint: str = ""


def check(text: str, name: str, registry: Registry) -> Checked:
    """Reads a recipe's text and resolves its graph, as far as that goes.

    Args:
        text: YAML.
        name: what the recipe is called when it does not say so itself.
        registry: the kinds there are.
    """
    data = _data(text)
    try:
        recipe = parse_recipe(text, PLACE, registry=registry)
    except CounterpointError as error:
        problems = tuple(_located(line) for line in _messages(error.message))
        return Checked(text, data, problems=problems, hint=error.hint)
    if data is not None and "name" not in data:
        recipe = recipe.model_copy(update={"name": name})
    try:
        graph = build_graph(recipe, registry)
    except CounterpointError as error:
        return Checked(text, data, recipe, None, (_in_graph(error.message, text),), error.hint)
    except RecursionError:
        return Checked(text, data, recipe, None, (Problem("the nodes are nested too deeply"),))
    return Checked(text, data, recipe, graph)


def _data(text: str) -> dict[str, Any] | None:
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _messages(message: str) -> list[str]:
    """Problems one by one: each begins with the place, whatever line breaks a message has."""
    return re.split(rf"\n(?={PLACE}[,:])", message)


def _located(message: str) -> Problem:
    match = _PROBLEM.match(message)
    if match is None:
        return Problem(message)
    where = f"{match['path']}: " if match["path"] else ""
    return Problem(where + match["message"], int(match["line"]) - 1 if match["line"] else None)


def _in_graph(message: str, text: str) -> Problem:
    match = _GRAPH.match(message)
    if match is None:
        return Problem(message)
    steps = [int(step) if step.isdigit() else step for step in re.split(r"[.\[\]]+", match["path"]) if step]
    line = line_of(text, ("nodes", *steps) if steps[:1] != ["output"] else steps)
    return Problem(f"{match['path']}: {match['message']}", line)


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """The line (from 0) on which a value stands, or the nearest thing above it that there is; None where there is nothing."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    return places.line_of(tree, path)


# --- changes ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edited:
    """A text with a change in it."""

    text: str
    rewritten: bool = False
    """Whether all of it had to be written anew, and comments are lost."""


def set_value(text: str, path: Path, value: Any) -> Edited:
    """Changes one value of a recipe's text, or takes it out (:data:`UNSET`), and leaves the rest as it is where that can be done.

    Args:
        text: YAML of a mapping.
        path: where the value stands, or is to stand; what is above it and missing is made.
        value: plain data.

    Raises:
        ValueError: the text is no mapping, or the path leads through something that is none.
    """
    data = _data(text)
    if data is None:
        raise ValueError("the text is no mapping")
    wanted = _changed(data, list(path), value)
    if wanted == data:
        return Edited(text)
    changed = _spliced(text, path, value)
    if changed is not None and _data(changed) == wanted:
        return Edited(changed)
    return Edited(block(wanted), rewritten="#" in text)


def _changed(data: Any, path: list[str | int], value: Any) -> Any:
    head, *rest = path
    if isinstance(data, list) and isinstance(head, int):
        items = list(data)
        if head < len(items):
            items[head] = _changed(items[head], rest, value) if rest else value
            return items
        raise ValueError(f"there is no item {head}")
    if data is not None and not isinstance(data, dict):
        raise ValueError(f"'{head}' stands in something that is no mapping")
    found = dict(data or {})
    if not rest and value is UNSET:
        found.pop(head, None)
        return found
    below = _changed(found.get(head), rest, value) if rest else value
    if rest and value is UNSET and below in ({}, None):
        found.pop(head, None)  # nothing is left of what held it
    else:
        found[head] = below
    return found


def _spliced(text: str, path: Path, value: Any) -> str | None:
    """The text with one value replaced, added or taken out in its place; None where it takes more than that."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, step in enumerate(path):
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(step)), None)
            if pair is None:
                return None if value is UNSET else _inserted(text, node, path[depth:], value)
            key, below = pair
            if depth == len(path) - 1:
                return _removed(text, node, key, below) if value is UNSET else _replaced(text, below, value)
            node = below
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            if depth == len(path) - 1:
                return _replaced(text, node, value)
        else:
            return None
    return None


def _replaced(text: str, node: yaml.Node, value: Any) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    old = text[start:end]
    return text[:start] + flow(value) + old[len(old.rstrip()) :] + text[end:]


def _inserted(text: str, mapping: yaml.MappingNode, path: Path, value: Any) -> str | None:
    for step in reversed(path[1:]):
        value = {step: value}
    entry = f"{flow(path[0])}: {flow(value)}"
    if mapping.flow_style:
        at = mapping.end_mark.index - 1
        inside = text[:at].rstrip()
        return inside + ("" if inside.endswith(("{", ",")) else ", ") + entry + text[len(inside) : at] + text[at:]
    if not mapping.value:
        return None
    last = mapping.value[-1][1].end_mark.index
    head = text[:last].rstrip()  # a block's end is where the next thing begins
    line_end = text.find("\n", len(head))
    at = len(text) if line_end < 0 else line_end
    indent = " " * mapping.value[0][0].start_mark.column
    return f"{text[:at]}\n{indent}{entry}{text[at:]}"


def _removed(text: str, mapping: yaml.MappingNode, key: yaml.Node, value: yaml.Node) -> str | None:
    if mapping.flow_style or len(mapping.value) == 1:
        return None
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    end = text.find("\n", len(text[: value.end_mark.index].rstrip()))
    return text[:start] + ("" if end < 0 else text[end + 1 :])

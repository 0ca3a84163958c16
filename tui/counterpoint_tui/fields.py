"""What a form asks for, read off a model's fields: so that a node of anybody's plugin has a form with no change here.

Pure: no Textual. A field says what it takes (:attr:`FormField.takes`), and :func:`read` and :func:`shown` turn a value into the text
of an input and back.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from counterpoint.cli.nodes import bounds_text, type_text
from counterpoint.node import LanguageModel, Node, wanted_role
from counterpoint.recipe import Recipe
from counterpoint.registry import Registry
from counterpoint_tui.yamltext import flow

Takes = Literal["text", "whole", "number", "switch", "choice", "node", "nodes", "yaml"]
_SCALARS: dict[str, Takes] = {"string": "text", "integer": "whole", "number": "number", "boolean": "switch"}


@dataclass(frozen=True)
class FormField:
    """One input of a form."""

    path: tuple[str, ...]
    """Keys from the node (or the recipe) down to it."""
    takes: Takes
    type_words: str
    """The type in words."""
    about: str = ""
    bounds: str = ""
    required: bool = False
    default: Any = None
    nullable: bool = False
    choices: tuple[str, ...] = ()
    role: type[Node] | None = None
    """What a node that is referred to has to be."""
    group: str = ""
    """The field that it is part of, where that may be absent as a whole."""

    @property
    def label(self) -> str:
        """``temperature``, ``sampling.temperature``."""
        return ".".join(self.path)

    @property
    def help(self) -> str:
        """What it is, what it takes and what stands when nothing is given, in a line."""
        takes = f"{self.type_words} ({self.bounds})" if self.bounds else self.type_words
        default = "required" if self.required else f"default {shown(self.default)}" if shown(self.default) else ""
        return f"{self.about} [{'; '.join(part for part in (takes, default) if part)}]".strip()


def fields_of(model: type[BaseModel], skip: Sequence[str] = ("kind",)) -> tuple[FormField, ...]:
    """The inputs of a model's form: its own fields, the required ones first, then those that it shares with others of its role.

    The fields of models inside it are among them, below their field's name.
    """
    found = _fields(model, model.model_json_schema(), (), skip)
    own = set(inspect.get_annotations(model))
    return tuple(sorted(found, key=lambda field: (field.path[0] not in own, not field.required)))


def recipe_fields() -> tuple[FormField, ...]:
    """The inputs of a recipe's own settings (its nodes have forms of their own)."""
    return fields_of(Recipe, skip=("nodes", "output", "prompt", "tasks"))


def _fields(
    model: type[BaseModel], schema: Mapping[str, Any], above: tuple[str, ...], skip: Sequence[str], *, absent: bool = False
) -> Iterator[FormField]:
    described = schema.get("$defs", {})
    own = schema if not above else described.get(model.__name__, model.model_json_schema())
    for name, info in model.model_fields.items():
        if name in skip and not above:
            continue
        path = (*above, name)
        inner = _inner_model(info)
        if inner is not None and len(above) < 2:
            yield from _fields(inner, schema, path, skip, absent=absent or info.default is None)
            continue
        found = _field(path, info, own.get("properties", {}).get(name, {}), described)
        yield replace(found, default=None, group=above[0]) if absent else found


def _field(path: tuple[str, ...], info: FieldInfo, schema: Mapping[str, Any], described: Mapping[str, Any]) -> FormField:
    options = [_resolved(one, described) for one in schema.get("anyOf", [schema])]
    given = [one for one in options if one.get("type") != "null"]
    role = wanted_role(info)
    takes: Takes = "yaml"
    choices: tuple[str, ...] = ()
    if role is not None:
        takes = _takes_nodes(schema)
    elif len(given) == 1 and "enum" in given[0] and all(isinstance(value, str) for value in given[0]["enum"]):
        takes, choices = "choice", tuple(given[0]["enum"])
    elif len(given) == 1 and isinstance(given[0].get("const"), str):
        takes, choices = "choice", (given[0]["const"],)
    elif len(given) == 1:
        takes = _SCALARS.get(str(given[0].get("type")), "yaml")
    nullable = len(given) < len(options)
    if takes == "switch" and nullable:
        takes, choices = "choice", ("true", "false")
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    return FormField(
        path,
        takes,
        type_text(dict(schema)),
        info.description or "",
        bounds_text(dict(schema)),
        info.is_required() and len(path) == 1,
        _plain(default),
        nullable,
        choices,
        role,
    )


def _takes_nodes(schema: Mapping[str, Any]) -> Takes:
    """``node`` for a single reference, ``nodes`` where there may be several; mappings of them are written as YAML."""
    text = json.dumps(schema)
    if '"additionalProperties"' in text or "x-role" not in text:
        return "yaml"
    return "nodes" if '"array"' in text else "node"


def _resolved(schema: Mapping[str, Any], described: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    found: Mapping[str, Any] = described.get(str(reference).rpartition("/")[2], schema) if reference else schema
    return found


def _inner_model(info: FieldInfo) -> type[BaseModel] | None:
    """The model that a field holds, or may hold; None for nodes and plain values."""
    options = get_args(info.annotation) or (info.annotation,)
    models = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel) and not issubclass(one, Node)]
    others = [one for one in options if one is not type(None) and one not in models]
    return models[0] if len(models) == 1 and not others else None


def _plain(value: Any) -> Any:
    if isinstance(value, Node):
        return value.plain()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    return list(value) if isinstance(value, tuple) else value


def fitting_nodes(role: type[Node], nodes: Mapping[str, Any], registry: Registry, besides: str = "") -> list[str]:
    """Names of a recipe's nodes (plain data) that can stand where a role is wanted, by themselves or wrapped."""
    wrapped = registry.adapter(role) is not None
    classes = {entry.kind: entry.node for entry in registry.kinds()}
    found = []
    for name, data in nodes.items():
        kind = classes.get(str(data.get("kind"))) if isinstance(data, Mapping) else None
        if kind is not None and name != besides and (issubclass(kind, role) or (wrapped and issubclass(kind, LanguageModel))):
            found.append(str(name))
    return found


class NotThat(ValueError):
    """Text that is no value of its field; the message says why."""


def read(field: FormField, text: str) -> Any:
    """The value that text in an input stands for; None for nothing, which is the default.

    Raises:
        NotThat: it is no such value.
    """
    if not text.strip():
        return None
    if field.takes == "text":
        return _unquoted(text)
    if field.takes == "whole":
        try:
            return int(text.replace("_", ""))
        except ValueError:
            raise NotThat(f"'{text.strip()}' is no whole number") from None
    if field.takes == "number":
        try:
            value = float(text.replace("_", ""))
        except ValueError:
            raise NotThat(f"'{text.strip()}' is no number") from None
        return int(value) if value.is_integer() and abs(value) < 1e9 and "e" not in text.lower() else value
    if field.takes == "choice" and field.choices == ("true", "false"):
        return text == "true"
    if field.takes in ("choice", "node", "switch"):
        return text == "true" if field.takes == "switch" else text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise NotThat(f"it is not readable as YAML: {str(error).splitlines()[0]}") from None


def _unquoted(text: str) -> str:
    """What is shown in quotes (see :func:`shown`) without them."""
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return value if isinstance(value, str) else text
    return text


def shown(value: Any) -> str:
    """A value as the text of an input; a text with line breaks stands in quotes."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if "\n" in value or value.startswith('"') else value
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else repr(value)
    if isinstance(value, int):
        return str(value)
    if value in ([], {}):
        return ""
    return flow(value)

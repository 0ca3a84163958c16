"""Recipes: a model graph and how to run it, from YAML, plain data or Python."""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, field_serializer, field_validator

from counterpoint import paths
from counterpoint.errors import RecipeError
from counterpoint.node import Node
from counterpoint.prompt import Prompt
from counterpoint.registry import InvalidNode, Problem, Registry, describe_validation, load_plugins
from counterpoint.settings import Budget, Sampling
from counterpoint.tasks import Words
from counterpoint.yamlplaces import duplicate_key, line_of

Record = Literal["summary", "tokens", "full"]


class Recipe(BaseModel):
    """A model graph: named nodes, the one whose answer counts, and how to sample, seed, budget and record it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="unnamed", description="What the recipe is called.")
    description: str = Field(default="", description="What it shows, in a sentence or two.")
    nodes: dict[str, SerializeAsAny[Node]] = Field(min_length=1, description="The nodes, by name.")
    output: str = Field(description="Name of the node whose completion is the answer.")
    sampling: Sampling = Field(default_factory=Sampling, description="Defaults for every generator of the graph.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of all draws.")
    budget: Budget | None = Field(default=None, description="What one example may cost.")
    record: Record = Field(
        default="tokens",
        description="How much to record: `summary` leaves out single tokens' passes and log-probabilities, `tokens` "
        "records them, `full` adds the most probable alternatives of every token, and what each model of a composition thinks of it.",
    )
    prompt: Prompt | None = Field(default=None, description="A prompt to run when none is given.")
    tasks: dict[str, Words] = Field(
        default_factory=dict, description="How examples of data sets are asked, by task type, in this recipe's own words."
    )

    @field_validator("sampling")
    @classmethod
    def _complete(cls, sampling: Sampling) -> Sampling:
        if message := sampling.contradiction():
            raise ValueError(message)
        return sampling

    @field_serializer("prompt")
    def _short_prompt(self, prompt: Prompt | None) -> Any:
        return prompt.model_dump(mode="json", exclude_defaults=True) if prompt else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data from which :func:`load_recipe` makes an equal recipe."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        data["nodes"] = {name: node.plain() for name, node in self.nodes.items()}
        return {"name": self.name, **{key: value for key, value in data.items() if key != "name" and value is not None}}

    def to_yaml(self) -> str:
        """The recipe as YAML text, without what has its default value."""
        return yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Quotes what PyYAML would lose: the line breaks of Unicode, which it folds into spaces."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(break_ in text for break_ in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)


def load_recipe(
    source: str | Path | Mapping[str, Any] | Recipe,
    *,
    registry: Registry | None = None,
    overrides: Iterable[tuple[str, Any]] = (),
) -> Recipe:
    """A recipe from the name of a shipped, plugin's or user's one, a YAML file, or plain data.

    Args:
        source: ``"speculative"``, ``"my/recipe.yaml"``, a mapping, or a recipe.
        registry: the plugins to build nodes with; by default all installed ones.
        overrides: settings to change, as ``("node.field", value)`` or ``("seed", 3)``.

    Raises:
        RecipeError: no such recipe; not readable; or not valid, naming every problem and its line.
    """
    registry = registry or load_plugins()
    if isinstance(source, Recipe):
        if not (changes := list(overrides)):
            return source
        return _build(apply_overrides(source.to_dict(), changes, source.name), source.name, registry, None)
    if isinstance(source, Mapping):
        name = str(source.get("name", "recipe"))
        return _build(apply_overrides(dict(source), overrides, name), name, registry, None)
    text, place = read_recipe(source, registry)
    return parse_recipe(text, place, registry=registry, overrides=overrides)


def parse_recipe(text: str, place: str, *, registry: Registry, overrides: Iterable[tuple[str, Any]] = ()) -> Recipe:
    """The recipe in YAML text; ``place`` names it in errors and, without a suffix, when it has no name of its own."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
        duplicate = duplicate_key(tree)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        tag = "tag" in (error.problem or "")
        raise RecipeError(
            f"{place}{line}: {error.problem or error}",
            hint="recipes are plain YAML: mappings, lists, strings, numbers; tags such as !!python are refused"
            if tag
            else "check the indentation, and quote strings that hold ': ' or start with a special character",
        ) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{place}: not readable as YAML: {error}", hint="is it a text file?") from None
    except RecursionError:
        raise _too_deep(place) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # PyYAML's own conversions: `2020-13-45` is no date
        raise RecipeError(f"{place}: a value cannot be read: {error}", hint="quote what is meant as text") from None
    if not isinstance(data, dict):
        raise RecipeError(
            f"{place}: a recipe is a mapping, this is {'empty' if data is None else 'a ' + type(data).__name__}",
            hint="start from one that works: `counterpoint recipes new my.yaml`",
        )
    if duplicate:
        raise RecipeError(f"{place}, line {duplicate[1] + 1}: '{duplicate[0]}' is given twice", hint="remove one of the two")
    data.setdefault("name", Path(place).stem)
    return _build(apply_overrides(data, overrides, place), place, registry, tree)


def read_recipe(source: str | Path, registry: Registry) -> tuple[str, str]:
    """The text of a recipe, and what to call it in messages.

    Raises:
        RecipeError: there is no such recipe or file.
    """
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or isinstance(source, Path) or "/" in str(source):
        try:
            return path.read_text(encoding="utf-8"), str(source)
        except FileNotFoundError:
            raise RecipeError(
                f"no recipe file '{source}'", hint="`counterpoint recipes list` shows those with a name"
            ) from None
        except (OSError, ValueError) as error:
            raise RecipeError(f"cannot read recipe '{source}': {error}", hint="it must be a UTF-8 text file") from None
    found = recipe_files(registry)
    if str(source) not in found:
        close = difflib.get_close_matches(str(source), found, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise RecipeError(
            f"no recipe named '{source}'", hint=f"{hint}there are: {', '.join(sorted(found))}; or give a path to a .yaml file"
        )
    return found[str(source)], str(source)


def recipe_files(registry: Registry) -> dict[str, str]:
    """The text of every recipe that has a name: the plugins', and the user's own, which win."""
    found: dict[str, str] = {}
    for plugin in reversed(registry.manager.hook.counterpoint_recipes.get_hookimpls()):
        try:
            for file in importlib.resources.files(str(plugin.function())).iterdir():
                if file.name.endswith(".yaml"):
                    found[file.name.removesuffix(".yaml")] = file.read_text(encoding="utf-8")
        except Exception as error:  # noqa: BLE001 - whatever a plugin does wrong, the others' recipes are there
            registry.failures[plugin.plugin_name] = f"its recipes: {type(error).__name__}: {error}"
    own = paths.recipes()
    for mine in sorted(own.glob("*.yaml")) if own.is_dir() else []:
        if mine.is_file():
            found[mine.stem] = mine.read_text(encoding="utf-8", errors="replace")  # a damaged one does not hide the others
    return found


def apply_overrides(data: dict[str, Any], overrides: Iterable[tuple[str, Any]], place: str) -> dict[str, Any]:
    """Plain data with some settings changed: ``node.field``, deeper (``node.field.sub``), or a recipe's own (``seed``)."""
    for key, value in overrides:
        first, *rest = key.split(".")
        nodes = data.get("nodes")
        if isinstance(nodes, Mapping) and first in nodes:
            keys = ["nodes", first, *rest]
            if not rest:
                raise RecipeError(f"cannot set '{key}'", hint=f"name a field of it: {first}.FIELD=VALUE")
        elif first in Recipe.model_fields:
            keys = [first, *rest]
        else:
            names = ", ".join(nodes) if isinstance(nodes, Mapping) else "none"
            raise RecipeError(
                f"{place}: cannot set '{key}': no node is called '{first}'",
                hint=f"nodes: {names}; settings of the recipe: {', '.join(Recipe.model_fields)}",
            )
        data = _with_value(data, keys, value)
    return data


def _with_value(data: Any, keys: list[str], value: Any) -> Any:
    head, *rest = keys
    if isinstance(data, list) and head.isdigit() and int(head) < len(data):
        items = list(data)
        items[int(head)] = _with_value(items[int(head)], rest, value) if rest else value
        return items
    inner = dict(data) if isinstance(data, Mapping) else {}
    inner[head] = _with_value(inner.get(head), rest, value) if rest else value
    return inner


def _build(data: Mapping[str, Any], place: str, registry: Registry, tree: yaml.Node | None) -> Recipe:
    problems: list[Problem] = []
    nodes: dict[str, Node] = {}
    given = data.get("nodes")
    if isinstance(given, Mapping):
        for name, value in given.items():
            try:
                nodes[str(name)] = registry.build(value, ("nodes", str(name)))
            except InvalidNode as error:
                problems += error.problems
            except RecursionError:
                raise _too_deep(place) from None
    known = {**data, "nodes": nodes} if isinstance(given, Mapping) and (nodes or not given) else dict(data)
    try:
        recipe = Recipe.model_validate(known)
    except ValidationError as error:
        problems += [item for item in describe_validation(error) if not (item[0][:1] == ("nodes",) and problems)]
    if problems:
        raise RecipeError("\n".join(f"{_locate(place, path, tree)}: {message}" for path, message in problems))
    return recipe


def _too_deep(place: str) -> RecipeError:
    return RecipeError(
        f"{place}: nested too deeply to be read", hint="an alias (*name) must not stand inside what it is an alias of"
    )


def _locate(place: str, path: tuple[str | int, ...], tree: yaml.Node | None) -> str:
    """``recipe.yaml, line 7, nodes.small.source``: as near to the problem as the text goes."""
    line = line_of(tree, path)
    where = place if line is None else f"{place}, line {line + 1}"
    return f"{where}, {'.'.join(map(str, path))}" if path else where


def recipe_schema(registry: Registry) -> dict[str, Any]:
    """The JSON schema of recipes with the kinds of ``registry``, for editors that complete YAML."""
    schema = Recipe.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    options = []
    for entry in registry.kinds():
        kind_schema = entry.node.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(kind_schema.pop("$defs", {}))
        kind_schema["required"] = sorted({"kind", *kind_schema.get("required", [])})
        definitions[f"node_{entry.kind}"] = kind_schema
        options.append({"$ref": f"#/$defs/node_{entry.kind}"})
    any_node = {"oneOf": options, "discriminator": {"propertyName": "kind"}}
    definitions["Node"] = any_node
    messages = {"type": "array", "items": {"$ref": "#/$defs/Message"}}
    definitions["Prompt"] = {"anyOf": [{"type": "string"}, messages, definitions["Prompt"]]}
    definitions["Budget"] = {"anyOf": [{"type": "string"}, definitions["Budget"]]}
    schema["properties"]["nodes"]["additionalProperties"] = {"$ref": "#/$defs/Node"}
    _point_references(definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _point_references(value: Any) -> None:
    """Lets every inline node in the schema be any node (the reference annotation cannot know the kinds)."""
    if isinstance(value, dict):
        if "x-role" in value:
            value["anyOf"] = [{"type": "string"}, {"$ref": "#/$defs/Node"}]
        for item in list(value.values()):
            _point_references(item)
    elif isinstance(value, list):
        for item in value:
            _point_references(item)

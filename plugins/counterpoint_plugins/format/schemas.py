"""JSON texts against a JSON schema, by the package jsonschema; with patterns that can be stopped, and nothing fetched."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from counterpoint.answers import PATTERN_SECONDS, check_pattern, matches, shortened

_DATA = {"const", "default", "enum", "examples"}
"""Keywords whose values are data and no schemas."""


def schema_problem(schema: dict[str, Any]) -> str:
    """What is wrong with a schema; empty for a good one."""
    kind, draft = _draft(schema), schema.get("$schema")
    if draft is not None and not (isinstance(draft, str) and draft.rstrip("#") == kind.META_SCHEMA["$schema"].rstrip("#")):
        return f"$schema '{shortened(str(draft))}' is no draft that is known"
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        return f"{error.json_path}: {shortened(error.message, 200)}"
    parts = list(_parts(schema))
    below = [part for part in parts if part is not schema]
    if any(isinstance(part.get("$schema"), str) for part in below):
        return "has parts with a $schema of their own"
    if any("unevaluatedProperties" in part for part in parts) and any("patternProperties" in part for part in parts):
        return "has unevaluatedProperties and patternProperties, which together cannot be stopped where they take for ever"
    for pattern in (pattern for part in parts for pattern in _patterns(part)):
        try:
            check_pattern(pattern)
        except ValueError as error:
            return f"pattern '{shortened(pattern)}' {error}"
    if not any(isinstance(part.get("$id"), str) for part in below):  # else references start from there
        for target in (part["$ref"] for part in parts if isinstance(part.get("$ref"), str)):
            if not _resolves(schema, target):
                return f"$ref '{shortened(target)}' leads nowhere, and nothing is fetched"
    return ""


def schema_judge(schema: dict[str, Any]) -> Callable[[str], str]:
    """What says of a text why it is no JSON value that the schema allows; nothing of one that is. For one thread.

    It raises TimeoutError where patterns take longer than :data:`counterpoint.answers.PATTERN_SECONDS` for one text.
    """
    deadline = 0.0
    validator = _validator(schema, lambda: max(1e-3, deadline - time.monotonic()))

    def judge(text: str) -> str:
        nonlocal deadline
        deadline = time.monotonic() + PATTERN_SECONDS
        try:
            value = json.loads(text, parse_constant=_no_number)
        except RecursionError:
            return "no JSON that can be read: nested too deeply"
        except ValueError as error:
            return f"no JSON: {shortened(str(error), 120)}"
        try:
            found = best_match(validator.iter_errors(value))
        except RecursionError:
            return "nested too deeply to be checked"
        except OverflowError:  # of `multipleOf`
            return "has a number that is too large to be checked"
        return "" if found is None else f"{found.json_path}: {shortened(found.message, 200)}"

    return judge


def _draft(schema: Mapping[str, Any]) -> Any:
    """The draft that a schema names, or else the latest."""
    named = schema.get("$schema")
    return (
        validators.validator_for({"$schema": named}, default=Draft202012Validator)
        if isinstance(named, str)
        else Draft202012Validator
    )


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping in a schema that may be a schema itself."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            waiting += [value for key, value in part.items() if key not in _DATA]
        elif isinstance(part, list):
            waiting += part


def _patterns(part: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(part.get("pattern"), str):
        yield part["pattern"]
    if isinstance(part.get("patternProperties"), Mapping):
        yield from part["patternProperties"]


def _resolves(schema: dict[str, Any], target: str) -> bool:
    root = specification_with(_draft(schema).META_SCHEMA["$schema"]).create_resource(schema)
    place = root.id() or ""
    try:
        REGISTRY.with_resource(place, root).resolver(place).lookup(target)
    except Unresolvable:
        return False
    return True


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _validator(schema: dict[str, Any], seconds: Callable[[], float]) -> Any:
    """A validator of a schema whose patterns get so many seconds. Without the extension they would be matched by Python's `re`."""

    def found(pattern: str, text: str) -> bool:
        return matches(pattern, text, whole=False, seconds=seconds())

    def pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(value, "string") and not found(pattern, value):
            yield ValidationError(f"{value!r} does not match '{pattern}'")

    def pattern_properties(validator: Any, patterns: Mapping[str, Any], value: Any, schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(value, "object"):
            for pattern, below in patterns.items():
                for name in value:
                    if found(pattern, name):
                        yield from validator.descend(value[name], below, path=name, schema_path=pattern)

    def additional_properties(validator: Any, below: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        if not validator.is_type(value, "object"):
            return
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        more = [name for name in value if name not in known and not any(found(one, name) for one in patterns)]
        if validator.is_type(below, "object"):
            for name in more:
                yield from validator.descend(value[name], below, path=name)
        elif not below and more:
            yield ValidationError(f"has {', '.join(map(repr, more))}, which the schema does not name")

    keywords = {"pattern": pattern, "patternProperties": pattern_properties, "additionalProperties": additional_properties}
    kind: Any = validators.extend(_draft(schema), keywords)  # type: ignore[no-untyped-call]
    # with a `$schema` of its own, a part that leads back to the whole would be checked by the draft's validator, not by this one
    return kind({key: value for key, value in schema.items() if key != "$schema"}, registry=REGISTRY)

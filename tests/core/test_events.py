"""Events: a closed union of plain data that survives its own lines of JSON."""

from __future__ import annotations

import json
import math
import typing
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint import events
from counterpoint.events import Event, EventBase, dump_event, parse_event
from counterpoint.prompt import Completion, Message, Prompt

TYPES: tuple[type[EventBase], ...] = typing.get_args(Event)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e300, 1e300) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=st.text(min_size=1, max_size=9))
CONTENT = st.text(max_size=9).map(lambda text: "x" + text)
FIELDS = st.dictionaries(st.text(max_size=4), st.text(max_size=4))
PROMPTS = st.builds(Prompt, text=CONTENT, prefix=st.text(max_size=5), fields=FIELDS) | (
    st.builds(Prompt, messages=st.tuples(st.builds(Message, role=st.just("user"), content=CONTENT), MESSAGES))
)
COMPLETIONS = st.builds(
    Completion,
    text=st.text(max_size=9),
    ids=st.lists(st.integers(0, 300_000), max_size=4).map(tuple),
    tokenizer=st.text(max_size=4),
    finish_reason=st.sampled_from(["stop", "length", "budget", "cancelled", "failed"]),
)


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type, NaN and infinities included."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or annotation is pydantic.JsonValue:
        return JSON
    if annotation is float:
        return st.floats()
    if annotation is int:
        return st.integers(-1, 2**62)
    if annotation is Prompt:
        return PROMPTS
    if annotation is Completion:
        return COMPLETIONS
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), values(arguments[1]), max_size=3)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if arguments:
        return st.one_of([values(argument) for argument in arguments])
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return made(annotation)
    return st.from_type(annotation)


def made(kind: type[pydantic.BaseModel]) -> st.SearchStrategy[Any]:
    given, left = {}, {}
    for name, field in kind.model_fields.items():
        if name != "type":
            (given if field.is_required() else left)[name] = values(field.annotation)
    return st.fixed_dictionaries(given, optional=left).map(lambda fields: kind(**fields))


def same(one: Any, other: Any) -> bool:
    """Equality, NaN being equal to itself."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_event_survives_its_line(kind: type[EventBase]) -> None:
    @settings(max_examples=40)
    @given(made(kind))
    def survives(event: EventBase) -> None:
        line = dump_event(event)
        assert "\n" not in line
        assert json.loads(line)["type"] == event.type  # type: ignore[attr-defined]
        again = parse_event(line)
        assert type(again) is kind
        assert same(event.model_dump(), again.model_dump())
        assert dump_event(again) == line == dump_event(parse_event(line.encode()))

    survives()


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_lines_are_json_for_everybody(kind: type[EventBase]) -> None:
    """NaN and Infinity are no JSON (RFC 8259); other programs read traces too."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    @settings(max_examples=40)
    @given(made(kind))
    def strict(event: EventBase) -> None:
        json.loads(dump_event(event), parse_constant=refuse)

    strict()


def test_the_union_is_closed() -> None:
    defined = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, EventBase) and value is not EventBase
    }
    assert set(TYPES) == defined
    tags = [kind.model_fields["type"].default for kind in TYPES]
    assert len(set(tags)) == len(tags)
    for kind, tag in zip(TYPES, tags, strict=True):
        assert typing.get_args(kind.model_fields["type"].annotation) == (tag,)


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", '{"type":"mine"}', '{"type":"note"}', '{"type":"note","name":"a","more":1}', "{", "nul"]
)
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        parse_event(line)


def test_events_are_frozen() -> None:
    event = events.Note(name="a")
    with pytest.raises(pydantic.ValidationError):
        event.name = "b"  # type: ignore[misc]


def test_a_line_says_which_schema_it_follows() -> None:
    """A default of today would be read as the default of a later version."""
    event = events.RunStarted(run_id="r", recipe={}, prompt=Prompt(text="a"), seed=0)
    assert json.loads(dump_event(event))["schema_version"] == events.SCHEMA


def test_no_tensors_and_nothing_mutable_by_type() -> None:
    for kind in TYPES:
        schema = json.dumps(kind.model_json_schema())
        assert "Tensor" not in schema

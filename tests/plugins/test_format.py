"""Forms of answers: patterns and JSON schemas, and that neither can hang a run."""

from __future__ import annotations

import importlib.util
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from counterpoint.plugin import CounterpointError, Score
from counterpoint.testing import assert_verifier_laws, make_engine
from counterpoint_plugins.format import Format, last_fenced

Scores = Callable[..., list[Score]]
SLOW, FOREVER = r"(.*?,){25}P", "1," * 40
"""A pattern and an answer with which `re` is not done in the age of the universe."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def scores() -> Iterator[Scores]:
    with make_engine() as engine:

        def verify(node: dict[str, Any], *texts: str, prefix: str = "") -> list[Score]:
            recipe = {"nodes": {"v": {"kind": "format", **node}}, "output": "v"}
            return list(engine.verify(recipe, {"text": "q", "prefix": prefix}, texts).result().scores)

        yield verify


def test_patterns(scores: Scores) -> None:
    right, also, wrong = scores({"regex": r"[A-D]"}, "B", " \nC ", "B, I think")
    assert (right, also, wrong) == (1, 1, 0)
    assert (right.detail, wrong.detail) == ("", "does not match the pattern")
    found, missing = scores({"regex": r"answer: [A-D]", "search": True}, "The answer: B.", "B")
    assert (found, missing) == (1, 0)
    assert missing.detail == "the pattern matches nowhere"
    assert scores({"regex": "ab"}, "b", "ab", prefix="a") == [1, 0], "the prefix is part of the answer"


def test_schemas(scores: Scores) -> None:
    texts = ['{"name": "Ada", "age": 36}', '{"name": "ada"}', '{"age": 3}', '{"name": "A", "x": 1}', "Ada", '{"name": NaN}', ""]
    found = scores({"json_schema": PERSON}, *texts)
    assert found == [1, 0, 0, 0, 0, 0, 0]
    assert [score.detail for score in found[1:6]] == [
        "$.name: 'ada' does not match '^[A-Z]'",
        "$: 'name' is a required property",
        "$: has 'x', which the schema does not name",
        "no JSON: Expecting value: line 1 column 1 (char 0)",
        "no JSON: NaN is no JSON number",
    ]


def test_drafts_and_references(scores: Scores) -> None:
    tuple_of_two = {"prefixItems": [{"type": "string"}], "items": False}
    assert scores({"json_schema": tuple_of_two}, '["a"]', '["a", 1]') == [1, 0], "2020-12 is the draft"
    draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}], "additionalItems": False}
    assert scores({"json_schema": draft_7}, '["a"]', '["a", 1]') == [1, 0]
    tree = {"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}
    assert scores({"json_schema": tree}, "[[], [[]]]", "[[1]]") == [1, 0]


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {"^a": {"type": "string"}}},
        {"patternProperties": {"^a": {"type": "string"}, "b$": {"minLength": 2}}, "additionalProperties": {"type": "integer"}},
        {"patternProperties": {"b": {}}, "properties": {"c": {"pattern": "b"}}, "additionalProperties": False},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {"a": {"pattern": "b"}},
            "additionalProperties": False,
        },
        {"additionalProperties": {"$ref": "#"}, "maxProperties": 2, "type": ["object", "string"]},
    ],
)
@settings(max_examples=50)
@given(
    value=st.recursive(
        st.sampled_from(["a", "b", "ab", 1, None]),
        lambda below: st.dictionaries(st.sampled_from(["a", "b", "ab", "c"]), below, max_size=3),
        max_leaves=6,
    )
)
def test_what_is_allowed_is_what_the_package_allows(schema: dict[str, Any], value: Any) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    judge = Format(json_schema=schema)._judge("v")
    plain = validator_for(schema, default=Draft202012Validator)(schema)
    assert (judge(json.dumps(value)) == "") is plain.is_valid(value)


def test_blocks(scores: Scores) -> None:
    answer = 'Not this:\n```json\n[1]\n```\nbut\n~~~~ json\n{"name": "Ada"}\n~~~~\nDone.'
    assert last_fenced(answer) == '{"name": "Ada"}\n'
    assert last_fenced("```\na") == "a", "one that is not closed: the fence may be a stop string"
    assert last_fenced("````\n```\na\n````\n") == "```\na\n"
    assert last_fenced("```python``` it is") is None
    right, none, bare = scores({"json_schema": PERSON, "fenced": True}, answer, "Ada", '{"name": "Ada"}')
    assert (right, none, bare) == (1, 0, 0)
    assert none.detail == "no fenced block"
    assert scores({"regex": "a+", "fenced": True}, "```\naa\n```") == [1]


@pytest.mark.parametrize(
    ("node", "answer"),
    [
        ({"regex": SLOW}, FOREVER),
        ({"regex": r"(?:(?R)|a)"}, "b"),  # calls itself before anything else, without an end
        ({"json_schema": {"pattern": SLOW}}, json.dumps(FOREVER)),
        ({"json_schema": {"patternProperties": {SLOW: {}}}}, json.dumps({FOREVER: 1})),
        ({"json_schema": {"patternProperties": {SLOW: {}}, "additionalProperties": False}}, json.dumps({FOREVER: 1})),
        ({"json_schema": {"propertyNames": {"pattern": SLOW}}}, json.dumps({FOREVER: 1})),
        # back to the whole, whose draft must not bring the package's own matching back
        (
            {"json_schema": {"$schema": DRAFT, "pattern": SLOW, "additionalProperties": {"$ref": "#"}}},
            json.dumps({"a": FOREVER}),
        ),
    ],
)
def test_nothing_takes_for_ever(scores: Scores, node: dict[str, Any], answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("format", "format.schemas"):
        monkeypatch.setattr(f"counterpoint_plugins.{module}.PATTERN_SECONDS", 0.2)
    started = time.perf_counter()
    (found,) = scores(node, answer)
    assert time.perf_counter() - started < 15
    assert math.isnan(found)
    assert found.detail == "matching is not done after 0.2 s"


def test_the_time_is_for_all_of_an_answer(scores: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoint_plugins.format.schemas.PATTERN_SECONDS", 0.2)
    started = time.perf_counter()
    many = {f"{number}{FOREVER}": 1 for number in range(200)}
    quick, found = scores({"json_schema": {"patternProperties": {SLOW: {}}}}, "{}", json.dumps(many))
    assert time.perf_counter() - started < 15  # 200 patterns with 0.2 s each would take 40
    assert quick == 1
    assert math.isnan(found)


def test_hostile_json(scores: Scores) -> None:
    found = scores({"json_schema": {"items": {"$ref": "#"}}}, "[" * 100_000, "[" * 900 + "]" * 900, "1" * 5000, '{"a": 1e999}')
    assert list(found[:2]) == [0, 0]
    assert found[0].detail == "no JSON that can be read: nested too deeply"
    assert found[1].detail == "nested too deeply to be checked"
    assert found[2] == 0
    assert found[3] == 1
    found = scores({"json_schema": {"multipleOf": 0.1}}, "1e999", "1" * 400, "0.5", "0.55")
    assert list(found) == [0, 0, 1, 0]
    assert found[0].detail == found[1].detail == "has a number that is too large to be checked"


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ({}, "exactly one"),
        ({"regex": "a", "json_schema": {}}, "exactly one"),
        ({"regex": "("}, "is no regular expression: missing \\)"),
        ({"json_schema": {}, "search": True}, "search goes with regex"),
    ],
)
def test_what_makes_no_sense_is_refused(node: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Format.model_validate(node)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "strin"}, r"\$.type: 'strin' is not valid"),
        ({"properties": {"a": {"pattern": "("}}}, r"properties.a.pattern|pattern '\(' is no regular expression"),
        ({"patternProperties": {"(": {}}}, "is not a 'regex'|is no regular expression"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {}}, r"\$ref '#/\$defs/b' leads nowhere"),
        ({"$ref": "https://example.org/schema"}, "leads nowhere, and nothing is fetched"),
        ({"$schema": "https://example.org/mine"}, "no draft that is known"),
        ({"$schema": 3}, "no draft that is known"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "cannot be stopped"),
        ({"$defs": {"a": {"$schema": DRAFT}}}, r"\$schema of their own"),
    ],
)
def test_a_bad_schema_is_refused_before_the_run(schema: dict[str, Any], problem: str) -> None:
    with make_engine() as engine:
        plan = engine.plan({"nodes": {"v": {"kind": "format", "json_schema": schema}}, "output": "v"})
        with pytest.raises(CounterpointError, match=f"json_schema: .*({problem})"):
            plan.check()


def test_data_in_a_schema_is_no_schema(scores: Scores) -> None:
    schema = {"enum": [{"$ref": "#/nowhere"}, {"pattern": "("}], "properties": {"$ref": {"type": "string"}}}
    assert scores({"json_schema": schema}, '{"$ref": "#/nowhere"}', "1") == [1, 0]


def test_without_the_package_it_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "jsonschema" else real(name, *more))
    with make_engine() as engine:
        with pytest.raises(CounterpointError, match="jsonschema, which is not installed") as caught:
            engine.plan({"nodes": {"v": {"kind": "format", "json_schema": {}}}, "output": "v"}).check()
        assert "counterpoint[schema]" in caught.value.hint
        engine.plan({"nodes": {"v": {"kind": "format", "regex": "a"}}, "output": "v"}).check()
    with pytest.raises(CounterpointError, match="v: JSON schemas are checked by the package jsonschema"):
        Format(json_schema={})._judge("v")


@pytest.mark.parametrize("node", [{"regex": "a+"}, {"json_schema": PERSON}, {"regex": "a", "fenced": True}], ids=str)
def test_the_laws_hold(node: dict[str, Any]) -> None:
    recipe = {"nodes": {"v": {"kind": "format", **node}}, "output": "v"}
    assert_verifier_laws(recipe, ["aa", "", '{"name": "A"}', "```\na\n```", "aa"])

"""Forms, from the schemas of anybody's nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from counterpoint.plugin import Completion, Drafter, Generator, LanguageModel, Node, Prompt, Ref, Run, Verifier, hookimpl
from counterpoint.registry import Registry, load_plugins
from counterpoint.testing import fake
from counterpoint_tui.fields import FormField, NotThat, fields_of, fitting_nodes, read, recipe_fields, shown
from counterpoint_tui.formnodes import RECIPE, form_fields, form_nodes, value_at


class Limits(BaseModel):
    """A model inside a node."""

    low: int = Field(default=0, ge=0, description="The least.")
    high: Annotated[float, Field(le=1)] = 1.0


class Strange(Generator):
    """What a third party may write."""

    kind: Literal["strange"] = "strange"
    model: Ref[LanguageModel] = Field(description="What writes.")
    drafters: tuple[Ref[Drafter], ...] = ()
    judge: Ref[Verifier] | None = None
    many: dict[str, Ref[Generator]] = Field(default_factory=dict)
    mode: Literal["fast", "slow"] = "fast"
    on: bool = True
    maybe: bool | None = None
    words: tuple[str, ...] = ("a", "b")
    count: int | None = Field(default=None, ge=1, le=9)
    title: str = "x"
    limits: Limits = Limits()
    more: Limits | None = None
    anything: dict[str, Any] = Field(default_factory=dict)

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        raise NotImplementedError


class Plugin:
    __name__ = "strange_plugin"

    @hookimpl
    def counterpoint_nodes(self) -> Sequence[type[Node]]:
        return [Strange]


@pytest.fixture(scope="module")
def fields() -> dict[str, FormField]:
    return {field.label: field for field in fields_of(Strange)}


def test_a_stranger_has_a_form(fields: dict[str, FormField]) -> None:
    assert {label: field.takes for label, field in fields.items() if not label.startswith("sampling")} == {
        "model": "node",
        "drafters": "nodes",
        "judge": "node",
        "many": "yaml",
        "mode": "choice",
        "on": "switch",
        "maybe": "choice",
        "words": "yaml",
        "count": "whole",
        "title": "text",
        "limits.low": "whole",
        "limits.high": "number",
        "more.low": "whole",
        "more.high": "number",
        "anything": "yaml",
    }
    assert next(iter(fields)) == "model"  # what is required comes first, what all of the role have last
    assert list(fields)[-1].startswith("sampling.")


def test_what_a_field_says(fields: dict[str, FormField]) -> None:
    assert fields["model"].required
    assert fields["model"].role is LanguageModel
    assert fields["model"].help == "What writes. [a LanguageModel; required]"
    assert fields["count"].nullable
    assert fields["count"].help == "[whole number | none (≥ 1, ≤ 9)]"
    assert fields["limits.low"].help == "The least. [whole number (≥ 0); default 0]"
    assert fields["mode"].choices == ("fast", "slow")
    assert fields["maybe"].choices == ("true", "false")
    assert (fields["limits.high"].default, fields["more.high"].default) == (1.0, None)


def test_every_installed_kind_has_a_form(registry: Registry) -> None:
    for entry in registry.kinds():
        fields = fields_of(entry.node)
        assert {field.path[0] for field in fields} == set(entry.node.model_fields) - {"kind"}
        for field in fields:
            assert field.type_words
            assert (field.takes in ("node", "nodes")) <= (field.role is not None)
            if field.default is not None and field.takes not in ("node", "nodes", "switch") and field.default != []:
                assert read(field, shown(field.default)) == field.default or field.default == ""


def test_a_recipe_has_one_too() -> None:
    labels = {field.label: field.takes for field in recipe_fields()}
    assert labels["record"] == "choice"
    assert labels["sampling.temperature"] == "number"
    assert labels["budget.flops"] == "number"
    assert not {"nodes", "output", "prompt"} & set(labels)


@pytest.mark.parametrize(
    ("label", "text", "value"),
    [
        ("count", "7", 7),
        ("count", "", None),
        ("limits.high", "0.5", 0.5),
        ("limits.high", "1", 1),
        ("limits.high", "1e-3", 0.001),
        ("title", " as it is", " as it is"),
        ("title", '"two\\nlines"', "two\nlines"),
        ("title", '"', '"'),
        ("on", "false", False),
        ("maybe", "true", True),
        ("mode", "slow", "slow"),
        ("words", "[a, 'b c']", ["a", "b c"]),
        ("anything", "{a: 1}", {"a": 1}),
        ("model", "large", "large"),
    ],
)
def test_reading(label: str, text: str, value: object, fields: dict[str, FormField]) -> None:
    assert read(fields[label], text) == value


@pytest.mark.parametrize(
    ("label", "text", "why"),
    [
        ("count", "seven", "'seven' is no whole number"),
        ("count", "1.5", "no whole number"),
        ("limits.high", "much", "no number"),
        ("words", "[a", "not readable as YAML"),
    ],
)
def test_what_cannot_be_read_says_why(label: str, text: str, why: str, fields: dict[str, FormField]) -> None:
    with pytest.raises(NotThat, match=why):
        read(fields[label], text)


TEXTS = FormField(("x",), "text", "text")
YAMLS = FormField(("x",), "yaml", "mapping")
PLAIN = st.integers() | st.booleans() | st.text(max_size=5)


@given(value=st.text(min_size=1).filter(str.strip))
def test_any_text_can_be_shown_and_read_again(value: str) -> None:
    assert read(TEXTS, shown(value)) == value


@given(value=st.lists(PLAIN, min_size=1) | st.dictionaries(st.text(max_size=3), PLAIN, min_size=1))
def test_any_list_and_mapping_can_be_shown_and_read_again(value: object) -> None:
    text = shown(value)
    assert "\n" not in text
    assert read(YAMLS, text) == value


NESTED = """
nodes:
  m: {kind: fake}
  lookup: {kind: prompt_lookup}
  best:
    kind: best_of_n
    generators: [{kind: speculative, target: m, draft: {kind: prompt_lookup}}, m]
    verifiers: {kind: likelihood, model: m}
  odd: {kind: nothing_like_it}
output: best
"""


def test_parts_of_a_recipe_that_have_a_form(registry: Registry) -> None:
    data = yaml.safe_load(NESTED)
    nodes = form_nodes(data, registry)
    assert [(node.name, node.kind) for node in nodes] == [
        (RECIPE, ""),
        ("m", "fake"),
        ("lookup", "prompt_lookup"),
        ("best", "best_of_n"),
        ("best.generators[0]", "speculative"),
        ("best.generators[0].draft", "prompt_lookup"),
        ("best.verifiers", "likelihood"),
    ]
    inner = nodes[5]
    assert value_at(data, inner.path) == {"kind": "prompt_lookup"}
    assert value_at(data, (*inner.path, "nothing", 3)) is None
    assert form_fields(inner, registry)[0].path[0] in registry.kind("prompt_lookup").node.model_fields
    assert form_nodes({"nodes": ["not", "a", "mapping"]}, registry) == nodes[:1]


def test_nodes_that_fit_a_role() -> None:
    registry = load_plugins([fake, Plugin()])
    nodes = {**yaml.safe_load(NESTED)["nodes"], "s": {"kind": "strange", "model": "m"}}
    assert fitting_nodes(LanguageModel, nodes, registry) == ["m"]
    assert fitting_nodes(Drafter, nodes, registry) == ["m", "lookup"]  # a model drafts, wrapped
    assert fitting_nodes(Generator, nodes, registry, besides="best") == ["m", "s"]

"""Recipes: whatever is read, it is a recipe or a RecipeError that says where and what to do."""

from __future__ import annotations

import contextlib
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from counterpoint import RecipeError, load_recipe, paths
from counterpoint.recipe import Recipe, parse_recipe, recipe_schema
from counterpoint.registry import Registry, load_plugins
from counterpoint.testing import fake


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins([fake])


REGISTRY = load_plugins([fake])
VALID = {"nodes": {"m": {"kind": "fake"}}, "output": "m"}


def loaded(source: Any, overrides: Any) -> Recipe:
    if isinstance(source, str):
        return parse_recipe(source, "some/mine.yaml", registry=REGISTRY, overrides=overrides)
    return load_recipe(source, registry=REGISTRY, overrides=overrides)


def refused(source: Any, *message: str, hint: str = "", overrides: Any = ()) -> RecipeError:
    """Loads what is not valid; asserts what the error says."""
    with pytest.raises(RecipeError) as caught:
        loaded(source, overrides)
    for part in message:
        assert part in caught.value.message
    assert hint in caught.value.hint
    return caught.value


# --- anything at all --------------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(["fake", "m", "s", "speculative", "sample", "prompt_lookup"])
)
KEYS = (
    st.sampled_from(["nodes", "output", "kind", "target", "draft", "model", "sampling", "seed", "budget", "prompt", "name"])
    | SCALARS
)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
FIELDS = st.sampled_from([*Recipe.model_fields, "extra"])


def read(text: str) -> None:
    try:
        found: object = parse_recipe(text, "x.yaml", registry=REGISTRY)
    except RecipeError as error:
        found = error
    assert isinstance(found, Recipe) or str(found)


@settings(max_examples=150)
@given(st.text("ab:- \n\t{}[],&*!|>'\"%@`#?0.~<=_\x85\ufeff\x00\ud7ff", max_size=40))
@example("!!int abc")
@example("a: 2020-13-45")
@example("a: 0x_")
@example("a: !!bool maybe")
@example("a: !!timestamp yesterday")
@example("a: !!binary \N{EURO SIGN}")
@example("? [a]\n: b")
@example("? {a: b}\n: c")
@example("a: *nowhere")
@example("a: &x [*x]")
@example("nodes: &x {m: *x}\noutput: m")
@example("nodes: {m: &x {kind: speculative, target: *x, draft: *x}}\noutput: m")
@example("[" * 5000)
@example("a: " + "[" * 300 + "]" * 300)
@example("<<: 3")
@example("a: 1\n---\nb: 2")
@example("\x00")
@example("%YAML 9.9\n---\na: b")
@example("a: !!python/object/apply:os.system [ls]")
def test_any_text_is_a_recipe_or_a_recipe_error(text: str) -> None:
    read(text)


@settings(max_examples=150)
@given(DATA)
def test_any_yaml_is_a_recipe_or_a_recipe_error(data: Any) -> None:
    read(yaml.safe_dump(data, allow_unicode=True))


@settings(max_examples=150)
@given(st.dictionaries(FIELDS, DATA, max_size=4), st.dictionaries(st.text(max_size=3), st.dictionaries(KEYS, DATA), max_size=2))
def test_any_data_is_a_recipe_or_a_recipe_error(data: dict[str, Any], nodes: dict[str, Any]) -> None:
    for given_ in (data, {**VALID, **data}, {**data, "nodes": nodes}):
        with contextlib.suppress(RecipeError):
            load_recipe(given_, registry=REGISTRY)


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_recipe_is_a_recipe_or_a_recipe_error(data: st.DataObject) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text("ab:- \n{}[]!&*'\"", max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    read(text)


GOOD = """\
# a recipe with everything in it
name: everything
nodes:
  big: {kind: fake, seed: 3, stop: ["zz", "q"]}
  quick:
    kind: speculative
    target: big
    draft:
    - {kind: prompt_lookup, max_ngram: 4}
    - kind: model_drafter
      model:
        kind: fake
        seed: 3
        blur: 0.5
    sampling: {temperature: 0}
output: quick
sampling:
  temperature: 0.7
  top_p: 0.9
seed: 5
budget: {tokens: 100, flops: 1.0e+12}
record: full
prompt: {messages: [{role: user, content: hello}], prefix: a}
"""


# --- round trip -------------------------------------------------------------------------------------------------------

NAMES = st.text(string.ascii_letters + "_é -.", min_size=1, max_size=5)
SAMPLINGS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.1, 2),
        "top_k": st.none() | st.integers(1, 50),
        "top_p": st.none() | st.floats(0.1, 1),
        "min_p": st.none() | st.floats(0, 1),
        "repetition_penalty": st.floats(0.5, 2),
        "max_tokens": st.integers(50, 600),
        "min_tokens": st.integers(0, 50),
        "stop": st.lists(st.text(min_size=1, max_size=5), max_size=2),
        "ignore_stop": st.booleans(),
    },
).filter(
    lambda given_: "temperature" in given_ or not any(given_.get(name) is not None for name in ("top_k", "top_p", "min_p"))
)
MODELS = st.fixed_dictionaries(
    {"kind": st.just("fake")},
    optional={
        "seed": st.integers(0, 9),
        "sharpness": st.floats(0.5, 20),
        "prompt_format": st.sampled_from(["raw", "chat", "roles", "{{ text }}", "Q: {{ text }}\n\n  A: "]) | st.none(),
        "stop": st.lists(st.text(max_size=5), max_size=3),
        "fails_after": st.none() | st.integers(0, 9),
    },
)
LOOKUPS = st.fixed_dictionaries({"kind": st.just("prompt_lookup")}, optional={"max_ngram": st.integers(1, 64)})
PROMPTS = st.text(max_size=12).map(lambda text: "p" + text) | st.fixed_dictionaries(
    {"text": st.text(max_size=12).map(lambda text: text + "p")},
    optional={"prefix": st.text(max_size=5), "fields": st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)},
)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(NAMES, min_size=3, max_size=5, unique=True))
    nodes: dict[str, Any] = {name: draw(MODELS) for name in names[1:]}
    models = st.sampled_from(names[1:]) | MODELS
    drafters = models | LOOKUPS | st.builds(lambda model: {"kind": "model_drafter", "model": model}, models)
    nodes[names[0]] = draw(
        st.fixed_dictionaries({"kind": st.just("sample"), "model": models}, optional={"sampling": SAMPLINGS})
        | st.fixed_dictionaries(
            {"kind": st.just("speculative"), "target": models, "draft": drafters | st.lists(drafters, min_size=1, max_size=3)},
            optional={
                "rule": st.sampled_from(["invariant", "rejection"]),
                "max_draft": st.integers(1, 64),
                "sampling": SAMPLINGS,
            },
        )
    )
    more = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "name": st.text(max_size=8),
                "description": st.text(max_size=30),
                "sampling": SAMPLINGS,
                "seed": st.integers(0, 2**63 - 1),
                "budget": st.fixed_dictionaries({"tokens": st.integers(1, 10**12)}, optional={"flops": st.floats(1, 1e300)}),
                "record": st.sampled_from(["summary", "tokens", "full"]),
                "prompt": PROMPTS,
            },
        )
    )
    return {"nodes": dict(draw(st.permutations(list(nodes.items())))), "output": names[0], **more}


@settings(max_examples=200)
@given(recipes())
def test_a_recipe_survives_its_yaml_and_its_data(data: dict[str, Any]) -> None:
    recipe = load_recipe(data, registry=REGISTRY)
    again = parse_recipe(recipe.to_yaml(), "again.yaml", registry=REGISTRY)
    assert again == recipe
    assert list(again.nodes) == list(recipe.nodes)
    assert load_recipe(recipe.to_dict(), registry=REGISTRY) == recipe
    assert again.to_yaml() == recipe.to_yaml()
    for name, node in recipe.nodes.items():
        if getattr(node, "sampling", None):
            assert recipe.sampling.model_fields_set >= again.sampling.model_fields_set
            try:
                merged = recipe.sampling.merged(node.sampling)  # type: ignore[attr-defined]
            except ValueError:
                continue
            assert again.sampling.merged(again.nodes[name].sampling) == merged, "what a node sets stays set"  # type: ignore[attr-defined]


def test_what_a_node_sets_to_a_default_value_is_kept() -> None:
    """Over the recipe's 0.8, a node's temperature of 0 says something, though 0 is the default."""
    data = {
        "nodes": {"m": {"kind": "fake"}, "s": {"kind": "sample", "model": "m", "sampling": {"temperature": 0.0}}},
        "output": "s",
        "sampling": {"temperature": 0.8},
    }
    recipe = load_recipe(data, registry=REGISTRY)
    for again in (
        parse_recipe(recipe.to_yaml(), "again", registry=REGISTRY),
        load_recipe(recipe, registry=REGISTRY, overrides=[("seed", 3)]),
    ):
        assert again.sampling.merged(again.nodes["s"].sampling).temperature == 0  # type: ignore[attr-defined]


def test_everything_is_read() -> None:
    recipe = parse_recipe(GOOD, "everything.yaml", registry=REGISTRY)
    assert recipe.name == "everything"
    assert recipe.seed == 5
    assert recipe.record == "full"
    assert recipe.sampling.top_p == 0.9
    assert recipe.budget is not None
    assert recipe.budget.tokens == 100
    assert recipe.prompt is not None
    assert recipe.prompt.prefix == "a"
    assert [role.__name__ for _, role, _ in recipe.nodes["quick"].references()] == ["LanguageModel", "Drafter", "Drafter"]


def test_a_recipe_without_a_name_has_that_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(VALID))
    assert load_recipe(path, registry=REGISTRY).name == "mine"
    assert load_recipe(str(path), registry=REGISTRY).name == "mine"


# --- errors -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 5), st.sampled_from(["m", "other"]), st.sampled_from(["sed", "seeds", "sharpnes", "colour"]))
def test_a_misspelt_field_is_located(blank: int, name: str, field: str) -> None:
    text = "name: a\n" + "\n" * blank + f"nodes:\n  {name}:\n    kind: fake\n    {field}: 3\noutput: {name}\n"
    line = text.splitlines().index(f"    {field}: 3") + 1
    error = refused(text, f"some/mine.yaml, line {line}, nodes.{name}.{field}: no such field", "sharpness")
    assert "seed" in error.message


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("nodes: {m: {kind: fake}}\noutput: m\nsampling:\n  temprature: 1\n", 4, "sampling.temprature: no such field"),
        ("nodes: {m: {kind: fake}}\noutput: m\nsampling:\n  temperature: -1\n", 4, "sampling.temperature: "),
        ("nodes: {m: {kind: fake}}\noutput: m\nsampling: {top_k: 5}\n", 3, "temperature 0 is greedy"),
        ("nodes: {m: {kind: fake}}\noutput: m\nseed: x\n", 3, "seed: "),
        ("nodes: {m: {kind: fake}}\noutput: m\nseed: -1\n", 3, "seed: "),
        ("nodes: {m: {kind: fake}}\noutput: m\nbudget: {tokens: 0}\n", 3, "budget.tokens: "),
        ("nodes: {m: {kind: fake}}\noutput: m\nbudget: {}\n", 3, "at least one of"),
        ("nodes: {m: {kind: fake}}\noutput: m\nprompt: ''\n", 3, "the prompt is empty"),
        ("nodes: {m: {kind: fake}}\noutput: m\nrecord: all\n", 3, "record: "),
        ("nodes:\n  m: {kind: fake}\n  s:\n    kind: speculative\n    target: m\n    draft:\n    - m\n    - {kind: fke}\noutput: s\n",
         8, "nodes.s.draft.1.kind: unknown node kind 'fke' (did you mean 'fake'?"),
        ("nodes:\n  m: {kind: fake}\n  s:\n    kind: sample\n    model:\n      kind: fake\n      sed: 3\noutput: s\n",
         7, "nodes.s.model.sed: no such field"),
        ("nodes:\n  s:\n    kind: speculative\n    target: {kind: fake}\noutput: s\n", 2, "nodes.s.draft: this field is required"),
        ("nodes:\n  m:\n    seed: 3\noutput: m\n", 2, "nodes.m: a node is a mapping with a `kind`, one of: all_of, any_of, "),
        ("nodes:\n  m: fake\noutput: m\n", 2, "nodes.m: a node is a mapping with a `kind`"),
        ("nodes:\n  m: {kind: fake, prompt_format: chta}\noutput: m\n", 2, "neither chat, raw, roles nor Jinja text"),
        ("nodes:\n  m: {kind: fake, prompt_format: '{{ text'}\noutput: m\n", 2, "not valid Jinja"),
        ("name: x\nnodes:\n  m: {kind: fake}\n  m: {kind: fake}\noutput: m\n", 4, "'m' is given twice"),
        ("nodes:\n\tm: {kind: fake}\n", 2, "cannot start any token"),
        ("nodes: !!python/object/apply:os.system ['ls']\n", 1, "could not determine a constructor for the tag"),
        ("nodes: {m: {kind: fake}\noutput: m\n", 2, ""),
        ("nodes: {m: {kind: fake}}\noutput: m\nsampling: {temperature: 2020-13-45}\n", None, ""),
    ],
)  # fmt: skip
def test_errors_say_where(text: str, line: int | None, message: str) -> None:
    error = refused(text, message, "some/mine.yaml")
    if line is not None:
        assert f"some/mine.yaml, line {line}" in error.message


def test_every_problem_is_told_at_once() -> None:
    error = refused("nodes:\n  m: {kind: fake, sed: 1}\n  n: {kind: fke}\noutput: m\nseed: x\nrecrod: full\n")
    for part in ("nodes.m.sed", "nodes.n.kind", "line 5, seed", "line 6, recrod: no such field"):
        assert part in error.message
    assert len(error.message.splitlines()) == 4


def test_an_unknown_kind_lists_the_valid_ones() -> None:
    error = refused({"nodes": {"m": {"kind": "sampel"}}, "output": "m"}, "unknown node kind 'sampel'", "did you mean 'sample'?")
    assert "valid kinds: all_of, any_of, " in error.message
    assert "prompt_lookup" in error.message


@pytest.mark.parametrize(
    ("text", "what"), [("", "empty"), ("# nothing\n", "empty"), ("- a\n", "a list"), ("abc", "a str"), ("3", "a int")]
)
def test_what_is_no_mapping_is_refused(text: str, what: str) -> None:
    refused(text, f"some/mine.yaml: a recipe is a mapping, this is {what}", hint="counterpoint recipes new")


@pytest.mark.parametrize(
    ("text", "hint"),
    [("a: b: c", "indentation"), ("\tname: a", "indentation"), ("a: !!python/none x", "tags such as !!python are refused")],
)
def test_unreadable_yaml_is_refused(text: str, hint: str) -> None:
    refused(text, "some/mine.yaml, line 1", hint=hint)


def test_files_that_are_none(tmp_path: Path) -> None:
    def refuse(source: Any, message: str, hint: str) -> None:
        with pytest.raises(RecipeError) as caught:
            load_recipe(source, registry=REGISTRY)
        assert message in caught.value.message
        assert hint in caught.value.hint

    refuse(tmp_path / "none.yaml", "no recipe file", "counterpoint recipes list")
    refuse(tmp_path, "cannot read recipe", "UTF-8 text file")
    refuse(str(tmp_path), "cannot read recipe", "UTF-8 text file")
    refuse(f"{tmp_path}/", "cannot read recipe", "UTF-8 text file")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe\n")
    refuse(binary, "cannot read recipe", "UTF-8 text file")
    refuse("a\0.yaml", "cannot read recipe", "UTF-8 text file")
    refuse("a" * 5000 + ".yaml", "cannot read recipe", "UTF-8 text file")
    utf16 = tmp_path / "utf16.yaml"
    utf16.write_text("name: a", encoding="utf-16")
    refuse(utf16, "cannot read recipe", "UTF-8 text file")


def test_unknown_names_suggest_near_ones() -> None:
    paths.recipes().mkdir(parents=True)
    (paths.recipes() / "haiku.yaml").write_text(yaml.safe_dump(VALID))
    assert load_recipe("haiku", registry=REGISTRY).name == "haiku"
    with pytest.raises(RecipeError) as caught:
        load_recipe("haikus", registry=REGISTRY)
    assert "no recipe named 'haikus'" in caught.value.message
    assert "did you mean 'haiku'?" in caught.value.hint


def test_a_damaged_recipe_of_the_user_does_not_hide_the_others() -> None:
    paths.recipes().mkdir(parents=True)
    (paths.recipes() / "good.yaml").write_text(yaml.safe_dump(VALID))
    (paths.recipes() / "damaged.yaml").write_bytes(b"\xff\xfe\x00")
    (paths.recipes() / "folder.yaml").mkdir()
    assert load_recipe("good", registry=REGISTRY).name == "good"
    with pytest.raises(RecipeError, match="damaged"):
        load_recipe("damaged", registry=REGISTRY)


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_text("\ufeff" + yaml.safe_dump(VALID), encoding="utf-8")
    assert load_recipe(path, registry=REGISTRY).output == "m"


# --- overrides --------------------------------------------------------------------------------------------------------


def test_overrides_reach_what_they_name() -> None:
    changes = [
        ("seed", 9),
        ("big.seed", 4),
        ("quick.max_draft", 3),
        ("quick.draft.1.model.blur", 2.0),
        ("sampling.temperature", 0.5),
        ("budget.tokens", 7),
    ]
    recipe = parse_recipe(GOOD, "x", registry=REGISTRY, overrides=changes)
    assert (recipe.seed, recipe.sampling.temperature, recipe.sampling.top_p) == (9, 0.5, 0.9)
    data = recipe.to_dict()
    assert data["nodes"]["big"]["seed"] == 4
    assert data["nodes"]["quick"]["max_draft"] == 3
    assert data["nodes"]["quick"]["draft"][1]["model"] == {"kind": "fake", "seed": 3, "blur": 2.0}
    assert data["budget"] == {"tokens": 7, "flops": 1e12}
    assert load_recipe(parse_recipe(GOOD, "x", registry=REGISTRY), registry=REGISTRY, overrides=changes) == recipe


def test_overrides_that_name_nothing_are_refused() -> None:
    refused(
        GOOD, "no node is called 'bgi'", hint="nodes: big, quick; settings of the recipe: name", overrides=[("bgi.seed", 3)]
    )
    refused(GOOD, "cannot set 'big'", hint="big.FIELD=VALUE", overrides=[("big", 3)])
    refused(GOOD, "nodes.big.sed: no such field", overrides=[("big.sed", 3)])
    refused(GOOD, "nodes.quick.max_draft", overrides=[("quick.max_draft", 0)])


def test_overrides_leave_what_they_are_given() -> None:
    data = {"nodes": {"m": {"kind": "fake"}}, "output": "m"}
    load_recipe(data, registry=REGISTRY, overrides=[("m.seed", 3)])
    assert data == {"nodes": {"m": {"kind": "fake"}}, "output": "m"}


def test_the_schema_knows_every_kind() -> None:
    schema = recipe_schema(REGISTRY)
    kinds = {entry.kind for entry in REGISTRY.kinds()}
    assert {f"node_{kind}" for kind in kinds} <= set(schema["$defs"])
    for name in ("fake", "speculative"):
        assert schema["$defs"][f"node_{name}"]["additionalProperties"] is False
        assert "kind" in schema["$defs"][f"node_{name}"]["required"]
    assert all(field.get("description") for name, field in schema["properties"].items())

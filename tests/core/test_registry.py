"""Plugins: each by itself, so that one that is broken is named and the rest work."""

from __future__ import annotations

import types
from importlib.metadata import EntryPoint
from typing import Any, Literal

import pytest
from pydantic import Field

from counterpoint import PluginError, RecipeError, load_plugins, load_recipe, registry
from counterpoint.node import Generator, Node, Verifier
from counterpoint.plugin import Ref, hookimpl
from counterpoint.prompt import Completion, Prompt
from counterpoint.registry import InvalidNode
from counterpoint.testing import fake


def plugin(name: str, *nodes: object) -> types.ModuleType:
    module = types.ModuleType(name)
    module.counterpoint_nodes = hookimpl(lambda: list(nodes))  # type: ignore[attr-defined]
    return module


class Echo(Generator):
    """Says what it is told.

    More about it."""

    kind: Literal["echo"] = "echo"
    times: int = 1
    inner: Ref[Generator] | None = None
    many: dict[str, Ref[Verifier]] = Field(default_factory=dict)

    async def generate(self, prompt: Prompt, run: Any) -> Completion:
        raise NotImplementedError


class OtherEcho(Echo):
    """Another of that kind."""


class Kindless(Node):
    pass


class FakePoint:
    """An entry point without an installed package."""

    def __init__(self, name: str, loaded: object, dist: str = "stranger") -> None:
        self.name = name
        self._loaded = loaded
        self.dist = types.SimpleNamespace(name=dist)

    def load(self) -> object:
        if isinstance(self._loaded, BaseException):
            raise self._loaded
        return self._loaded


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(*found: object) -> None:
        monkeypatch.setattr(registry, "entry_points", lambda group: list(found))

    return install


def test_built_ins_come_in_by_the_same_door() -> None:
    loaded = load_plugins()
    assert loaded.failures == {}
    by_kind = {entry.kind: entry.plugin for entry in loaded.kinds()}
    assert by_kind["sample"] == "counterpoint:sample"
    assert {"speculative", "prompt_lookup", "model_drafter", "huggingface"} <= set(by_kind)
    assert "fake" not in by_kind
    assert load_plugins(entry_point_group=None).kinds() == []


def test_a_plugin_that_fails_to_import_is_named_and_the_rest_work(points: Any) -> None:
    points(
        FakePoint("broken", ImportError("no module named 'nothing'")),
        FakePoint("worse", SyntaxError("bad")),
        FakePoint("good", plugin("good", Echo)),
    )
    loaded = load_plugins()
    assert loaded.failures == {
        "stranger:broken": "ImportError: no module named 'nothing'",
        "stranger:worse": "SyntaxError: bad",
    }
    assert loaded.kind("echo").plugin == "stranger:good"
    with pytest.raises(RecipeError) as caught:
        loaded.kind("mine")
    assert "plugins that failed to load: stranger:broken, stranger:worse" in caught.value.hint


def test_same_named_plugins_of_two_packages_are_both_loaded(points: Any) -> None:
    points(FakePoint("nodes", plugin("a", Echo), "one"), FakePoint("nodes", plugin("b", fake.FakeModel), "two"))
    assert [entry.plugin for entry in load_plugins().kinds()] == ["one:nodes", "two:nodes"]


def test_one_entry_point_listed_twice_is_loaded_once(points: Any) -> None:
    """An editable install beside an installed one lists its entry points twice."""
    module = plugin("a", Echo)
    points(FakePoint("nodes", module), FakePoint("nodes", module))
    loaded = load_plugins()
    assert loaded.failures == {}
    assert loaded.kind("echo").node is Echo


def test_two_plugins_with_one_kind_are_an_error_when_it_is_used(points: Any) -> None:
    points(FakePoint("one", plugin("a", Echo, fake.FakeModel)), FakePoint("two", plugin("b", OtherEcho)))
    loaded = load_plugins()
    assert loaded.failures == {}
    assert loaded.conflicts() == {"echo": ["stranger:one", "stranger:two"]}
    assert [entry.kind for entry in loaded.kinds()] == ["fake"]
    with pytest.raises(PluginError) as caught:
        loaded.kind("echo")
    assert "node kind 'echo' is claimed by plugins 'stranger:one' and 'stranger:two'" in caught.value.message
    assert "uninstall one of them" in caught.value.hint
    assert load_recipe({"nodes": {"m": {"kind": "fake"}}, "output": "m"}, registry=loaded)
    with pytest.raises(RecipeError) as caught_too:
        load_recipe({"nodes": {"m": {"kind": "echo"}}, "output": "m"}, registry=loaded)
    for part in ("nodes.m.kind", "'stranger:one' and 'stranger:two'", "uninstall one of them"):
        assert part in caught_too.value.message


def test_a_misspelt_hook_is_an_error(points: Any) -> None:
    module = types.ModuleType("misspelt")
    module.counterpoint_node = hookimpl(lambda: [Echo])  # type: ignore[attr-defined]
    points(FakePoint("misspelt", module), FakePoint("good", plugin("good", Echo)))
    loaded = load_plugins()
    assert list(loaded.failures) == ["stranger:misspelt"]
    assert "counterpoint_node" in loaded.failures["stranger:misspelt"]
    assert loaded.kind("echo").plugin == "stranger:good"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Kindless, "node class Kindless has no kind"),
        (3, "offers 3 as a node, which is not a class derived from Node"),
        (Echo(), "which is not a class derived from Node"),
        (dict, "which is not a class derived from Node"),
    ],
)
def test_what_is_no_node_class_is_named(points: Any, node: object, message: str) -> None:
    points(FakePoint("odd", plugin("odd", node)), FakePoint("good", plugin("good", Echo)))
    loaded = load_plugins()
    assert list(loaded.failures) == ["stranger:odd"]
    assert message in loaded.failures["stranger:odd"]
    assert loaded.kind("echo").plugin == "stranger:good"


def test_a_class_without_a_kind_is_told_how_to_have_one(points: Any) -> None:
    points(FakePoint("odd", plugin("odd", Kindless)))
    assert 'kind: Literal["kindless"] = "kindless"' in load_plugins().failures["stranger:odd"]


@pytest.mark.parametrize("broken", [None, 3, RuntimeError("in the hook")])
def test_a_hook_that_fails_is_named(points: Any, broken: object) -> None:
    def hook() -> Any:
        if isinstance(broken, Exception):
            raise broken
        return broken

    module = types.ModuleType("odd")
    module.counterpoint_nodes = hookimpl(hook)  # type: ignore[attr-defined]
    points(FakePoint("odd", module), FakePoint("good", plugin("good", Echo)))
    loaded = load_plugins()
    assert list(loaded.failures) == ["stranger:odd"]
    assert loaded.kind("echo")


def test_extra_plugins_join_the_installed_ones() -> None:
    loaded = load_plugins([fake, plugin("mine", Echo)])
    assert loaded.kind("echo").plugin == "mine"
    assert loaded.kind("fake").plugin == "counterpoint.testing.fake"
    assert loaded.kind("echo").roles == ("Generator",)
    assert loaded.kind("echo").summary == "Says what it is told."


def test_an_extra_plugin_that_is_broken_is_a_plugin_error() -> None:
    module = types.ModuleType("misspelt")
    module.counterpoint_node = hookimpl(lambda: [Echo])  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="misspelt"):
        load_plugins([module])


def test_unknown_kinds_suggest_near_ones() -> None:
    with pytest.raises(RecipeError) as caught:
        load_plugins([fake]).kind("speculativ")
    assert caught.value.message == "unknown node kind 'speculativ'"
    assert caught.value.hint.startswith("did you mean 'speculative'? valid kinds: ")
    assert ", fake, " in caught.value.hint


def test_nodes_are_built_with_what_stands_inline() -> None:
    loaded = load_plugins([fake, plugin("mine", Echo)])
    node = loaded.build({"kind": "echo", "inner": {"kind": "sample", "model": {"kind": "fake", "seed": 4}}, "many": {"a": "v"}})
    assert isinstance(node, Echo)
    assert [(name, role.__name__) for name, role, _ in node.references()] == [("inner", "Generator"), ("many.a", "Verifier")]
    assert node.plain() == {
        "kind": "echo",
        "inner": {"kind": "sample", "model": {"kind": "fake", "seed": 4}},
        "many": {"a": "v"},
    }
    with pytest.raises(InvalidNode) as caught:
        loaded.build(
            {"kind": "echo", "inner": {"kind": "sample", "model": {"kind": "fake", "sed": 4}}, "many": {"a": 3}}, ("nodes", "x")
        )
    assert [path for path, _ in caught.value.problems] == [("nodes", "x", "inner", "model", "sed"), ("nodes", "x", "many", "a")]


def test_entry_points_are_really_read() -> None:
    point = EntryPoint("sample", "counterpoint_plugins.sample", "counterpoint")
    assert point in {EntryPoint(p.name, p.value, p.group) for p in registry.entry_points(group="counterpoint")}

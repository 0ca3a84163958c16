"""The model graph: references, roles, circles."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint import RecipeError, load_recipe
from counterpoint.graph import build_graph
from counterpoint.node import Drafter, Generator, LanguageModel
from counterpoint.registry import load_plugins
from counterpoint.testing import fake


@pytest.fixture
def build(stage: Any) -> Any:
    registry = load_plugins([fake, stage.plugin])

    def made(nodes: dict[str, Any], output: str = "s") -> Any:
        return build_graph(load_recipe({"name": "r", "nodes": nodes, "output": output}, registry=registry), registry)

    return made


def refused(build: Any, nodes: dict[str, Any], message: str, hint: str, output: str = "s") -> None:
    with pytest.raises(RecipeError) as caught:
        build(nodes, output)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_paths_name_what_is_referred_to(build: Any) -> None:
    graph = build(
        {
            "m": {"kind": "fake"},
            "s": {"kind": "speculative", "target": "m", "draft": ["m", {"kind": "prompt_lookup"}, {"kind": "fake", "seed": 1}]},
        }
    )
    assert set(graph.nodes) == {"m", "s", "m:model_drafter", "s.draft[1]", "s.draft[2]", "s.draft[2]:model_drafter"}
    speculative = graph.nodes["s"]
    assert graph.path_of(speculative.target) == "m"
    assert [graph.path_of(draft) for draft in speculative.drafters] == ["m", "s.draft[1]", "s.draft[2]"]
    assert graph.target(speculative.drafters[2], Drafter)[0] == "s.draft[2]:model_drafter"
    assert graph.target("m", Drafter)[1].model == "m"
    assert graph.target("m", LanguageModel) == ("m", graph.nodes["m"])
    assert graph.leaves("s") == ["m", "s.draft[2]"]
    assert graph.unused == ()


def test_a_language_model_as_output_is_sampled(build: Any) -> None:
    graph = build({"m": {"kind": "fake"}}, "m")
    assert graph.output == "m:sample"
    assert isinstance(graph.nodes[graph.output], Generator)


def test_nodes_nobody_refers_to_are_unused(build: Any) -> None:
    graph = build({"m": {"kind": "fake"}, "n": {"kind": "fake"}, "l": {"kind": "prompt_lookup"}}, "m")
    assert graph.unused == ("n", "l")


def test_missing_references(build: Any) -> None:
    nodes = {"model": {"kind": "fake"}, "s": {"kind": "sample", "model": "modle"}}
    refused(build, nodes, "r, s.model: no node is called 'modle'", "did you mean 'model'? nodes: model, s")
    refused(build, nodes, "r, output: no node is called 'x'", "nodes: model, s", output="x")
    nested = {
        "m": {"kind": "fake"},
        "s": {"kind": "speculative", "target": "m", "draft": ["m", {"kind": "model_drafter", "model": "n"}]},
    }
    refused(build, nested, "r, s.draft[1].model: no node is called 'n'", "nodes: m, s")


def test_wrong_roles(build: Any) -> None:
    nodes = {"m": {"kind": "fake"}, "l": {"kind": "prompt_lookup"}, "s": {"kind": "sample", "model": "l"}}
    refused(
        build,
        nodes,
        "r, s.model: 'l' (prompt_lookup) is a Drafter, but a LanguageModel is wanted here",
        "nodes of this recipe that fit: m",
    )
    refused(build, nodes, "r, output: 'l' (prompt_lookup) is a Drafter, but a Generator is wanted here", "fit: s", output="l")
    alone = {"s": {"kind": "sample", "model": {"kind": "prompt_lookup"}}}
    refused(build, alone, "r, s.model: 's.model' (prompt_lookup) is a Drafter", "kinds that fit: constrained, contrastive, ")
    verifier = {"m": {"kind": "fake"}, "s": {"kind": "script", "action": "a", "verifier": "m"}}
    refused(build, verifier, "'m' (fake) is a LanguageModel, but a Verifier is wanted here", "script_verifier")


def test_circles(build: Any) -> None:
    def script(**fields: Any) -> dict[str, Any]:
        return {"kind": "script", "action": "a", **fields}

    refused(build, {"s": script(child="s")}, "r, s.child: circular reference s → s", "no circles")
    refused(
        build,
        {"s": script(child="t"), "t": script(children={"x": "u"}), "u": script(child={**script(child="t")})},
        "circular reference t → u → u.child → t",
        "no circles",
    )


def test_one_node_may_be_reached_by_several_ways(build: Any) -> None:
    graph = build(
        {
            "m": {"kind": "fake"},
            "a": {"kind": "sample", "model": "m"},
            "s": {"kind": "script", "action": "a", "child": "a", "children": {"x": "a", "y": "m"}, "model": "m"},
        }
    )
    assert graph.leaves("s") == ["m"]
    assert len({(edge.owner, edge.field) for edge in graph.edges}) == len(graph.edges)


def test_the_same_node_object_in_two_places() -> None:
    """In Python one object can be two parts."""
    from counterpoint.recipe import Recipe
    from counterpoint.testing import FakeModel
    from counterpoint_plugins.speculative import Speculative

    registry = load_plugins([fake])
    model = FakeModel(seed=3)
    graph = build_graph(Recipe(nodes={"s": Speculative(target=model, draft=model)}, output="s"), registry)
    assert graph.path_of(graph.nodes["s"].target) in graph.nodes  # type: ignore[attr-defined]
    assert len(graph.leaves("s")) >= 1


def test_calling_a_node_in_a_role_it_does_not_play(stage: Any) -> None:
    """A plugin's bug, told in its words; a language model is sampled also where its field does not say Generator."""
    from counterpoint import PluginError
    from counterpoint.testing import make_engine

    @stage.action
    async def calls(node: Any, run: Any, prompt: Any) -> None:
        if node.value:
            await run.generate(node.drafter, prompt)
        made = await run.generate(node.model, prompt, relay=True)
        assert made.text

    nodes = {"m": {"kind": "fake"}, "l": {"kind": "prompt_lookup"}}
    with make_engine([stage.plugin]) as engine:
        script = {"kind": "script", "action": "calls", "model": "m", "drafter": "l"}
        assert engine.run({"nodes": {**nodes, "s": script}, "output": "s"}, "hi").text
        with pytest.raises(PluginError, match=r"'l' \(prompt_lookup\) is a Drafter, but was called as a Generator"):
            engine.run({"nodes": {**nodes, "s": {**script, "value": 1}}, "output": "s"}, "hi")

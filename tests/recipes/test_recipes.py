"""Every recipe that ships: readable, buildable, documented."""

from __future__ import annotations

from importlib import resources

import pytest

from counterpoint.graph import build_graph
from counterpoint.node import LeafModel, Trainer, Verifier
from counterpoint.recipe import load_recipe, parse_recipe
from counterpoint.registry import Registry, load_plugins

TEXTS = {
    file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
    for file in resources.files("counterpoint_recipes").iterdir()
    if file.name.endswith(".yaml")
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins()


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_it_builds(name: str, registry: Registry) -> None:
    recipe = load_recipe(name, registry=registry)
    assert recipe.name == name
    assert recipe.description
    answers = not isinstance(recipe.nodes[recipe.output], (Trainer, Verifier))
    assert (recipe.prompt is not None) == answers
    graph = build_graph(recipe, registry)
    assert graph.output.partition(":")[0] == recipe.output
    assert graph.unused == ()


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_it_survives_being_written(name: str, registry: Registry) -> None:
    recipe = load_recipe(name, registry=registry)
    assert parse_recipe(recipe.to_yaml(), "again", registry=registry) == recipe
    assert load_recipe(recipe.to_dict(), registry=registry) == recipe


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_it_opens_with_a_comment(name: str, registry: Registry) -> None:
    lines = TEXTS[name].splitlines()
    comment = "\n".join(line for line in lines[: lines.index("")])
    assert all(line.startswith("#") for line in comment.splitlines())
    assert "Source" in comment
    recipe = load_recipe(name, registry=registry)
    output = recipe.nodes[recipe.output]
    command = "train" if isinstance(output, Trainer) else "score" if isinstance(output, Verifier) else "run"
    assert name.startswith("train-") == (command == "train")
    assert f"#   counterpoint {command} {name}" in comment
    assert "# Expect: " in comment
    assert max(map(len, lines)) <= 132


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_its_models_are_in_the_catalogue(name: str, registry: Registry) -> None:
    from counterpoint.store import builtin_catalogue

    for node in load_recipe(name, registry=registry).nodes.values():
        if isinstance(node, LeafModel):
            source = node.source  # type: ignore[attr-defined]
            made = source.removeprefix("artifact:")
            assert source in builtin_catalogue().models or f"artifact: {made}" in TEXTS[f"train-{name}"]


def test_all_of_them_are_here() -> None:
    assert {"sample", "small", "speculative", "speculative-rejection", "lookup", "smollm2", "gemma"} <= set(TEXTS)
    assert {"contrastive", "proxy-tuning", "ensemble", "json", "python-names", "weak-to-strong", "speculative-across"} <= set(
        TEXTS
    )
    assert {"superfilter", "agreement"} <= set(TEXTS)

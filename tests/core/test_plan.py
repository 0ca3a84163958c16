"""What can be said before any weights load."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint import RecipeError
from counterpoint.node import LeafModel
from counterpoint.plan import make_plan
from counterpoint.planning import ModelFacts, Resources
from counterpoint.prompt import Prompt
from counterpoint.recipe import load_recipe
from counterpoint.registry import load_plugins
from counterpoint.testing import FakeModel, fake

MODEL = {"kind": "fake"}


def planned(stage: Any, nodes: dict[str, Any], output: str = "s", prompt: Any = None, **fields: Any) -> Any:
    registry = load_plugins([fake, stage.plugin])
    recipe = load_recipe({"name": "r", "nodes": nodes, "output": output, **fields}, registry=registry)
    return make_plan(recipe, registry, Resources(None), Prompt.of(prompt) if prompt else None)  # type: ignore[arg-type]


def errors(plan: Any) -> list[tuple[str, str]]:
    return [(finding.node, finding.message) for finding in plan.findings if finding.level == "error"]


def test_a_plan_knows_its_models(stage: Any) -> None:
    nodes = {"m": MODEL, "s": {"kind": "speculative", "target": "m", "draft": {"kind": "fake", "seed": 1}}}
    plan = planned(stage, nodes)
    plan.check()
    assert set(plan.facts) == {"m", "s.draft"}
    assert plan.weight_bytes == 0
    assert plan.download_bytes == 0
    assert plan.cache_bytes_per_token == 32
    assert plan.roles()["s"] == ("Generator",)
    assert errors(plan) == []


def drafting(stage: Any, alphabet: str, temperature: float = 0.0) -> Any:
    nodes = {
        "big": MODEL,
        "odd": {"kind": "fake", "alphabet": alphabet},
        "wrapped": {"kind": "model_drafter", "model": "odd"},
        "s": {"kind": "speculative", "target": "big", "draft": ["odd", "wrapped", {"kind": "prompt_lookup"}]},
    }
    return planned(stage, nodes, sampling={"temperature": temperature})


def test_drafts_of_a_vocabulary_with_nothing_in_common_are_refused(stage: Any) -> None:
    plan = drafting(stage, "ABC")
    assert len(errors(plan)) == 2
    for node, message in errors(plan):
        assert node == "s"
        for part in ("odd", "big", "no token in common", "4", "31"):
            assert part in message
    with pytest.raises(RecipeError, match="r, s: "):
        plan.check()


@pytest.mark.parametrize(("temperature", "level"), [(0.0, "strings"), (0.8, "tokens")])
def test_the_plan_says_how_another_vocabulary_drafts(stage: Any, temperature: float, level: str) -> None:
    plan = drafting(stage, "abcdefghij0123", temperature)
    plan.check()
    said = [finding.message for finding in plan.findings if finding.level == "info" and finding.node == "s"]
    assert any("33% of 30 tokens have an image" in message for message in said)
    assert any(f"'odd' drafts at the level of {level}: sampling is" in message for message in said)


def test_a_target_that_drafts_for_itself_is_warned_of(stage: Any) -> None:
    plan = planned(stage, {"m": MODEL, "s": {"kind": "speculative", "target": "m", "draft": "m"}})
    plan.check()
    assert [(finding.node, finding.message) for finding in plan.findings if finding.level == "warning"] == [
        ("s", "the target drafts for itself, which only costs time")
    ]


def test_fields_that_verifiers_require(stage: Any) -> None:
    nodes = {
        "m": MODEL,
        "v": {"kind": "script_verifier", "action": "a"},
        "s": {"kind": "script", "action": "a", "verifier": "v"},
    }
    assert errors(planned(stage, nodes)) == []
    assert errors(planned(stage, nodes, prompt={"text": "hi", "fields": {"answer": "3"}})) == []
    assert errors(planned(stage, nodes, prompt="hi")) == [("v", "needs the prompt's field(s) answer")]


@pytest.mark.parametrize("prompt_format", [None, "chat"])
def test_models_without_a_template(stage: Any, prompt_format: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect = FakeModel.inspect
    monkeypatch.setattr(
        FakeModel,
        "inspect",
        lambda self, resources: ModelFacts(**{**vars(inspect(self, resources)), "has_chat_template": False}),
    )
    messages = [{"role": "user", "content": "hi"}]
    nodes = {"m": {**MODEL, **({"prompt_format": prompt_format} if prompt_format else {})}}
    refused = [("m", "has no chat template to render messages with")]
    assert errors(planned(stage, nodes, "m", prompt=messages)) == refused
    assert errors(planned(stage, nodes, "m", prompt="hi")) == (refused if prompt_format else [])
    assert errors(planned(stage, {"m": {**MODEL, "prompt_format": "roles"}}, "m", prompt=messages)) == []


def test_contradictions_of_a_node_with_its_recipe(stage: Any) -> None:
    nodes = {"m": MODEL, "s": {"kind": "sample", "model": "m", "sampling": {"top_k": 4}}}
    plan = planned(stage, nodes, sampling={"temperature": 0})
    ((node, message),) = errors(plan)
    assert node == "s"
    assert message.startswith("temperature 0 is greedy decoding, which top_k contradict")


def test_memory(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect = FakeModel.inspect
    weights = 10**18
    monkeypatch.setattr(
        FakeModel, "inspect", lambda self, resources: ModelFacts(**{**vars(inspect(self, resources)), "weight_bytes": weights})
    )
    nodes = {
        "m": MODEL,
        "same": {**MODEL, "prompt_format": "raw"},
        "s": {"kind": "speculative", "target": "m", "draft": "same"},
    }
    plan = planned(stage, nodes)
    assert plan.weight_bytes == 10**18, "equal models are counted once"
    ((node, message),) = errors(plan)
    assert node == "s"
    assert "the weights need 1000000000.0 GB" in message
    weights = None  # type: ignore[assignment]
    assert planned(stage, nodes).weight_bytes is None
    assert errors(planned(stage, nodes)) == []


def test_a_model_that_is_not_there(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint import ModelNotFound

    def inspect(self: Any, resources: Any) -> ModelFacts:
        raise ModelNotFound("no model called x", hint="fetch it")

    monkeypatch.setattr(FakeModel, "inspect", inspect)
    plan = planned(stage, {"m": MODEL, "n": {**MODEL, "seed": 2}, "s": {"kind": "speculative", "target": "m", "draft": "n"}})
    assert errors(plan) == [("m", "no model called x"), ("n", "no model called x")]
    with pytest.raises(RecipeError) as caught:
        plan.check()
    assert caught.value.message.splitlines() == ["r, m: no model called x", "r, n: no model called x"]
    assert caught.value.hint == "fetch it"


def test_nodes_nobody_refers_to_do_not_break_the_plan(stage: Any) -> None:
    nodes = {
        "m": MODEL,
        "lost": {"kind": "speculative", "target": {"kind": "fake", "seed": 1}, "draft": {"kind": "prompt_lookup"}},
        "wrong": {"kind": "speculative", "target": "nowhere", "draft": "m"},
    }
    plan = planned(stage, nodes, "m")
    assert errors(plan) == []
    warned = {finding.node for finding in plan.findings if finding.level == "warning"}
    assert warned == {"lost", "wrong"}
    assert set(plan.facts) == {"m"}


def test_checks_of_plugins_that_fail_name_the_node(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert issubclass(FakeModel, LeafModel)

    def check(self: Any, plan: Any) -> None:
        plan.refuse("no good", "do better")
        plan.warn("careful")
        plan.inform("fyi")

    monkeypatch.setattr(FakeModel, "check", check)
    plan = planned(stage, {"m": MODEL}, "m")
    assert [(finding.level, finding.node, finding.message) for finding in plan.findings] == [
        ("error", "m", "no good"), ("warning", "m", "careful"), ("info", "m", "fyi"),
    ]  # fmt: skip

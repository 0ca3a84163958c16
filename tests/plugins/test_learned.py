"""The verifier `learned`: its scores are those of a direct computation, alone or together, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import counterpoint as cp
from counterpoint import paths
from counterpoint.store import ModelStore
from counterpoint.testing import assert_verifier_laws, make_engine, save_tiny_model

Made = Callable[..., dict[str, Any]]
TEXTS = ["it is 5", "perhaps 6, and perhaps something else that is longer", "no", "it is 5"]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[cp.Engine]:
    with make_engine(store=ModelStore(tmp_path / "store")) as made:
        yield made


@pytest.fixture
def made(engine: cp.Engine) -> Made:
    """Makes a verifier's artifact, and gives a recipe that scores with it; keyword arguments change the card."""

    def make(name: str = "judge", architecture: Any = "grouped", **card: Any) -> dict[str, Any]:
        folder = save_tiny_model(paths.artifacts() / name, architecture)
        torch.manual_seed(1)
        save_file({"weight": torch.randn(32) / 4, "bias": torch.tensor([0.25])}, folder / "head.safetensors")
        model = {"kind": "huggingface", "source": f"artifact:{name}", "dtype": "float32", "device": "cpu"}
        (fact,) = engine.plan({"nodes": {"m": model}, "output": "m"}).facts.values()
        assert fact.tokenizer is not None
        known = {
            "what": "a verifier",
            "head": {"width": 32, "model": {"source": "artifact:", "adapter": None}},
            "tokenizer": fact.tokenizer.fingerprint,
            "model": {"kind": "huggingface", "source": "base"},
        }
        (folder / "counterpoint.json").write_text(json.dumps({**known, **card}))
        return {"nodes": {"m": model, "v": {"kind": "learned", "model": "m"}}, "output": "v"}

    return make


def expected(name: str, text: str, before: str = "") -> float:
    """A score by transformers alone."""
    folder = paths.artifacts() / name
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(1)
    weight = torch.randn(32) / 4
    turns = [{"role": "user", "content": "what is 2 and 3"}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(prompt + before + text, add_special_tokens=False).input_ids])
    with torch.no_grad():
        state = model(ids, output_hidden_states=True).hidden_states[-1][0, -1]
        return float(torch.sigmoid(state @ weight + 0.25))


def scores(engine: cp.Engine, recipe: dict[str, Any], prompt: Any, texts: list[str]) -> list[float]:
    return [float(score) for score in engine.verify(recipe, prompt, texts).result().scores]


@pytest.mark.parametrize("architecture", ["grouped", "sliding"])
def test_scores_are_those_of_a_direct_computation(engine: cp.Engine, made: Made, architecture: str) -> None:
    recipe = made(architecture=architecture)
    together = engine.verify(recipe, "what is 2 and 3", TEXTS).result()
    found = [float(score) for score in together.scores]
    assert found == pytest.approx([expected("judge", text) for text in TEXTS], abs=1e-5)
    assert found[0] == found[3]
    assert len({round(score, 4) for score in found}) == 3
    for text, score in zip(TEXTS, found, strict=True):
        assert scores(engine, recipe, "what is 2 and 3", [text]) == pytest.approx([score], abs=1e-5)
    # one pass for all answers, without a row of logits
    prompt, *answers = [event for event in together.trace if event.type == "forward"]
    assert (prompt.logits_rows, [event.logits_rows for event in answers]) == (1, [0, 0, 0])
    assert len({event.pass_id for event in answers}) == 1


def test_the_beginning_of_an_answer_counts(engine: cp.Engine, made: Made) -> None:
    prompt = {"text": "what is 2 and 3", "prefix": "well, "}
    assert scores(engine, made(), prompt, ["it is 5"]) == pytest.approx([expected("judge", "it is 5", "well, ")], abs=1e-5)


def test_the_laws_of_verifiers(engine: cp.Engine, made: Made) -> None:
    assert_verifier_laws(made(), [*TEXTS, ""], prompt="what is 2 and 3", engine=engine)


def test_what_cannot_be_scored(engine: cp.Engine, made: Made) -> None:
    found = engine.verify(made(), "what is 2 and 3", ["", "a" * 600, "no"]).result().scores
    assert [math.isnan(score) for score in found] == [True, True, False]
    assert [score.detail for score in found[:2]] == ["there is no answer", "does not fit the context"]


def test_it_chooses_among_candidates(engine: cp.Engine, made: Made) -> None:
    recipe = made()
    best = {"kind": "best_of_n", "generators": {"kind": "fake", "prompt_format": "raw"}, "n": 4, "verifiers": "v"}
    sampling = {"temperature": 1.0, "max_tokens": 12}
    found = engine.run(
        {"nodes": {**recipe["nodes"], "best": {**best, "select": "score"}}, "output": "best", "sampling": sampling}, "hello"
    )
    scored = {event.candidate: event.score for event in found.trace if event.type == "candidate_scored"}
    assert len(scored) == 4
    (chosen,) = [event.candidate for event in found.trace if event.type == "candidate_selected"]
    assert chosen == max(scored, key=lambda candidate: scored[candidate])


def findings(engine: cp.Engine, recipe: dict[str, Any], level: str = "error") -> str:
    found = [f for f in engine.plan(recipe).findings if f.level == level]
    return "\n".join(f"{f.node}: {f.message} ({f.hint})" for f in found)


def test_what_plan_refuses(engine: cp.Engine, made: Made, tmp_path: Path) -> None:
    recipe = made()
    assert findings(engine, recipe) == ""

    def changed(**fields: Any) -> str:
        nodes = recipe["nodes"]
        model = {**nodes["m"], **fields.pop("model", {})}
        return findings(engine, {**recipe, "nodes": {"m": model, "v": {**nodes["v"], **fields}}})

    other = {"source": f"path:{save_tiny_model(tmp_path / 'other')}"}
    assert "v: 'm' is no artifact, so there is no head" in changed(model=other)
    on_other = changed(model=other, head="artifact:judge")
    assert f"trained on a model with source artifact:judge, and that of 'm' is {other['source']}" in on_other
    assert "set source of 'm' to artifact:judge" in on_other
    assert "v: artifact:none is not on this machine (make it with" in changed(head="artifact:none")
    mixed = {"kind": "ensemble", "base": "m", "others": ["m"]}
    assert "v: 'mixed' (ensemble) gives no hidden states" in findings(
        engine, {**recipe, "nodes": {**recipe["nodes"], "mixed": mixed, "v": {"kind": "learned", "model": "mixed"}}}
    )
    gguf = {"kind": "llama_cpp", "source": "path:x.gguf"}
    assert "(llama_cpp) gives no hidden states" in findings(
        engine, {"nodes": {"v": {"kind": "learned", "model": gguf}}, "output": "v"}
    )


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"head": None, "what": "a count"}, "artifact:judge is no verifier but a count"),
        ({"tokenizer": "another"}, "'m' does not have the vocabulary that artifact:judge was trained with"),
        (
            {"head": {"width": 64, "model": {"source": "artifact:"}}},
            "the head of artifact:judge has 64 weights, and hidden states of 'm' have 32",
        ),
        (
            {"head": {"width": 32, "model": {"source": "base", "adapter": None}}},
            "trained on a model with source base, and that of 'm' is artifact:judge",
        ),
    ],
)
def test_an_artifact_that_does_not_fit(engine: cp.Engine, made: Made, card: dict[str, Any], message: str) -> None:
    refused = findings(engine, made(**card))
    assert message in refused
    assert refused.startswith("v: ")


def test_prompts_rendered_otherwise_are_told(engine: cp.Engine, made: Made) -> None:
    card = {"model": {"kind": "huggingface", "source": "base", "prompt_format": "raw"}}
    assert "renders prompts otherwise than in the training" in findings(engine, made(**card), "warning")


def test_a_head_that_cannot_be_read(engine: cp.Engine, made: Made, tmp_path: Path) -> None:
    source = f"path:{save_tiny_model(tmp_path / 'base')}"
    recipe = made(head={"width": 32, "model": {"source": source, "adapter": None}}, model={"source": source})
    folder = paths.artifacts() / "judge"
    (folder / "model.safetensors").unlink()  # as where the head alone was trained
    model = {**recipe["nodes"]["m"], "source": source}
    recipe = {"nodes": {"m": model, "v": {"kind": "learned", "model": "m", "head": "artifact:judge"}}, "output": "v"}
    assert scores(engine, recipe, "hello", ["there"])
    head = folder / "head.safetensors"
    head.write_bytes(head.read_bytes()[:40])
    error = engine.verify(recipe, "hello", ["there"]).wait().error
    assert isinstance(error, cp.ModelError)
    assert "v: cannot read the head" in error.message
    assert "models verify artifact:judge" in error.hint
    head.unlink()
    assert "artifact:judge is no verifier" in findings(engine, recipe)


def test_a_head_of_another_shape(engine: cp.Engine, made: Made) -> None:
    recipe = made()
    head = paths.artifacts() / "judge" / "head.safetensors"
    for tensors in ({"weight": torch.ones(16), "bias": torch.ones(1)}, {"bias": torch.ones(1)}, {"weight": torch.ones(32, 1)}):
        save_file(tensors, head)
        error = engine.verify(recipe, "what is 2 and 3", TEXTS).wait().error
        assert isinstance(error, cp.ModelError)
        assert "cannot read the head" in error.message


def test_a_card_without_its_model(engine: cp.Engine, made: Made) -> None:
    with pytest.raises(cp.RecipeError, match="is no verifier"):
        engine.plan(made(model=None)).check()

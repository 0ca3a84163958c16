"""Correctors with an encoder and a decoder, T5 as in the paper: trained, loaded again, and gone on with after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import counterpoint as cp
from counterpoint import paths
from counterpoint.planning import Resources
from counterpoint.store import ModelStore
from counterpoint.testing import save_tiny_encoder_decoder
from counterpoint.training import EncodedPair, Workshop, read_card
from counterpoint.training.learner import Learner
from counterpoint_plugins.huggingface import HuggingFaceModel
from counterpoint_plugins.lm_corrector import CorrectorTraining

Recipe = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("readers")
    return {name: save_tiny_encoder_decoder(root / name, name) for name in ("t5", "gated", "bart")}  # type: ignore[arg-type]


@pytest.fixture
def training(recipe: Recipe, readers: dict[str, Path]) -> Recipe:
    """A recipe that trains a T5; keyword arguments are fields of its trainer."""

    def make(architecture: str = "gated", **fields: Any) -> dict[str, Any]:
        made = recipe(**fields)
        model = {"kind": "huggingface", "source": f"path:{readers[architecture]}", "dtype": "float32", "device": "cpu"}
        return {**made, "nodes": {**made["nodes"], "model": model}}

    return make


def use(made: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A recipe that uses what a recipe has trained."""
    node = {"kind": "lm_corrector", "corrector": "model", "candidates": "told", "n": 1}
    node |= {"template": made["nodes"]["trainer"]["template"]}
    model = {**made["nodes"]["model"], **fields}
    return {"nodes": {"model": model, "told": made["nodes"]["told"], "c": node}, "output": "c", "sampling": {"max_tokens": 8}}


def losses(name: str = "fixer") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (paths.artifacts() / name / "losses.jsonl").read_text().splitlines()]


def test_a_corrector_learns_to_use_its_candidate(trainer: cp.Engine, training: Recipe, data: Path) -> None:
    made = training(epochs=32, learning_rate=1e-2)
    assert trainer.train(made).result().text == "artifact:fixer"
    card = read_card("fixer")
    assert card is not None
    assert card["prompt_format"] == "raw"
    assert card["held_out_loss"]["best"] < 0.2 < card["held_out_loss"]["untrained"]
    new = {f"q{number}": ("red", "blue")[number % 2] for number in range(60, 68)}
    lines = [json.dumps({"prompt": source, "answers": word}) + "\n" for source, word in new.items()]
    data.with_name("answers.jsonl").write_text("".join(lines))
    recipe = use(made, source="artifact:fixer")
    results = trainer.run_many(recipe, list(new))
    assert [(result.text, result.finish_reason) for result in results] == [(word, "stop") for word in new.values()]
    chosen = {**recipe, "nodes": {**recipe["nodes"], "c": {**recipe["nodes"]["c"], "write": "choose"}}}
    assert trainer.run(chosen, "q60").text == "red"


@pytest.mark.parametrize("architecture", ["gated", "bart"])
def test_by_lora(trainer: cp.Engine, training: Recipe, architecture: str) -> None:
    made = training(architecture, learn="lora", lora_rank=4, epochs=2, learning_rate=2e-2)
    trainer.train(made).result()
    beside = training(architecture, learn="lora", lora_rank=4, epochs=2, learning_rate=2e-2, save="adapter", artifact="beside")
    trainer.train(beside).result()
    assert losses() == losses("beside")
    steps = [line["loss"] for line in losses() if "loss" in line]
    assert steps[-1] < steps[0]
    merged = trainer.run(use(made, source="artifact:fixer"), "q1").text
    assert merged == trainer.run(use(made, adapter="artifact:beside"), "q1").text
    assert merged != trainer.run(use(made), "q1").text, "it has learned"


@pytest.mark.parametrize("learn", ["full", "lora"])
def test_a_kill_while_it_trains(trainer: cp.Engine, training: Recipe, monkeypatch: pytest.MonkeyPatch, learn: str) -> None:
    settings = {"learn": learn, "epochs": 2, "checkpoint_every": 2}
    trainer.train(training(artifact="whole", **settings)).result()
    log = Workshop.log

    def killed(self: Workshop, line: Any) -> None:
        if line["step"] == 4 and "loss" in line:
            raise RuntimeError("killed")
        log(self, line)

    monkeypatch.setattr(Workshop, "log", killed)
    assert trainer.train(training(**settings)).wait().error is not None
    monkeypatch.setattr(Workshop, "log", log)
    stream = trainer.train(training(**settings))
    stream.result()
    begun = next(event for event in stream if event.type == "progress" and event.phase == "train")
    assert begun.done == 2
    assert losses() == losses("whole")
    files = [safe_open(paths.artifacts() / name / "model.safetensors", framework="pt") for name in ("fixer", "whole")]
    assert all(torch.equal(*(file.get_tensor(key) for file in files)) for key in files[0].keys())  # noqa: SIM118


@pytest.mark.parametrize("architecture", ["t5", "gated", "bart"])
def test_what_is_trained_is_what_is_read(
    trainer: cp.Engine, training: Recipe, stage: Any, tmp_path: Path, architecture: str
) -> None:
    """The loss before the first step is that of the targets after the corrector's prompts, padded beside one another."""
    held_out = tmp_path / "held_out.jsonl"
    targets = {"q1": "green", "q2": "a longer one"}
    held_out.write_text("".join(json.dumps({"source": source, "target": word}) + "\n" for source, word in targets.items()))
    trainer.train(training(architecture, held_out_file=str(held_out), max_steps=1)).result()
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    said = {row["prompt"]: row["answers"] for row in rows}
    nats: list[float] = []

    @stage.action
    async def measure(node: Any, run: Any, prompt: Any) -> None:
        for source, target in targets.items():
            session = await run.open(node.model, cp.Prompt(text=f"{source} {said[source]}:"))
            tokens = [*session.tokenizer.encode(target), *session.stop_ids]
            nats.extend((-(await session.score(tokens))).tolist())

    nodes = {"model": training(architecture)["nodes"]["model"]}
    nodes["s"] = {"kind": "script", "action": "measure", "model": "model"}
    trainer.run({"nodes": nodes, "output": "s"}, "x")
    card = read_card("fixer")
    assert card is not None
    assert card["held_out_loss"]["untrained"] == pytest.approx(sum(nats) / len(nats), rel=1e-4)


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_padding_changes_no_logit(readers: dict[str, Path], tmp_path: Path, architecture: str) -> None:
    settings = {"kind": "huggingface", "source": f"path:{readers[architecture]}", "dtype": "float32", "device": "cpu"}
    backend = HuggingFaceModel.model_validate(settings).load(Resources(ModelStore(tmp_path / "store")))
    node = CorrectorTraining(artifact="x", corrector="m", candidates="c", data="d", learn="full")
    learner = Learner(node, "t", 0, backend, encoders=True)
    pairs = [
        EncodedPair("", (1, 2, 3), (4, 256)),
        EncodedPair("", tuple(range(30)), (5, 6, 7, 8, 256)),
        EncodedPair("", (9,), (256,)),
    ]
    together, tokens = learner.answer_logits(pairs)
    alone = torch.cat([learner.answer_logits([pair])[0] for pair in pairs])
    assert tokens.tolist() == [4, 256, 5, 6, 7, 8, 256, 256]
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)


def test_trainers_of_causal_models_refuse_it(trainer: cp.Engine, training: Recipe, data: Path) -> None:
    nodes = {"model": training()["nodes"]["model"]}
    common = {"artifact": "x", "data": str(data), "max_length": 128}
    cross = {"kind": "cross_model_training", "template": "model", "prompt": "source", "response": "target", **common}
    verifier = {
        "kind": "verifier_training",
        "model": "model",
        "checker": {"kind": "exact_match"},
        "generator": "model",
        **common,
    }
    for node in (cross, verifier):
        with pytest.raises(cp.RecipeError) as caught:
            trainer.train({"nodes": {**nodes, "t": node}, "output": "t"}).result()
        assert (
            f"'model' has an encoder that reads the prompt, and '{node['kind']}' trains causal models" in caught.value.message
        )


def test_what_only_a_loaded_model_tells_is_refused_then(readers: dict[str, Path], tmp_path: Path) -> None:
    settings = {"kind": "huggingface", "source": f"path:{readers['t5']}", "dtype": "float32", "device": "cpu"}
    backend = HuggingFaceModel.model_validate(settings).load(Resources(ModelStore(tmp_path / "store")))
    node = CorrectorTraining(artifact="x", corrector="m", candidates="c", data="d", learn="full")
    with pytest.raises(cp.Unsupported, match="trains causal models"):
        Learner(node, "t", 0, backend)

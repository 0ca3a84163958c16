"""The loop and what learns in it: a fine-tuning of a tiny model, in full, by adapters, and what is left of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

import counterpoint as cp
from counterpoint import paths
from counterpoint.plugin import LanguageModel, Node, NodePlan, Ref, Run, hookimpl
from counterpoint.registry import load_plugins
from counterpoint.store import ModelStore, files
from counterpoint.testing import save_tiny_model
from counterpoint.training import (
    EncodedPair,
    FineTuning,
    Reporter,
    Side,
    Workshop,
    card_of,
    describe,
    encode_pairs,
    find_data,
    fitting,
    identity,
    in_thread,
    read_card,
    read_pairs,
    split,
)
from counterpoint.training.learner import Learner, head_at, padded
from counterpoint.training.loop import Objective, fit


class Tuning(FineTuning):
    """Fine-tunes a model on answers."""

    kind: Literal["tuning"] = "tuning"
    model: Ref[LanguageModel]
    data: str

    def check(self, plan: NodePlan) -> None:
        super().check(plan)
        self.check_trainable(plan, self.model)
        self.check_length(plan, self.model, "the model")
        self.check_files(plan, self.data, self.held_out_file)

    async def train(self, run: Run) -> str:
        loaded = await run.load(self.model)
        await in_thread(run, partial(tune, self, run.path, run.seed, loaded, Reporter(run, self.artifact)))
        return self.artifact


class Answers(Objective[EncodedPair]):
    def __init__(self, learner: Learner, side: Side[EncodedPair]) -> None:
        self.parameters = learner.parameters
        self.sides = [side]
        self.module = learner.module

    def losses(self, examples: Sequence[EncodedPair]) -> tuple[Tensor, Mapping[str, Tensor]]:
        ids, wanted, targets = padded(examples, self.module.device)
        with head_at(self.module, wanted):
            logits = self.module(input_ids=ids, use_cache=False).logits[0]
        return cross_entropy(logits.float(), targets, reduction="sum"), {}

    def tokens(self, example: EncodedPair) -> int:
        return len(example.response)


def tune(node: Tuning, path: str, seed: int, loaded: Any, report: Reporter, stopping: Callable[[], bool]) -> None:
    _, model, backend = loaded
    named = {"data": find_data(node.data)}
    pairs = encode_pairs(read_pairs(named["data"], "prompt", "response"), model, backend, path)
    kept = fitting(pairs, node.max_length, node.too_long, path, named["data"])
    side = Side(*split(kept, node.held_out, seed, path))
    with Workshop(node.artifact, path) as workshop:
        workshop.agree(identity(node, seed, models={"model": model}, tokenizer=backend.tokenizer, files=named))
        learner = Learner(node, path, seed, backend)
        objective = Answers(learner, side)
        trained = fit(node, path, seed, objective, workshop, report, stopping, artifact_bytes=learner.artifact_bytes)
        if trained is None:
            return
        card = card_of(
            node,
            seed,
            trained,
            what="a tuned model",
            objective="cross-entropy of answers",
            models={"model": model},
            tokenizer=backend.tokenizer,
            files=named,
            examples={"trained": len(side.train), "held_out": len(side.held_out)},
        )
        workshop.finish(partial(learner.save, backend=backend), card, describe(card, ["Tuned."], ["A point."]))


class Plugin:
    @hookimpl
    def counterpoint_nodes(self) -> list[type[Node]]:
        return [Tuning]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[cp.Engine]:
    with cp.Engine(registry=load_plugins([Plugin()]), store=ModelStore(tmp_path / "store")) as made:
        yield made


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    data = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"say {word}", "response": f"{word} it is"} for word in ["one", "two", "three", "four", "five", "six"]]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(dtype: str = "float32", **fields: Any) -> dict[str, Any]:
        shared = {"artifact": "tuned", "model": "model", "data": str(data), "max_length": 128, "held_out": 0.2}
        settings = {
            "epochs": 6,
            "batch": 5,
            "micro_batch": 2,
            "learning_rate": 3e-3,
            "evaluate_every": 2,
            "checkpoint_every": 2,
        }
        trainer = {"kind": "tuning", **shared, **settings, "precision": "float32", **fields}
        model = {"kind": "huggingface", "source": f"path:{base}", "dtype": dtype, "device": "cpu"}
        return {"name": "training", "nodes": {"model": model, "trainer": trainer}, "output": "trainer"}

    return make


Recipe = Callable[..., dict[str, Any]]


def logits(folder: Path, **options: Any) -> Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    with torch.no_grad():
        found: Tensor = model(torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])).logits.float()
    return found


def artifact(name: str = "tuned") -> Path:
    return paths.artifacts() / name


@pytest.mark.parametrize("learn", ["lora", "full"])
def test_it_learns_and_leaves_the_base_alone(engine: cp.Engine, recipe: Recipe, base: Path, learn: str) -> None:
    job = recipe(learn=learn)
    engine.load(job)
    (host,) = engine.hosts()
    before = {name: weight.clone() for name, weight in host.backend.module().named_parameters()}
    assert engine.train(job).result().text == "artifact:tuned"
    for name, weight in host.backend.module().named_parameters():
        assert torch.equal(weight, before[name])
    card = read_card("tuned")
    assert card is not None
    assert card["held_out_loss"]["best"] < card["held_out_loss"]["untrained"]
    assert not torch.allclose(logits(artifact()), logits(base), atol=1e-3)
    text = (artifact() / "README.md").read_text()
    assert "- A point.\n- Data: `pairs.jsonl` as data" in text
    # the node that loads any model loads it, with the base's ends of turn
    use = {"nodes": {"m": {"kind": "huggingface", "source": "artifact:tuned", "device": "cpu"}}, "output": "m"}
    assert engine.run({**use, "sampling": {"max_tokens": 4}}, "hello").completion.ids


def test_an_adapter_is_the_merged_model(engine: cp.Engine, recipe: Recipe, base: Path) -> None:
    engine.train(recipe()).result()
    engine.train(recipe(artifact="adapter", save="adapter")).result()
    assert sorted(path.name for path in artifact("adapter").glob("*.safetensors")) == ["adapter_model.safetensors"]
    adapted = {"kind": "huggingface", "source": f"path:{base}", "adapter": "artifact:adapter", "device": "cpu"}
    merged = {"kind": "huggingface", "source": "artifact:tuned", "device": "cpu"}
    texts = [
        engine.run({"nodes": {"m": {**node, "dtype": "float32"}}, "output": "m", "sampling": {"max_tokens": 12}}, "hello").text
        for node in (adapted, merged)
    ]
    assert texts[0] == texts[1]


def test_only_adapters_are_kept_on_the_way(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.train(recipe(artifact="whole", dtype="bfloat16")).result()
    log = Workshop.log

    def killed(self: Workshop, line: Any) -> None:
        if line["step"] == 4 and "loss" in line:
            raise KeyError("killed")
        log(self, line)

    monkeypatch.setattr(Workshop, "log", killed)
    assert engine.train(recipe(dtype="bfloat16")).wait().error is not None
    monkeypatch.setattr(Workshop, "log", log)
    (checkpoint,) = (paths.artifacts() / ".partial" / "tuned").glob("checkpoint-*")
    with safe_open(checkpoint, framework="pt") as file:
        names = list(file.keys())
        assert all("lora_" in name for name in names)
        assert file.get_tensor(next(name for name in names if name.startswith("weights."))).dtype == torch.float32
    engine.train(recipe(dtype="bfloat16")).result()
    for name in ("losses.jsonl", "model.safetensors"):
        assert files.sha256(artifact() / name) == files.sha256(artifact("whole") / name)
    with safe_open(artifact() / "model.safetensors", framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118 (it is no mapping)


def test_the_seed_makes_the_adapters(engine: cp.Engine, recipe: Recipe) -> None:
    digests = []
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        engine.train(recipe(artifact=name), seed=seed).result()
        digests.append(hashlib.sha256((artifact(name) / "model.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_what_is_refused(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    error = engine.train(recipe(lora_modules=["nowhere"])).wait().error
    assert isinstance(error, cp.Unsupported)
    assert "nowhere" in error.message
    assert "lora_modules" in error.hint
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "peft" else find(name, *more))
    (finding,) = [found for found in engine.plan(recipe()).findings if found.level == "error"]
    assert "peft" in finding.message
    assert "counterpoint[adapters]" in finding.hint
    assert not [found for found in engine.plan(recipe(learn="full")).findings if found.level == "error"]

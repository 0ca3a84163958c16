"""The trainer of cross-model control on tiny random models: its loss, its resumption, its artifact, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

import counterpoint as cp
from counterpoint import paths
from counterpoint.plugin import LeafModel
from counterpoint.store import files
from counterpoint.testing import save_tiny_model
from counterpoint.training import EncodedPair, Workshop, batch_of, micro_batches, read_card
from counterpoint.training.loop import schedule
from counterpoint_plugins.cross_model_training import CrossModelTraining
from counterpoint_plugins.cross_model_training.delta import Combination, make_delta
from counterpoint_plugins.cross_model_training.examples import load_examples

Recipe = Callable[..., dict[str, Any]]


def losses(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (paths.artifacts() / name / "losses.jsonl").read_text().splitlines()]


def node(**fields: Any) -> CrossModelTraining:
    return CrossModelTraining(artifact="x", template="m", **{"data": "d", **fields})


def trained(engine: cp.Engine, recipe: dict[str, Any], **options: Any) -> str:
    return engine.train(recipe, **options).result().text


# --- what it makes ----------------------------------------------------------------------------------------------------------


def test_the_artifact(engine: cp.Engine, recipe: Recipe, pairs: Path, template: Path) -> None:
    stream = engine.train(recipe())
    assert stream.result().text == "artifact:tiny"
    folder = paths.artifacts() / "tiny"
    assert not (paths.artifacts() / ".partial" / "tiny").exists()
    card = read_card("tiny")
    assert card is not None
    assert card["steps"] == 8
    assert card["data"]["data"] == {"file": "pairs.jsonl", "sha256": hashlib.sha256(pairs.read_bytes()).hexdigest()}
    assert card["examples"] == {"trained": 8, "held_out": 2, "forgotten": 0, "dropped": 0}
    assert card["held_out_loss"]["best"] < card["held_out_loss"]["untrained"]
    assert card["loss"]["last"] < card["loss"]["first"]
    assert "config.json" in card["files"]
    text = (folder / "README.md").read_text()
    assert "artifact:tiny" in text
    assert "8 steps" in text or "8 of 8" in text

    # transformers loads it as it is, and so does the node that loads any model
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.config.num_hidden_layers == 2
    assert AutoTokenizer.from_pretrained(folder).chat_template == AutoTokenizer.from_pretrained(template).chat_template
    model = {"kind": "huggingface", "source": "artifact:tiny", "dtype": "float32", "device": "cpu"}
    use = {"nodes": {"m": model}, "output": "m", "sampling": {"max_tokens": 4}}
    facts = engine.plan(use).facts["m"]
    assert facts.tokenizer is not None
    assert facts.tokenizer.fingerprint == card["tokenizer"]
    assert engine.run(use, "hello").completion.ids

    # how far it was, as events
    notes = [event.data for event in stream.wait().trace if event.type == "note"]
    assert [note["step"] for note in notes if "loss" in note] == list(range(1, 9))
    assert notes[-1].get("seconds_left", 0.0) == 0
    progress = [event for event in stream.wait().trace if event.type == "progress" and event.phase == "train"]
    assert (progress[0].done, progress[-1].done, progress[-1].total) == (0, 8, 8)
    assert any(model.name == "artifact:tiny" for model in engine.pool.resources().store.list())


def test_only_delta_learns_and_the_best_is_kept(engine: cp.Engine, recipe: Recipe, template: Path) -> None:
    before = hashlib.sha256((template / "model.safetensors").read_bytes()).hexdigest()
    engine.load(recipe())
    (host,) = engine.hosts()
    weights = {name: weight.clone() for name, weight in host.backend.module().named_parameters()}
    trained(engine, recipe(evaluate_every=1))
    for name, weight in host.backend.module().named_parameters():
        assert torch.equal(weight, weights[name])
    assert hashlib.sha256((template / "model.safetensors").read_bytes()).hexdigest() == before
    measured = {line["step"]: line["held_out"] for line in losses("tiny") if "held_out" in line and line["step"]}
    card = read_card("tiny")
    assert card is not None
    best = min(measured, key=lambda step: measured[step])
    assert (card["held_out_loss"]["best_step"], card["held_out_loss"]["best"]) == (best, measured[best])


def test_training_ends_early(engine: cp.Engine, recipe: Recipe) -> None:
    trained(engine, recipe(evaluate_every=1, patience=2, learning_rate=0.5, epochs=20, warmup=0.0))
    card = read_card("tiny")
    assert card is not None
    assert card["steps"] < card["steps_planned"]
    assert card["steps"] == card["held_out_loss"]["best_step"] + 2


def test_unlearning(engine: cp.Engine, recipe: Recipe, tmp_path: Path) -> None:
    forget = tmp_path / "forget.jsonl"
    forget.write_text("".join(json.dumps({"prompt": f"tell {n}", "response": f"secret {n}"}) + "\n" for n in range(5)))
    trained(engine, recipe(forget=str(forget), patience=100))
    steps = [line for line in losses("tiny") if "loss" in line]
    assert all(line["loss"] == pytest.approx(line["retain"] - line["forget"]) for line in steps)
    assert steps[-1]["forget"] > steps[0]["forget"]
    assert steps[-1]["retain"] < steps[-1]["forget"]
    card = read_card("tiny")
    assert card is not None
    assert card["examples"]["forgotten"] == 4
    assert "forget.jsonl" in (paths.artifacts() / "tiny" / "README.md").read_text()


def test_whoever_else_uses_accelerate_in_the_process(engine: cp.Engine, recipe: Recipe) -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    others = Accelerator(cpu=True, mixed_precision="no")
    try:
        trained(engine, recipe(start=None, hidden=16, heads=2, layers=1, precision="bfloat16"))
        assert others.mixed_precision == "no"
        assert Accelerator(cpu=True, mixed_precision="no").device == others.device
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_a_random_delta_in_bfloat16(engine: cp.Engine, recipe: Recipe) -> None:
    trained(engine, recipe(start=None, hidden=16, heads=2, layers=1, precision="bfloat16", artifact="half"))
    trained(engine, recipe(start=None, hidden=16, heads=2, layers=1, precision="float32"))
    half, full = losses("half"), losses("tiny")
    assert half != full
    assert [line["loss"] for line in half if "loss" in line] == pytest.approx(
        [line["loss"] for line in full if "loss" in line], rel=0.02
    )
    loaded = AutoModelForCausalLM.from_pretrained(paths.artifacts() / "tiny")
    assert (loaded.config.hidden_size, loaded.config.num_hidden_layers, loaded.dtype) == (16, 1, torch.float32)


def test_one_seed_one_curve(engine: cp.Engine, recipe: Recipe) -> None:
    trained(engine, recipe())
    trained(engine, recipe(artifact="same"))
    trained(engine, recipe(artifact="other"), seed=7)
    assert losses("same") == losses("tiny")
    assert losses("other") != losses("tiny")


def test_the_size_of_passes_changes_nothing_but_rounding(engine: cp.Engine, recipe: Recipe) -> None:
    trained(engine, recipe(micro_batch=1))
    trained(engine, recipe(micro_batch=4, artifact="wide"))
    narrow, wide = ([line["loss"] for line in losses(name) if "loss" in line] for name in ("tiny", "wide"))
    assert narrow == pytest.approx(wide, rel=1e-4)


# --- a kill, Ctrl-C -----------------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2, 5, 8])
def test_the_loss_curve_after_a_kill_is_the_same(
    engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    trained(engine, recipe(artifact="whole"))
    log = Workshop.log

    def killed(self: Workshop, line: Any) -> None:
        if line["step"] == at and "loss" in line:
            raise Killed
        log(self, line)

    monkeypatch.setattr(Workshop, "log", killed)
    assert engine.train(recipe()).wait().error is not None
    assert not (paths.artifacts() / "tiny").exists()
    monkeypatch.setattr(Workshop, "log", log)
    stream = engine.train(recipe())
    assert stream.result().text == "artifact:tiny"
    begun = next(event for event in stream.wait().trace if event.type == "progress" and event.phase == "train")
    assert begun.done == (at - 1) // 2 * 2
    assert losses("tiny") == losses("whole")
    weights = [safe_open(paths.artifacts() / name / "model.safetensors", framework="pt") for name in ("tiny", "whole")]
    for key in weights[0].keys():  # noqa: SIM118 (it is no mapping)
        assert torch.equal(weights[0].get_tensor(key), weights[1].get_tensor(key))


def test_a_cancelled_training_goes_on(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(engine, recipe(artifact="whole", checkpoint_every=100))
    log, third = Workshop.log, threading.Event()

    def told(self: Workshop, line: Any) -> None:
        log(self, line)
        if line["step"] == 3 and "loss" in line and not third.is_set():
            stream.cancel()
            third.set()
            stream._task._loop.call_soon_threadsafe(lambda: None)  # type: ignore[union-attr]
            cancelled.wait(10)

    cancelled = threading.Event()
    monkeypatch.setattr(Workshop, "log", told)
    stream = engine.train(recipe(checkpoint_every=100))
    assert third.wait(60)
    # the loop has seen the cancellation when something asked of it later is done
    for _ in range(3):
        engine._scheduler.submit(_nothing()).result()
    cancelled.set()
    assert stream.wait().finish_reason == "cancelled"
    assert stream.wait().error is None
    found = list((paths.artifacts() / ".partial" / "tiny").glob("checkpoint-*"))
    assert [path.name for path in found] == ["checkpoint-00000003.safetensors"]
    assert trained(engine, recipe(checkpoint_every=100)) == "artifact:tiny"
    assert losses("tiny") == losses("whole")


async def _nothing() -> None:
    pass


# --- what goes wrong ------------------------------------------------------------------------------------------------------------


def failure(engine: cp.Engine, recipe: dict[str, Any]) -> cp.CounterpointError:
    error = engine.train(recipe).wait().error
    assert isinstance(error, cp.CounterpointError), error
    return error


def test_losses_that_are_no_numbers(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def broken(self: Combination, pairs: Any) -> Any:
        nonlocal calls
        calls += 1
        loss, alone = measured(self, pairs)
        return (loss * float("nan") if calls > 10 else loss), alone

    measured = Combination.losses
    monkeypatch.setattr(Combination, "losses", broken)
    error = failure(engine, recipe(held_out=0.0))
    assert "trainer: at step 7 the loss is nan" in error.message
    assert "checkpoint of step 6 is whole" in error.message
    assert "learning_rate" in error.hint
    monkeypatch.setattr(Combination, "losses", measured)
    assert trained(engine, recipe(held_out=0.0)) == "artifact:tiny"


def test_a_full_disk_at_a_checkpoint(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(engine, recipe(artifact="whole"))
    place = files.place

    def full(new: Path, target: Path) -> None:
        if target.name == "checkpoint-00000004.safetensors":
            raise OSError(28, os.strerror(28))
        place(new, target)

    monkeypatch.setattr(files, "place", full)
    error = failure(engine, recipe())
    assert "trainer: cannot write checkpoint-00000004" in error.message
    assert "No space left" in error.message
    assert "checkpoint-00000002.safetensors, is whole" in error.message
    assert "free some space" in error.hint
    assert not list((paths.artifacts() / ".partial" / "tiny").glob(".checkpoint*"))
    monkeypatch.setattr(files, "place", place)
    trained(engine, recipe())
    assert losses("tiny") == losses("whole")


def test_a_damaged_checkpoint_is_passed_over(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(engine, recipe(artifact="whole"))
    log = Workshop.log

    def killed(self: Workshop, line: Any) -> None:
        if line["step"] == 7:
            raise Killed
        log(self, line)

    monkeypatch.setattr(Workshop, "log", killed)
    engine.train(recipe()).wait()
    monkeypatch.setattr(Workshop, "log", log)
    kept = sorted((paths.artifacts() / ".partial" / "tiny").glob("checkpoint-*"))
    assert [path.stem for path in kept] == ["checkpoint-00000004", "checkpoint-00000006"]
    kept[-1].write_bytes(kept[-1].read_bytes()[:-1])
    trained(engine, recipe())
    assert losses("tiny") == losses("whole")


def test_other_settings_are_not_mixed_in(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Workshop.log

    def killed(self: Workshop, line: Any) -> None:
        if line["step"] == 5:
            raise Killed
        log(self, line)

    monkeypatch.setattr(Workshop, "log", killed)
    engine.train(recipe()).wait()
    error = failure(engine, recipe(learning_rate=0.1))
    assert "learning_rate: 0.003 before, 0.1 now" in error.message
    assert "delete" in error.hint


def test_an_artifact_that_is_there_is_not_made_again(engine: cp.Engine, recipe: Recipe) -> None:
    trained(engine, recipe())
    error = failure(engine, recipe())
    assert "'tiny' is there already" in error.message
    assert "counterpoint models rm artifact:tiny" in error.hint
    assert engine.pool.resources().store.remove("artifact:tiny") > 0
    assert trained(engine, recipe()) == "artifact:tiny"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "a", "response": " "}', "line 11: column 'response' is empty"),
        ('{"prompt": "a", "response": ""}', "line 11: column 'response' is empty"),
        ('{"prompt": "a"}', "line 11: has no column 'response'"),
        ('{"prompt": "a", "response": 3}', "line 11: column 'response' is no text"),
        ('["a"]', "line 11: is a JSON list"),
        ('{"prompt": "a", ', "line 11: is not JSON"),
        ('{"prompt": "a", "response": "' + "b" * 500 + '"}', "max_length"),
    ],
)
def test_bad_lines(engine: cp.Engine, recipe: Recipe, pairs: Path, row: str, message: str) -> None:
    pairs.write_text(pairs.read_text() + row + "\n")
    error = failure(engine, recipe(max_length=100))
    assert message in error.message
    assert "line 11" in error.message
    assert error.hint


def test_long_examples_may_be_dropped(engine: cp.Engine, recipe: Recipe, pairs: Path) -> None:
    pairs.write_text(pairs.read_text() + json.dumps({"prompt": "a", "response": "b" * 500}) + "\n")
    trained(engine, recipe(max_length=100, too_long="drop"))
    card = read_card("tiny")
    assert card is not None
    assert card["examples"] == {"trained": 8, "held_out": 2, "forgotten": 0, "dropped": 1}


def test_what_plan_refuses(engine: cp.Engine, recipe: Recipe, tmp_path: Path) -> None:
    def findings(**fields: Any) -> str:
        return "\n".join(
            f"{f.node}: {f.message} ({f.hint})" for f in engine.plan(recipe(**fields)).findings if f.level == "error"
        )

    assert findings() == ""
    assert "no data set 'nowhere.jsonl'" in findings(data="nowhere.jsonl")
    assert "max_length is 4096, and the context of the template holds 512 tokens" in findings(max_length=4096)
    assert "layers is 9, and the model to start from has 3" in findings(layers=9)
    assert "gives no torch module" in findings(template={"kind": "llama_cpp", "source": "path:x.gguf"})
    assert "shared by 3 heads" in findings(start=None, hidden=16, heads=3)
    assert "nothing held out" in findings(
        held_out=0, held_out_file=recipe()["nodes"]["trainer"]["data"], forget="nowhere.jsonl"
    )
    other = save_tiny_model(tmp_path / "other")
    data = json.loads((other / "tokenizer.json").read_text())
    vocab = data["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (other / "tokenizer.json").write_text(json.dumps(data))
    refused = findings(start={"kind": "huggingface", "source": f"path:{other}"})
    assert "does not have the vocabulary of the template" in refused
    short = save_tiny_model(tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    cut = {"kind": "huggingface", "source": f"path:{short}"}
    assert "max_length is 256, and the context of the model to start from holds 64 tokens" in findings(start=cut)
    told = [finding.message for finding in engine.plan(recipe(start=None, hidden=32, heads=4, damping=0.5)).findings]
    assert any("damping says nothing" in message for message in told)
    with pytest.raises(cp.RecipeError, match="no budget"):
        engine.train({**recipe(), "budget": {"seconds": 3}})
    with pytest.raises(cp.RecipeError, match="trains nothing"):
        engine.train({**recipe(), "output": "model"})


# --- the parts ------------------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_combination(template: Path) -> None:
    torch.manual_seed(0)
    large = AutoModelForCausalLM.from_pretrained(template, dtype=torch.float32)
    delta = make_delta(node(layers=1), "t", 0, large, large)
    pairs = [EncodedPair("", (5, 6, 7), (8, 9)), EncodedPair("", (1, 2), (3, 4, 10, 11))]
    size = 257
    loss, alone = Combination(large, delta, size, 0.5).losses(pairs)
    expected = base = 0.0
    for pair in pairs:  # one at a time, whole
        ids = torch.tensor([[*pair.prompt, *pair.response]])
        shared = torch.log_softmax(large(ids).logits[0, :, :size], -1)
        combined = torch.log_softmax(shared + 0.5 * delta(ids).logits[0, :, :size], -1)
        for at, token in enumerate(pair.response):
            expected -= float(combined[len(pair.prompt) - 1 + at, token].detach())
            base -= float(shared[len(pair.prompt) - 1 + at, token].detach())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(alone) == pytest.approx(base, rel=1e-5)
    loss.backward()
    assert all(weight.grad is None for weight in large.parameters())
    assert all(weight.grad is not None for weight in delta.parameters())


@pytest.mark.parametrize("architecture", ["full", "grouped", "sliding"])
def test_delta_is_the_lower_layers(tmp_path: Path, architecture: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_tiny_model(tmp_path, architecture, layers=2), dtype=torch.float32)
    delta = make_delta(node(layers=1), "t", 0, model, model)
    assert delta.config.num_hidden_layers == 1
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    kept = model(ids, output_hidden_states=True).hidden_states[1]
    inner = []
    delta.get_decoder().norm.register_forward_pre_hook(lambda module, args: inner.append(args[0]))
    logits = delta(ids).logits
    assert torch.allclose(inner[0], kept, atol=1e-5)
    damped = make_delta(node(layers=1, damping=0.25), "t", 0, model, model)
    assert torch.allclose(damped(ids).logits, logits / 4, atol=1e-5)
    assert model.config.num_hidden_layers == (4 if architecture == "sliding" else 2)


def test_the_module_shares_weights_and_is_as_exact(template: Path, engine: cp.Engine, recipe: Recipe) -> None:
    engine.load(recipe())
    (host,) = engine.hosts()
    module: Any = host.backend.module()
    plain = AutoModelForCausalLM.from_pretrained(template, dtype=torch.float32)
    ids = torch.tensor([[3, 1, 4, 1, 5, 9]])
    with torch.no_grad():
        assert torch.allclose(module(ids).logits, plain(ids).logits, atol=1e-5)
    assert {weight.data_ptr() for weight in module.parameters()} == {
        weight.data_ptr()
        for weight in host.backend.model.parameters()  # type: ignore[attr-defined]
    }


def test_answers_to_one_prompt_are_on_one_side(engine: cp.Engine, recipe: Recipe, pairs: Path, template: Path) -> None:
    rows = [{"prompt": f"say {at // 2}", "response": ("one", "two")[at % 2]} for at in range(40)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = {"kind": "huggingface", "source": f"path:{template}", "dtype": "float32", "device": "cpu"}
    engine.run({"nodes": {"model": model}, "output": "model", "sampling": {"max_tokens": 1}}, "hello")
    (host,) = engine.hosts()
    loaded = engine.recipe(recipe()).nodes["model"]
    assert isinstance(loaded, LeafModel)
    found = load_examples(node(held_out=0.2, data=str(pairs)), "t", 0, loaded, host.backend).learn
    assert len(found.held_out) == 8
    assert not {one.prompt for one in found.train} & {one.prompt for one in found.held_out}


def test_every_example_once_an_epoch() -> None:
    pairs = [EncodedPair(str(at), (0,) * at, (1,)) for at in range(10)]
    for epoch in range(3):
        seen = [pair.place for step in range(3) for pair in batch_of(pairs, 4, 3 * epoch + step, 1, "learn")]
        assert sorted(seen, key=int) == [str(at) for at in range(10)]
        assert seen != [str(at) for at in range(10)]
    parts = micro_batches(batch_of(pairs, 10, 0, 1, "learn"), 4)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert [int(pair.place) for part in parts for pair in part] == list(range(10))


def test_the_schedule() -> None:
    assert [round(schedule(step, 10, 0.2), 3) for step in range(4)] == [0.5, 1.0, 1.0, 0.962]
    assert schedule(10, 10, 0.2) == pytest.approx(0)
    assert schedule(0, 5, 0.0) == 1.0
    assert schedule(0, 1, 1.0) == 1.0

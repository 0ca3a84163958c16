"""The trainer of verifiers on tiny random models: what it learns, its resumption, its artifact, and what it refuses."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import counterpoint as cp
from counterpoint import paths
from counterpoint.keeping import KeptLines
from counterpoint.store import ModelStore, files
from counterpoint.testing import save_tiny_model
from counterpoint.training import Side, Workshop, read_card
from counterpoint.training.learner import Learner
from counterpoint_plugins.verifier_training import VerifierTraining
from counterpoint_plugins.verifier_training.examples import Examples, Labelled
from counterpoint_plugins.verifier_training.measuring import measure
from counterpoint_plugins.verifier_training.training import Correctness

Recipe = Callable[..., dict[str, Any]]


def artifact(name: str = "judge") -> Path:
    return paths.artifacts() / name


def losses(name: str = "judge") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (artifact(name) / "losses.jsonl").read_text().splitlines()]


def trained(engine: cp.Engine, recipe: dict[str, Any]) -> str:
    return engine.train(recipe).result().text


def scores(engine: cp.Engine, model: dict[str, Any], prompt: str, texts: list[str], **fields: Any) -> list[float]:
    node = {"kind": "huggingface", "dtype": "float32", "device": "cpu", **model}
    recipe = {"nodes": {"m": node, "v": {"kind": "learned", "model": "m", **fields}}, "output": "v"}
    return [float(score) for score in engine.verify(recipe, prompt, texts).result().scores]


# --- what it makes ----------------------------------------------------------------------------------------------------------


def test_a_verifier_learns_what_can_be_told_apart(engine: cp.Engine, recipe: Recipe, problems: Path) -> None:
    rows = [{"question": f"sum:{at}and{at + 3}", "answer": str(2 * at + 3)} for at in range(30)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained(engine, recipe(epochs=16, learning_rate=1e-2, micro_batch=12))
    card = read_card("judge")
    assert card is not None
    assert card["choice"] == {"auc": 1.0, "problems": 6, "chosen": 1.0, "first": 1.0, "oracle": 1.0}
    assert card["held_out_loss"]["untrained"] == pytest.approx(math.log(2))
    assert card["held_out_loss"]["best"] < 0.3
    right, wrong, none, again = scores(
        engine, {"source": "artifact:judge"}, "sum:21and30", ["it is 51", "perhaps 52", "", "it is 51"]
    )
    assert right > 0.9 > 0.1 > wrong
    assert math.isnan(none)
    assert again == right


def test_the_artifact(engine: cp.Engine, recipe: Recipe, problems: Path) -> None:
    stream = engine.train(recipe(in_flight=2))
    assert stream.result().text == "artifact:judge"
    assert not (paths.artifacts() / ".partial" / "judge").exists()
    card = read_card("judge")
    assert card is not None
    assert card["data"]["data"] == {"file": "sums.jsonl", "sha256": files.sha256(problems)}
    assert card["answers"] == {
        "sampled": 30,
        "right": 10,
        "wrong": 20,
        "right_share": 0.3333,
        "abstained": 0,
        "too_long": 0,
    }
    assert card["examples"] == {"trained": 24, "held_out": 6}
    assert card["checker"]["kind"] == "sums"
    assert card["steps"] == 16
    text = (artifact() / "README.md").read_text()
    assert "{kind: learned, model: {kind: huggingface, source: artifact:judge}}" in text
    assert "10 right (33.3%), 20 wrong" in text
    lines = [json.loads(line) for line in (artifact() / "samples.jsonl").read_text().splitlines()]
    assert lines[:2] == [
        {"prompt": "sum:0and3", "response": "it is 3", "right": True},
        {"prompt": "sum:0and3", "response": "perhaps 4", "right": False},
    ]
    assert len(lines) == 30
    # answers are no part of the trace, which would not fit the memory
    trace = stream.result().trace
    assert [event.text for event in trace if event.type == "emitted"] == ["artifact:judge"]
    assert {event.type for event in trace if event.span > 1} <= {"progress"}
    assert [event.seq for event in trace] == list(range(len(trace)))
    sampled = [event for event in trace if event.type == "progress" and event.phase == "sample"]
    assert [(event.done, event.total, event.unit) for event in sampled] == [(done, 10, "problems") for done in range(11)]


def test_what_sampling_costs_is_in_the_trace(engine: cp.Engine, recipe: Recipe) -> None:
    generator = {"kind": "sample", "model": {"kind": "fake"}, "sampling": {"max_tokens": 6}}
    trace = engine.train(recipe(generator=generator, checker={"kind": "early"})).result().trace
    passes = [event for event in trace if event.type == "forward"]
    assert {event.node for event in passes} == {"generator.model"}
    assert sum(event.tokens for event in passes if not event.prefill) >= 30 * 3
    assert len(passes) == 2


@pytest.mark.parametrize("kept", [{"learn": "head"}, {"learn": "lora", "save": "adapter"}, {"learn": "lora"}])
def test_what_is_kept_is_enough(engine: cp.Engine, recipe: Recipe, base: Path, kept: dict[str, str]) -> None:
    trained(engine, recipe(**kept))
    card = read_card("judge")
    assert card is not None
    weights = {path.name for path in artifact().glob("*.safetensors")}
    source = f"path:{base}"
    if kept["learn"] == "head":
        assert weights == {"head.safetensors"}
        found = scores(engine, {"source": source}, "sum:1and4", ["it is 5", "no"], head="artifact:judge")
        assert card["use"] == f"{{kind: learned, model: {{kind: huggingface, source: {source}}}, head: artifact:judge}}"
    elif "save" in kept:
        assert weights == {"head.safetensors", "adapter_model.safetensors"}
        found = scores(engine, {"source": source, "adapter": "artifact:judge"}, "sum:1and4", ["it is 5", "no"])
        assert f"source: {source}, adapter: artifact:judge" in card["use"]
    else:
        assert weights == {"head.safetensors", "model.safetensors"}
        found = scores(engine, {"source": "artifact:judge"}, "sum:1and4", ["it is 5", "no"])
    assert len(set(found)) == 2
    assert all(0 < score < 1 and score != 0.5 for score in found)


# --- a kill -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 5])
def test_the_loss_curve_after_a_kill_is_the_same(
    engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, checked: list[int], at: int
) -> None:
    trained(engine, recipe(artifact="whole"))
    log = Workshop.log

    def killed(self: Workshop, line: Any) -> None:
        if line["step"] == at and "loss" in line:
            raise KeyError("killed")
        log(self, line)

    monkeypatch.setattr(Workshop, "log", killed)
    assert engine.train(recipe()).wait().error is not None
    assert not artifact().exists()
    monkeypatch.setattr(Workshop, "log", log)
    answered = len(checked)
    stream = engine.train(recipe(in_flight=3))
    assert stream.result().text == "artifact:judge"
    assert len(checked) == answered, "no answer is made or checked again"
    begun = next(event for event in stream.result().trace if event.type == "progress" and event.phase == "train")
    assert begun.done == (at - 1) // 3 * 3
    for name in ("losses.jsonl", "model.safetensors", "head.safetensors", "samples.jsonl"):
        assert files.sha256(artifact() / name) == files.sha256(artifact("whole") / name)


def test_a_kill_while_answers_are_made_costs_those_under_way(
    engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = {"kind": "sample", "model": {"kind": "fake"}, "sampling": {"max_tokens": 6}}
    drawn = {"generator": generator, "checker": {"kind": "early"}, "epochs": 1}
    trained(engine, recipe(artifact="whole", **drawn))
    add, kept = KeptLines.add, []

    def killed(self: KeptLines, key: str, line: Any) -> None:
        if len(kept) == 4:
            raise KeyError("killed")
        kept.append(line["place"])
        add(self, key, line)

    monkeypatch.setattr(KeptLines, "add", killed)
    assert engine.train(recipe(in_flight=2, **drawn)).wait().error is not None
    monkeypatch.setattr(KeptLines, "add", add)
    stream = engine.train(recipe(**drawn))
    stream.result()
    sampled = [event.done for event in stream.result().trace if event.type == "progress" and event.phase == "sample"]
    assert sampled == [4, 5, 6, 7, 8, 9, 10]
    for name in ("losses.jsonl", "model.safetensors", "samples.jsonl"):
        assert files.sha256(artifact() / name) == files.sha256(artifact("whole") / name)
    lines = [json.loads(line) for line in (artifact() / "samples.jsonl").read_text().splitlines()]
    assert len({line["response"] for line in lines}) > 25, "answers differ"


def test_other_settings_are_not_mixed_in(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Workshop.log

    def killed(self: Workshop, line: Any) -> None:
        if line["step"] == 5 and "loss" in line:
            raise KeyError("killed")
        log(self, line)

    monkeypatch.setattr(Workshop, "log", killed)
    engine.train(recipe()).wait()
    error = failure(engine, recipe(temperatures=[0.5], checker={"kind": "early"}))
    assert "temperatures: [0.8, 1.2] before, [0.5] now" in error.message
    assert "checker: " in error.message


# --- what goes wrong ----------------------------------------------------------------------------------------------------------


def failure(engine: cp.Engine, recipe: dict[str, Any]) -> cp.CounterpointError:
    error = engine.train(recipe).wait().error
    assert isinstance(error, cp.CounterpointError), error
    return error


@pytest.mark.parametrize(
    ("always", "message"),
    [
        ("right", "trainer: all 24 answers to learn from are right"),
        ("wrong", "trainer: all 24 answers to learn from are wrong"),
        ("unknown", "trainer: there is no answer to learn from"),
    ],
)
def test_one_class_teaches_nothing(engine: cp.Engine, recipe: Recipe, always: str, message: str) -> None:
    error = failure(engine, recipe(checker={"kind": "sums", "always": always}))
    assert message in error.message
    assert "temperature" in error.hint


def test_losses_that_are_no_numbers(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    losses_of, calls = Correctness.losses, []

    def broken(self: Correctness, examples: Any) -> Any:
        calls.append(len(examples))
        loss, more = losses_of(self, examples)
        return (loss * float("nan") if len(calls) > 10 else loss), more

    monkeypatch.setattr(Correctness, "losses", broken)
    error = failure(engine, recipe(held_out=0.0))
    assert "trainer: at step 7 the loss is nan" in error.message
    assert "checkpoint of step 6 is whole" in error.message
    monkeypatch.setattr(Correctness, "losses", losses_of)
    assert trained(engine, recipe(held_out=0.0)) == "artifact:judge"
    card = read_card("judge")
    assert card is not None
    assert card["choice"] is None


def test_a_full_disk(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(engine, recipe(artifact="whole"))
    place = files.place

    def full(new: Path, target: Path) -> None:
        if target.name == "checkpoint-00000006.safetensors":
            raise OSError(28, os.strerror(28))
        place(new, target)

    monkeypatch.setattr(files, "place", full)
    error = failure(engine, recipe())
    assert "No space left" in error.message
    assert "checkpoint-00000003.safetensors, is whole" in error.message
    assert "free some space" in error.hint
    assert not artifact().exists()
    monkeypatch.setattr(files, "place", place)
    trained(engine, recipe())
    assert losses() == losses("whole")


def test_long_answers(engine: cp.Engine, recipe: Recipe) -> None:
    trained(engine, recipe(max_length=36))
    card = read_card("judge")
    assert card is not None
    assert 0 < card["answers"]["too_long"] < 20
    assert card["answers"]["right"] + card["answers"]["wrong"] + card["answers"]["too_long"] == 30
    error = failure(engine, recipe(max_length=36, too_long="refuse", artifact="other"))
    assert "sums.jsonl, example '" in error.message
    assert "max_length" in error.message


def test_problems_may_be_measured_in_a_file_of_their_own(
    engine: cp.Engine, recipe: Recipe, problems: Path, tmp_path: Path
) -> None:
    measured = tmp_path / "measured.jsonl"
    measured.write_text(json.dumps({"question": "sum:50and1", "answer": "51"}) + "\n")
    trained(engine, recipe(held_out_file=str(measured), limit=4))
    card = read_card("judge")
    assert card is not None
    assert card["examples"] == {"trained": 12, "held_out": 3}
    assert card["choice"]["problems"] == 1


def test_what_plan_refuses(engine: cp.Engine, recipe: Recipe, problems: Path, tmp_path: Path) -> None:
    def findings(level: str = "error", **fields: Any) -> str:
        found = [f for f in engine.plan(recipe(**fields)).findings if f.level == level]
        return "\n".join(f"{f.node}: {f.message} ({f.hint})" for f in found)

    assert findings() == ""
    assert "no data set 'nowhere.jsonl'" in findings(data="nowhere.jsonl")
    assert "gives no torch module" in findings(model={"kind": "fake"})
    assert "max_length is 4096, and the context of the model holds 512" in findings(max_length=4096)
    judge = {"kind": "preference", "judge": "model"}
    assert "'checker' (preference) does not say which answers are right" in findings(checker=judge)
    assert "no task type is called 'sum'" in findings(task="sum")
    text = tmp_path / "text.jsonl"
    text.write_text('{"prompt": "hello"}\n')
    assert "'checker' reads answer, which a problem of task 'text' does not have" in findings(data=str(text), task="text")
    problems.write_text("nothing\n")
    assert "line 1: is not JSON" in findings()
    problems.write_text('{"question": "sum:1and2", "answer": "3"}\n')
    assert "temperature 0 is greedy" in findings("warning", temperatures=[0.0])
    assert "nothing is held out" in findings("warning", held_out=0)


# --- the parts ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["grouped", "sliding"])
@pytest.mark.parametrize("balance", [True, False])
def test_the_loss_is_that_of_the_head(engine: cp.Engine, tmp_path: Path, architecture: Any, balance: bool) -> None:
    folder = save_tiny_model(tmp_path / "model", architecture)
    model = {"kind": "huggingface", "source": f"path:{folder}", "dtype": "float32", "device": "cpu"}
    engine.load({"nodes": {"m": model}, "output": "m"})
    (host,) = engine.hosts()
    examples = [Labelled("a", (5, 6, 7), (8, 9), True), Labelled("b", (1, 2), (3, 4, 10, 11, 12, 13), False)]
    weights = {True: 2.0, False: 2 / 3} if balance else {True: 1.0, False: 1.0}
    node = VerifierTraining(artifact="x", model="m", generator="m", checker="c", data="d", learn="full")
    learner = Learner(node, "t", 0, host.backend)
    objective = Correctness(learner, Examples(Side(examples, []), weights), 32)
    torch.manual_seed(0)
    with torch.no_grad():
        objective.head["weight"].copy_(torch.randn(32))
        objective.head["bias"].fill_(0.3)
    loss, _ = objective.losses(examples)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    expected, last = 0.0, []
    for example in examples:  # one at a time, whole
        ids = torch.tensor([[*example.prompt, *example.response]])
        states = plain(ids, output_hidden_states=True).hidden_states[-1][0, len(example.prompt) :]
        outputs = states @ objective.head["weight"] + 0.3
        for output in outputs:
            probability = float(torch.sigmoid(output).detach())
            expected -= weights[example.right] * math.log(probability if example.right else 1 - probability)
        last.append(float(torch.sigmoid(outputs[-1]).detach()))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert objective.scores(examples, 4) == pytest.approx(last, rel=1e-4)
    assert objective.scores(examples, 1) == pytest.approx(last, rel=1e-4)
    assert sum(map(objective.weight, examples)) == pytest.approx(8.0)
    loss.backward()
    assert all(weight.grad is not None for name, weight in objective.parameters.items() if "lm_head" not in name)


def test_what_a_verifier_is_worth() -> None:
    def answers(*groups: str) -> list[Labelled]:
        return [Labelled(str(at), (1,), (2,), letter == "r") for at, group in enumerate(groups) for letter in group]

    choice = measure(answers("rw", "wr", "ww"), [0.9, 0.1, 0.2, 0.8, 0.5, 0.5], {"0": True, "1": False, "2": False})
    assert (choice.auc, choice.problems) == (1.0, 3)
    assert (choice.chosen, choice.first, choice.oracle) == pytest.approx((2 / 3, 1 / 3, 2 / 3))
    tied = measure(answers("wr"), [0.5, 0.5], {"0": False})
    assert (tied.auc, tied.chosen) == (0.5, 0.0)
    assert measure(answers("rr"), [0.5, 0.6], {"0": True}).auc is None


# --- what is damaged, doubled, or said in vain --------------------------------------------------------------------------------


def test_answers_of_a_generator_with_other_weights_are_made_anew(
    engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(*weights: float, **fields: Any) -> dict[str, Any]:
        made = recipe({"kind": "ensemble", "base": "f1", "others": ["f2"], "weights": weights}, {"kind": "early"}, **fields)
        fakes = {"f1": {"kind": "fake", "seed": 1}, "f2": {"kind": "fake", "seed": 2}}
        return {**made, "nodes": {**made["nodes"], **fakes}, "sampling": {"max_tokens": 8}}

    def stop(workshop: Workshop, *arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # all answers are there, and the training begins
        patch.setattr(Workshop, "require_space", stop)
        assert engine.train(job(1, 0)).wait().error is not None
    trained(engine, job(0, 1))
    trained(engine, job(0, 1, artifact="other"))
    trained(engine, job(1, 0, artifact="first"))
    answers = [(artifact(name) / "samples.jsonl").read_bytes() for name in ("judge", "other", "first")]
    assert answers[0] == answers[1] != answers[2]


def test_one_question_twice_is_on_one_side(engine: cp.Engine, recipe: Recipe, problems: Path, base: Path) -> None:
    rows = [{"question": f"sum:{at // 2}and{at // 2 + 3}", "answer": str(at // 2 * 2 + 3)} for at in range(20)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sides = []

    def keep(self: Correctness, learner: Learner, examples: Examples, width: int) -> None:
        sides.append(examples.side)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Correctness, "__init__", keep)
        engine.train(recipe()).wait()
    (side,) = sides
    assert len(side.held_out) == 2 * 2 * 3
    assert not {one.prompt for one in side.train} & {one.prompt for one in side.held_out}


def test_a_new_artifact_of_an_old_name_is_loaded_anew(engine: cp.Engine, recipe: Recipe, tmp_path: Path) -> None:
    found = []
    for rate in (1e-3, 1e-2):
        trained(engine, recipe(learning_rate=rate))
        found.append(scores(engine, {"source": "artifact:judge"}, "sum:1and3", ["it is 4"]))
        with cp.Engine(store=ModelStore(tmp_path / "store")) as fresh:
            assert scores(fresh, {"source": "artifact:judge"}, "sum:1and3", ["it is 4"]) == found[-1]
        files.remove(artifact())
    assert found[0] != found[1]


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_best_weights_that_are_damaged(engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    trained(engine, recipe(artifact="whole"))

    def stop(workshop: Workshop, *arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Workshop, "finish", stop)
        engine.train(recipe()).wait()
    best = paths.artifacts() / ".partial" / "judge" / "best.safetensors"
    if damage == "cut":
        best.write_bytes(best.read_bytes()[:-100])
    else:
        best.unlink()
    stream = engine.train(recipe())
    for event in stream:
        if event.type == "note" and event.data.get("step") == 5:
            stream.cancel()
    found = Workshop("judge", "t").latest()
    assert found is not None
    assert 5 <= found[1]["step"] < 16, "what is made anew is kept, and not what was there"
    trained(engine, recipe())
    assert losses() == losses("whole")
    assert files.sha256(artifact() / "head.safetensors") == files.sha256(artifact("whole") / "head.safetensors")


def test_an_adapter_beside_another(engine: cp.Engine, recipe: Recipe) -> None:
    trained(engine, recipe(learn="lora", save="adapter"))

    def over(source: dict[str, Any], **fields: Any) -> dict[str, Any]:
        made = recipe(learn="lora", artifact="second", **fields)
        return {**made, "nodes": {**made["nodes"], "model": {**made["nodes"]["model"], **source}}}

    with pytest.raises(cp.RecipeError, match="has the adapter artifact:judge already") as refused:
        engine.plan(over({"adapter": "artifact:judge"}, save="adapter")).check()
    assert "set save to merged" in refused.value.hint
    engine.plan(over({"adapter": "artifact:judge"})).check()
    # over a base that is an artifact itself, the card's line loads it
    trained(engine, recipe(artifact="base"))
    made = over({"source": "artifact:base"}, save="adapter")
    trained(engine, made)
    first = scores(engine, {"source": "artifact:base"}, "sum:1and3", ["it is 4"])
    both = scores(engine, {"source": "artifact:base", "adapter": "artifact:second"}, "sum:1and3", ["it is 4"])
    assert first != both


@pytest.mark.parametrize(
    "change",
    [
        {"answers": None},
        {"answers": [{"text": "a"}] * 3},
        {"answers": [{"text": "it is 3", "right": True}]},
        {"answers": [1, 2, 3]},
    ],
)
def test_kept_answers_that_are_none(
    engine: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    def stop(workshop: Workshop, *arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Workshop, "require_space", stop)
        engine.train(recipe()).wait()
    (kept,) = (paths.artifacts() / ".partial" / "judge").glob("samples-*.jsonl")
    head, first, *rest = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join([head, json.dumps({**json.loads(first), **change}) + "\n", *rest]))
    error = engine.train(recipe()).wait().error
    assert isinstance(error, cp.RunError)
    assert "has a line that is none of what it keeps" in error.message


def test_halves_of_surrogate_pairs(engine: cp.Engine, recipe: Recipe, problems: Path) -> None:
    with problems.open("a") as file:
        file.write(json.dumps({"question": "sum:1and3 \ud800", "answer": "4"}) + "\n")
    with pytest.raises(cp.CounterpointError, match=r"example '10': its text holds half of a surrogate pair"):
        engine.plan(recipe()).check()


def test_the_first_answer_counts_though_it_is_left_out() -> None:
    examples = [Labelled("a", (1,), (3,), False), Labelled("b", (1,), (2,), True)]
    choice = measure(examples, [0.1, 0.5], {"a": True, "b": True, "c": False})
    assert (choice.problems, choice.first, choice.chosen) == (2, 1.0, 0.5)


def test_what_says_nothing_is_told(engine: cp.Engine, recipe: Recipe) -> None:
    told = [finding.message for finding in engine.plan(recipe(save="adapter")).findings if finding.level == "warning"]
    assert any("save: adapter says nothing where learn is full" in message for message in told)
    error = engine.train(recipe(learn="lora", lora_modules="(")).wait().error
    assert isinstance(error, cp.Unsupported)
    assert "lora_modules" in error.hint

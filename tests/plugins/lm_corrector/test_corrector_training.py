"""The trainer of correctors on tiny random models: what it learns, what it keeps, how it goes on, and what it refuses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors import safe_open

import counterpoint as cp
from counterpoint import paths
from counterpoint.events import Emitted
from counterpoint.testing import save_tiny_model
from counterpoint.training import Workshop, read_card
from counterpoint_plugins.lm_corrector.examples import read_examples
from counterpoint_plugins.lm_corrector.training_node import CorrectorTraining

Recipe = Callable[..., dict[str, Any]]


def card_of(name: str = "fixer") -> dict[str, Any]:
    card = read_card(name)
    assert card is not None
    return card


def losses(name: str = "fixer") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (paths.artifacts() / name / "losses.jsonl").read_text().splitlines()]


def same_weights(one: str, other: str) -> bool:
    files = [safe_open(paths.artifacts() / name / "model.safetensors", framework="pt") for name in (one, other)]
    return all(torch.equal(*(file.get_tensor(key) for file in files)) for key in files[0].keys())  # noqa: SIM118


def failure(engine: cp.Engine, recipe: dict[str, Any]) -> cp.CounterpointError:
    error = engine.train(recipe).wait().error
    assert isinstance(error, cp.CounterpointError), error
    return error


# --- what it makes ---------------------------------------------------------------------------------------------------------------


def test_a_corrector_learns_to_use_its_candidate(trainer: cp.Engine, recipe: Recipe, data: Path) -> None:
    assert trainer.train(recipe()).result().text == "artifact:fixer"
    card = card_of()
    assert card["held_out_loss"]["best"] < 0.1 < card["held_out_loss"]["untrained"]
    trainer.train(recipe(n=0, artifact="blind")).result()
    assert card_of("blind")["held_out_loss"]["best"] > 2 * card["held_out_loss"]["best"], "the source alone does not tell"

    answers = data.with_name("answers.jsonl")
    new = {f"q{number}": ("red", "blue")[number % 2] for number in range(60, 68)}
    answers.write_text("".join(json.dumps({"prompt": source, "answers": word}) + "\n" for source, word in new.items()))
    model = {**recipe()["nodes"]["model"], "source": "artifact:fixer"}
    node = {"kind": "lm_corrector", "corrector": "model", "candidates": "told", "n": 1}
    use = {
        "nodes": {"model": model, "told": recipe()["nodes"]["told"], "c": node},
        "output": "c",
        "sampling": {"max_tokens": 8},
    }
    with pytest.raises(cp.RecipeError, match="trained with another template"):
        trainer.run(use, "q60")
    use["nodes"]["c"] = {**node, "template": recipe()["nodes"]["trainer"]["template"]}
    results = trainer.run_many(use, list(new))
    assert [(result.text, result.finish_reason) for result in results] == [(word, "stop") for word in new.values()]
    use["nodes"]["model"] = {**model, "prompt_format": "chat"}
    with pytest.raises(cp.RecipeError, match="in the format 'raw', and is given 'chat'"):
        trainer.run(use, "q60")


def test_the_card(trainer: cp.Engine, recipe: Recipe, data: Path) -> None:
    trainer.train(recipe(epochs=1, ask="{{ source }}", template=None)).result()
    card = card_of()
    assert card["template"].startswith("source: {{ source }}{% if candidates %} <sep> candidates: ")
    assert (card["ask"], card["n"], card["prompt_format"]) == ("{{ source }}", [1], "raw")
    assert card["data"] == {"data": {"file": "data.jsonl", "sha256": hashlib.sha256(data.read_bytes()).hexdigest()}}
    assert card["examples"] == {"sources": 48, "trained": 38, "held_out": 10, "dropped": 0, "without_candidates": 0}
    assert card["candidates"] == {"made": 48, "left_out": 0, "flops": 0.0, "tokens": 0}
    text = (paths.artifacts() / "fixer" / "README.md").read_text()
    assert card["use"] == "{kind: huggingface, source: artifact:fixer, prompt_format: raw}"
    assert f"A recipe loads it as `{card['use']}`." in text
    assert "48 made" in text


def test_by_lora(trainer: cp.Engine, recipe: Recipe) -> None:
    settings = {"learn": "lora", "lora_rank": 4, "epochs": 2}
    trainer.train(recipe(**settings)).result()
    trainer.train(recipe(**settings, save="adapter", artifact="beside")).result()
    assert losses() == losses("beside")
    assert card_of("beside")["use"].endswith("/model, adapter: artifact:beside, prompt_format: raw}")
    base = recipe()["nodes"]["model"]
    node = {"kind": "lm_corrector", "corrector": "model", "candidates": "told", "n": 1}
    node |= {"template": recipe()["nodes"]["trainer"]["template"]}
    use = {
        "nodes": {"model": {**base, "source": "artifact:fixer"}, "told": recipe()["nodes"]["told"], "c": node},
        "output": "c",
    }
    use["sampling"] = {"max_tokens": 6}
    merged = trainer.run(use, "q1").text
    use["nodes"]["model"] = {**base, "adapter": "artifact:beside"}
    assert trainer.run(use, "q1").text == merged
    key = trainer.plan(use).facts["model"].key
    trainer.pool.resources().store.remove("artifact:beside")
    trainer.train(recipe(**settings, save="adapter", artifact="beside", learning_rate=0.1)).result()
    assert trainer.plan(use).facts["model"].key != key, (
        "another adapter of the same name: nothing kept is mistaken for its answers"
    )
    use["nodes"]["c"] = {**node, "template": None}
    with pytest.raises(cp.RecipeError, match=r"artifact:beside\) was trained with another template"):
        trainer.run(use, "q1")


def test_what_is_trained_is_what_is_read(trainer: cp.Engine, recipe: Recipe, stage: Any, tmp_path: Path) -> None:
    """The loss before the first step is that of the target after the corrector's prompt, its end included."""
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text('{"source": "q1", "target": "green "}\n')
    trainer.train(recipe(held_out_file=str(held_out), epochs=1)).result()
    nats: list[float] = []

    @stage.action
    async def measure(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open(node.model, prompt)
        tokens = [*session.tokenizer.encode("green"), *session.stop_ids]
        nats.append(-float((await session.score(tokens)).mean()))

    rows = map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines())
    word = next(row["answers"] for row in rows if row["prompt"] == "q1")
    nodes = {"model": recipe()["nodes"]["model"], "s": {"kind": "script", "action": "measure", "model": "model"}}
    trainer.run({"nodes": nodes, "output": "s"}, f"q1 {word}:")
    assert nats == [pytest.approx(card_of()["held_out_loss"]["untrained"], rel=1e-4)]


# --- candidates --------------------------------------------------------------------------------------------------------------------


class Proposer:
    """A generator that counts; it samples the fake model, so that draws matter. At a source it was told to, it is killed."""

    def __init__(self, stage: Any) -> None:
        self.asked: list[str] = []
        self.most = self._now = 0
        self.dies_at = ""
        stage.actions["propose"] = self.generate

    node: ClassVar[dict[str, Any]] = {"kind": "script", "action": "propose", "child": {"kind": "fake", "end_bias": -9.0}}

    async def generate(self, node: Any, run: Any, prompt: Any) -> Any:
        if prompt.text == self.dies_at:
            raise Killed
        self.asked.append(prompt.text)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(0)
            return await run.generate(node.child, prompt, relay=True)
        finally:
            self._now -= 1


class Killed(Exception):
    pass


def proposing(recipe: Recipe, **fields: Any) -> dict[str, Any]:
    made = recipe(**{"epochs": 2, "n": 3, **fields, "candidates": Proposer.node})
    return {
        **made,
        "nodes": {name: node for name, node in made["nodes"].items() if name != "told"},
        "sampling": {"max_tokens": 6},
    }


def test_candidates_are_made_sixteen_examples_at_a_time_and_told(trainer: cp.Engine, recipe: Recipe, stage: Any) -> None:
    proposer = Proposer(stage)
    stream = trainer.train(proposing(recipe))
    stream.result()
    assert sorted(proposer.asked) == sorted([f"q{number}" for number in range(48)] * 3)
    assert proposer.most == 16 * 3
    told = [event for event in stream if event.type == "progress" and event.phase == "sample"]
    assert [event.done for event in told] == list(range(49))
    assert {event.total for event in told} == {48}
    spent = card_of()["candidates"]
    assert spent["made"] + spent["left_out"] == 48 * 3
    assert spent["flops"] == pytest.approx(stream.wait().summary.flops)
    assert spent["tokens"] == 48 * 3 * 6


def test_a_kill_costs_no_candidate_that_is_there(trainer: cp.Engine, recipe: Recipe, stage: Any) -> None:
    proposer = Proposer(stage)
    trainer.train(proposing(recipe, artifact="whole")).result()
    proposer.asked.clear()
    proposer.dies_at = "q30"
    assert trainer.train(proposing(recipe)).wait().error is not None
    (kept,) = (paths.artifacts() / ".partial" / "fixer").glob("candidates-*.jsonl")
    there = len(kept.read_text().splitlines()) - 1
    assert 0 < there < 47
    with kept.open("a") as file:
        file.write('{"key": "torn')
    proposer.asked.clear()
    proposer.dies_at = ""
    trainer.train(proposing(recipe)).result()
    assert len(proposer.asked) == 3 * (48 - there), "what is kept is not asked for again"
    assert losses() == losses("whole"), "what was drawn does not depend on the kill"
    assert same_weights("fixer", "whole")
    assert card_of()["candidates"]["tokens"] == card_of("whole")["candidates"]["tokens"], "what was made before counts"
    assert not (paths.artifacts() / ".partial" / "fixer").exists()


@pytest.mark.parametrize("at", [1, 3, 6])
def test_a_kill_while_it_trains(
    trainer: cp.Engine, recipe: Recipe, stage: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    proposer = Proposer(stage)
    settings = {"checkpoint_every": 2}
    trainer.train(proposing(recipe, artifact="whole", **settings)).result()
    log = Workshop.log

    def killed(self: Workshop, line: Any) -> None:
        if line["step"] == at and "loss" in line:
            raise Killed
        log(self, line)

    monkeypatch.setattr(Workshop, "log", killed)
    assert trainer.train(proposing(recipe, **settings)).wait().error is not None
    monkeypatch.setattr(Workshop, "log", log)
    proposer.asked.clear()
    stream = trainer.train(proposing(recipe, **settings))
    stream.result()
    assert proposer.asked == []
    begun = next(event for event in stream if event.type == "progress" and event.phase == "train")
    assert begun.done == (at - 1) // 2 * 2
    assert losses() == losses("whole")
    assert same_weights("fixer", "whole")


def test_a_training_that_is_cancelled_while_candidates_are_made(trainer: cp.Engine, recipe: Recipe, stage: Any) -> None:
    proposer = Proposer(stage)
    stream = trainer.train(proposing(recipe))
    next(event for event in stream if event.type == "progress" and event.phase == "sample" and event.done == 8)
    stream.cancel()
    assert stream.wait().finish_reason == "cancelled"
    asked = len(proposer.asked)
    proposer.asked.clear()
    assert trainer.train(proposing(recipe)).result().text == "artifact:fixer"
    assert 0 < len(proposer.asked) < 48 * 3 <= asked + len(proposer.asked) + 48


def test_other_candidates_are_made_anew(
    trainer: cp.Engine, recipe: Recipe, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first checkpoint, settings may change; nothing made in another way is trained on."""
    proposer = Proposer(stage)
    proposer.dies_at = "q47"
    assert trainer.train(proposing(recipe)).wait().error is not None
    proposer.dies_at, proposer.asked = "", []
    trainer.train(proposing(recipe, temperature=0.9)).result()
    assert len(proposer.asked) == 48 * 3
    log = Workshop.log

    def killed(self: Workshop, line: Any) -> None:
        if line["step"] == 5:
            raise Killed
        log(self, line)

    monkeypatch.setattr(Workshop, "log", killed)
    trainer.train(proposing(recipe, artifact="begun")).wait()
    assert "temperature: 0.6 before, 0.9 now" in failure(trainer, proposing(recipe, artifact="begun", temperature=0.9)).message


def test_cached_candidates_serve_several_trainings(trainer: cp.Engine, recipe: Recipe, stage: Any) -> None:
    proposer = Proposer(stage)
    cached = {"kind": "cached", "generator": Proposer.node}

    def train(**fields: Any) -> None:
        made = proposing(recipe, **fields)
        made["nodes"]["trainer"] = {**made["nodes"]["trainer"], "candidates": cached}
        trainer.train(made).result()

    train()
    assert len(proposer.asked) == 48 * 3
    train(artifact="another", learning_rate=1e-3)
    train(artifact="single", n=1)
    assert len(proposer.asked) == 48 * 3
    assert card_of("another")["candidates"]["flops"] == 0


def test_examples_without_candidates(trainer: cp.Engine, recipe: Recipe, stage: Any) -> None:
    @stage.action
    async def propose(node: Any, run: Any, prompt: Any) -> None:
        if prompt.text == "q7":
            raise cp.RunError("it broke", hint="mend it")
        if prompt.text == "q8" and run.ordinal == 1:
            raise cp.RunError("it broke")
        run.emit(Emitted(text="red" if run.ordinal and prompt.text != "q3" else ""))

    trainer.train(proposing(recipe, first=7)).result()
    card = card_of()
    assert card["candidates"]["left_out"] == 3 + 6
    assert (card["examples"]["sources"], card["examples"]["without_candidates"]) == (6, 1)
    error = failure(trainer, proposing(recipe, artifact="other"))
    assert "data.jsonl, line 8: none of its 3 candidates could be made" in error.message
    assert error.hint == "mend it"
    answers = {"kind": "script", "action": "silent"}

    @stage.action
    async def silent(node: Any, run: Any, prompt: Any) -> None: ...

    mute = proposing(recipe, artifact="mute")
    mute["nodes"]["trainer"]["candidates"] = answers
    assert "every candidate of 38 sources is empty" in failure(trainer, mute).message


# --- data --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def parallel(tmp_path: Path) -> list[Path]:
    files = {"src": "q{} ", "ref0": "red{}", "ref1": "blue{} ", "ref2": "red{}"}
    for name, line in files.items():
        (tmp_path / name).write_text(
            "".join(line.format(number) + "\n" for number in range(20)) + ("q99\n" if name == "src" else "\n")
        )
    return [tmp_path / name for name in files]


def test_parallel_files(trainer: cp.Engine, recipe: Recipe, stage: Any, parallel: list[Path]) -> None:
    proposer = Proposer(stage)
    source, *references = map(str, parallel)
    trainer.train(proposing(recipe, data=source, reference_files=references, first=20, n=1)).result()
    assert sorted(proposer.asked) == sorted(f"q{number} " for number in range(20)), "sources stand as they are"
    card = card_of()
    assert card["examples"] == {"sources": 20, "trained": 16 * 3, "held_out": 4 * 3, "dropped": 0, "without_candidates": 0}, (
        "each reference is an example"
    )
    assert list(card["data"]) == ["data", "reference_files[0]", "reference_files[1]", "reference_files[2]"]
    trainer.train(
        proposing(recipe, artifact="one", data=source, reference_files=references, first=20, targets="first")
    ).result()
    assert card_of("one")["examples"]["trained"] == 16
    error = failure(trainer, proposing(recipe, artifact="last", data=source, reference_files=references))
    assert "src, line 21: column 'references' holds no target" in error.message


def test_all_targets_of_a_source_are_on_one_side(recipe: Recipe, parallel: list[Path], trainer: cp.Engine) -> None:
    from counterpoint_plugins.lm_corrector.examples import read_examples

    source, *references = map(str, parallel)
    node: Any = trainer.recipe(recipe(data=source, reference_files=references, first=20)).nodes["trainer"]
    found = read_examples(node, "trainer", 3)
    assert len(found.train) == 16
    assert len(found.held_out) == 4
    assert not {one.source for one in found.train} & {one.source for one in found.held_out}
    number = found.train[0].source.strip().removeprefix("q")
    assert found.train[0].targets == (f"red{number}", f"blue{number}", f"red{number}")


def test_the_first_sources_alone(trainer: cp.Engine, recipe: Recipe) -> None:
    trainer.train(recipe(first=10, epochs=1)).result()
    assert card_of()["examples"]["sources"] == 10


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"source": "x"}', "line 49: has no column 'target'"),
        ('{"target": "x"}', "line 49: has no column 'source'"),
        ('{"source": " ", "target": "x"}', "line 49: column 'source' is no text"),
        ('{"source": 3, "target": "x"}', "line 49: column 'source' is no text"),
        ('{"source": "x", "target": 3}', "line 49: column 'target' is neither a text nor a list"),
        ('{"source": "x", "target": ["a", null]}', "line 49: column 'target' is neither a text nor a list"),
        ('{"source": "x", "target": []}', "line 49: column 'target' holds no target"),
        ('{"source": "x", "target": " "}', "line 49: column 'target' holds no target"),
        ('["x"]', "line 49: is a JSON list"),
        ('{"source": "x", ', "line 49: is not JSON"),
    ],
)
def test_bad_lines(planner: cp.Engine, recipe: Recipe, data: Path, row: str, says: str) -> None:
    data.write_text(data.read_text() + row + "\n")
    error = failure(planner, recipe())
    assert says in error.message
    assert error.hint


def test_long_examples(trainer: cp.Engine, recipe: Recipe, data: Path) -> None:
    data.write_text(data.read_text() + json.dumps({"source": "q0", "target": "x" * 300}) + "\n")
    error = failure(trainer, recipe(epochs=1, held_out=0))
    assert "line 49: prompt and answer have" in error.message
    trainer.train(recipe(epochs=1, held_out=0, too_long="drop")).result()
    assert card_of()["examples"] == {"sources": 49, "trained": 48, "held_out": 0, "dropped": 1, "without_candidates": 0}


def test_what_plan_refuses(trainer: cp.Engine, recipe: Recipe) -> None:
    def findings(**fields: Any) -> str:
        return "\n".join(f"{f.node}: {f.message}" for f in trainer.plan(recipe(**fields)).findings if f.level == "error")

    assert findings() == ""
    assert "no data set 'nowhere.jsonl'" in findings(data="nowhere.jsonl")
    assert "no data set 'nowhere.ref'" in findings(reference_files=["nowhere.ref"])
    assert "no data set 'nowhere.jsonl'" in findings(held_out_file="nowhere.jsonl")
    assert "max_length is 4096, and the context of the corrector holds 512 tokens" in findings(max_length=4096)
    assert "gives no torch module" in findings(corrector={"kind": "fake"})
    assert "the template leaves the candidates out" in findings(template="{{ source }}")
    assert findings(template="{{ source }}", n=0) == ""
    with pytest.raises(cp.RecipeError, match="n: 2 numbers for 1 generators"):
        trainer.plan(recipe(n=[1, 2]))
    with pytest.raises(cp.RecipeError, match="learn"):
        trainer.plan(recipe(learn="head"))


def test_targets_on_lines_of_their_own_are_held_out_together(trainer: cp.Engine, recipe: Recipe, data: Path) -> None:
    rows = [{"source": f"q{at // 2}", "target": ("red", "blue")[at % 2]} for at in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_examples(CorrectorTraining.model_validate(recipe()["nodes"]["trainer"]), "t", 0)
    assert len(found.held_out) == 8
    assert not {one.source for one in found.train} & {one.source for one in found.held_out}


def test_nothing_held_out_is_left(trainer: cp.Engine, recipe: Recipe, data: Path) -> None:
    job = recipe(held_out=0.02, too_long="drop", max_length=48)
    (held_out,) = read_examples(CorrectorTraining.model_validate(job["nodes"]["trainer"]), "t", 0).held_out
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    long = [{**row, "target": "red " * 40} if row["source"] == held_out.source else row for row in rows]
    data.write_text("".join(json.dumps(row) + "\n" for row in long))
    error = failure(trainer, job)
    assert "of 1 sources held out none is left to measure on: 1 are too long" in error.message
    assert "held_out" in error.hint


def test_halves_of_surrogate_pairs(planner: cp.Engine, recipe: Recipe, data: Path) -> None:
    with data.open("a") as file:
        file.write(json.dumps({"source": "q", "target": "red \ud800"}) + "\n")
    assert "line 49: its text holds half of a surrogate pair" in failure(planner, recipe()).message


@pytest.mark.parametrize("change", [{"candidates": None}, {"candidates": [1]}, {"cost": {}}, {"left_out": "x"}])
def test_kept_candidates_that_are_none(
    trainer: cp.Engine, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    def stop(workshop: Workshop, *arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Workshop, "agree", stop)
        trainer.train(recipe()).wait()
    (kept,) = (paths.artifacts() / ".partial" / "fixer").glob("candidates-*.jsonl")
    head, first, *rest = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join([head, json.dumps({**json.loads(first), **change}) + "\n", *rest]))
    assert "has a line that is none of what it keeps" in failure(trainer, recipe()).message


def test_an_adapter_on_another_base(trainer: cp.Engine, recipe: Recipe, tmp_path: Path) -> None:
    trainer.train(recipe(learn="lora", save="adapter", epochs=1)).result()
    other = save_tiny_model(tmp_path / "other", seed=7)

    def use(source: Path | str) -> dict[str, Any]:
        model = {**recipe()["nodes"]["model"], "source": str(source), "adapter": "artifact:fixer"}
        node = {"kind": "lm_corrector", "corrector": "model", "candidates": "told", "n": 1}
        template = recipe()["nodes"]["trainer"]["template"]
        nodes = {"model": model, "told": recipe()["nodes"]["told"], "fix": {**node, "template": template}}
        return {"nodes": nodes, "output": "fix"}

    trainer.plan(use(recipe()["nodes"]["model"]["source"])).check()
    plan = trainer.plan(use(f"path:{other}"))  # which may be the same model, moved
    assert [f.level for f in plan.findings if "is an adapter that was trained on" in f.message] == ["warning"]
    trainer.plan(use("path:" + os.path.relpath(recipe()["nodes"]["model"]["source"].removeprefix("path:")))).check()
    card = paths.artifacts() / "fixer" / "counterpoint.json"
    told = json.loads(card.read_text())
    card.write_text(json.dumps({**told, "corrector": {**told["corrector"], "source": "smollm2-135m-instruct"}}))
    with pytest.raises(cp.RecipeError, match="is an adapter that was trained on smollm2-135m-instruct, and is put on"):
        trainer.plan(use(f"path:{other}")).check()

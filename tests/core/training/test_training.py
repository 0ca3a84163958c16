"""What trainers share: the working folder, checkpoints, progress, cancellation, and how an absent artifact is made."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

import counterpoint as cp
from counterpoint import paths
from counterpoint.prompt import Prompt
from counterpoint.registry import Registry
from counterpoint.store import ModelStore, files
from counterpoint.testing.fake import FakeModel
from counterpoint.training import Workshop, encode_pairs, end_of_turn, read_card, read_pairs, split

RECIPE = {"name": "count", "nodes": {"t": {"kind": "counting", "artifact": "four"}}, "output": "t"}


@pytest.fixture
def engine(trainers: Registry, tmp_path: Path) -> Iterator[cp.Engine]:
    with cp.Engine(registry=trainers, store=ModelStore(tmp_path / "store")) as made:
        yield made


# --- the engine ---------------------------------------------------------------------------------------------------------------


def test_a_training_is_a_run(engine: cp.Engine) -> None:
    stream = engine.train(RECIPE)
    result = stream.result()
    assert result.text == "artifact:four"
    assert result.finish_reason == "stop"
    kinds = [event.type for event in result.trace]
    assert kinds[:2] == ["run_started", "node_started"]
    assert kinds[-3:] == ["emitted", "node_finished", "run_finished"]
    steps = [event for event in result.trace if event.type == "progress"]
    assert [(event.phase, event.item, event.done, event.total, event.unit) for event in steps] == [
        ("train", "four", done, 4, "steps") for done in range(5)
    ]
    notes = [event.data for event in result.trace if event.type == "note"]
    assert [note["loss"] for note in notes[:-1]] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert notes[-2]["seconds_left"] == 0
    assert notes[0]["tokens_per_second"] > 0
    assert notes[-1] == {"step": 4, "steps": 4, "held_out": 0.5}


def test_a_cancelled_training_ends_after_its_step_and_goes_on(engine: cp.Engine, counting: Any) -> None:
    began, go = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 2:
            began.set()
            go.wait(60)
        elif step == 3:  # where word of the cancellation comes late: it does not take so long
            time.sleep(10)

    counting.after = staticmethod(wait)
    stream = engine.train(RECIPE)
    assert began.wait(60)
    stream.cancel()
    assert not stream.done  # the step under way is waited for
    go.set()
    result = stream.wait()
    assert result.finish_reason == "cancelled"
    assert result.error is None
    done = next(event.done for event in reversed(result.trace) if event.type == "progress")
    assert 2 <= done < 4
    counting.after = staticmethod(lambda step: None)
    again = engine.train(RECIPE)
    assert again.result().text == "artifact:four"
    assert next(event.done for event in again.result().trace if event.type == "progress") == done
    lines = (paths.artifacts() / "four" / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_what_fails_while_a_training_stops_is_told(engine: cp.Engine, counting: Any) -> None:
    began, go = threading.Event(), threading.Event()

    def fail(step: int) -> None:
        began.set()
        go.wait(60)
        raise cp.RunError("t: the disk is full")

    counting.after = staticmethod(fail)
    stream = engine.train(RECIPE)
    assert began.wait(60)
    stream.cancel()
    stream._loop.call_soon_threadsafe(lambda: stream._loop.call_soon(lambda: stream._loop.call_soon(go.set)))  # type: ignore[union-attr]
    with pytest.raises(cp.RunError, match="the disk is full"):
        stream.result()


def test_what_is_no_training_is_refused(engine: cp.Engine) -> None:
    fake = {"nodes": {"m": {"kind": "fake"}}, "output": "m"}
    with pytest.raises(cp.RecipeError, match="trains nothing") as caught:
        engine.train(fake)
    assert "counterpoint run" in caught.value.hint
    with pytest.raises(cp.RecipeError, match="no budget"):
        engine.train({**RECIPE, "budget": {"tokens": 5}})
    with pytest.raises(cp.RecipeError) as caught:
        engine.run(RECIPE, "hello")
    assert "counterpoint train" in caught.value.hint


# --- an artifact that is not there ----------------------------------------------------------------------------------------------


def hints(engine: cp.Engine, **fields: Any) -> tuple[str, str]:
    model = {"kind": "huggingface", "source": "artifact:four", **fields}
    (finding,) = [f for f in engine.plan({"nodes": {"m": model}, "output": "m"}).findings if f.level == "error"]
    return finding.message, finding.hint


def test_a_plan_says_how_an_absent_artifact_is_made(engine: cp.Engine) -> None:
    assert hints(engine) == (
        "artifact:four is not on this machine",
        "make it with the recipe that trains it: `counterpoint train RECIPE`",
    )
    paths.recipes().mkdir(parents=True)
    (paths.recipes() / "broken.yaml").write_text("four: [")
    (paths.recipes() / "other.yaml").write_text("nodes: {m: {kind: fake}}\noutput: m  # four\n")
    trainer = "nodes: {t: {kind: counting, artifact: four, minutes: 40}}\noutput: t\n"
    (paths.recipes() / "count.yaml").write_text(trainer)
    assert hints(engine)[1] == "`counterpoint train count` makes it, in about 40 minutes on two cores"
    (paths.recipes() / "count.yaml").write_text(trainer.replace(", minutes: 40", ""))
    (paths.artifacts() / ".partial" / "four").mkdir(parents=True)
    assert hints(engine)[1] == "`counterpoint train count` makes it (it has been begun, and goes on)"


# --- the working folder -----------------------------------------------------------------------------------------------------------


def test_checkpoints_are_exact_and_few(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = torch.randn(5, 3)
    with Workshop("w", "node") as workshop:
        assert workshop.latest() is None
        for step in range(1, 5):
            workshop.checkpoint(step, {"a.b": weights * step, "s": torch.tensor(float(step))}, {"loss": 0.1 + step})
        assert sorted(path.name for path in workshop.path.iterdir()) == [
            "checkpoint-00000003.safetensors",
            "checkpoint-00000004.safetensors",
        ]
        found = workshop.latest()
        assert found is not None
        assert torch.equal(found[0]["a.b"], weights * 4)
        assert found[1] == {"loss": 4.1, "step": 4}
        (workshop.path / "checkpoint-00000004.safetensors").write_bytes(b"short")
        found = workshop.latest()
        assert found is not None
        assert found[1]["step"] == 3


def test_a_checkpoint_that_cannot_be_written_leaves_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    with Workshop("w", "node") as workshop:
        workshop.checkpoint(1, {"a": torch.ones(2)}, {})

        def full(new: Path, target: Path) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(files, "place", full)
        with pytest.raises(cp.RunError) as caught:
            workshop.checkpoint(2, {"a": torch.ones(2)}, {})
        assert "node: cannot write checkpoint-00000002" in caught.value.message
        assert "checkpoint-00000001.safetensors, is whole" in caught.value.message
        assert "free some space" in caught.value.hint
        assert [path.name for path in workshop.path.iterdir()] == ["checkpoint-00000001.safetensors"]
        monkeypatch.undo()
        found = workshop.latest()
        assert found is not None
        assert found[1]["step"] == 1


def test_too_small_a_disk_is_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with Workshop("w", "node") as workshop:
        workshop.require_space(1)
        with pytest.raises(cp.ModelError, match="not enough room to train 'w'"):
            workshop.require_space(1 << 60)


def test_one_process_at_a_time() -> None:
    with (
        Workshop("w", "node"),
        pytest.raises(cp.RunError, match="another process is training 'w'"),
        Workshop("w", "node"),
    ):
        pass
    with Workshop("w", "node"):
        pass


def test_settings_have_to_agree_once_there_is_a_checkpoint() -> None:
    with Workshop("w", "node") as workshop:
        workshop.agree({"rate": 0.1, "layers": (1, 2)})
        workshop.agree({"rate": 0.2, "layers": (1, 2)})
        workshop.checkpoint(1, {}, {})
        workshop.agree({"rate": 0.2, "layers": (1, 2)})
        with pytest.raises(cp.RunError, match=r"rate: 0\.2 before, 0\.3 now"):
            workshop.agree({"rate": 0.3, "layers": (1, 2)})


def test_losses_survive_a_kill() -> None:
    with Workshop("w", "node") as workshop:
        assert workshop.losses() == []
        for step in range(4):
            workshop.log({"step": step, "loss": 0.1 * step})
        with (workshop.path / "losses.jsonl").open("a") as file:
            file.write('{"step": 4, "lo')
        assert [line["step"] for line in workshop.losses()] == [0, 1, 2, 3]
        workshop.rewind(1)
        workshop.log({"step": 2, "loss": 9.0})
        assert [line["loss"] for line in workshop.losses()] == [0.0, 0.1, 9.0]


def test_an_artifact_is_whole_or_not_there() -> None:
    def write(folder: Path) -> None:
        (folder / "model.txt").write_text("whole")

    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise OSError(28, os.strerror(28))

    with Workshop("w", "node") as workshop:
        workshop.checkpoint(1, {}, {})
        with pytest.raises(cp.RunError, match="cannot write the artifact"):
            workshop.finish(fail, {"what": "x"}, "")
        assert read_card("w") is None
        workshop.finish(write, {"what": "x"}, "text")
    folder = paths.artifacts() / "w"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "counterpoint.json", "model.txt"]
    card = read_card("w")
    assert card is not None
    assert card["what"] == "x"
    assert set(card["files"]) == {"README.md", "model.txt"}
    store = ModelStore()
    assert store.verify("artifact:w") == []
    assert [(model.name, model.description) for model in store.list() if model.name == "artifact:w"] == [("artifact:w", "x")]
    with pytest.raises(cp.RunError, match="is there already"), Workshop("w", "node"):
        pass


# --- pairs ------------------------------------------------------------------------------------------------------------------------


def test_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"q": "hi", "a": "there", "more": 1}\n\n{"q": "good", "a": "day"}\n')
    pairs = read_pairs(path, "q", "a")
    assert [(pair.place.rpartition(", ")[2], pair.prompt, pair.response) for pair in pairs] == [
        ("line 1", "hi", "there"),
        ("line 3", "good", "day"),
    ]
    node = FakeModel(prompt_format="raw")
    backend = node.load(None)  # type: ignore[arg-type]
    tokenizer = backend.tokenizer
    first = encode_pairs(pairs, node, backend, "m")[0]
    assert first.prompt == tuple(tokenizer.encode("hi"))
    assert first.response == (*tokenizer.encode("there"), end_of_turn(backend, "m"))
    assert len(first) == 8
    chat = encode_pairs(pairs, FakeModel(), backend, "m")[0]
    assert chat.prompt == tuple(tokenizer.encode(str(tokenizer.render_chat(Prompt(text="hi").chat()))))
    path.write_text("\n")
    with pytest.raises(cp.EvaluationError, match="holds no example"):
        read_pairs(path, "q", "a")


def test_the_end_of_a_turn() -> None:
    backend = FakeModel().load(None)  # type: ignore[arg-type]
    (end,) = backend.stop_ids
    assert end_of_turn(backend, "m") == end
    backend.stop_ids = frozenset({end, 3, 29})  # the template ends each turn with a line break, token 29
    assert end_of_turn(backend, "m") == 29
    backend.stop_ids = frozenset()
    with pytest.raises(cp.ModelError, match="no end-of-turn token"):
        end_of_turn(backend, "m")


def test_a_backend_without_a_module_says_so() -> None:
    backend = FakeModel().load(None)  # type: ignore[arg-type]
    with pytest.raises(cp.Unsupported, match="gives no torch module"):
        backend.module()
    with pytest.raises(cp.Unsupported, match="cannot write its tokenizer"):
        backend.save_tokenizer(Path())


def test_what_is_done_stands_although_it_is_cancelled_meanwhile(engine: cp.Engine, counting: Any) -> None:
    began, go = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 4:  # the last one
            began.set()
            go.wait(60)

    counting.after = staticmethod(wait)
    stream = engine.train(RECIPE)
    assert began.wait(60)
    stream.cancel()
    go.set()
    result = stream.wait()
    assert (result.finish_reason, result.text, result.error) == ("stop", "artifact:four", None)


def test_what_a_kill_leaves_is_cleared_up() -> None:
    with Workshop("x", "t") as workshop:
        workshop.checkpoint(1, {}, {})
        (workshop.path / ".checkpoint-00000002.4711").write_bytes(b"half")
        (workshop.path / ".samples-1.jsonl.lock").touch()
    with Workshop("x", "t") as workshop:  # a kill while a checkpoint was written
        assert sorted(file.name for file in workshop.path.iterdir()) == [
            ".samples-1.jsonl.lock",
            "checkpoint-00000001.safetensors",
        ]
    files.write_json(workshop.target / "counterpoint.json", {})  # and one when the artifact was in place
    with pytest.raises(cp.RunError, match="is there already"), Workshop("x", "t"):
        pass
    assert not workshop.path.exists()


def test_settings_that_cannot_be_read_are_no_agreement() -> None:
    for text in ("", "{", "null", "[]"):
        with Workshop("x", "t") as workshop:
            workshop.agree({"rate": 1})  # there is no checkpoint yet
            (workshop.path / "settings.json").write_text(text)
            workshop.agree({"rate": 1})
            workshop.checkpoint(1, {}, {})
            (workshop.path / "settings.json").write_text(text)
            with pytest.raises(cp.RunError, match=r"settings\.json.* cannot be read"):
                workshop.agree({"rate": 2})
            files.remove(workshop.path)


def test_damaged_losses_are_left_out() -> None:
    with Workshop("x", "t") as workshop:
        workshop.log({"step": 1, "loss": 2.0})
        with (workshop.path / "losses.jsonl").open("ab") as file:
            file.write(b'{"step": 2, "lo\n\xff\n[]\n{"loss": 1}\n')
        workshop.log({"step": 2, "loss": 1.0})
        assert workshop.losses() == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]


def test_a_disk_that_fills_while_an_artifact_is_written() -> None:
    def write(folder: Path) -> None:
        raise SafetensorError("I/O error: File too large")  # what save_file makes of it

    with (
        Workshop("x", "t") as workshop,
        pytest.raises(cp.RunError, match=r"cannot write the artifact in .*File too large") as failed,
    ):
        workshop.finish(write, {}, "")
    assert "free some space" in failed.value.hint


def test_what_is_the_same_is_held_out_together() -> None:
    examples = [f"{name} {number}" for number in range(3) for name in "abcdefghij"]
    train, held_out = split(examples, 0.2, 0, "t", same=lambda one: one[0])
    assert len(held_out) == 6
    assert not {one[0] for one in train} & {one[0] for one in held_out}
    assert split(range(1000), 0.1, 0, "t")[1] == sorted(random.Random("0|held out").sample(range(1000), 100))


def test_names_of_artifacts_are_names_of_folders(engine: cp.Engine) -> None:
    learn = {"kind": "corrector_training", "corrector": "m", "candidates": "m", "data": "x"}
    for name in ("a" * 101, "..", "a/b", ""):
        with pytest.raises(cp.RecipeError, match="artifact"):
            engine.recipe({"nodes": {"m": {"kind": "fake"}, "t": {**learn, "artifact": name}}, "output": "t"})


def test_an_artifact_that_is_finished_while_another_waits_for_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Workshop("x", "t")
    acquire = first._lock.acquire

    def late(**options: Any) -> Any:
        with Workshop("x", "t") as other:  # another process is quicker, and is done
            other.finish(lambda folder: None, {}, "")
        return acquire(**options)

    monkeypatch.setattr(first._lock, "acquire", late)
    with pytest.raises(cp.RunError, match="is there already"), first:
        pass
    assert not first._lock.is_locked


def test_what_is_rewound_is_gone() -> None:
    with Workshop("x", "t") as workshop:
        for step in (1, 2):
            workshop.checkpoint(step, {}, {})
        workshop.rewind(1)
        found = workshop.latest()
        assert found is not None
        assert found[1]["step"] == 1

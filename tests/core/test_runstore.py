"""Runs on disk: recorded, cut short, damaged, replayed."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from counterpoint import paths
from counterpoint.errors import RunError
from counterpoint.events import (
    Emitted,
    Event,
    EventBase,
    Failed,
    Forward,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    dump_event,
)
from counterpoint.prompt import Completion, FinishReason, Prompt
from counterpoint.runstore import RunStore
from counterpoint.trace import summarize


def run_events(run_id: str = "20260101-000000-aaaaaa", reason: FinishReason = "stop", **recipe: Any) -> list[Event]:
    here: dict[str, Any] = {"span": 1, "parent": 0, "node": "m:sample"}

    def forward(number: int, prefill: bool = False) -> Forward:
        tokens = 5 if prefill else 1
        return Forward(
            **{**here, "node": "m"},
            pass_id=number,
            pass_rows=1,
            tokens=tokens,
            context=tokens * number,
            logits_rows=1,
            flops=2.0 * tokens,
            seconds=0.25,
            share=0.25,
            prefill=prefill,
        )

    def word(text: str, number: int) -> Emitted:
        return Emitted(text=text, ids=(number,), proposer="m", decider="m", logprobs={"m": (-0.5,)}, **here)

    events: list[EventBase] = [
        RunStarted(run_id=run_id, recipe={"name": "plain", **recipe}, prompt=Prompt(text="Sing,\n please " + "x" * 90), seed=3),
        NodeStarted(kind="sample", role="Generator", **here),
        forward(1, prefill=True),
        word("héllo", 1),
        forward(2),
        word(" wörld", 2),
        forward(3),
        NodeFinished(finish_reason=reason, tokens=2, **here),
        RunFinished(completion=Completion(text="héllo wörld", ids=(1, 2), finish_reason=reason)),
    ]
    return [e.model_copy(update={"seq": i, "t": i / 8}) for i, e in enumerate(events)]  # type: ignore[misc]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def recorded(store: RunStore, events: list[Event]) -> str:
    assert list(store.record(events)) == events
    assert isinstance(events[0], RunStarted)
    return events[0].run_id


def test_the_default_place_is_under_the_home() -> None:
    assert RunStore().root == paths.runs()


def test_a_replay_is_the_run(store: RunStore) -> None:
    events = run_events()
    run = recorded(store, events)
    assert list(store.replay(run)) == events
    assert store.problems == []


def test_the_folder(store: RunStore) -> None:
    run = recorded(store, run_events())
    assert {file.name for file in store.path(run).iterdir()} == {"recipe.yaml", "events.jsonl", "result.json"}
    assert yaml.safe_load((store.path(run) / "recipe.yaml").read_text()) == {"name": "plain"}
    first = json.loads((store.path(run) / "events.jsonl").read_text().splitlines()[0])
    assert first["schema_version"] == 1
    result = store.result(run)
    assert result["summary"] == summarize(run_events()).as_dict()
    assert result["completion"]["text"] == "héllo wörld"


def test_events_pass_through_one_by_one_and_are_on_disk_by_then(store: RunStore) -> None:
    events = run_events()
    for count, event in enumerate(store.record(iter(events)), 1):
        assert event == events[count - 1]
        assert list(store.replay("last")) == events[:count]


def test_who_stops_early_keeps_what_came(store: RunStore) -> None:
    events = run_events()
    passing = store.record(events)
    for _ in range(4):
        next(passing)
    passing.close()  # type: ignore[attr-defined]
    (run,) = store.list()
    assert (run.status, run.tokens) == ("interrupted", 1)
    assert list(store.replay(run.id)) == events[:4]
    assert store.export(run.id) == "héllo"
    assert store.result(run.id)["completion"] is None


def test_a_source_that_raises_leaves_what_came(store: RunStore) -> None:
    def source() -> Iterator[Event]:
        yield from run_events()[:3]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(store.record(source()))
    assert len(list(store.replay("last"))) == 3


@pytest.mark.parametrize("cut", range(0, 2000, 97))
def test_a_process_killed_at_any_byte_leaves_a_readable_run(store: RunStore, cut: int) -> None:
    events = run_events()
    folder = store.path(recorded(store, events))
    (folder / "result.json").unlink()
    text = (folder / "events.jsonl").read_bytes()
    (folder / "events.jsonl").write_bytes(text[:cut])
    kept = list(store.replay("last"))
    assert kept == events[: len(kept)]
    assert len(kept) in (text[:cut].count(b"\n"), text[:cut].count(b"\n") + 1)
    (run,) = store.list()
    assert run.status == ("interrupted" if len(kept) < len(events) else "finished")


@pytest.mark.parametrize(("reason", "status"), [("stop", "finished"), ("length", "finished"), ("cancelled", "cancelled")])
def test_the_list(store: RunStore, reason: FinishReason, status: str) -> None:
    recorded(store, run_events(reason=reason))
    (run,) = store.list()
    assert (run.recipe, run.status, run.tokens, run.seconds) == ("plain", status, 2, 1.0)
    assert run.prompt.startswith("Sing, please xxx")
    assert len(run.prompt) == 80
    assert run.started > 0


def test_a_failed_run_says_why(store: RunStore) -> None:
    events = run_events(reason="failed")
    events.insert(-1, Failed(error="ModelError", message="too long", hint="shorten it"))
    recorded(store, events)
    assert store.list()[0].status == "failed"
    assert store.result("last")["error"] == {"error": "ModelError", "message": "too long", "hint": "shorten it"}


def test_newest_first_and_last(store: RunStore) -> None:
    for number in range(3):
        recorded(store, run_events(f"run-{number}"))
    assert [run.id for run in store.list()] == ["run-2", "run-1", "run-0"]
    assert store.resolve("last") == "run-2"


def test_prefixes(store: RunStore) -> None:
    recorded(store, run_events("2026-aa"))
    recorded(store, run_events("2026-ab"))
    assert store.resolve("2026-aa") == "2026-aa"
    recorded(store, run_events("2027"))
    assert store.resolve("2027") == "2027"
    with pytest.raises(RunError, match="2 runs start with '2026'") as many:
        store.resolve("2026")
    assert "more letters" in many.value.hint
    with pytest.raises(RunError, match="no stored run '2026-ax'") as none:
        store.resolve("2026-ax")
    assert "did you mean 2026-aa" in none.value.hint or "did you mean 2026-ab" in none.value.hint


@pytest.mark.parametrize("prefix", ["last", "x", "", "../runs"])
def test_no_such_run(store: RunStore, prefix: str) -> None:
    with pytest.raises(RunError, match="no stored run"):
        store.resolve(prefix)


def test_nothing_is_listed_where_nothing_is(store: RunStore) -> None:
    assert store.list() == []


def test_removal(store: RunStore) -> None:
    for number in range(3):
        recorded(store, run_events(f"run-{number}"))
    with pytest.raises(RunError):
        store.remove(["run-0", "nope"])
    assert len(store.list()) == 3
    assert store.remove(["run-0", "last", "run-2"]) == ["run-0", "run-2"]
    assert [run.id for run in store.list()] == ["run-1"]


def test_damaged_runs_are_listed_as_such(store: RunStore) -> None:
    recorded(store, run_events("good"))
    bad = store.path(recorded(store, run_events("bad")))
    (bad / "result.json").write_text("{")
    lines = (bad / "events.jsonl").read_text().splitlines(keepends=True)
    (bad / "events.jsonl").write_text("".join([lines[0], "what is this\n", *lines[1:]]))
    (store.root / "empty").mkdir()
    found = {run.id: run for run in store.list()}
    assert found["good"].status == "finished"
    assert found["bad"].status == "damaged"
    assert "line 2 of events.jsonl" in found["bad"].problem
    assert found["empty"].status == "damaged"
    assert "events.jsonl" in found["empty"].problem
    with pytest.raises(RunError, match="line 2") as error:
        list(store.replay("bad"))
    assert "counterpoint runs rm bad" in error.value.hint


def test_a_newer_format_is_refused(store: RunStore) -> None:
    folder = store.path(recorded(store, run_events()))
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    for change in ({}, {"unheard": 1}):
        newer = json.dumps({**json.loads(lines[0]), "schema_version": 99, **change}) + "\n"
        (folder / "events.jsonl").write_text(newer + "".join(lines[1:]))
        with pytest.raises(RunError, match="trace format 99") as error:
            list(store.replay("last"))
        assert "newer Counterpoint" in error.value.hint


def test_exports(store: RunStore) -> None:
    run = recorded(store, run_events())
    assert store.export(run) == "héllo wörld"
    assert yaml.safe_load(store.export(run, "recipe")) == {"name": "plain"}
    data = json.loads(store.export(run, "json"))
    assert len(data["events"]) == 9
    assert data["result"]["summary"]["answer_tokens"] == 2


def test_a_run_is_never_overwritten(store: RunStore) -> None:
    events = run_events()
    recorded(store, events)
    assert list(store.record(events[:3])) == events[:3]
    assert "stored already" in store.problems[0]
    assert list(store.replay("last")) == events


@pytest.mark.parametrize("run_id", ["../outside", "a/b", ""])
def test_a_run_stays_in_its_place(store: RunStore, tmp_path: Path, run_id: str) -> None:
    events = run_events(run_id)
    assert list(store.record(events)) == events
    assert len(store.problems) == 1
    assert not (tmp_path / "outside").exists()


def test_a_full_disk_does_not_stop_the_run(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    events = run_events()

    def dump(event: EventBase) -> str:
        if event.seq > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return dump_event(event)

    monkeypatch.setattr("counterpoint.recording.dump_event", dump)
    assert list(store.record(events)) == events
    assert len(store.problems) == 1
    assert "No space left on device" in store.problems[0]
    assert list(store.replay("last")) == events[:4]
    assert store.list()[0].status == "interrupted"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_from_the_start(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def touch(self: Path) -> None:
        self.symlink_to("/dev/full")

    monkeypatch.setattr(Path, "touch", touch)
    assert list(store.record(run_events())) == run_events()
    assert len(store.problems) == 1


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    store = RunStore(tmp_path / "runs")
    assert list(store.record(run_events())) == run_events()
    assert len(store.problems) == 1
    with pytest.raises(RunError, match="cannot read the stored runs"):
        store.list()


def test_a_summary_recording_keeps_sums(store: RunStore) -> None:
    events = run_events(record="summary")
    recorded(store, events)
    kept = list(store.replay("last"))
    assert [event.type for event in kept].count("forward") == 2  # of the prompt, and of the response
    assert [event.seq for event in kept] == list(range(len(kept)))
    assert [event.t for event in kept] == sorted(event.t for event in kept)
    assert all(not event.logprobs for event in kept if isinstance(event, Emitted))
    node, full = (summarize(found).nodes[1] for found in (kept, events))
    assert node.node == "m"
    for name in ("tokens", "prefill_tokens", "context", "logits_rows", "flops", "seconds", "share", "emitted"):
        assert getattr(node, name) == getattr(full, name), name
    assert store.result("last")["summary"] == summarize(events).as_dict()


def test_an_interrupted_summary_recording_keeps_its_passes(store: RunStore) -> None:
    passing = store.record(run_events(record="summary"))
    for _ in range(5):
        next(passing)
    passing.close()  # type: ignore[attr-defined]
    assert sum(event.tokens for event in store.replay("last") if isinstance(event, Forward)) == 6

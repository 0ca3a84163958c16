"""The worker as it is: a process of its own, on the fake model."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from counterpoint.errors import CounterpointError, RecipeError
from counterpoint.events import Emitted, Event
from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe, load_recipe
from counterpoint.registry import Registry
from counterpoint.runstore import RunStore
from counterpoint.settings import Budget, Sampling
from counterpoint_tui.worker.client import Running, RunRequest, WorkerClient, WorkerDied
from counterpoint_tui.worker.protocol import PullProgress, StartRun, dump

FAKE = "counterpoint.testing.fake"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the shared worker, which takes it when it starts."""
    return tmp_path_factory.mktemp("home")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(folder: Path) -> AsyncIterator[WorkerClient]:
    """One worker for all tests that leave it as it is."""
    made = WorkerClient(plugins=[FAKE])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERPOINT_HOME", str(folder))
        await made.start()
    yield made
    await made.close()


@pytest.fixture
def store(folder: Path) -> RunStore:
    return RunStore(folder / "runs")


async def followed(running: Running) -> list[Event]:
    return [event async for batch in running for event in batch]


async def begun(client: WorkerClient, recipe: Recipe) -> Running:
    """A run that has emitted something."""
    running = await client.run(RunRequest(recipe))
    async for batch in running:
        if any(isinstance(event, Emitted) for event in batch):
            return running
    raise AssertionError("it ended")


async def test_a_run_comes_as_events_and_is_stored(client: WorkerClient, pair: Recipe, store: RunStore) -> None:
    running = await client.run(RunRequest(pair))
    events = await followed(running)
    assert [event.seq for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("run_started", "run_finished")
    assert running.ended is not None
    assert list(store.replay(running.ended.run_id)) == events
    assert store.describe(running.ended.run_id).status == "finished"


async def test_what_goes_over_the_recipe(client: WorkerClient, pair: Recipe) -> None:
    request = RunRequest(pair, Prompt(text="another"), Sampling(max_tokens=5), seed=7, budget=Budget(tokens=1000))
    started = (await followed(await client.run(request)))[0]
    assert started.type == "run_started"
    assert (started.prompt.text, started.seed) == ("another", 7)
    assert started.recipe["sampling"] == {"max_tokens": 5}
    assert started.recipe["budget"] == {"tokens": 1000}


async def test_only_settings_that_are_set_go_over() -> None:
    line = dump(StartRun(recipe={}, sampling=Sampling(temperature=0)))
    assert b'"sampling":{"temperature":0.0}' in line


async def test_runs_share_a_worker(client: WorkerClient, pair: Recipe) -> None:
    both = [await client.run(RunRequest(pair, seed=seed)) for seed in (1, 2)]
    first, second = await asyncio.gather(*map(followed, both))
    assert first[0] != second[0]
    assert not client.busy


async def test_a_plan(client: WorkerClient, pair: Recipe) -> None:
    plan = await client.plan(pair)
    assert plan.output == "spec"
    assert {node.node: node.kind for node in plan.nodes}["small"] == "fake"
    assert [model.prompt_tokens for model in plan.models] == [len("user. hello there\n")] * 2
    assert plan.memory.total > plan.memory.available > 0
    assert not plan.errors


async def test_plans_that_nobody_waits_for_are_left_out(client: WorkerClient, pair: Recipe) -> None:
    waiting = [asyncio.ensure_future(client.plan(pair)) for _ in range(5)]
    await asyncio.sleep(0)
    for task in waiting[:-1]:
        task.cancel()
    assert (await waiting[-1]).recipe == "pair"


async def test_a_refused_run(client: WorkerClient, registry: Registry) -> None:
    silent = load_recipe({"name": "silent", "nodes": {"m": {"kind": "fake"}}, "output": "m"}, registry=registry)
    with pytest.raises(RecipeError, match="silent: no prompt given") as refused:
        await followed(await client.run(RunRequest(silent)))
    assert refused.value.hint == "pass a prompt"
    assert not client.busy


async def test_a_run_that_fails_says_so_in_its_events(client: WorkerClient, registry: Registry, store: RunStore) -> None:
    data = {"nodes": {"m": {"kind": "fake", "fails_after": 2, "end_bias": -50}}, "output": "m", "prompt": "a"}
    running = await client.run(RunRequest(load_recipe(data, registry=registry)))
    assert [event.type for event in (await followed(running))[-2:]] == ["failed", "run_finished"]
    assert running.ended is not None
    assert store.describe(running.ended.run_id).status == "failed"


async def test_cancelling_ends_a_run_within_a_pass(client: WorkerClient, endless: Recipe, store: RunStore) -> None:
    running = await begun(client, endless)
    running.cancel()
    last = (await followed(running))[-1]
    assert last.type == "run_finished"
    assert last.completion.finish_reason == "cancelled"
    assert running.ended is not None
    assert store.describe(running.ended.run_id).status == "cancelled"
    running.cancel()  # once more changes nothing


async def test_a_download_that_cannot_be_had(client: WorkerClient) -> None:
    with pytest.raises(CounterpointError, match="no-such-model"):
        await client.pull("no-such-model")


async def test_a_model_that_is_here_is_pulled_at_once(client: WorkerClient, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model" / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    reports: list[PullProgress] = []
    assert (await client.pull(f"path:{tmp_path / 'model'}", reports.append)).licence == "not stated"


async def test_a_killed_worker_is_told_of_and_replaced_and_closing_stores_what_runs(endless: Recipe) -> None:
    client = WorkerClient(plugins=[FAKE])
    running = await begun(client, endless)
    first = client.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="ended by SIGKILL") as died:
        await followed(running)
    assert "runs out of memory" in died.value.hint
    (killed,) = RunStore().list()
    assert killed.status == "interrupted"
    assert killed.tokens > 0
    await begun(client, endless)
    assert client.pid not in (None, first)
    await client.close()
    assert client.pid is None
    assert {run.status for run in RunStore().list()} == {"interrupted", "cancelled"}
    with pytest.raises(CounterpointError, match="closed"):
        await client.plan(endless)


async def test_a_worker_that_cannot_start_says_why(pair: Recipe) -> None:
    client = WorkerClient(plugins=["no_such_module"])
    with pytest.raises(WorkerDied, match=r"with status 1: ModuleNotFoundError: No module named 'no_such_module'"):
        await client.plan(pair)
    await client.close()


async def test_it_keeps_the_run_when_the_application_is_gone(endless: Recipe) -> None:
    """Nobody reads, nobody writes: what a killed application leaves behind."""
    with subprocess.Popen(  # noqa: ASYNC220 (nothing else runs)
        [sys.executable, "-P", "-m", "counterpoint_tui.worker", "--plugin", FAKE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(dump(StartRun(id=1, recipe=endless.to_dict())))
        worker.stdin.flush()
        while b'"emitted"' not in worker.stdout.readline():
            pass
        worker.stdout.close()
        worker.stdin.close()
        assert worker.wait(30) == 0
    assert RunStore().describe("last").status == "cancelled"


async def test_what_is_printed_does_not_get_among_the_replies(tmp_path: Path) -> None:
    """And no module of the working directory gets in."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "noisy.py").write_text("import os; print('noise'); os.write(1, b'more noise')\n")
    (tmp_path / "json.py").write_text("raise RuntimeError('a module of the working directory got in')\n")
    done = subprocess.run(  # noqa: ASYNC221 (nothing else runs)
        [sys.executable, "-P", "-m", "counterpoint_tui.worker", "--plugin", "noisy"],
        input=b"",
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(modules)},
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"noise" in done.stderr

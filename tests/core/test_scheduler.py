"""The loop that batches: whatever runs together gives what it gives alone, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counterpoint import Engine
from counterpoint.scheduler import PATIENCE, Batch, Scheduler

MODEL = {"kind": "fake"}
PROMPTS = ["hello there", "hello then", "quite another one", "x" * 30]

IDS = st.lists(st.integers(0, 29), min_size=1, max_size=6)
OPERATION = st.one_of(
    st.tuples(st.just("extend"), IDS, st.sampled_from(["all", "last", "none", 1, 2])),
    st.tuples(st.just("score"), IDS),
    st.tuples(st.just("logits")),
    st.tuples(st.just("rollback"), st.floats(0, 1)),
    st.tuples(st.just("fork"), st.integers(0, 2)),
    st.tuples(st.just("sleep"), st.integers(1, 4)),
    st.tuples(st.just("draw"), st.integers(0, 5)),
)
PROGRAMS = st.lists(
    st.tuples(st.sampled_from(PROMPTS), st.sampled_from(["m", "n"]), st.lists(OPERATION, max_size=7)), min_size=1, max_size=5
)


async def perform(run: Any, prompt: Any, model: str, program: list[Any]) -> list[torch.Tensor]:
    """What a program's operations return, on one session and on the forks it makes."""
    session = await run.open(model, prompt)
    sessions, found = [session], []
    for name, *arguments in program:
        session = sessions[-1]
        if name == "extend":
            found.append(await session.extend(*arguments))
        elif name == "score":
            found.append(await session.score(*arguments))
        elif name == "logits":
            found.append(await session.logits())
        elif name == "rollback":
            session.rollback(int(arguments[0] * session.length))
        elif name == "fork":
            twins = await session.fork(2)
            sessions += [twins[arguments[0]]] if arguments[0] < 2 else []
            assert all(twin.length == session.length for twin in twins)
        elif name == "sleep":
            for _ in range(arguments[0]):
                await asyncio.sleep(0)
        elif name == "draw":
            row = await session.logits()
            drawn = await run.draw(row, session, [0] * session.length)
            found.append(torch.tensor(drawn.ids))
        found.append(torch.tensor(session.length))
    found.append(await sessions[-1].logits())
    return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs=PROGRAMS)
def test_sessions_together_give_what_each_gives_alone(engine: Engine, stage: Any, programs: list[Any]) -> None:
    checked = []

    @stage.action
    async def both(node: Any, run: Any, prompt: Any) -> None:
        alone = [await perform(run, prompt.model_copy(update={"text": text}), *rest) for text, *rest in programs]
        together = await run.gather(
            *(perform(run, prompt.model_copy(update={"text": text}), *rest) for text, *rest in programs)
        )
        for one, other in zip(alone, together, strict=True):
            assert len(one) == len(other)
            for left, right in zip(one, other, strict=True):
                assert torch.equal(left, right)
        checked.append(len(alone))

    nodes = {
        "m": MODEL,
        "n": {"kind": "fake", "seed": 4, "cost": 3},
        "s": {"kind": "script", "action": "both", "models": ["m", "n"]},
    }
    engine.run({"nodes": nodes, "output": "s", "sampling": {"temperature": 0.9}}, "hello")
    assert checked == [len(programs)]


# --- the rule of whose turn it is -------------------------------------------------------------------------------------


class Requests(Batch):
    """Serves all that wait, and keeps a diary."""

    def __init__(self, name: str, cost: float, diary: list[str]) -> None:
        self.name = name
        self.cost = cost
        self.diary = diary
        self.waiting: list[asyncio.Future[None]] = []
        self.served: list[int] = []

    @property
    def pending(self) -> int:
        return len(self.waiting)

    def fail(self, error: Exception) -> None:
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            future.set_exception(error)

    def execute(self) -> None:
        self.diary.append(self.name)
        self.served.append(len(self.waiting))
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def ask(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await future


@pytest.fixture
def scheduler() -> Any:
    made = Scheduler()
    yield made
    made.close()


def test_a_batch_runs_when_everybody_waits(scheduler: Scheduler) -> None:
    batch = Requests("a", 1, [])
    scheduler.add(batch)

    async def some(steps: int, naps: int) -> None:
        for _ in range(steps):
            for _ in range(naps):
                await asyncio.sleep(0)
            await batch.ask()

    async def everything() -> None:
        await asyncio.gather(*(some(10, naps) for naps in range(6)))

    scheduler.submit(everything()).result(20)
    assert batch.served == [6] * 10


def test_rows_still_drafting_catch_up_before_the_expensive_target_runs(scheduler: Scheduler) -> None:
    diary: list[str] = []
    target, draft = Requests("T", 100, diary), Requests("d", 1, diary)
    scheduler.add(target)
    scheduler.add(draft)

    async def speculate(drafts: int) -> None:
        for _ in range(3):
            for _ in range(drafts):
                await draft.ask()
            await target.ask()

    async def everything() -> None:
        await asyncio.gather(*(speculate(drafts) for drafts in (1, 3, 5)))

    scheduler.submit(everything()).result(20)
    assert "".join(diary) == "dddddT" * 3
    assert target.served == [3, 3, 3]


def test_no_batch_is_overtaken_for_ever(scheduler: Scheduler) -> None:
    diary: list[str] = []
    batches = [Requests(name, cost, diary) for name, cost in (("c", 1), ("M", 5), ("X", 9))]
    for batch in batches:
        scheduler.add(batch)

    async def forever(batch: Requests, steps: int) -> None:
        for _ in range(steps):
            await batch.ask()

    async def everything() -> None:
        await asyncio.gather(forever(batches[0], 200), forever(batches[1], 20), forever(batches[2], 5))

    scheduler.submit(everything()).result(20)
    text = "".join(diary)
    assert text.count("X") == 5
    assert text.index("X") <= PATIENCE + 1
    while_all_wait = text[: text.rindex("X")]
    assert max(len(part) for part in while_all_wait.split("M")) <= PATIENCE + 2


def test_timers_and_other_threads_are_heard_between_batches(scheduler: Scheduler) -> None:
    batch = Requests("a", 1, [])
    scheduler.add(batch)
    heard: list[str] = []

    async def busy() -> None:
        while len(heard) < 3:
            await batch.ask()

    async def timer() -> None:
        await asyncio.sleep(0.01)
        heard.append("timer")
        await asyncio.to_thread(time.sleep, 0.01)
        heard.append("thread")

    running = [scheduler.submit(busy()), scheduler.submit(timer())]
    threading.Timer(
        0.005, lambda: scheduler.submit(asyncio.sleep(0)).add_done_callback(lambda _: heard.append("caller"))
    ).start()
    for future in running:
        future.result(20)
    assert sorted(heard) == ["caller", "thread", "timer"]


def test_waiting_without_work_does_not_spin(scheduler: Scheduler) -> None:
    async def nap() -> float:
        started = time.thread_time()
        await asyncio.sleep(0.2)
        return time.thread_time() - started

    assert scheduler.submit(nap()).result(20) < 0.1


# --- backends that misbehave ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["few", "many", "none", "no logprobs", "narrow"])
def test_a_backend_that_returns_nonsense_fails_its_runs_and_no_more(
    engine: Engine, stage: Any, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the thread of everybody."""
    from counterpoint.session import StepResult
    from counterpoint.testing.fake import FakeBackend

    forward = FakeBackend.forward

    def nonsense(self: Any, steps: Any) -> Any:
        results = forward(self, steps)
        if self._node.seed != 13:
            return results
        if broken == "none":
            return None
        if broken == "no logprobs":
            return [StepResult(result.rows) for result in results]
        if broken == "narrow":
            return [StepResult(result.rows[:0], None) for result in results]
        return results[:-1] if broken == "few" else [*results, *results]

    monkeypatch.setattr(FakeBackend, "forward", nonsense)

    @stage.action
    async def scores(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open(node.model, prompt)
        await session.score([1, 2, 3])

    nodes = {"m": {"kind": "fake", "seed": 13}, "s": {"kind": "script", "action": "scores", "model": "m"}}
    stream = engine.stream({"nodes": nodes, "output": "s"}, "hello")
    deadline = time.monotonic() + 10
    while not stream.done and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stream.done, "the engine hangs"
    assert "m" in str(stream.wait().error)
    assert engine.run({"nodes": {"m": MODEL}, "output": "m"}, "hello").text


def test_a_batch_that_raises_fails_its_requests_and_nothing_else() -> None:
    class Broken(Requests):
        def execute(self) -> None:
            raise ZeroDivisionError("a bug in a batch")

    diary: list[str] = []
    broken, sound = Broken("broken", 1, diary), Requests("sound", 2, diary)
    scheduler = Scheduler()
    scheduler.add(broken)
    scheduler.add(sound)

    async def ask(batch: Requests) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch.waiting.append(future)
        await future

    failed, served = scheduler.submit(ask(broken)), scheduler.submit(ask(sound))
    with pytest.raises(ZeroDivisionError):
        failed.result(timeout=5)
    served.result(timeout=5)
    scheduler.close()

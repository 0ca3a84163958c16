"""A run as its caller sees it: iteration, waiting, and stopping it from any thread."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from typing import Any

import pytest

from counterpoint import CounterpointError, Engine, RunError
from counterpoint.events import Emitted, Failed, Progress, RunFinished, RunStarted
from counterpoint.testing import make_engine

MODEL = {"kind": "fake", "end_bias": -99}
PLAIN = {"nodes": {"m": MODEL}, "output": "m", "sampling": {"temperature": 1.0, "max_tokens": 60}}
LONG = {**PLAIN, "sampling": {"temperature": 1.0, "max_tokens": 1500}}
BOTH = {
    "nodes": {
        "m": {**MODEL, "cost": 20},
        "d": {**MODEL, "blur": 2.0},
        "s": {"kind": "speculative", "target": "m", "draft": "d"},
    },
    "output": "s",
    "sampling": {"temperature": 0.8, "max_tokens": 1500},
}


def spoken(events: Any) -> str:
    return "".join(event.text for event in events if isinstance(event, Emitted) and event.span == 1)


def test_a_stream_is_its_events_from_first_to_last(engine: Engine) -> None:
    stream = engine.stream(PLAIN, "hello")
    events = list(stream)
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.t for event in events] == sorted(event.t for event in events)
    result = stream.result()
    assert result.trace == tuple(events)
    assert spoken(events) == result.text == events[-1].completion.text
    assert events[0].run_id == stream.run_id == result.run_id
    assert stream.done


def test_a_stream_may_be_iterated_again_and_by_several(engine: Engine) -> None:
    stream = engine.stream(PLAIN, "hello")
    found: list[list[Any]] = [[], [], []]
    threads = [threading.Thread(target=lambda into=into: into.extend(stream)) for into in found]
    for thread in threads:
        thread.start()
    first = list(stream)
    for thread in threads:
        thread.join(20)
    assert found == [first] * 3
    assert list(stream) == first
    assert stream.result() is stream.result() or stream.result() == stream.result()


def test_leaving_a_stream_early_leaves_the_run_going(engine: Engine) -> None:
    stream = engine.stream(PLAIN, "hello")
    for _ in stream:
        break
    assert len(stream.result().completion.ids) == 60


async def test_async_iteration_and_awaiting(engine: Engine) -> None:
    stream = engine.stream(PLAIN, "hello")
    events = [event async for event in stream]
    assert isinstance(events[-1], RunFinished)
    assert [event async for event in stream] == events
    result = await stream
    assert result.trace == tuple(events)
    assert (await stream).text == result.text


async def test_many_streams_in_one_loop_of_the_caller(engine: Engine) -> None:
    async def text(prompt: str) -> str:
        return "".join([event.text async for event in engine.stream(PLAIN, prompt) if isinstance(event, Emitted)])

    prompts = [f"prompt {letter}" for letter in "abcdefgh"]
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    together = await asyncio.gather(*map(text, prompts))
    ticking.cancel()
    assert ticks > 3, "the caller's loop goes on meanwhile"
    assert together == [engine.run(PLAIN, prompt).text for prompt in prompts]


async def test_awaiting_a_failed_run_raises(engine: Engine) -> None:
    with pytest.raises(CounterpointError, match="told to fail"):
        await engine.stream({**PLAIN, "nodes": {"m": {**MODEL, "fails_after": 5}}}, "hello")


async def test_a_caller_that_is_cancelled_does_not_stop_the_run(engine: Engine) -> None:
    stream = engine.stream(PLAIN, "hello")

    async def listen() -> None:
        async for _ in stream:
            pass

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len((await stream).completion.ids) == 60


def test_a_loop_that_is_gone_does_not_harm_the_run(engine: Engine) -> None:
    stream = engine.stream(LONG, "hello")

    async def few() -> None:
        async for event in stream:
            if event.seq > 5:
                return

    for _ in range(3):
        asyncio.run(few())
    gc.collect()
    stream.cancel()
    assert stream.wait().error is None


# --- cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [LONG, BOTH], ids=["sample", "speculative"])
def test_cancelling_at_any_moment(engine: Engine, recipe: dict[str, Any]) -> None:
    """What has been made is kept, nothing stays open, and who shares the passes does not notice."""
    reference = engine.run(PLAIN, "somebody else").completion
    generator = random.Random(1)
    for attempt in range(25):
        other = engine.stream(PLAIN, "somebody else")
        stream = engine.stream(recipe, f"hello {'ab'[attempt % 2]}")
        thread = threading.Timer(generator.choice([0, 0, 0.001, 0.01, 0.03, 0.08]), stream.cancel)
        thread.start()
        events = list(stream)
        thread.join()
        result = stream.wait()
        assert result.finish_reason == "cancelled"
        assert result.error is None
        assert isinstance(events[-1], RunFinished)
        assert events[-1].completion == result.completion
        assert result.text == spoken(events)
        assert tuple(events) == result.trace == stream.wait().trace
        assert not any(isinstance(event, Failed) for event in events)
        assert other.result().completion == reference
        assert [host.slots for host in engine.hosts()] == [0] * len(engine.hosts())


def test_nothing_comes_after_the_end(engine: Engine) -> None:
    """A model's load goes on when the run that began it is cancelled, and still reports to it."""
    stream = engine.stream(PLAIN, "hello")
    result = stream.wait()
    stream.deliver(Progress(phase="load", item="fake", done=1, total=1))
    assert tuple(stream) == result.trace
    assert isinstance(list(stream)[-1], RunFinished)


def test_cancelling_takes_effect_within_a_pass(engine: Engine) -> None:
    stream = engine.stream(LONG, "hello")
    seen = iter(stream)
    for event in seen:
        if isinstance(event, Emitted) and event.seq > 40:
            stream.cancel()
            break
    (host,) = engine.hosts()
    after = host.backend.passes
    result = stream.wait()
    assert result.finish_reason == "cancelled"
    assert host.backend.passes - after <= 2
    assert len(result.text) > 10


def test_cancelling_twice_or_too_late_changes_nothing(engine: Engine) -> None:
    stream = engine.stream(LONG, "hello")
    for _ in range(5):
        stream.cancel()
    assert stream.wait().finish_reason == "cancelled"
    stream.cancel()
    finished = engine.stream(PLAIN, "hello")
    assert finished.wait().finish_reason == "length"
    finished.cancel()
    assert finished.wait().finish_reason == "length"


def test_cancelling_while_a_call_of_the_plugin_waits(engine: Engine, stage: Any) -> None:
    released = threading.Event()

    @stage.action
    async def blocks(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open("m", prompt)
        await session.extend([1, 2, 3])
        await run.gather(run.thread(released.wait, 5), session.extend([1]))

    stream = engine.stream(
        {"nodes": {"m": MODEL, "s": {"kind": "script", "action": "blocks", "model": "m"}}, "output": "s"}, "hello"
    )
    while not any(event.type == "forward" for event in stream._events):
        time.sleep(0.001)
    stream.cancel()
    assert stream.wait().finish_reason == "cancelled"
    released.set()


# --- closing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 0.002, 0.05])
def test_closing_with_runs_in_flight_does_not_hang(delay: float) -> None:
    engine = make_engine()
    streams = [engine.stream(BOTH, f"prompt {index}") for index in range(4)]
    time.sleep(delay)
    closing = threading.Thread(target=engine.close)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    for stream in streams:
        assert stream.wait().finish_reason == "cancelled"
        assert stream.wait().text == spoken(stream)
        stream.cancel()
    engine.close()
    with pytest.raises(RunError, match="the engine is closed") as caught:
        engine.stream(PLAIN, "hello")
    assert "cp.Engine()" in caught.value.hint
    with pytest.raises(RunError, match="the engine is closed"):
        engine.load(PLAIN)


def test_an_engine_that_did_nothing_can_be_closed() -> None:
    engine = make_engine()
    engine.close()
    engine.close()


def test_threads_end_with_the_engine() -> None:
    before = threading.active_count()
    with make_engine() as engine:
        engine.run(PLAIN, "hello")
    assert threading.active_count() <= before

"""A child's text, piece by piece: no faster than it is taken, and ended when it is no longer wanted."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from counterpoint import Budget, Engine, RunError, Sampling
from counterpoint.childstream import Valve
from counterpoint.events import BudgetSpent, Emitted, Forward, NodeFinished, NodeStarted, Note

MODEL = {"kind": "fake", "end_bias": -99, "prompt_format": "raw"}
SAMPLING = {"temperature": 1.0, "max_tokens": 12}


def recipe(action: str, nodes: Any = None, **fields: Any) -> dict[str, Any]:
    script = {"kind": "script", "action": action, "child": "m", **fields}
    return {"nodes": {"m": MODEL, **(nodes or {}), "s": script}, "output": "s", "sampling": SAMPLING}


def finished(result: Any, span: int) -> Any:
    return next(event for event in result.trace if isinstance(event, NodeFinished) and event.span == span)


@pytest.fixture(autouse=True)
def _nothing_is_left(engine: Engine) -> Any:
    """No task outlives its run, and no exception is lost."""
    yield
    gc.collect()

    async def tasks() -> int:
        return len([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])

    assert engine._scheduler.submit(tasks()).result() == 0


def test_pieces_are_what_the_child_emits(engine: Engine, stage: Any) -> None:
    @stage.action
    async def whole(node: Any, run: Any, prompt: Any) -> Any:
        await run.generate(node.child, prompt, relay=True)

    @stage.action
    async def pieces(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt) as stream:
            assert stream.completion is None
            async for piece in stream:
                assert isinstance(piece, Emitted)
                run.emit(Emitted(text=piece.text, ids=piece.ids, proposer=piece.proposer))
            assert await anext(stream, None) is None, "the end is the end"
        assert stream.completion.text == run.completion("stop").text
        assert stream.completion.finish_reason == "length"

    expected = engine.run(recipe("whole"), "hello", seed=3)
    result = engine.run(recipe("pieces"), "hello", seed=3)
    assert result.completion.ids == expected.completion.ids
    assert len(result.completion.ids) == 12
    assert {event.proposer for event in result.trace if isinstance(event, Emitted)} == {"m"}
    assert finished(result, 2).finish_reason == "length"


@pytest.mark.parametrize("taken", [0, 1, 5, 11])
def test_the_child_draws_only_what_is_waited_for(engine: Engine, stage: Any, taken: int) -> None:
    @stage.action
    async def some(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt) as stream:
            for _ in range(taken):
                run.emit(await anext(stream))
                for _ in range(5):  # time in which an eager child would go on
                    await asyncio.sleep(0)
                await run.thread(lambda: None)
            session = await run.open("m", prompt.continued("abc"))
            await session.extend([1, 2, 3])

    result = engine.run(recipe("some"), "hello")
    child = finished(result, 2)
    assert (child.finish_reason, child.tokens, child.generated) == ("cancelled", taken, taken)
    assert len(result.completion.ids) == taken
    passes = [event for event in result.trace if isinstance(event, Forward) and event.span == 2]
    assert len(passes) <= taken + 1


def test_a_valve_holds_back_whoever_works_for_the_child(engine: Engine, stage: Any) -> None:
    """Children of the child, at once, and a composed model's parts."""

    @stage.action
    async def both(node: Any, run: Any, prompt: Any) -> Any:
        made = await run.gather(*(run.generate(node.children[name], prompt) for name in "ab"))
        run.emit(Emitted(text=made[0].text + made[1].text))
        await run.generate(node.children["a"], prompt, relay=True)

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt) as stream:
            run.emit(Note(name="before"))
            for _ in range(5):
                await run.thread(lambda: None)
            run.emit(Note(name="after"))
            first = await anext(stream)
            second = await anext(stream)
            assert (len(first.text), len(second.text)) == (24, 1)
            run.emit(first)

    nodes = {"i": {"kind": "script", "action": "both", "children": {"a": "m", "b": "m"}}}
    result = engine.run(recipe("outer", nodes, child="i"), "hello")
    before, after = (
        next(e.seq for e in result.trace if isinstance(e, Note) and e.name == name) for name in ("before", "after")
    )
    drawn = [event.seq for event in result.trace if isinstance(event, Emitted)]
    assert not [seq for seq in drawn if before < seq < after]
    generated = {event.span: event.generated for event in result.trace if isinstance(event, NodeFinished)}
    assert generated == {1: 0, 2: 0, 3: 12, 4: 12, 5: 1}
    reasons = {event.span: event.finish_reason for event in result.trace if isinstance(event, NodeFinished)}
    assert reasons == {1: "stop", 2: "cancelled", 3: "length", 4: "length", 5: "cancelled"}


def test_a_stream_within_a_stream(engine: Engine, stage: Any) -> None:
    @stage.action
    async def inner(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt) as stream:
            async for piece in stream:
                run.emit(Emitted(text=piece.text, ids=piece.ids))

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt) as stream:
            for _ in range(4):
                run.emit(await anext(stream))
                await run.thread(lambda: None)

    nodes = {"i": {"kind": "script", "action": "inner", "child": "m"}}
    result = engine.run(recipe("outer", nodes, child="i"), "hello")
    assert [finished(result, span).finish_reason for span in (1, 2, 3)] == ["stop", "cancelled", "cancelled"]
    assert [finished(result, span).tokens for span in (1, 2, 3)] == [4, 4, 4]
    assert finished(result, 3).generated == 4


async def test_a_valve_inside_another_waits_for_both() -> None:
    outer = Valve()
    inner = Valve(outer)
    passed: list[int] = []

    async def draw(number: int) -> None:
        await inner.passing()
        passed.append(number)

    async def settle() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(draw(number)) for number in range(2)]
    inner.open()
    await settle()
    outer.open()
    outer.shut()
    inner.shut()
    await settle()
    outer.open()
    await settle()
    assert passed == []
    inner.open()
    await settle()
    assert passed == [0, 1]
    await asyncio.gather(*tasks)


def test_what_the_child_raises_reaches_who_waits(engine: Engine, stage: Any) -> None:
    @stage.action
    async def fails(node: Any, run: Any, prompt: Any) -> Any:
        run.emit(Emitted(text="so far"))
        raise ValueError("went wrong")

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt) as stream:
            assert (await anext(stream)).text == "so far"
            with pytest.raises(ValueError, match="went wrong"):
                await anext(stream)
            await anext(stream)

    with pytest.raises(RunError, match="went wrong") as caught:
        engine.run(recipe("outer", {"i": {"kind": "script", "action": "fails"}}, child="i"), "hello")
    assert finished(caught.value.result, 2).finish_reason == "failed"  # type: ignore[attr-defined]


def test_a_failure_nobody_waits_for_is_not_lost_noisily(engine: Engine, stage: Any) -> None:
    @stage.action
    async def fails(node: Any, run: Any, prompt: Any) -> Any:
        raise ValueError("unseen")

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt):
            for _ in range(3):
                await asyncio.sleep(0)
        run.emit(Emitted(text="went on"))

    result = engine.run(recipe("outer", {"i": {"kind": "script", "action": "fails"}}, child="i"), "hello")
    assert result.text == "went on"
    assert finished(result, 2).finish_reason == "failed"


@pytest.mark.parametrize("where", ["stream", "above"])
def test_a_budget_that_runs_out(engine: Engine, stage: Any, where: str) -> None:
    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> Any:
        budget = Budget(tokens=5) if where == "stream" else None
        async with run.stream(node.child, prompt, budget=budget) as stream:
            async for piece in stream:
                run.emit(Emitted(text=piece.text, ids=piece.ids))
        assert where == "stream"
        assert stream.completion.finish_reason == "budget"
        await run.generate(node.child, prompt, sampling=Sampling(max_tokens=7))

    result = engine.run(recipe("outer"), "hello", budget="tokens=5" if where == "above" else None)
    assert len(result.completion.ids) == 5
    assert finished(result, 2).finish_reason == "budget"
    assert finished(result, 1).finish_reason == ("stop" if where == "stream" else "budget")
    assert [event.span for event in result.trace if isinstance(event, BudgetSpent)] == [2 if where == "stream" else 1]


def test_tokens_that_were_not_drawn_cost_nothing(engine: Engine, stage: Any) -> None:
    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt) as stream:
            for _ in range(3):
                await anext(stream)
        assert run.tokens_left == 7
        await run.generate(node.child, prompt, sampling=Sampling(max_tokens=7), relay=True)

    result = engine.run(recipe("outer"), "hello", budget="tokens=10")
    assert result.finish_reason == "stop"
    assert len(result.completion.ids) == 7


def test_a_run_that_is_cancelled(engine: Engine, stage: Any) -> None:
    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt, sampling=Sampling(max_tokens=2000)) as stream:
            async for piece in stream:
                run.emit(Emitted(text=piece.text, ids=piece.ids))

    stream = engine.stream(recipe("outer"), "hello")
    for event in stream:
        if isinstance(event, Emitted):
            stream.cancel()
    result = stream.wait()
    assert result.finish_reason == "cancelled"
    assert finished(result, 2).finish_reason == "cancelled"


def test_settings_below(engine: Engine, stage: Any) -> None:
    seen = []

    @stage.action
    async def inner(node: Any, run: Any, prompt: Any) -> Any:
        seen.append(run.sampling)

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> Any:
        under = Sampling(max_tokens=9, min_tokens=2)
        for settings in (None, under, run.sampling_of(node.child, under)):
            async with run.stream(node.child, prompt, sampling=settings) as stream:
                assert await anext(stream, None) is None

    nodes = {"i": {"kind": "script", "action": "inner", "sampling": {"max_tokens": 5}}}
    engine.run(recipe("outer", nodes, child="i"), "hello")
    assert seen == [
        Sampling(temperature=1.0, max_tokens=5), Sampling(max_tokens=9, min_tokens=2), Sampling(max_tokens=5, min_tokens=2)
    ]  # fmt: skip


def test_each_stream_draws_for_itself(engine: Engine, stage: Any) -> None:
    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt) as one, run.stream(node.child, prompt) as other:
            texts = ["", ""]
            for _ in range(6):  # in turn: each goes on from where it was
                texts[0] += (await anext(one)).text
                texts[1] += (await anext(other)).text
        assert texts[0] != texts[1]
        run.emit(Emitted(text="|".join(texts)))

    started = engine.run(recipe("outer"), "hello", seed=4)
    again = engine.run(recipe("outer"), "hello", seed=4)
    assert started.text == again.text
    assert [event.span for event in started.trace if isinstance(event, NodeStarted)] == [1, 2, 3]


def test_a_run_that_is_cancelled_while_a_child_is_being_left_still_sees_it_end(engine: Engine, stage: Any) -> None:
    @stage.action
    async def tidy(node: Any, run: Any, prompt: Any) -> Any:
        run.emit(Emitted(text="a"))
        try:
            await asyncio.sleep(60)
        finally:
            run.emit(Note(name="leaving"))
            await asyncio.sleep(0.05)  # of a strategy, what it does when it is ended: its own children end, say

    @stage.action
    async def leaves(node: Any, run: Any, prompt: Any) -> Any:
        async with run.stream(node.child, prompt) as stream:
            await anext(stream)

    stream = engine.stream(recipe("leaves", {"t": {"kind": "script", "action": "tidy"}}, child="t"), "hello")
    for event in stream:
        if isinstance(event, Note):
            stream.cancel()
    result = stream.wait()
    assert result.finish_reason == "cancelled"
    started = {event.span for event in result.trace if isinstance(event, NodeStarted)}
    assert {event.span for event in result.trace if isinstance(event, NodeFinished)} == started == {1, 2}

"""Sessions on leaf models: the laws, one prefill for one prompt, and a cache that stays within its bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch

from counterpoint import Budget, Engine, ModelError, Sampling, Unsupported, slots
from counterpoint import host as hosts
from counterpoint.events import Drafted, Emitted, Forward, Verified
from counterpoint.prompt import Prompt
from counterpoint.testing import assert_session_laws

MODEL = {"kind": "fake", "end_bias": -99, "prompt_format": "raw"}
PROMPT = "a prompt of some length, so that it counts"  # 42 tokens
PLAIN = {"nodes": {"m": MODEL}, "output": "m", "sampling": {"temperature": 1.0, "max_tokens": 20}}


def script(action: str, **fields: Any) -> dict[str, Any]:
    return {"nodes": {"m": MODEL, "s": {"kind": "script", "action": action, "model": "m", **fields}}, "output": "s"}


def backend(engine: Engine) -> Any:
    (host,) = engine.hosts()
    return host.backend


def prefilled(result: Any) -> int:
    return sum(event.tokens for event in result.trace if isinstance(event, Forward) and event.prefill)


def test_the_session_laws_hold() -> None:
    assert_session_laws({"nodes": {"m": {"kind": "fake"}}, "output": "m"}, [3, 1, 4, 1, 5, 9, 2, 6])
    assert_session_laws({"nodes": {"m": {"kind": "fake", "context": 64}}, "output": "m"}, [3, 1, 4, 1, 5, 9], prompt="a")


def test_one_prompt_opened_twice_at_once_is_prefilled_once(engine: Engine, stage: Any) -> None:
    @stage.action
    async def twice(node: Any, run: Any, prompt: Any) -> None:
        sessions = await run.gather(*(run.open(node.model, prompt) for _ in range(5)))
        rows = [await session.logits() for session in sessions]
        assert all(torch.equal(row, rows[0]) for row in rows)

    result = engine.run(script("twice"), PROMPT)
    assert backend(engine).fed == len(PROMPT) == prefilled(result)


def test_samples_share_one_prefill(engine: Engine) -> None:
    results = engine.run_many(PLAIN, [PROMPT], samples=8)
    assert sum(map(prefilled, results)) == len(PROMPT)
    assert backend(engine).fed == len(PROMPT) + 8 * 19
    assert len({result.text for result in results}) > 4, "samples differ"
    assert backend(engine).passes <= 21


def test_the_next_run_with_the_same_prompt_prefills_nothing(engine: Engine) -> None:
    first = engine.run(PLAIN, PROMPT)
    fed = backend(engine).fed
    second = engine.run(PLAIN, PROMPT)
    assert second.completion == first.completion
    assert backend(engine).fed - fed <= 1 + 19
    longer = engine.run(PLAIN, PROMPT + " and more")
    assert prefilled(longer) <= len(" and more") + 1


def test_a_hand_over_prefills_nothing(engine: Engine, stage: Any) -> None:
    """Another call goes on from what one has made: its prompt and prefix are in the cache."""

    @stage.action
    async def hands_over(node: Any, run: Any, prompt: Any) -> None:
        (host,) = engine.hosts()
        for _ in range(4):
            before = host.backend.fed
            made = await run.generate(node.model, prompt, sampling=Sampling(temperature=1.0, max_tokens=10), relay=True)
            assert len(made.ids) == 10
            fed = host.backend.fed - before
            assert fed <= (len(prompt.text) if not prompt.prefix else 1) + 10
            prompt = prompt.continued(prompt.prefix + made.text)

    engine.load(PLAIN)
    result = engine.run(script("hands_over"), PROMPT)
    assert len(result.text) == 40
    assert backend(engine).fed <= len(PROMPT) + 40 + 4


def test_a_hand_over_equals_going_on(engine: Engine, stage: Any) -> None:
    """Greedily, in pieces and at once."""

    @stage.action
    async def pieces(node: Any, run: Any, prompt: Any) -> None:
        for _ in range(4):
            made = await run.generate(node.model, prompt, sampling=Sampling(max_tokens=5), relay=True)
            prompt = prompt.continued(prompt.prefix + made.text)

    assert engine.run(script("pieces"), PROMPT).text == engine.run(PLAIN, PROMPT, sampling=Sampling(temperature=0)).text


def test_speculation_never_computes_a_prefix_again(engine: Engine) -> None:
    nodes = {
        "m": {**MODEL, "cost": 10},
        "d": {**MODEL, "blur": 3.0},
        "s": {"kind": "speculative", "target": "m", "draft": "d", "max_draft": 5, "adaptive": False},
    }
    result = engine.run({"nodes": nodes, "output": "s", "sampling": {"temperature": 1.0, "max_tokens": 200}}, PROMPT)
    verified = [event for event in result.trace if isinstance(event, Verified)]
    rejected = sum(event.proposed - event.accepted for event in verified)
    assert rejected > 20, "so that there is something to compute again"
    fed = {host.key: host.backend.fed for host in engine.hosts()}
    target, draft = (next(count for key, count in fed.items() if f'"blur":{blur}' in key) for blur in ("0.0", "3.0"))
    made = len(result.completion.ids)
    assert target <= len(PROMPT) + made + rejected + len(verified)
    assert draft <= len(PROMPT) + made + rejected + len(verified)
    assert sum(event.tokens for event in result.trace if isinstance(event, Forward)) == target + draft


def test_parked_sessions_stay_within_bounds(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PARKED_TOKENS", 300)
    for index in range(40):
        engine.run(PLAIN, f"{chr(97 + index % 26) * 3} {index * 'z'} a different prompt")
        (host,) = engine.hosts()
        assert sum(host.table.length(slot) for slot in host.table.parked) <= 300
        assert host.backend.live_slots == len(host.table.parked) <= 16
    monkeypatch.setattr(slots, "PARKED_TOKENS", 100_000)
    for index in range(40):
        engine.run(PLAIN, f"{chr(97 + index % 26) * 9} another different prompt {'y' * index}")
    assert host.backend.live_slots == len(host.table.parked) == 16


def test_the_cache_is_never_wrong(engine: Engine) -> None:
    """Whatever is parked, answers are those of an engine that has never seen anything."""
    from counterpoint.testing import make_engine

    prompts = [PROMPT[:cut] + tail for cut in (5, 20, 42) for tail in ("", "x", " and so on", "zzzzzz")]
    results = [engine.run(PLAIN, prompt) for prompt in [*prompts, *reversed(prompts)]]
    results += engine.run_many(PLAIN, prompts)
    expected = {}
    for prompt in prompts:
        with make_engine() as fresh:
            expected[prompt] = fresh.run(PLAIN, prompt).completion
    for prompt, result in zip([*prompts, *reversed(prompts), *prompts], results, strict=True):
        assert expected[prompt] == result.completion


def test_whoever_opens_does_not_depend_on_whom_it_copies(engine: Engine, stage: Any) -> None:
    """The first to open a prompt rolls back at once, is cancelled, or closes: the others still have it."""

    @stage.action
    async def odd(node: Any, run: Any, prompt: Any) -> None:
        prompt = prompt.continued("abcdef")
        mode = node.value

        async def first() -> None:
            session = await run.open(node.model, prompt)
            if mode == 0:
                session.rollback(0)
            elif mode == 1:
                session.close()
            elif mode == 2:
                session.rollback(2)
                await session.extend([7, 8, 9])

        async def other() -> Any:
            session = await run.open(node.model, prompt)
            assert session.length == 6
            return await session.logits()

        tasks = [asyncio.ensure_future(task) for task in (first(), other(), other())]
        if mode == 3:
            await asyncio.sleep(0)
            tasks[0].cancel()
        _, *rows = await asyncio.gather(*tasks, return_exceptions=True)
        fresh = await run.open(node.model, prompt)
        assert torch.equal(rows[0], rows[1])
        assert torch.equal(rows[0], await fresh.logits())

    for mode in range(4):
        engine.run(script("odd", value=mode), f"{PROMPT} {'abcd'[mode]}")


def test_long_prompts_go_in_chunks_beside_rows_that_decode(engine: Engine) -> None:
    short = engine.stream({**PLAIN, "sampling": {"temperature": 1.0, "max_tokens": 400}}, "hello")
    while not any(isinstance(event, Emitted) for event in short._events):
        pass
    long = engine.run(PLAIN, "a long prompt " * 100)
    passes = [event for event in long.trace if isinstance(event, Forward) and event.prefill]
    assert [event.tokens for event in passes] == [256] * 5 + [120]
    assert [event.logits_rows for event in passes] == [0] * 5 + [1]
    shared = {event.pass_id for event in short if isinstance(event, Forward)}
    assert all(event.pass_id in shared for event in passes)


def test_chunked_scoring_equals_scoring_at_once(engine: Engine, stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    @stage.action
    async def scores(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open(node.model, prompt)
        await session.extend([1, 2], rows="none")
        found.append(await session.score([index * 7 % 29 for index in range(50)]))
        found.append(await session.logits())

    engine.run(script("scores"), PROMPT)
    monkeypatch.setattr(hosts, "PREFILL_CHUNK", 7)
    engine.run(script("scores"), PROMPT)
    monkeypatch.setattr(hosts, "PASS_TOKENS", 3)
    engine.run(script("scores"), "a" + PROMPT)
    assert torch.allclose(found[0], found[2])
    assert torch.equal(found[1], found[3])
    assert found[4].shape == (50,)


def test_the_ledger_counts_what_was_executed(engine: Engine) -> None:
    result = engine.run(PLAIN, PROMPT)
    forwards = [event for event in result.trace if isinstance(event, Forward)]
    shape = backend(engine).shape
    held = 0
    for event in forwards:
        assert event.context == sum(held + index + 1 for index in range(event.tokens))
        assert event.flops == shape.flops(event.tokens, event.context, event.logits_rows)
        assert event.node == "m"
        assert event.pass_rows == 1
        assert event.share == event.seconds
        held += event.tokens
    assert held == len(PROMPT) + 19
    assert [event.prefill for event in forwards] == [True] + [False] * 19


def test_hidden_states_cost_no_logits(engine: Engine, stage: Any) -> None:
    @stage.action
    async def states(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open(node.model, prompt)
        forks = await session.fork(2)
        found = await run.gather(*(fork.hidden(ids, rows="all") for fork, ids in zip(forks, ([1, 2, 3], [4]), strict=True)))
        assert [tuple(rows.shape) for rows in found] == [(3, 8), (1, 8)]
        assert (await session.hidden([], rows="all")).shape == (0, 8)
        assert (await session.hidden([1, 2], rows="none")).shape == (0, 8)
        assert torch.equal((await session.hidden([3]))[0], found[0][-1])

    result = engine.run(script("states"), PROMPT)
    prompt, *passes = [event for event in result.trace if isinstance(event, Forward)]
    assert prompt.logits_rows == 1
    assert [event.tokens for event in passes] == [3, 1, 3]
    shape = backend(engine).shape
    assert all(event.flops == shape.flops(event.tokens, event.context, 0) for event in passes)
    assert len({event.pass_id for event in passes}) == 2


def test_a_budget_counts_hidden_states(engine: Engine, stage: Any) -> None:
    @stage.action
    async def states(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open(node.model, prompt)
        await session.hidden([1, 2, 3])

    once = engine.run(script("states"), PROMPT)
    enough = sum(event.flops for event in once.trace if isinstance(event, Forward))
    assert engine.run(script("states"), "b" + PROMPT[1:], budget=Budget(flops=enough)).finish_reason == "stop"
    assert engine.run(script("states"), "c" + PROMPT[1:], budget=Budget(flops=enough - 1)).finish_reason == "budget"


def test_compositions_have_no_hidden_states(engine: Engine, stage: Any) -> None:
    @stage.action
    async def states(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open(node.model, prompt)
        await session.hidden([1, 2, 3])

    nodes = {"m": MODEL, "mixed": {"kind": "ensemble", "base": "m", "others": ["m"]}}
    with pytest.raises(Unsupported, match="mixed: gives no hidden states") as caught:
        engine.run({"nodes": {**nodes, "s": {"kind": "script", "action": "states", "model": "mixed"}}, "output": "s"}, PROMPT)
    assert "huggingface" in caught.value.hint


@pytest.mark.parametrize("recipe", ["sample", "speculative"])
def test_prompts_in_flight_together_share_passes(engine: Engine, recipe: str) -> None:
    nodes = {
        "m": {**MODEL, "cost": 30},
        "d": {**MODEL, "blur": 1.0},
        "s": {"kind": "speculative", "target": "m", "draft": "d", "max_draft": 4, "adaptive": False},
    }
    given = {
        "nodes": nodes,
        "output": "s" if recipe == "speculative" else "m",
        "sampling": {"temperature": 1.0, "max_tokens": 40},
    }

    def passes() -> dict[str, int]:
        return {host.key: host.backend.passes for host in engine.hosts()}

    prompts = [f"{letter * 5} is prompt {letter}" for letter in "abcdefgh"]
    engine.load(given)
    engine.run(given, prompts[0])
    one = {key: count for key, count in passes().items() if count}
    assert len(one) == (2 if recipe == "speculative" else 1)
    alone = [engine.run(given, prompt) for prompt in prompts]
    before = passes()
    together = engine.run_many(given, prompts)
    after = passes()
    assert [result.completion for result in together] == [result.completion for result in alone]
    for key in one:
        assert after[key] - before[key] <= 2 * one[key] + 4, "eight take about as many passes as one"
        assert before[key] - one[key] > 3 * one[key]
    rows = [event.pass_rows for result in together for event in result.trace if isinstance(event, Forward)]
    assert sum(rows) / len(rows) > 4


def test_a_draft_of_the_target_itself_is_cheap_in_passes(engine: Engine) -> None:
    nodes = {"m": MODEL, "s": {"kind": "speculative", "target": "m", "draft": "m", "max_draft": 4, "adaptive": False}}
    result = engine.run({"nodes": nodes, "output": "s", "sampling": {"max_tokens": 40}}, PROMPT)
    assert all(event.accepted == event.proposed for event in result.trace if isinstance(event, Verified))
    assert sum(isinstance(event, Drafted) for event in result.trace) == 8


# --- bounds -----------------------------------------------------------------------------------------------------------


def refused(engine: Engine, recipe: Any, prompt: str, message: str, hint: str) -> Any:
    with pytest.raises(ModelError) as caught:
        engine.run(recipe, prompt)
    assert message in caught.value.message
    assert hint in caught.value.hint
    return caught.value.result  # type: ignore[attr-defined]


def test_a_prompt_longer_than_the_context(engine: Engine) -> None:
    short = {"nodes": {"small": {**MODEL, "context": 42}}, "output": "small"}
    refused(
        engine, short, PROMPT, "small: the prompt has 42 tokens, and the context of fake model 'small' holds 42",
        "shorten the prompt, or use a model with a longer context",
    )  # fmt: skip
    assert engine.run(short, PROMPT[1:]).finish_reason == "length"
    assert len(engine.run(short, PROMPT[1:]).completion.ids) == 1
    assert len(engine.run(short, PROMPT[:-5]).completion.ids) == 5


def test_a_context_that_fills_up(engine: Engine, stage: Any) -> None:
    @stage.action
    async def fills(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open(node.model, prompt)
        assert session.room == 8
        await session.extend([1] * 7)
        await session.extend([1], rows="none")
        await session.logits()
        session.rollback(3)
        await session.score([1] * 5)
        await session.extend([1])

    nodes = {"m": {**MODEL, "context": 50}, "s": {"kind": "script", "action": "fills", "model": "m"}}
    refused(engine, {"nodes": nodes, "output": "s"}, PROMPT, "m: the context of 50 tokens is full", "lower max_tokens")


def test_rollbacks_out_of_range(engine: Engine, stage: Any) -> None:
    @stage.action
    async def rolls(node: Any, run: Any, prompt: Prompt) -> None:
        session = await run.open(node.model, prompt.continued("abc"))
        await session.extend([1, 2], rows="none")
        for length in (-1, 6):
            with pytest.raises(ValueError, match=f"cannot roll back to {length}: the session has 5 response tokens"):
                session.rollback(length)
        session.rollback(4)
        session.rollback(1)
        assert session.length == 1

    engine.run(script("rolls"), PROMPT)


def test_extending_by_nothing(engine: Engine, stage: Any) -> None:
    @stage.action
    async def nothing(node: Any, run: Any, prompt: Prompt) -> None:
        session = await run.open(node.model, prompt)
        for rows in ("all", "last", "none", 3):
            assert (await session.extend([], rows=rows)).shape == (0, session.tokenizer.size)
        assert (await session.score([])).shape == (0,)
        assert session.length == 0
        await session.extend([1], rows="none")
        assert (await session.extend([], rows="last")).shape == (0, session.tokenizer.size)
        assert torch.equal(await session.logits(), (await session.extend([2], rows="all"))[0]) is False

    engine.run(script("nothing"), PROMPT)


def test_forks_are_closed_with_the_call_that_made_them(engine: Engine, stage: Any) -> None:
    @stage.action
    async def forks(node: Any, run: Any, prompt: Prompt) -> None:
        session = await run.open(node.model, prompt)
        twins = await session.fork(3)
        await run.gather(*(twin.extend([index]) for index, twin in enumerate(twins)))
        await (await twins[0].fork(1))[0].extend([3])
        if node.value:
            raise RuntimeError("half-way")

    engine.run(script("forks"), PROMPT)
    assert engine.hosts()[0].slots == 0
    with pytest.raises(Exception, match="half-way"):
        engine.run(script("forks", value=1), PROMPT)
    assert engine.hosts()[0].slots == 0

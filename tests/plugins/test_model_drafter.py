"""A draft model: in step with what stands, whatever it had proposed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from counterpoint import BridgeError, Engine, Sampling
from counterpoint.events import Drafted
from counterpoint.testing import assert_drafter_laws

MODEL: dict[str, Any] = {"kind": "fake", "prompt_format": "raw", "end_bias": -99}


def drafting(**fields: Any) -> dict[str, Any]:
    nodes = {"m": MODEL, "d": {**MODEL, "blur": 1.0, **fields}}
    return {"nodes": {**nodes, "s": {"kind": "script", "action": "tries", "model": "m", "drafter": "d"}}, "output": "s"}


def test_the_laws_hold() -> None:
    nodes = {"m": {"kind": "fake"}, "d": {"kind": "model_drafter", "model": {"kind": "fake", "blur": 1.0}}}
    assert_drafter_laws({"nodes": nodes, "output": "d"}, "m")
    assert_drafter_laws({"nodes": {**nodes, "d": {"kind": "fake", "seed": 5}}, "output": "d"}, "m")
    assert_drafter_laws({"nodes": nodes, "output": "d"}, "m", prompt={"text": "hello", "prefix": "abc"})


def test_drafts_are_the_draft_models_own_draws(engine: Engine, stage: Any) -> None:
    @stage.action
    async def tries(node: Any, run: Any, prompt: Any) -> None:
        target = await run.open(node.model, prompt)
        drafter = await run.draft(node.drafter, prompt, target)
        twin = await run.open("d", prompt)
        response: list[int] = []
        for _ in range(5):
            draft = await drafter.propose(response, 4, lambda _: True, "draft")
            assert len(draft.ids) == 4
            twin.rollback(0)
            await twin.extend(response, rows="none")
            for index, token in enumerate(draft.ids):
                row = await twin.logits()
                assert torch.equal(row, draft.logits[index])
                drawn = await run.draw(row, twin, [*response, *draft.ids[:index]], purpose="draft")
                assert drawn.ids == (token,)
                assert draft.confidence[index] == pytest.approx(drawn.probabilities[0])
                await twin.extend([token])
            response += [*draft.ids[:2], 7]

    engine.run(drafting(), "hello", sampling=Sampling(temperature=0.9))


def test_with_the_targets_noise_there_are_no_rows(engine: Engine, stage: Any) -> None:
    @stage.action
    async def tries(node: Any, run: Any, prompt: Any) -> None:
        target = await run.open(node.model, prompt)
        drafter = await run.draft(node.drafter, prompt, target)
        draft = await drafter.propose([], 6, lambda _: True)
        assert draft.logits is None
        drawn = await run.draw(await target.logits(), target, [])
        assert drawn.ids[0] == draft.ids[0], "equal distributions and equal noise agree"

    engine.run(drafting(blur=0.0), "hello", sampling=Sampling(temperature=0.9))


def test_it_is_asked_after_every_token_whether_to_go_on(engine: Engine, stage: Any) -> None:
    @stage.action
    async def tries(node: Any, run: Any, prompt: Any) -> None:
        drafter = await run.draft(node.drafter, prompt, await run.open(node.model, prompt))
        asked: list[float] = []

        def twice(confidence: float) -> bool:
            asked.append(confidence)
            return len(asked) < 3

        draft = await drafter.propose([], 10, twice)
        assert list(draft.confidence) == asked
        assert len(draft.ids) == 3
        assert len((await drafter.propose([], 1, lambda _: True)).ids) == 1

    engine.run(drafting(), "hello", sampling=Sampling(temperature=0.9))


def test_nothing_is_drafted_after_the_end_of_turn(engine: Engine, stage: Any) -> None:
    @stage.action
    async def tries(node: Any, run: Any, prompt: Any) -> None:
        drafter = await run.draft(node.drafter, prompt, await run.open(node.model, prompt))
        assert (await drafter.propose([], 10, lambda _: True)).ids == (30,)

    engine.run(drafting(end_bias=99), "hello")


@pytest.mark.parametrize("rule", ["invariant", "rejection"])
def test_a_shorter_context_than_the_targets_ends_the_drafts_not_the_answer(engine: Engine, rule: str) -> None:
    nodes = {
        "m": MODEL,
        "d": {**MODEL, "blur": 0.5, "context": 30},
        "s": {"kind": "speculative", "target": "m", "draft": "d", "adaptive": False, "max_draft": 4, "rule": rule},
    }
    sampling = Sampling(max_tokens=60)
    result = engine.run({"nodes": nodes, "output": "s"}, "hello there", sampling=sampling)
    assert (
        result.completion.ids
        == engine.run({"nodes": {"m": MODEL}, "output": "m"}, "hello there", sampling=sampling).completion.ids
    )
    positions = [event.position for event in result.trace if isinstance(event, Drafted)]
    assert positions
    assert max(positions) <= 19


def test_another_vocabulary_is_refused_at_run_time_too(engine: Engine, stage: Any) -> None:
    """Where the plan cannot see it: behind a composition."""

    @stage.action
    async def opens(node: Any, run: Any, prompt: Any) -> Any:
        return await run.open(node.models[0], prompt)

    nodes = {
        "m": MODEL,
        "odd": {**MODEL, "alphabet": "abc"},
        "c": {"kind": "script_model", "action": "opens", "models": ["odd"]},
        "s": {"kind": "speculative", "target": "m", "draft": "c"},
    }
    with pytest.raises(BridgeError, match="odd and m have different vocabularies") as caught:
        engine.run({"nodes": nodes, "output": "s"}, "abc")
    assert "prompt_lookup" in caught.value.hint
    assert all(host.slots == 0 for host in engine.hosts())


def test_a_composition_may_draft(engine: Engine, stage: Any) -> None:
    @stage.action
    async def opens(node: Any, run: Any, prompt: Any) -> Any:
        return await run.open(node.models[0], prompt)

    nodes = {
        "m": MODEL,
        "d": {**MODEL, "blur": 0.5},
        "c": {"kind": "script_model", "action": "opens", "models": ["d"]},
        "s": {"kind": "speculative", "target": "m", "draft": "c", "adaptive": False},
    }
    sampling = Sampling(temperature=0.8, max_tokens=30)
    plain = engine.run({"nodes": {"m": MODEL}, "output": "m"}, "hello", sampling=sampling)
    assert engine.run({"nodes": nodes, "output": "s"}, "hello", sampling=sampling).completion == plain.completion

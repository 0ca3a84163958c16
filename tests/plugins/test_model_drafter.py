"""A draft model: in step with what stands, whatever it had proposed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pytest
import torch

from counterpoint import BridgeError, Engine, RecipeError, Sampling
from counterpoint.events import Drafted, Verified
from counterpoint.plugin import Backend, Node, Resources, hookimpl
from counterpoint.testing import FakeModel, assert_drafter_laws, make_engine
from counterpoint.testing.fake import ALPHABET, END, FakeBackend

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


# --- of another vocabulary --------------------------------------------------------------------------------------------------

BACKWARDS = ALPHABET[::-1]
WORDS = ["th", "the", "he", "re", "ab", "e ", " a"]


class _TwinBackend(FakeBackend):
    """The distributions of a fake whose characters are in the usual order, on one that has them backwards."""

    def _row(self, tokens: Sequence[int]) -> Any:
        order = [END - 1 - index for index in range(END)] + [END]
        return super()._row([order[token] for token in tokens])[order]


class Twin(FakeModel):
    """Says what a fake of the usual alphabet says, in a vocabulary of its own."""

    kind: Literal["twin"] = "twin"  # type: ignore[assignment]
    alphabet: str = BACKWARDS

    def load(self, resources: Resources) -> Backend:
        return _TwinBackend(self)


class Plugin:
    @hookimpl
    def counterpoint_nodes(self) -> list[type[Node]]:
        return [Twin]


@pytest.fixture
def twins() -> Iterator[Engine]:
    with make_engine([Plugin()]) as made:
        yield made


TWIN: dict[str, Any] = {**MODEL, "kind": "twin"}
PARTIAL: dict[str, Any] = {**MODEL, "alphabet": "abcdefg rst.", "words": WORDS}
LEVELS = ["token", "string"]


def across(draft: dict[str, Any], level: str = "auto", target: dict[str, Any] = MODEL, **fields: Any) -> dict[str, Any]:
    nodes = {
        "m": target,
        "odd": draft,
        "d": {"kind": "model_drafter", "model": "odd", "level": level},
        "s": {"kind": "speculative", "target": "m", "draft": "d", "adaptive": False, "max_draft": 5, **fields},
    }
    return {"nodes": nodes, "output": "s"}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("draft", [{"alphabet": BACKWARDS}, {"words": WORDS}, {"alphabet": "abe ht.", "words": WORDS}])
def test_the_laws_hold_across_vocabularies(level: str, draft: dict[str, Any]) -> None:
    nodes = {"m": {"kind": "fake"}, "d": {"kind": "model_drafter", "model": {"kind": "fake", **draft}, "level": level}}
    assert_drafter_laws({"nodes": nodes, "output": "d"}, "m")
    assert_drafter_laws({"nodes": nodes, "output": "d"}, "m", prompt={"text": "hello", "prefix": "the ab"}, rounds=10)
    assert_drafter_laws({"nodes": {**nodes, "m": {"kind": "fake", "words": ["here", "bab", " t"]}}, "output": "d"}, "m")


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("target", [MODEL, {**MODEL, "words": ["here", "bab", " t", "qu"]}], ids=["characters", "words"])
def test_the_answer_is_that_of_sample(engine: Engine, target: dict[str, Any], level: str, temperature: float) -> None:
    sampling = Sampling(temperature=temperature, max_tokens=50)
    plain = engine.run({"nodes": {"m": target}, "output": "m"}, "the hat", sampling=sampling, seed=3)
    for draft in (PARTIAL, {**MODEL, "alphabet": BACKWARDS}, {**target, "blur": 0.5, "alphabet": ALPHABET + "!"}):
        result = engine.run(across(draft, level, target), "the hat", sampling=sampling, seed=3)
        assert result.completion == plain.completion
        assert any(isinstance(event, Drafted) for event in result.trace)


def share(result: Any) -> float:
    verified = [event for event in result.trace if isinstance(event, Verified)]
    return sum(event.accepted for event in verified) / sum(event.proposed for event in verified)


def test_drafts_of_a_twin_stand(twins: Engine) -> None:
    """Greedy, both levels draft the target's own text; sampled, the tokens both have are drawn with the target's noise."""
    greedy = Sampling(max_tokens=40)
    for level in LEVELS:
        assert share(twins.run(across(TWIN, level), "hello", sampling=greedy)) == 1.0
    sampled = Sampling(temperature=0.8, max_tokens=40)
    assert share(twins.run(across(TWIN, "token"), "hello", sampling=sampled, seed=1)) == 1.0
    assert 0 < share(twins.run(across(TWIN, "string", rule="rejection"), "hello", sampling=sampled, seed=1)) < 1.0
    assert share(twins.run(across(TWIN, "token", rule="rejection"), "hello", sampling=sampled, seed=1)) == 1.0


def test_a_worse_twin_is_right_in_part(twins: Engine) -> None:
    for level in LEVELS:
        result = twins.run(across({**TWIN, "blur": 2.0}, level), "hello", sampling=Sampling(max_tokens=60))
        assert 0.1 < share(result) < 1.0


@pytest.mark.parametrize("level", LEVELS)
def test_the_end_of_a_turn_is_drafted_by_its_role(engine: Engine, stage: Any, level: str) -> None:
    @stage.action
    async def tries(node: Any, run: Any, prompt: Any) -> None:
        drafter = await run.draft(node.drafter, prompt, await run.open(node.model, prompt))
        assert (await drafter.propose([], 10, lambda _: True)).ids == (END,)

    given = across({**PARTIAL, "end_bias": 99}, level)
    given["nodes"]["s"] = {"kind": "script", "action": "tries", "model": "m", "drafter": "d"}
    engine.run(given, "hello")


def test_a_text_draft_is_cut_as_the_target_cuts_it(engine: Engine, stage: Any) -> None:
    """Together with the end of the response, so that its first token may be one that the response has begun."""

    @stage.action
    async def tries(node: Any, run: Any, prompt: Any) -> None:
        target = await run.open(node.model, prompt)
        twin = await run.open("odd", prompt)
        drafter = await run.draft(node.drafter, prompt, target)
        response = target.tokenizer.encode("so he was ")
        await twin.extend(twin.tokenizer.encode("so he was "))
        text = ""
        for _ in range(6):
            (token,) = (await run.draw(await twin.logits(), twin, [0] * twin.length)).ids
            await twin.extend([token])
            text += twin.tokenizer.decode([token])
        draft = await drafter.propose(response, 6, lambda _: True)
        assert target.tokenizer.decode(draft.ids) == text
        assert list(draft.ids) == target.tokenizer.encode(text)
        assert len(draft.ids) < 6
        assert all(0 < value <= 1 for value in draft.confidence)

    pairs = [a + b for a in ALPHABET for b in ALPHABET]
    given = across({**MODEL, "alphabet": BACKWARDS}, "string", {**MODEL, "words": pairs})
    given["nodes"]["s"] = {"kind": "script", "action": "tries", "model": "m", "drafter": "d"}
    engine.run(given, "hello")


@pytest.mark.parametrize("rule", ["invariant", "rejection"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("context", [6, 7, 8, 12, 13, 14, 23])
def test_a_full_context_ends_the_drafts_in_another_vocabulary_too(engine: Engine, level: str, rule: str, context: int) -> None:
    """Also where a token of the target is several of the draft model's."""
    target = {**MODEL, "words": ["here", "bab", " t", "qu", "hello"]}
    sampling = Sampling(max_tokens=40)
    plain = engine.run({"nodes": {"m": target}, "output": "m"}, "the a", sampling=sampling)
    for draft in ({**PARTIAL, "context": context}, {**MODEL, "alphabet": BACKWARDS, "context": context}):
        result = engine.run(across(draft, level, target, rule=rule), "the a", sampling=sampling)
        assert result.completion.ids == plain.completion.ids
        assert context < 12 or any(isinstance(event, Drafted) for event in result.trace)


@pytest.mark.parametrize(("greedy", "level"), [(True, "string"), (False, "token")])
def test_the_plan_says_the_level_and_why(engine: Engine, greedy: bool, level: str) -> None:
    def told(**fields: Any) -> list[str]:
        given = across({**MODEL, "alphabet": BACKWARDS + "!"}, **fields)
        plan = engine.plan({**given, "sampling": {"temperature": 0.0 if greedy else 0.8}})
        plan.check()
        return [finding.message for finding in plan.findings if finding.node == "s" and "level" in finding.message]

    (chosen,) = told()
    assert f"'odd' drafts at the level of {level}s: sampling is {'greedy' if greedy else 'random'}" in chosen
    for asked in LEVELS:
        assert told(level=asked) == [f"'odd' drafts at the level of {asked}s: as set"]


def test_the_level_does_not_matter_within_one_vocabulary(engine: Engine) -> None:
    sampling = Sampling(temperature=0.8, max_tokens=30)
    same = {**MODEL, "blur": 0.5}
    answers = [engine.run(across(same, level, rule="rejection"), "hello", sampling=sampling) for level in ("auto", *LEVELS)]
    assert answers[0].completion == answers[1].completion == answers[2].completion
    assert not [finding for finding in engine.plan(across(same, "string")).findings if "level" in finding.message]


@pytest.mark.parametrize("level", ["auto", *LEVELS])
def test_nothing_in_common_is_refused(engine: Engine, stage: Any, level: str) -> None:
    """Before weights load; and at run time where the plan cannot see it, behind a composition."""
    far = {**MODEL, "alphabet": "+-*/"}
    with pytest.raises(RecipeError, match=r"'odd' and 'm': the vocabularies .* have no token in common"):
        engine.plan(across(far, level)).check()

    @stage.action
    async def opens(node: Any, run: Any, prompt: Any) -> Any:
        return await run.open(node.models[0], prompt)

    given = across({"kind": "script_model", "action": "opens", "models": ["far"]}, level)
    given["nodes"]["far"] = far
    with pytest.raises(BridgeError, match=r"far beside m: the vocabularies .* have no token in common") as caught:
        engine.run(given, "abc")
    assert "tokenizers spell the same texts" in caught.value.hint
    assert all(host.slots == 0 for host in engine.hosts())

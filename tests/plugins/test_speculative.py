"""Speculative decoding: exactly the tokens of plain sampling, in fewer passes of the target."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counterpoint import Engine, Sampling
from counterpoint.events import Drafted, Emitted, Forward, Note, Verified
from counterpoint.plugin import Draft, DraftSession
from counterpoint.testing import assert_generator_laws, make_engine

TARGET: dict[str, Any] = {"kind": "fake", "cost": 10}
PROMPTS = ["hello there hello there", "what is a fugue", "a"]

DRAFTERS: dict[str, Any] = {
    "a worse twin": {"kind": "fake", "blur": 2.0},
    "a model of another mind": {"kind": "fake", "seed": 99},
    "an equal": {"kind": "fake"},
    "itself": "m",
    "look-up": {"kind": "prompt_lookup", "min_ngram": 1},
    "look-up, then a model": [{"kind": "prompt_lookup"}, {"kind": "fake", "blur": 2.0}],
    "a model, then look-up": [{"kind": "model_drafter", "model": {"kind": "fake", "blur": 4.0}}, {"kind": "prompt_lookup"}],
    "one that is eager to end": {"kind": "fake", "blur": 1.0, "end_bias": 6.0},
    "one with another prompt": {"kind": "fake", "blur": 1.0, "prompt_format": "{{ text }} and more"},
    "one with a short context": {"kind": "fake", "blur": 1.0, "context": 60},
    "nonsense": {"kind": "script_drafter", "action": "nonsense"},
}


class Nonsense(DraftSession):
    """Proposes anything: nothing, too little, ends of turns, the same again."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.random = random.Random(1)

    async def propose(self, response: Any, limit: int, proceed: Any, purpose: Any = "sample") -> Draft:
        ids = tuple(self.random.choice([0, 5, 30, 12, 7]) for _ in range(self.random.randint(0, limit)))
        return Draft(ids, None, tuple(self.random.random() for _ in ids) if self.random.random() < 0.8 else (1.0,) * len(ids))


async def nonsense(node: Any, run: Any, prompt: Any, target: Any) -> Nonsense:
    return Nonsense(run.path)


@pytest.fixture(scope="module")
def shared(stage_type: Any) -> Iterator[Engine]:
    """One engine for all of this file; nothing stays open in it."""
    stage = stage_type()
    stage.action(nonsense)
    with make_engine([stage.plugin]) as engine:
        yield engine
        assert all(host.slots == 0 and host.pending == 0 for host in engine.hosts())


def recipe(draft: Any, **fields: Any) -> dict[str, Any]:
    return {"nodes": {"m": TARGET, "s": {"kind": "speculative", "target": "m", "draft": draft, **fields}}, "output": "s"}


PLAIN = {"nodes": {"m": TARGET}, "output": "m"}
SETTINGS = {
    "greedy": Sampling(max_tokens=40),
    "0.8": Sampling(temperature=0.8, max_tokens=40),
    "1.5": Sampling(temperature=1.5, max_tokens=40),
    "truncated": Sampling(temperature=1.1, top_k=6, top_p=0.9, min_p=0.02, max_tokens=40),
    "penalty": Sampling(temperature=0.9, repetition_penalty=1.7, max_tokens=40),
    "greedy penalty": Sampling(repetition_penalty=2.5, max_tokens=40),
    "min_tokens": Sampling(temperature=1.0, min_tokens=15, max_tokens=40),
    "stop": Sampling(temperature=1.0, stop=("a", "th", " .,"), max_tokens=40),
    "ignore_stop": Sampling(temperature=1.0, ignore_stop=True, stop=("a",), max_tokens=40),
}


def same(engine: Engine, given_: dict[str, Any], sampling: Sampling, seed: int = 0, prompts: Any = PROMPTS) -> None:
    found = engine.run_many(given_, prompts, sampling=sampling, seed=seed)
    wanted = engine.run_many(PLAIN, prompts, sampling=sampling, seed=seed)
    for one, other in zip(found, wanted, strict=True):
        assert one.error is None
        assert one.completion == other.completion
        said = [value for event in one.trace if isinstance(event, Emitted) for value in event.logprobs["m"]]
        assert said == pytest.approx(
            [value for event in other.trace if isinstance(event, Emitted) for value in event.logprobs["m"]], abs=1e-4
        )
    assert all(host.slots == 0 for host in engine.hosts())


@pytest.mark.parametrize("settings_name", SETTINGS)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_the_invariant_rule_gives_the_tokens_of_sampling(shared: Engine, drafter: str, settings_name: str) -> None:
    for adaptive, seed in ((True, 1), (False, 2)):
        same(shared, recipe(DRAFTERS[drafter], adaptive=adaptive, max_draft=5), SETTINGS[settings_name], seed)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drafter=st.sampled_from(list(DRAFTERS)),
    max_draft=st.integers(1, 16),
    adaptive=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([0.3, 0.8, 1.5]),
        top_k=st.none() | st.integers(1, 31),
        top_p=st.none() | st.floats(0.05, 1),
        repetition_penalty=st.sampled_from([1.0, 0.7, 1.4]),
        max_tokens=st.integers(3, 30),
        min_tokens=st.integers(0, 3),
        stop=st.lists(st.text("abc .", min_size=1, max_size=2), max_size=2).map(tuple),
        ignore_stop=st.booleans(),
    )
    | st.builds(Sampling, max_tokens=st.integers(1, 30)),
    prefix=st.sampled_from(["", "hel", "hello there hello"]),
)
def test_whatever_the_settings(
    shared: Engine, drafter: str, max_draft: int, adaptive: bool, seed: int, sampling: Sampling, prefix: str
) -> None:
    prompts = [{"text": PROMPTS[0], "prefix": prefix}]
    same(shared, recipe(DRAFTERS[drafter], max_draft=max_draft, adaptive=adaptive), sampling, seed, prompts)


@pytest.mark.parametrize("max_draft", [1, 2, 3, 8, 16, 64])
def test_whatever_the_longest_draft(shared: Engine, max_draft: int) -> None:
    for adaptive in (True, False):
        same(shared, recipe({"kind": "fake", "blur": 1.0}, max_draft=max_draft, adaptive=adaptive), SETTINGS["0.8"], max_draft)


@pytest.mark.parametrize("rule", ["invariant", "rejection"])
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_greedily_both_rules_give_the_tokens_of_the_target(shared: Engine, drafter: str, rule: str) -> None:
    for sampling in (SETTINGS["greedy"], SETTINGS["greedy penalty"]):
        same(shared, recipe(DRAFTERS[drafter], rule=rule, adaptive=False, max_draft=4), sampling)


def test_a_context_that_ends_the_answer(shared: Engine) -> None:
    for context in (26, 30, 45):
        nodes = {"m": {**TARGET, "context": context, "prompt_format": "raw", "end_bias": -99}}
        sampling = Sampling(temperature=0.8, max_tokens=50)
        plain = shared.run({"nodes": nodes, "output": "m"}, PROMPTS[0], sampling=sampling)
        for draft in ({"kind": "fake", "blur": 1.0, "prompt_format": "raw"}, {"kind": "prompt_lookup", "min_ngram": 1}, "m"):
            given_ = {
                "nodes": {**nodes, "s": {"kind": "speculative", "target": "m", "draft": draft, "adaptive": False}},
                "output": "s",
            }
            result = shared.run(given_, PROMPTS[0], sampling=sampling)
            assert result.completion == plain.completion
            assert result.finish_reason == "length"


@pytest.mark.parametrize("rule", ["invariant", "rejection"])
def test_the_laws_hold(rule: str) -> None:
    nodes = {
        "m": TARGET,
        "d": {"kind": "fake", "blur": 1.0},
        "s": {"kind": "speculative", "target": "m", "draft": "d", "rule": rule},
    }
    for adaptive in (True, False):
        assert_generator_laws({"nodes": {**nodes, "s": {**nodes["s"], "adaptive": adaptive}}, "output": "s"})


# --- what is told of it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["invariant", "rejection"])
def test_drafts_verdicts_and_text_fit_together(shared: Engine, rule: str) -> None:
    given_ = recipe(
        [{"kind": "prompt_lookup"}, {"kind": "fake", "blur": 2.0, "end_bias": -99}], rule=rule, adaptive=False, max_draft=4
    )
    given_["nodes"]["m"] = {**TARGET, "end_bias": -99}
    result = shared.run(given_, PROMPTS[0], sampling=Sampling(temperature=0.8, max_tokens=120))
    drafted = [event for event in result.trace if isinstance(event, Drafted) and event.ids]
    verified = [event for event in result.trace if isinstance(event, Verified)]
    assert len(drafted) == len(verified) > 10
    assert {event.proposer for event in drafted} == {"s.draft[0]", "s.draft[1]"}
    ids = result.completion.ids
    for draft, verdict in zip(drafted, verified, strict=True):
        assert (draft.position, draft.proposer, len(draft.ids)) == (verdict.position, verdict.proposer, verdict.proposed)
        assert 0 <= verdict.accepted <= verdict.proposed
        stood = ids[draft.position : draft.position + verdict.accepted]
        assert stood == draft.ids[: len(stood)]
        after = draft.position + verdict.accepted
        if verdict.accepted < verdict.proposed and after < len(ids):
            assert ids[after] != draft.ids[verdict.accepted]
        assert len(draft.confidence) == len(draft.ids)
    by = Counter[str]()
    for event in result.trace:
        if isinstance(event, Emitted):
            assert event.decider == "m"
            by[event.proposer] += len(event.ids)
    accepted = Counter[str]()
    for verdict in verified:
        accepted[verdict.proposer] += verdict.accepted
    assert {name: by[name] for name in accepted} == accepted
    assert sum(by.values()) == len(ids) == 120


def test_a_good_draft_saves_passes_of_the_target(shared: Engine) -> None:
    def passes(given_: dict[str, Any]) -> int:
        result = shared.run(given_, PROMPTS[1], sampling=Sampling(temperature=0.8, max_tokens=100, ignore_stop=True))
        return sum(isinstance(event, Forward) and event.node == "m" for event in result.trace)

    assert passes(PLAIN) == 100
    assert passes(recipe({"kind": "fake", "blur": 0.5}, adaptive=False, max_draft=8)) < 35
    assert passes(recipe({"kind": "fake", "blur": 0.5})) < 50
    assert passes(recipe({"kind": "fake"})) < 30, "the target itself, whose confidence is learned to be an understatement"


def test_a_bad_draft_is_given_up(shared: Engine) -> None:
    sampling = Sampling(temperature=0.8, max_tokens=200, ignore_stop=True)
    result = shared.run(recipe({"kind": "fake", "seed": 99, "cost": 5}), PROMPTS[1], sampling=sampling)
    drafted = sum(len(event.ids) + event.discarded for event in result.trace if isinstance(event, Drafted))
    assert drafted < 60


def test_the_rejection_rule_adapts_too(shared: Engine) -> None:
    sampling = Sampling(temperature=0.8, max_tokens=100, ignore_stop=True)
    result = shared.run(recipe({"kind": "fake", "blur": 0.2}, rule="rejection"), PROMPTS[1], sampling=sampling)
    assert sum(event.accepted for event in result.trace if isinstance(event, Verified)) > 20


def test_costs_are_told(shared: Engine) -> None:
    result = shared.run(recipe({"kind": "fake", "blur": 1.0}), PROMPTS[1], sampling=Sampling(max_tokens=5))
    (note,) = [event for event in result.trace if isinstance(event, Note)]
    assert note.name == "draft_costs"
    assert note.data


# --- the rejection rule -----------------------------------------------------------------------------------------------


MANY = 2000


@pytest.mark.parametrize(
    ("draft", "sampling"),
    [
        ({"prompt_format": "{{ text }}abbbb"}, {"repetition_penalty": 4.0}),
        ({}, {"repetition_penalty": 2.0}),
        ({"end_bias": 2.0}, {"min_tokens": 1}),
    ],
    ids=["another prompt", "penalty", "min_tokens"],
)
def test_rejection_is_lossless_where_the_two_see_different_things(
    engine: Engine, stage: Any, draft: dict[str, Any], sampling: dict[str, Any]
) -> None:
    """The rows that drafts were drawn from are judged as they were drawn: by what the drafter had seen."""
    target = {"kind": "fake", "alphabet": "abcd", "prompt_format": "raw", "sharpness": 3.0}
    found: dict[str, Counter[tuple[int, ...]]] = {"a": Counter(), "b": Counter()}

    @stage.action
    async def many(node: Any, run: Any, prompt: Any) -> None:
        for name, count in found.items():
            for _ in range(MANY // 500):
                made = await run.gather(*(run.generate(node.children[name], prompt) for _ in range(500)))
                count.update(one.ids for one in made)

    nodes = {
        "m": target,
        "d": {**target, "blur": 2.0, **draft},
        "s": {"kind": "speculative", "target": "m", "draft": "d", "rule": "rejection", "adaptive": False},
        "top": {"kind": "script", "action": "many", "children": {"a": "m", "b": "s"}},
    }
    engine.run({"nodes": nodes, "output": "top"}, "dcda", sampling=Sampling(temperature=1.0, max_tokens=2, **sampling))
    responses = [
        response for response, _ in (found["a"] + found["b"]).most_common() if found["a"][response] + found["b"][response] > 20
    ]
    table = [[found[name][response] for response in responses] for name in "ab"]
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-4

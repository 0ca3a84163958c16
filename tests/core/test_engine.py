"""The engine: options of a run, many runs, models that come and go, and plans that are not mixed up."""

from __future__ import annotations

import threading
from typing import Any, Literal

import pytest

import counterpoint as cp
from counterpoint import Engine, RecipeError, RunError, Sampling
from counterpoint.events import Emitted, Failed, Forward, Progress, RunStarted
from counterpoint.planning import ModelFacts
from counterpoint.plugin import hookimpl
from counterpoint.testing import FakeModel, assert_generator_laws, make_engine

MODEL = {"kind": "fake", "end_bias": -99, "prompt_format": "raw"}
PLAIN = {"nodes": {"m": MODEL}, "output": "m", "sampling": {"temperature": 1.0, "max_tokens": 20}}


def test_the_generator_laws_hold_for_sampling() -> None:
    assert_generator_laws({"nodes": {"m": {"kind": "fake"}}, "output": "m"})
    assert_generator_laws({"nodes": {"m": {"kind": "fake"}}, "output": "m"}, temperature=0)


def test_options_of_a_run(engine: Engine) -> None:
    base = engine.run(PLAIN, "hello")
    assert engine.run(PLAIN, "hello", seed=0, row=0).completion == base.completion
    assert engine.run(PLAIN, "hello", seed=1).completion != base.completion
    assert engine.run(PLAIN, "hello", row=1).completion != base.completion
    assert engine.run({**PLAIN, "seed": 1}, "hello").completion == engine.run(PLAIN, "hello", seed=1).completion
    short = engine.run(PLAIN, "hello", sampling=Sampling(max_tokens=5))
    assert short.completion.ids == base.completion.ids[:5], "only what is set goes over the recipe's"
    assert engine.run({**PLAIN, "prompt": "hello"}).completion == base.completion
    assert engine.run({**PLAIN, "prompt": "other"}, "hello").completion == base.completion
    chat = {"nodes": {"m": {"kind": "fake"}}, "output": "m"}
    assert engine.run(chat, [{"role": "user", "content": "hello"}]).completion == engine.run(chat, "hello").completion


def test_the_trace_says_how_to_make_the_run_again(engine: Engine) -> None:
    result = engine.run(PLAIN, "hello", seed=7, budget="tokens=9", sampling=Sampling(stop=("zz",)))
    started = result.trace[0]
    assert isinstance(started, RunStarted)
    again = engine.run(started.recipe, started.prompt, row=started.row)
    assert again.completion == result.completion
    assert (started.seed, started.row, started.prompt.text) == (7, 0, "hello")
    assert started.recipe["budget"] == {"tokens": 9}
    assert {"python", "counterpoint", "torch"} <= set(started.versions)


def test_many_prompts_and_samples_in_order(engine: Engine) -> None:
    results = engine.run_many(PLAIN, ["one thing", "another thing"], samples=3)
    expected = [engine.run(PLAIN, prompt, row=row).completion for prompt in ("one thing", "another thing") for row in range(3)]
    assert [result.completion for result in results] == expected
    assert len({result.run_id for result in results}) == 6
    assert engine.run_many(PLAIN, []) == []


def test_one_of_many_that_fails_does_not_stop_the_others(engine: Engine) -> None:
    given = {**PLAIN, "nodes": {"m": {**MODEL, "context": 40}}}
    good, bad, other = engine.run_many(given, ["short", "much too long a prompt for a context of forty tokens", "brief"])
    assert good.error is None
    assert other.error is None
    assert bad.finish_reason == "failed"
    assert "the context of fake model 'm' holds 40" in str(bad.error)
    assert any(isinstance(event, Failed) for event in bad.trace)


def test_a_prompt_that_is_none_stops_before_anything_runs(engine: Engine) -> None:
    engine.load(PLAIN)
    with pytest.raises(RecipeError, match="the prompt is empty"):
        engine.run_many({**PLAIN, "sampling": {"max_tokens": 1500}}, ["hello there", ""])
    assert engine.hosts()[0].backend.passes == 0
    assert engine.hosts()[0].slots == 0


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("", "the prompt is empty"), ("  ", "the prompt is empty"), ([], "either text or messages"), (3, "valid dictionary"),
     ([{"role": "robot", "content": "x"}], "messages.0.role: ")],
)  # fmt: skip
@pytest.mark.parametrize("call", ["run", "plan"])
def test_what_is_no_prompt(engine: Engine, prompt: Any, message: str, call: str) -> None:
    with pytest.raises(RecipeError) as caught:
        getattr(engine, call)(PLAIN, prompt)
    assert caught.value.message.startswith("prompt: ")
    assert message in caught.value.message
    assert "a prompt is text, or a list of" in caught.value.hint


def test_no_prompt_at_all(engine: Engine) -> None:
    with pytest.raises(RecipeError, match="mine: no prompt given, and the recipe has none") as caught:
        engine.run({**PLAIN, "name": "mine"})
    assert caught.value.hint == "pass a prompt"


def test_settings_that_contradict(engine: Engine) -> None:
    with pytest.raises(RecipeError, match="sampling: temperature 0 is greedy decoding, which top_p contradict") as caught:
        engine.run({**PLAIN, "sampling": {"max_tokens": 5}}, "hello", sampling=Sampling(top_p=0.5))
    assert caught.value.hint
    with pytest.raises(RecipeError, match="recipe, sampling: temperature 0 is greedy"):
        engine.run({**PLAIN, "sampling": {"top_k": 3}}, "hello")
    node = {"kind": "sample", "model": "m", "sampling": {"min_p": 0.1}}
    given = {**PLAIN, "nodes": {"m": MODEL, "s": node}, "output": "s", "sampling": {"temperature": 0}}
    with pytest.raises(RecipeError) as merged:
        engine.run(given, "hello")
    assert "s: temperature 0 is greedy decoding, which min_p contradict" in merged.value.message


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "x"])
def test_seeds_out_of_range(engine: Engine, seed: Any) -> None:
    with pytest.raises(RecipeError, match="seed"):
        engine.run(PLAIN, "hello", seed=seed)


def test_recipes_that_differ_only_in_what_a_node_sets_are_not_mixed_up(engine: Engine) -> None:
    def text(**settings: Any) -> str:
        nodes = {"m": MODEL, "s": {"kind": "sample", "model": "m", "sampling": settings}}
        return engine.run({**PLAIN, "nodes": nodes, "output": "s"}, "hello").text

    greedy = engine.run(PLAIN, "hello", sampling=Sampling(temperature=0)).text
    sampled = engine.run(PLAIN, "hello").text
    assert greedy != sampled
    assert text(max_tokens=20) == sampled
    assert text(max_tokens=20, temperature=0.0) == greedy
    assert text(max_tokens=20) == sampled


def test_recorded_alternatives(engine: Engine) -> None:
    result = engine.run({**PLAIN, "record": "full"}, "hello")
    alternatives = [one for event in result.trace if isinstance(event, Emitted) for one in event.alternatives]
    assert len(alternatives) == 20
    assert all(len(one) == 5 for one in alternatives)
    assert all(one[i].logprob >= one[i + 1].logprob for one in alternatives for i in range(4))
    tiny = {"nodes": {"m": {**MODEL, "alphabet": "abc"}}, "output": "m", "record": "full", "sampling": {"max_tokens": 4}}
    assert all(len(event.alternatives[0]) == 4 for event in engine.run(tiny, "abc").trace if isinstance(event, Emitted))
    assert not any(event.alternatives for event in engine.run(PLAIN, "hello").trace if isinstance(event, Emitted))


def test_logprobs_are_the_models(engine: Engine, stage: Any) -> None:
    result = engine.run(PLAIN, "hello", sampling=Sampling(temperature=1.3, top_k=4, repetition_penalty=1.4, min_tokens=20))
    said = [value for event in result.trace if isinstance(event, Emitted) for value in event.logprobs["m"]]

    @stage.action
    async def scores(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open("m", prompt)
        assert said == pytest.approx((await session.score(result.completion.ids)).tolist(), abs=1e-4)

    given = {"nodes": {"m": MODEL, "s": {"kind": "script", "action": "scores", "model": "m"}}, "output": "s"}
    assert engine.run(given, "hello").error is None


def test_min_tokens_and_ignored_stops(engine: Engine) -> None:
    sampling = {"temperature": 1.0, "max_tokens": 40}
    eager = {"nodes": {"m": {"kind": "fake", "end_bias": 6.0, "memory": 1}}, "output": "m", "sampling": sampling}
    lengths = [len(engine.run(eager, "hello", seed=seed).completion.ids) for seed in range(6)]
    assert min(lengths) < 5
    for seed in range(6):
        result = engine.run(eager, "hello", seed=seed, sampling=Sampling(min_tokens=5))
        assert len(result.completion.ids) >= 6 or result.finish_reason != "stop"
        assert result.finish_reason == "stop"
        assert result.completion.ids[-1] == 30
        assert len(result.completion.ids) - 1 >= 5
        ignoring = engine.run(eager, "hello", seed=seed, sampling=Sampling(ignore_stop=True, stop=("a",)))
        assert len(ignoring.completion.ids) == 40
        assert 30 not in ignoring.completion.ids


def test_stop_strings(engine: Engine) -> None:
    whole = engine.run(PLAIN, "hello").text
    for start, end in ((3, 4), (5, 8), (0, 2), (18, 20)):
        stop = whole[start:end]
        result = engine.run(PLAIN, "hello", sampling=Sampling(stop=(stop, "not there")))
        assert result.text == whole.partition(stop)[0]
        assert result.finish_reason == "stop"
        own = {**PLAIN, "nodes": {"m": {**MODEL, "stop": [stop]}}}
        assert engine.run(own, "hello").text == result.text


def test_a_prefix_is_gone_on_from(engine: Engine) -> None:
    whole = engine.run(PLAIN, "hello", sampling=Sampling(temperature=0))
    rest = engine.run(PLAIN, {"text": "hello", "prefix": whole.text[:8]}, sampling=Sampling(temperature=0, max_tokens=12))
    assert whole.text == whole.text[:8] + rest.text


def test_unused_nodes_are_warned_of_and_harmless(engine: Engine) -> None:
    nodes = {
        "m": MODEL,
        "extra": {"kind": "speculative", "target": {"kind": "fake", "seed": 5}, "draft": "nowhere"},
        "more": {"kind": "sample", "model": {"kind": "fake", "seed": 6}},
    }
    given = {**PLAIN, "nodes": nodes}
    stream = engine.stream(given, "hello")
    assert stream.result().text
    assert any("extra" in warning for warning in stream.warnings)
    plan = engine.plan(given)
    plan.check()
    engine.load(given)


def test_a_trainer_is_not_run(stage: Any) -> None:
    from counterpoint.plugin import Trainer

    class Training(Trainer):
        kind: Literal["training"] = "training"

        async def train(self, run: Any) -> str:
            return "artifact"

    class Plugin:
        @hookimpl
        def counterpoint_nodes(self) -> list[Any]:
            return [Training]

    with make_engine([Plugin()]) as engine:
        with pytest.raises(cp.CounterpointError) as caught:
            engine.run({"nodes": {"t": {"kind": "training"}}, "output": "t"}, "hello")
        assert "t" in caught.value.message
        assert "counterpoint train" in caught.value.hint


# --- models -----------------------------------------------------------------------------------------------------------


class Heavy(FakeModel):
    """A fake model that says how heavy it is, and counts how often it is loaded."""

    kind: Literal["heavy"] = "heavy"  # type: ignore[assignment]
    bytes: int = 100
    slow: bool = False

    def inspect(self, resources: Any) -> ModelFacts:
        facts = super().inspect(resources)
        return ModelFacts(**{**vars(facts), "key": f"heavy{self.seed}", "weight_bytes": self.bytes})

    def load(self, resources: Any) -> Any:
        LOADED.append(self.seed)
        if self.slow:
            SLOW.wait(10)
        return super().load(resources)


LOADED: list[int] = []
SLOW = threading.Event()


class HeavyPlugin:
    @hookimpl
    def counterpoint_nodes(self) -> list[Any]:
        return [Heavy]


@pytest.fixture
def heavy() -> Any:
    LOADED.clear()
    SLOW.clear()
    with make_engine([HeavyPlugin()], memory_limit=250) as engine:
        yield engine


def on(seed: int, **fields: Any) -> dict[str, Any]:
    return {**PLAIN, "nodes": {"m": {**MODEL, "kind": "heavy", "seed": seed, **fields}}}


def test_models_are_shared_and_given_back_under_the_memory_limit(heavy: Engine) -> None:
    first = heavy.run(on(1), "hello")
    heavy.run(on(1, stop=["x"]), "hello there")
    heavy.run(on(2), "hello")
    assert LOADED == [1, 2]
    assert len(heavy.hosts()) == 2
    heavy.run(on(3), "hello")
    assert LOADED == [1, 2, 3]
    assert sum(host.weight_bytes for host in heavy.hosts()) <= 250
    assert heavy.run(on(1), "hello").completion == first.completion
    assert LOADED == [1, 2, 3, 1]


def test_a_model_in_use_is_not_given_back(heavy: Engine) -> None:
    long = heavy.stream({**on(1), "sampling": {"max_tokens": 800}}, "hello")
    while not any(isinstance(event, Emitted) for event in long._events):
        pass
    for seed in (2, 3, 4):
        heavy.run(on(seed), "hello")
    assert long.result().finish_reason == "length"
    assert LOADED.count(1) == 1


def test_many_runs_that_want_one_model_load_it_once(heavy: Engine) -> None:
    SLOW.set()
    results = heavy.run_many(on(1, slow=True), [f"prompt {letter}" for letter in "abcdef"])
    assert all(result.error is None for result in results)
    assert LOADED == [1]
    loads = [event for result in results for event in result.trace if isinstance(event, Progress)]
    assert [(event.phase, event.done, event.total) for event in loads] == [("load", 0, 1), ("load", 1, 1)]


def test_models_that_come_and_go_under_many_runs(heavy: Engine) -> None:
    """More models than fit, all at once, again and again: nobody is handed one that has been given back."""
    streams = [heavy.stream(on(seed), f"{seed} prompt {turn}") for turn in range(4) for seed in range(1, 6)]
    for stream in streams:
        assert stream.wait().error is None
    assert heavy.run(on(9), "the last").text
    assert sum(host.weight_bytes for host in heavy.hosts()) <= 250


def test_a_run_that_is_cancelled_while_a_model_loads_leaves_it_to_others(heavy: Engine) -> None:
    one, two = (heavy.stream(on(1, slow=True), prompt) for prompt in ("hello", "there"))
    while not LOADED:
        pass
    one.cancel()
    assert one.wait().finish_reason == "cancelled"
    SLOW.set()
    assert two.result().text
    assert LOADED == [1]


def test_loading_ahead(heavy: Engine) -> None:
    heavy.load(on(1))
    assert LOADED == [1]
    result = heavy.run(on(1), "hello")
    assert not any(isinstance(event, Progress) for event in result.trace)
    assert [event.prefill for event in result.trace if isinstance(event, Forward)][:2] == [True, False]


# --- one-call door ----------------------------------------------------------------------------------------------------


def test_run_and_stream_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint import api

    with make_engine() as engine:
        monkeypatch.setattr(api, "_engine", engine)
        assert cp.run(PLAIN, "hello").text == engine.run(PLAIN, "hello").text
        assert cp.run(PLAIN, prompt="hello", seed=3).text == engine.run(PLAIN, "hello", seed=3).text
        assert cp.stream(PLAIN, "hello").result().text == engine.run(PLAIN, "hello").text
        with pytest.raises(RecipeError):
            cp.run("no such recipe", "hello")


def test_using_an_engine_after_it_was_closed() -> None:
    engine = make_engine()
    engine.close()
    with pytest.raises(RunError, match="the engine is closed"):
        engine.run(PLAIN, "hello")

"""What a node may touch while it works: calls, their events, and what happens when they fail."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import torch

from counterpoint import Completion, CounterpointError, Engine, ModelError, RunError, Sampling
from counterpoint.events import Emitted, Failed, NodeFinished, NodeStarted, Note, RunFinished
from counterpoint.node import Score
from counterpoint.plugin import Prompt, Run

MODEL = {"kind": "fake", "end_bias": -99, "prompt_format": "raw"}
SAMPLING = {"temperature": 1.0, "max_tokens": 12}


def recipe(action: str, nodes: Any = None, **fields: Any) -> dict[str, Any]:
    script = {"kind": "script", "action": action, "children": {"a": "m", "b": "m"}, "model": "m", **fields}
    return {"nodes": {"m": MODEL, **(nodes or {}), "s": script}, "output": "s", "sampling": SAMPLING}


def fails(engine: Engine, given: Any, error: type[Exception], message: str, hint: str = "", prompt: Any = "hello") -> Any:
    """Runs what fails: the error says so, the stream ends properly, nothing stays open."""
    with pytest.raises(error) as caught:
        engine.run(given, prompt)
    assert message in str(caught.value)
    assert hint in getattr(caught.value, "hint", "")
    result = caught.value.result  # type: ignore[attr-defined]
    assert result.finish_reason == "failed"
    assert isinstance(result.trace[-1], RunFinished)
    (failed,) = [event for event in result.trace if isinstance(event, Failed)]
    assert message in failed.message
    assert hint in failed.hint
    assert failed.error == type(caught.value).__name__
    assert result.text == "".join(event.text for event in result.trace if isinstance(event, Emitted) and event.span == 1)
    assert all(host.slots == 0 and host.pending == 0 for host in engine.hosts())
    return result


# --- calls ------------------------------------------------------------------------------------------------------------


def test_calls_make_a_tree_of_spans(engine: Engine, stage: Any) -> None:
    @stage.action
    async def parent(node: Any, run: Any, prompt: Any) -> Any:
        run.emit(Note(name="mine", data={"a": 1}))
        first = await run.generate(node.children["a"], prompt)
        second, third = await run.gather(
            run.generate(node.children["b"], prompt, relay=True), run.generate(node.children["a"], prompt)
        )
        assert len({first.ids, second.ids, third.ids}) == 3, "each call draws for itself"
        assert first.tokenizer == second.tokenizer != ""
        return run.completion("stop")

    result = engine.run(recipe("parent"), "hello")
    started = {event.span: event for event in result.trace if isinstance(event, NodeStarted)}
    finished = {event.span: event for event in result.trace if isinstance(event, NodeFinished)}
    assert set(started) == set(finished)
    assert [(started[span].kind, started[span].parent, started[span].node) for span in sorted(started)] == [
        ("script", 0, "s"), ("sample", 1, "m:sample"), ("sample", 1, "m:sample"), ("sample", 1, "m:sample"),
    ]  # fmt: skip
    relayed = [event for event in result.trace if isinstance(event, Emitted) and event.span == 1]
    own = [event for event in result.trace if isinstance(event, Emitted) and event.span == 3]
    assert "".join(event.text for event in relayed) == result.text == "".join(event.text for event in own)
    assert [event.node for event in result.trace if isinstance(event, Note)] == ["s"]


def test_draws_depend_on_where_a_call_stands_not_on_names_or_time(engine: Engine, stage: Any) -> None:
    @stage.action
    async def parent(node: Any, run: Any, prompt: Any) -> None:
        calls = [run.generate(node.children[name], prompt) for name in "ab"]
        for _ in range(node.value):
            await asyncio.sleep(0)
        made = await run.gather(*calls) if node.value % 2 else [await call for call in calls]
        run.emit(Emitted(text="|".join(one.text for one in made)))

    texts = {engine.run(recipe("parent", value=value), "hello", seed=5).text for value in range(4)}
    assert len(texts) == 1
    renamed = recipe("parent")
    renamed["nodes"] = {
        "other": MODEL,
        "top": {**renamed["nodes"]["s"], "model": "other", "children": {"a": "other", "b": "other"}},
    }
    assert {engine.run({**renamed, "output": "top"}, "hello", seed=5).text} == texts
    assert engine.run(recipe("parent"), "hello", seed=6).text not in texts
    assert engine.run(recipe("parent"), "hello", seed=5, row=1).text not in texts


def test_settings_in_force_below(engine: Engine, stage: Any) -> None:
    seen = []

    @stage.action
    async def inner(node: Any, run: Any, prompt: Any) -> None:
        seen.append(run.sampling)

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> None:
        seen.append(run.sampling)
        await run.generate(node.child, prompt)
        await run.generate(node.child, prompt, sampling=Sampling(max_tokens=3))

    nodes = {"i": {"kind": "script", "action": "inner", "sampling": {"max_tokens": 5}}}
    given = recipe("outer", nodes, child="i", sampling={"temperature": 0.5})
    engine.run(given, "hello", sampling=Sampling(min_tokens=1))
    assert seen == [
        Sampling(temperature=0.5, max_tokens=12, min_tokens=1),
        Sampling(temperature=0.5, max_tokens=5, min_tokens=1),
        Sampling(max_tokens=3),
    ]


def test_settings_that_contradict_below(engine: Engine, stage: Any) -> None:
    """What the plan sees are the recipe's and one node's; in force are also those of the nodes between."""

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> None:
        await run.generate(node.child, prompt, relay=True)

    nodes = {"i": {"kind": "sample", "model": "m", "sampling": {"temperature": 0.7, "top_k": 3}}}
    given = recipe("outer", nodes, child="i", sampling={"temperature": 0})
    assert engine.run(given, "hello").text
    low = {"i": {"kind": "sample", "model": "m", "sampling": {"max_tokens": 3}}}
    given = recipe("outer", low, child="i", sampling={"min_tokens": 10, "max_tokens": 11})
    with pytest.raises(CounterpointError, match=r"i: .*min_tokens") as caught:
        engine.run(given, "hello")
    assert "unexpected" not in str(caught.value)


def test_gather_stops_the_others_when_one_fails(engine: Engine, stage: Any) -> None:
    ends = []

    @stage.action
    async def parent(node: Any, run: Any, prompt: Any) -> None:
        async def endless() -> None:
            try:
                await run.generate(node.children["a"], prompt, sampling=Sampling(temperature=1, max_tokens=2000))
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        async def soon() -> None:
            session = await run.open("m", prompt)
            await session.extend([1, 2])
            raise ValueError("soon")

        await run.gather(endless(), soon(), endless())

    result = fails(engine, recipe("parent"), RunError, "ValueError: soon")
    assert ends == ["cancelled"] * 2
    reasons = [event.finish_reason for event in result.trace if isinstance(event, NodeFinished)]
    assert sorted(reasons) == ["cancelled", "cancelled", "failed"]
    assert engine.run(recipe_of_model(), "hello").text


def recipe_of_model(**fields: Any) -> dict[str, Any]:
    return {"nodes": {"m": {**MODEL, **fields}}, "output": "m", "sampling": SAMPLING}


def test_gather_of_nothing(engine: Engine, stage: Any) -> None:
    @stage.action
    async def parent(node: Any, run: Any, prompt: Any) -> None:
        assert await run.gather() == []

    engine.run(recipe("parent"), "hello")


def test_blocking_work_does_not_block_others(engine: Engine, stage: Any) -> None:
    passed = threading.Event()

    @stage.action
    async def parent(node: Any, run: Any, prompt: Any) -> None:
        assert await run.thread(passed.wait, 20), "others went on meanwhile"

    waiting = engine.stream(recipe("parent"), "hello")
    assert engine.run(recipe_of_model(), "hello").text
    passed.set()
    waiting.result()


# --- verifiers --------------------------------------------------------------------------------------------------------


def judged(action: str) -> dict[str, Any]:
    return recipe("judges", verifier={"kind": "script_verifier", "action": action})


@pytest.fixture
def judges(stage: Any) -> None:
    @stage.action
    async def judges(node: Any, run: Any, prompt: Any) -> None:
        made = [Completion(text=text, finish_reason="stop") for text in ("one", "two")]
        scores = await run.verify(node.verifier, prompt, made)
        run.emit(Emitted(text=str(scores)))


PROMPT = {"text": "hello", "fields": {"answer": "42", "secret": "x"}}


@pytest.mark.usefixtures("judges")
def test_a_verifier_sees_the_fields_it_requires_and_nobody_else_does(engine: Engine, stage: Any) -> None:
    seen = []

    @stage.action
    async def scores(node: Any, run: Any, prompt: Any, completions: Any) -> list[float]:
        seen.append(prompt.fields)
        return [float(len(completion.text)) for completion in completions]

    @stage.action
    async def judges(node: Any, run: Any, prompt: Any) -> None:
        assert prompt.fields == {}
        run.emit(Emitted(text=str(await run.verify(node.verifier, prompt, [Completion(text="one", finish_reason="stop")]))))

    assert engine.run(judged("scores"), PROMPT).text == "[3.0]"
    assert seen == [{"answer": "42"}]


@pytest.mark.usefixtures("judges")
@pytest.mark.parametrize("scores", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_verifier_that_returns_another_number_of_scores(engine: Engine, stage: Any, scores: list[float]) -> None:
    @stage.action
    async def wrong(node: Any, run: Any, prompt: Any, completions: Any) -> list[float]:
        return scores

    message = f"s.verifier: scored {len(scores)} completions of 2"
    fails(engine, judged("wrong"), RunError, message, "bug of the plugin", PROMPT)


@pytest.mark.usefixtures("judges")
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "returned None instead of a number for each completion"),
        ([1.0, "good"], "returned [1.0, 'good'] instead of a number"),
        ([1.0, 10**400], "instead of a number"),
        ([1.0, Score(1.0, detail=3)], "the detail of a score cannot be recorded"),  # type: ignore[arg-type]
        ([1.0, Score(1.0, data={"a": object()})], "the data of a score cannot be recorded"),
    ],
)
def test_a_verifier_that_returns_no_scores(engine: Engine, stage: Any, scores: Any, message: str) -> None:
    @stage.action
    async def wrong(node: Any, run: Any, prompt: Any, completions: Any) -> Any:
        return scores

    result = fails(engine, judged("wrong"), RunError, message, "bug of the plugin", PROMPT)
    started = {event.span for event in result.trace if isinstance(event, NodeStarted)}
    assert {event.span for event in result.trace if isinstance(event, NodeFinished)} == started


def test_what_a_verifier_draws_depends_on_the_candidate_and_not_on_which_one_came_first(engine: Engine, stage: Any) -> None:
    drawn: dict[int, list[int]] = {}

    @stage.action
    async def draws(node: Any, run: Any, prompt: Any, completions: Any) -> list[float]:
        drawn.setdefault(run.candidates[0], []).append(run.keys(0, 1, "sample")[0])
        return [0.0 for _ in completions]

    @stage.action
    async def parent(node: Any, run: Any, prompt: Any) -> None:
        one = Completion(text="one", finish_reason="stop")
        for number in range(3) if node.value else (2, 0, 1):
            await run.verify(node.verifier, prompt, [one], candidates=[number])
        await run.verify(node.verifier, prompt, [one], candidates=[0])

    for value in (0, 1):
        engine.run(recipe("parent", verifier={"kind": "script_verifier", "action": "draws"}, value=value), PROMPT)
    assert all(keys[: len(keys) // 2] == keys[len(keys) // 2 :] for keys in drawn.values())
    assert len({key for keys in drawn.values() for key in keys}) == 4, "asked again, it draws anew"


@pytest.mark.usefixtures("judges")
def test_a_verifier_that_fails(engine: Engine, stage: Any) -> None:
    @stage.action
    async def broken(node: Any, run: Any, prompt: Any, completions: Any) -> list[float]:
        await run.open("m", prompt)
        raise ZeroDivisionError("division by zero")

    result = fails(engine, judged("broken"), RunError, "ZeroDivisionError: division by zero", "--debug", PROMPT)
    started = {event.span for event in result.trace if isinstance(event, NodeStarted)}
    finished = {event.span for event in result.trace if isinstance(event, NodeFinished)}
    assert started == finished, "every call that began has ended"


@pytest.mark.usefixtures("judges")
def test_fields_that_are_missing(engine: Engine) -> None:
    with pytest.raises(CounterpointError, match=r"s.verifier: needs the prompt's field\(s\) answer") as caught:
        engine.run(judged("never"), "hello")
    assert "--field NAME=VALUE" in caught.value.hint


# --- plugins that misbehave -------------------------------------------------------------------------------------------


def test_a_completion_that_is_not_what_was_emitted(engine: Engine, stage: Any) -> None:
    @stage.action
    async def lies(node: Any, run: Any, prompt: Any) -> Completion:
        run.emit(Emitted(text="one"))
        return Completion(text="two", finish_reason="stop")

    result = fails(engine, recipe("lies"), RunError, "s: the completion is not the text it emitted", "emit every piece of text")
    assert "'script'" in str(result.error)
    assert result.text == "one"


def test_an_exception_in_a_node(engine: Engine, stage: Any) -> None:
    @stage.action
    async def breaks(node: Any, run: Any, prompt: Any) -> None:
        run.emit(Emitted(text="so far"))
        await run.open(node.model, prompt)
        raise KeyError("oops")

    result = fails(engine, recipe("breaks"), RunError, "KeyError: 'oops'", "--debug shows the traceback")
    assert result.text == "so far"
    assert isinstance(result.error.__cause__, KeyError)


def test_an_error_of_counterpoint_keeps_its_type(engine: Engine, stage: Any) -> None:
    @stage.action
    async def refuses(node: Any, run: Any, prompt: Any) -> None:
        raise ModelError("s: not this one", hint="take another")

    fails(engine, recipe("refuses"), ModelError, "s: not this one", "take another")


@pytest.mark.parametrize("result", [None, "text", 3])
def test_a_node_that_returns_no_completion(engine: Engine, stage: Any, result: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint_plugins.sample import Sample

    async def generate(self: Any, prompt: Any, run: Any) -> Any:
        return result

    monkeypatch.setattr(Sample, "generate", generate)
    fails(engine, recipe_of_model(), RunError, "m:sample")


def test_a_model_that_fails_to_load(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint.testing import FakeModel

    attempts = []

    def load(self: Any, resources: Any) -> Any:
        attempts.append(1)
        raise [OSError("no space left"), MemoryError("too large"), ValueError("odd")][len(attempts) - 1]

    monkeypatch.setattr(FakeModel, "load", load)
    fails(engine, recipe_of_model(), ModelError, "m: cannot load the model: no space left", "free memory or disk")
    fails(engine, recipe_of_model(), ModelError, "m: cannot load the model: too large", "smaller model")
    fails(engine, recipe_of_model(), CounterpointError, "odd")
    monkeypatch.undo()
    assert engine.run(recipe_of_model(), "hello").text, "a failed load is tried again"


def test_a_backend_that_fails_half_way(engine: Engine) -> None:
    """Its runs keep what they had; those on other models do not notice."""
    others = [engine.stream(recipe_of_model(seed=2), f"prompt {letter}") for letter in "abc"]
    message = "m: the forward pass failed: RuntimeError: the fake model was told to fail"
    result = fails(engine, recipe_of_model(fails_after=5), ModelError, message)
    assert len(result.completion.ids) == 5
    whole = engine.run(recipe_of_model(), "hello")
    assert whole.text.startswith(result.text)
    assert result.text
    for stream in others:
        assert stream.result().finish_reason == "length"


def test_memory_that_runs_out_says_what_to_do(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint.testing.fake import FakeBackend

    def forward(self: Any, steps: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FakeBackend, "forward", forward)
    fails(engine, recipe_of_model(), ModelError, "m: the forward pass failed", "run fewer prompts at once")


# --- what is opened is closed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "between", "after", "later"])
def test_a_composition_that_fails_leaves_nothing_open(engine: Engine, stage: Any, moment: str) -> None:
    @stage.action
    async def opens(node: Any, run: Any, prompt: Any) -> Any:
        if moment == "before":
            raise ValueError("now")
        session = await run.open(node.models[0], prompt)
        if moment == "between":
            raise ValueError("now")
        await run.open(node.models[1], prompt)
        if moment == "after":
            raise ValueError("now")
        extend = session.extend

        async def later(*arguments: Any, **options: Any) -> Any:
            await run.open(node.models[1], prompt.continued("x"))
            return await extend(*arguments, **options)

        session.extend = later
        return session

    given = {
        "nodes": {
            "m": MODEL,
            "n": {**MODEL, "seed": 3},
            "c": {"kind": "script_model", "action": "opens", "models": ["m", "n"]},
        },
        "output": "c",
        "sampling": SAMPLING,
    }
    if moment == "later":
        assert engine.run(given, "hello").text
    else:
        fails(engine, given, RunError, "ValueError: now")
    assert all(host.slots == 0 for host in engine.hosts())


def test_a_drafter_that_fails_leaves_nothing_open(engine: Engine, stage: Any) -> None:
    @stage.action
    async def drafts(node: Any, run: Any, prompt: Any, target: Any) -> Any:
        await run.open("m", prompt)
        raise ValueError("now")

    nodes = {"m": MODEL, "s": {"kind": "speculative", "target": "m", "draft": {"kind": "script_drafter", "action": "drafts"}}}
    fails(engine, {"nodes": nodes, "output": "s"}, RunError, "ValueError: now")


# --- made once ------------------------------------------------------------------------------------------------------------


def once_recipe(calls: int) -> dict[str, Any]:
    return {
        "nodes": {
            "m": {"kind": "fake"},
            "v": {"kind": "script", "action": "shared", "model": "m"},
            "out": {"kind": "script", "action": "ask", "child": "v", "value": calls},
        },
        "output": "out",
        "sampling": {"temperature": 1.0, "max_tokens": 8},
    }


def test_what_several_calls_share_is_made_once(stage: Any, engine: Any) -> None:
    made: list[str] = []
    got: list[str] = []

    @stage.action
    async def shared(node: Any, run: Any, prompt: Any) -> None:
        async def make(own: Any) -> str:
            made.append("begun")
            text: str = (await own.generate(node.model, prompt)).text
            return text

        got.append(await run.once("text", make))

    @stage.action
    async def ask(node: Any, run: Any, prompt: Any) -> None:
        await run.gather(*(run.generate(node.child, prompt) for _ in range(node.value)))
        await run.generate(node.child, prompt)

    engine.run(once_recipe(3), "hello there")
    assert made == ["begun"]
    assert len(got) == 4
    assert len(set(got)) == 1
    engine.run(once_recipe(1), "hello there")
    assert made == ["begun"] * 2, "another run makes its own"
    assert got[-1] == got[0], "what is drawn depends on the run, not on who asks first"


def test_a_caller_that_is_stopped_does_not_stop_what_others_wait_for(stage: Any, engine: Any) -> None:
    got: list[str] = []

    @stage.action
    async def shared(node: Any, run: Any, prompt: Any) -> None:
        async def make(own: Any) -> str:
            await asyncio.sleep(0.05)
            return "made"

        got.append(await run.once("text", make))

    @stage.action
    async def ask(node: Any, run: Any, prompt: Any) -> None:
        first = asyncio.ensure_future(run.generate(node.child, prompt))
        second = asyncio.ensure_future(run.generate(node.child, prompt))
        await asyncio.sleep(0.01)
        first.cancel()
        await second

    engine.run(once_recipe(0), "hello there")
    assert got == ["made"]


def test_what_fails_fails_for_all_and_nothing_outlives_the_run(stage: Any, engine: Any) -> None:
    errors: list[str] = []
    ended = []

    @stage.action
    async def shared(node: Any, run: Any, prompt: Any) -> None:
        async def fail(own: Any) -> None:
            raise RunError("it broke")

        async def endless(own: Any) -> None:
            try:
                await asyncio.sleep(600)
            finally:
                ended.append(True)

        try:
            await run.once("failing", fail)
        except RunError as error:
            errors.append(error.message)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run.once("endless", endless), 0.01)

    @stage.action
    async def ask(node: Any, run: Any, prompt: Any) -> None:
        await run.gather(*(run.generate(node.child, prompt) for _ in range(2)))

    engine.run(once_recipe(0), "hello there")
    assert errors == ["it broke"] * 2
    assert ended == [True]


def test_a_call_knows_where_it_stands(stage: Any, engine: Any) -> None:
    seen: list[Any] = []

    @stage.action
    async def inner(node: Any, run: Any, prompt: Any) -> None:
        seen.append((run.row, run.ordinal, run.lineage))

    @stage.action
    async def outer(node: Any, run: Any, prompt: Any) -> None:
        seen.append((run.row, run.ordinal, run.lineage))
        for child in (node.child, node.child, *node.children.values()):
            await run.generate(child, prompt)

    inside = {"kind": "script", "action": "inner"}
    between = {"kind": "script", "action": "outer", "child": "i"}
    nodes = {"i": inside, "b": between, "o": {**between, "children": {"a": "b"}}}
    engine.run({"nodes": nodes, "output": "o"}, "hello", row=3)
    assert seen == [(3, 3, ()), (3, 0, (0,)), (3, 1, (1,)), (3, 2, (2,)), (3, 0, (2, 0)), (3, 1, (2, 1))]


def test_fields_that_verifiers_below_read(stage: Any, engine: Any) -> None:
    seen: list[Any] = []

    @stage.action
    async def look(node: Any, run: Any, prompt: Any) -> None:
        assert prompt.fields == {}
        seen.extend(run.fields_read(child) for child in (node.child, node.verifier))

    verifier = {"kind": "script_verifier", "action": "look"}
    best = {"kind": "best_of_n", "generators": "m", "n": 1, "verifiers": "v", "select": "score"}
    nodes = {"m": MODEL, "v": verifier, "b": best, "s": {"kind": "script", "action": "look", "child": "b", "verifier": "v"}}
    engine.run({"nodes": nodes, "output": "s"}, {"text": "hello", "fields": {"answer": "42", "id": "7"}})
    assert seen == [{"answer": "42"}, {"answer": "42"}]


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["generator", "verifier", "child", "own"])
def test_a_plugin_that_wants_to_leave_ends_its_run_only(stage: Any, engine: Engine, raised: BaseException, where: str) -> None:
    async def leave(*_: Any) -> Any:
        raise raised

    async def ask(node: Any, run: Run, prompt: Prompt) -> None:
        await run.gather(run.generate("a", prompt), run.generate("m", prompt))

    async def ask_itself(node: Any, run: Run, prompt: Prompt) -> None:
        await run.gather(run.generate("m", prompt), leave())

    stage.actions |= {"leave": leave, "ask": ask, "ask_itself": ask_itself}
    nodes = {
        "m": {"kind": "fake"},
        "a": {"kind": "script", "action": "leave"},
        "v": {"kind": "script_verifier", "action": "leave"},
        "b": {"kind": "best_of_n", "generators": "m", "n": 2, "verifiers": "v"},
        "c": {"kind": "script", "action": "ask", "child": "a", "model": "m"},
        "d": {"kind": "script", "action": "ask_itself", "model": "m"},
    }
    output = {"generator": "a", "verifier": "b", "child": "c", "own": "d"}[where]
    prompt = {"text": "q", "fields": {"answer": "x"}}
    with pytest.raises(RunError, match=f"[avd]: {type(raised).__name__}"):
        engine.run({"nodes": nodes, "output": output, "sampling": {"max_tokens": 4}}, prompt)
    assert engine.run({"nodes": nodes, "output": "m", "sampling": {"max_tokens": 4}}, "q").finish_reason == "length"

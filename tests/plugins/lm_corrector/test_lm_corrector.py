"""Candidates made into one answer: what is asked, what is read, what is written, and what stands when something ends it."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from counterpoint import Budget, CounterpointError, Engine, RecipeError, RunError, RunResult, Sampling
from counterpoint.events import CandidateFinished, CandidateScored, CandidateSelected, Emitted, NodeStarted, Note
from counterpoint.plugin import Prompt, Run
from counterpoint.testing import assert_generator_laws

MODELS: dict[str, Any] = {
    "m": {"kind": "fake", "end_bias": 1.0},
    "other": {"kind": "fake", "seed": 4},
    "k": {"kind": "fake", "seed": 9, "prompt_format": "raw"},
}
SETTINGS = {"max_tokens": 12}


def corrector(**fields: Any) -> dict[str, Any]:
    node = {"kind": "lm_corrector", "corrector": "k", "candidates": "m", "n": 3, **fields}
    return {"nodes": {**MODELS, "c": node}, "output": "c", "sampling": SETTINGS}


def fusion(**fields: Any) -> dict[str, Any]:
    node = {"kind": "fusion", "model": "k", "candidates": "m", "n": 3, **fields}
    return {"nodes": {**MODELS, "c": node}, "output": "c", "sampling": SETTINGS}


def candidates(result: RunResult) -> list[str]:
    """Texts in their order."""
    found = [event for event in result.trace if isinstance(event, CandidateFinished)]
    return [event.completion.text for event in sorted(found, key=lambda event: event.candidate)]


class Echo:
    """Says what it is asked and answers in turn; ``asked`` and ``sampling`` are what it was asked, and how."""

    def __init__(self, stage: Any, *answers: str | Exception) -> None:
        self.asked: list[Any] = []
        self.sampling: list[Sampling] = []
        stage.actions["echo"] = self.generate
        self._answers = answers

    async def generate(self, node: Any, run: Any, prompt: Any) -> None:
        self.asked.append(prompt)
        self.sampling.append(run.sampling)
        answer = self._answers[run.ordinal % len(self._answers)]
        if isinstance(answer, Exception):
            raise answer
        run.emit(Emitted(text=answer))


ECHO = {"kind": "script", "action": "echo"}


class Reader:
    """Stands where the writer does, and remembers what it was given."""

    def __init__(self, stage: Any) -> None:
        self.given: list[str] = []
        stage.actions["read"] = self.generate

    async def generate(self, node: Any, run: Any, prompt: Any) -> None:
        self.given.append(prompt.text)
        run.emit(Emitted(text="written"))


READ = {"kind": "script", "action": "read"}


def read_by(kind: str, **fields: Any) -> dict[str, Any]:
    """A fusion whose writer remembers: its laying out is the corrector's, with the corrector's template."""
    template = {"template": fields.pop("template", None) or PAPER} if kind == "lm_corrector" else {}
    node = {"kind": "fusion", "model": READ, "candidates": ECHO, "n": 3, **template, **fields}
    return {"nodes": {"c": node}, "output": "c"}


def own_words() -> str:
    from counterpoint_plugins.lm_corrector import LmCorrector

    return LmCorrector(corrector="k", candidates="m").words


PAPER = own_words()

# --- laws ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe",
    [
        corrector(),
        corrector(write="choose"),
        corrector(n=0),
        corrector(candidates=["m", {"kind": "sample", "model": "other"}], n=[2, 1], greedy_first=False),
        fusion(),
    ],
    ids=["free", "choose", "none", "several", "fusion"],
)
def test_the_laws_hold(recipe: dict[str, Any]) -> None:
    assert_generator_laws(recipe)


def test_it_stands_inside_others(engine: Engine) -> None:
    inner = corrector()
    nodes = {**inner["nodes"], "b": {"kind": "best_of_n", "generators": "c", "n": 2, "select": "vote"}}
    assert engine.run({**inner, "nodes": nodes, "output": "b"}, "hello").text
    outer = corrector(candidates={"kind": "lm_corrector", "corrector": "k", "candidates": "m", "n": 2}, n=2)
    assert engine.run(outer, "hello").text


# --- asking and reading ----------------------------------------------------------------------------------------------------------


def test_what_the_corrector_reads(engine: Engine, stage: Any) -> None:
    Echo(stage, "one", " two\n", "three <sep> four")
    reader = Reader(stage)
    engine.run(read_by("lm_corrector"), "a  source ")
    assert reader.given == ["source: a  source  <sep> candidates: one <sep> two <sep> three <sep> four\ntarget:\n"]
    engine.run(read_by("lm_corrector", n=1), "x")
    assert reader.given[1] == "source: x <sep> candidates: one\ntarget:\n"
    engine.run(read_by("lm_corrector", template="{{ candidates[1] }}{{ source | upper }}", n=2), "x")
    assert reader.given[2] == "twoX"


def test_the_corrector_answers_it_alone_and_greedily(engine: Engine) -> None:
    """The very tokens of the corrector on the rendered text, whatever the temperature."""
    result = engine.run(corrector(), "hello", sampling=Sampling(temperature=1.5))
    texts = [text.strip() for text in candidates(result)]
    assert all(texts)
    laid_out = "source: hello <sep> candidates: " + " <sep> ".join(texts) + "\ntarget:\n"
    alone = engine.run({"nodes": {"k": MODELS["k"]}, "output": "k", "sampling": SETTINGS}, laid_out)
    assert result.completion == alone.completion
    none = engine.run(corrector(n=0), "hello")
    assert (
        none.text
        == engine.run({"nodes": {"k": MODELS["k"]}, "output": "k", "sampling": SETTINGS}, "source: hello\ntarget:\n").text
    )
    assert candidates(none) == []
    assert {event.kind for event in none.trace if isinstance(event, NodeStarted)} == {"lm_corrector", "sample"}


def test_what_fusion_reads(engine: Engine, stage: Any) -> None:
    Echo(stage, "one", "two")
    reader = Reader(stage)
    assert engine.run(read_by("fusion", n=2), "what?").text == "written"
    assert reader.given == [
        "Below are a request and 2 candidate answers to it. Some may be wrong. Combine what is best in them into one answer to the "
        "request, better than any of them.\n\nRequest:\nwhat?\n\nCandidate 1:\none\n\nCandidate 2:\ntwo\n\nReply with the answer "
        "only, without a word about the candidates."
    ]


def test_how_candidates_are_asked_for(engine: Engine, stage: Any) -> None:
    echo, reader = Echo(stage, "x"), Reader(stage)
    engine.run(read_by("lm_corrector", ask="Correct: {{ source }}\nCorrected:"), "he go")
    assert [prompt.text for prompt in echo.asked] == ["Correct: he go\nCorrected:"] * 3
    assert reader.given[0].startswith("source: he go <sep>")
    echo.asked.clear()
    chat = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "he go"},
        {"role": "assistant", "content": "so"},
    ]
    engine.run(read_by("lm_corrector", ask="Correct: {{ source }}", n=1), chat)
    assert [(one.role, one.content) for one in echo.asked[0].messages] == [
        ("system", "be brief"),
        ("user", "Correct: he go"),
        ("assistant", "so"),
    ]
    assert reader.given[1] == "source: he go <sep> candidates: x\ntarget:\n"
    with pytest.raises(RunError, match="no message of the user"):
        engine.run(read_by("lm_corrector"), chat[:1])


def test_the_start_of_the_answer_is_part_of_candidates(engine: Engine, stage: Any) -> None:
    echo, reader = Echo(stage, " went home"), Reader(stage)
    engine.run(read_by("lm_corrector", n=1), {"text": "he go home", "prefix": "He"})
    assert echo.asked[0].prefix == "He"
    assert reader.given == ["source: he go home <sep> candidates: He went home\ntarget:\n"]


def test_the_first_candidate_is_greedy_and_the_others_are_not(engine: Engine, stage: Any) -> None:
    echo = Echo(stage, "x")
    Reader(stage)
    second = {**ECHO, "sampling": {"top_p": 0.9, "temperature": 0.3, "max_tokens": 7}}
    engine.run(
        {**read_by("fusion", candidates=[ECHO, second], n=[1, 3]), "sampling": {"temperature": 1.0, "max_tokens": 9}}, "x"
    )
    assert [(one.temperature, one.top_p, one.max_tokens) for one in echo.sampling] == [
        (0.0, None, 9),
        (0.0, None, 7),
        (0.6, 0.9, 7),
        (0.6, 0.9, 7),
    ]
    echo.sampling.clear()
    engine.run(read_by("fusion", greedy_first=False, temperature=0.9, n=2), "x")
    assert [one.temperature for one in echo.sampling] == [0.9, 0.9]


def test_equal_candidates_are_all_read(engine: Engine, stage: Any) -> None:
    Echo(stage, "same")
    reader = Reader(stage)
    engine.run(read_by("lm_corrector"), "x")
    assert reader.given[0].count("same") == 3


# --- choosing --------------------------------------------------------------------------------------------------------------------


def test_choosing_takes_the_most_probable_output(engine: Engine) -> None:
    result = engine.run(corrector(write="choose", n=4), "hello")
    texts = candidates(result)
    scores = {event.candidate: event.score for event in result.trace if isinstance(event, CandidateScored)}
    (selected,) = [event for event in result.trace if isinstance(event, CandidateSelected)]
    assert scores[selected.candidate] == max(scores.values())
    assert result.text == texts[selected.candidate]
    laid_out = "source: hello <sep> candidates: " + " <sep> ".join(text.strip() for text in texts) + "\ntarget:\n"
    measured = [
        -engine.verify(
            {"nodes": {"k": MODELS["k"], "b": {"kind": "bits_per_byte", "model": "k"}}, "output": "b"},
            {"text": laid_out, "fields": {"references": [text.strip()]}},
            ["x"],
        )
        .result()
        .scores[0]
        .data["bits"]
        / len(text.strip())
        for text in texts
    ]
    nats = [value * 0.6931471805599453 for value in measured]  # a token is a character, and a byte
    assert [scores[number] for number in range(4)] == pytest.approx(nats, rel=1e-4)


# --- what is left out, and what stands -------------------------------------------------------------------------------------------


def test_failed_and_empty_candidates_are_left_out(engine: Engine, stage: Any) -> None:
    Echo(stage, "", RunError("it broke", hint="mend it"), "good")
    reader = Reader(stage)
    result = engine.run(read_by("lm_corrector"), "x")
    assert reader.given == ["source: x <sep> candidates: good\ntarget:\n"]
    (note,) = [event.data for event in result.trace if isinstance(event, Note)]
    assert note == {"candidates": {"0": "empty", "1": "failed: it broke"}}
    Echo(stage, RunError("it broke", hint="mend it"))
    with pytest.raises(
        RunError, match=r"c: none of 3 candidates can be used; the first, of 'c\.candidates': failed: it broke"
    ) as caught:
        engine.run(read_by("lm_corrector"), "x")
    assert caught.value.hint == "mend it"
    Echo(stage, " \n")
    with pytest.raises(RunError, match=r"the first, of 'c\.candidates': empty"):
        engine.run(read_by("lm_corrector"), "x")


def test_a_failing_corrector_fails(engine: Engine) -> None:
    recipe = corrector()
    recipe["nodes"] = {**recipe["nodes"], "k": {**MODELS["k"], "fails_after": 2}}
    with pytest.raises(Exception, match="k: the forward pass failed"):
        engine.run(recipe, "hello")


@pytest.mark.parametrize("recipe", [corrector(), fusion()], ids=["lm_corrector", "fusion"])
def test_a_spent_budget_leaves_what_there_is(engine: Engine, recipe: dict[str, Any]) -> None:
    recipe = {**recipe, "nodes": {**recipe["nodes"], "m": {"kind": "fake", "end_bias": -9.0}}}
    whole = engine.run(recipe, "hello")
    texts = candidates(whole)
    assert [len(text) for text in texts] == [12, 12, 12]
    nothing = engine.run(recipe, "hello", budget="tokens=1")
    assert (nothing.text, nothing.finish_reason) in {(text[:1], "budget") for text in texts}
    seen = set()
    for tokens in range(2, 50, 2):
        result = engine.run(recipe, "hello", budget=f"tokens={tokens}")
        if tokens >= 48:
            assert result.completion == whole.completion
        elif tokens > 36:
            assert result.finish_reason == "budget"
            assert whole.text.startswith(result.text), "what the writer wrote stands"
            seen.add("written")
        elif tokens == 36:
            assert (result.text, result.finish_reason) == (texts[0], "budget"), "the first candidate is the answer so far"
            seen.add("candidate")
        else:
            assert result.finish_reason == "budget"
            assert result.text
            assert texts[0].startswith(result.text)
    assert seen == {"written", "candidate"}
    before_anything = engine.run(recipe, "hello", budget="flops=1")
    assert (before_anything.text, before_anything.finish_reason) == ("", "budget")


def test_a_candidate_that_was_cut_short_is_told(engine: Engine, stage: Any) -> None:
    """A generator with an allowance of its own: the answer rests on what a budget allowed, and says so."""

    @stage.action
    async def within(node: Any, run: Any, prompt: Any) -> Any:
        return await run.generate(node.child, prompt, budget=Budget(tokens=2), relay=True)

    recipe = corrector(candidates={"kind": "script", "action": "within", "child": "m"}, n=1)
    result = engine.run(recipe, "hello")
    assert len(candidates(result)[0]) == 2
    assert (len(result.text), result.finish_reason) == (12, "budget")


# --- what is refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"n": -1}, "a generator makes 0 candidates or more"),
        ({"n": 65}, "at most 64"),
        ({"n": [1, 2]}, "n: 2 numbers for 1 generators"),
        ({"n": []}, "0 candidates or more"),
        ({"candidates": [], "n": 1}, "name at least one generator"),
        ({"temperature": 0}, "greater than 0"),
        ({"template": "{{ sorce }}"}, "names what it does not see: 'sorce' is undefined; it sees source and candidates"),
        ({"template": "{source}"}, "leaves the source out"),
        ({"template": "{{ source "}, "no valid Jinja"),
        ({"ask": "{{ candidates }} {{ source }}"}, "names what it does not see: 'candidates' is undefined; it sees source"),
        ({"template": "{{ source }}"}, "the template leaves the candidates out"),
        ({"write": "choose", "n": 0}, "nothing to choose from with n: 0"),
        ({"corrector": {"kind": "sample", "model": "m"}}, "a LanguageModel is wanted"),
    ],
)
def test_what_is_refused(planner: Engine, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        planner.plan(corrector(**fields)).check()


def test_what_is_refused_of_fusion_and_what_is_not(engine: Engine) -> None:
    with pytest.raises(RecipeError, match="nothing to combine with n: 0"):
        engine.plan(fusion(n=0)).check()
    engine.plan(corrector(template="{{ source }}", n=0)).check()
    engine.plan(corrector(n=[0, 2], candidates=["m", "other"])).check()
    contradicting = {"kind": "sample", "model": "m", "sampling": {"min_tokens": 600}}
    with pytest.raises(RecipeError, match="min_tokens"):
        engine.plan(corrector(candidates=contradicting)).check()


# --- the corrector's card --------------------------------------------------------------------------------------------------------


def test_a_corrector_is_used_as_it_was_trained(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint import paths
    from counterpoint.store import ModelStore
    from counterpoint.testing import make_engine, save_tiny_model

    folder = save_tiny_model(paths.artifacts() / "fixer")
    card = {"kind": "corrector_training", "template": PAPER, "prompt_format": "raw"}

    def findings(source: str = "artifact:fixer", **fields: Any) -> str:
        model = {"kind": "huggingface", "source": source, "prompt_format": "raw", "device": "cpu", **fields.pop("model", {})}
        given = {"nodes": {"m": MODELS["m"], "k": model, "c": {**corrector()["nodes"]["c"], **fields}}, "output": "c"}
        return "\n".join(f"{one.node}: {one.message} ({one.hint})" for one in own.plan(given).findings if one.level == "error")

    with make_engine(store=ModelStore(tmp_path / "store")) as own:
        (folder / "counterpoint.json").write_text(json.dumps(card))
        assert findings() == ""
        assert findings(template=PAPER) == ""
        other = findings(template="{{ source }} {{ candidates }}")
        assert f"c: 'k' (artifact:fixer) was trained with another template: {PAPER!r}" in other
        assert "set `template` to that" in other
        chat = findings(model={"prompt_format": None})
        assert "was trained on prompts in the format 'raw', and is given 'chat'" in chat
        assert "say `prompt_format: raw` on 'k'" in chat
        (folder / "counterpoint.json").write_text(json.dumps({**card, "kind": "cross_model_training"}))
        assert "is no corrector: 'cross_model_training' made it" in findings()
        assert findings(f"path:{folder}") == "", "what is no artifact is taken as it is"


def test_a_candidate_stands_where_no_answer_was_written(engine: Engine, stage: Any) -> None:
    Echo(stage, "first", "second", "third")
    recipe = corrector(candidates=ECHO)
    recipe["nodes"]["k"] = {"kind": "fake", "prompt_format": "raw", "context": 20}
    with pytest.raises(CounterpointError, match="the context of") as failed:
        engine.run(recipe, "hello")
    result = failed.value.result  # type: ignore[attr-defined]
    assert result.text == "first"
    (chosen,) = [event for event in result.trace if isinstance(event, CandidateSelected)]
    assert (chosen.candidate, chosen.reason) == (0, "it ended before an answer was written")

    @stage.action
    async def never(node: Any, run: Any, prompt: Any) -> None:
        run.emit(Note(name="writing"))
        await asyncio.sleep(60)

    stream = engine.stream(fusion(candidates=ECHO, model={"kind": "script", "action": "never"}), "hello")
    for event in stream:
        if isinstance(event, Note):
            stream.cancel()
    assert (stream.wait().text, stream.wait().finish_reason) == ("first", "cancelled")


@pytest.mark.parametrize(("room", "chosen", "reason"), [(40, 1, "the most probable output"), (2, 0, "none fits")])
def test_choosing_leaves_out_what_does_not_fit(engine: Engine, stage: Any, room: int, chosen: int, reason: str) -> None:
    Echo(stage, "a" * 50, "ten letter")
    recipe = corrector(candidates=ECHO, n=2, write="choose")
    laid_out = "source: hello <sep> candidates: " + "a" * 50 + " <sep> ten letter\ntarget:\n"
    recipe["nodes"]["k"] = {"kind": "fake", "prompt_format": "raw", "context": len(laid_out) + room}
    result = engine.run(recipe, "hello")
    (event,) = [event for event in result.trace if isinstance(event, CandidateSelected)]
    assert event.candidate == chosen
    assert event.reason.startswith(reason)


def two_scripts(kind: str) -> dict[str, Any]:
    """One candidate of each of two scripts, which tell themselves apart by their `value`."""
    writer = {"corrector": "m"} if kind == "lm_corrector" else {"model": "m"}
    nodes = {
        "a": {"kind": "script", "action": "say"},
        "b": {"kind": "script", "action": "say", "value": 1},
        "m": {"kind": "fake"},
        "out": {"kind": kind, "candidates": ["a", "b"], "n": 1, **writer},
    }
    return {"nodes": nodes, "output": "out", "sampling": {"max_tokens": 4}}


@pytest.mark.parametrize("kind", ["lm_corrector", "fusion"])
def test_a_candidate_that_is_there_stays_while_others_are_made(stage: Any, engine: Any, kind: str) -> None:
    begun = threading.Event()

    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        if node.value:
            begun.set()
            await asyncio.sleep(600)
        run.emit(Emitted(text="a whole answer"))

    stage.actions["say"] = say
    stream = engine.stream(two_scripts(kind), "q")
    for event in stream:
        if isinstance(event, CandidateFinished):
            begun.wait()
            stream.cancel()
    assert (stream.wait().text, stream.wait().finish_reason) == ("a whole answer", "cancelled")


@pytest.mark.parametrize("kind", ["lm_corrector", "fusion"])
def test_whatever_a_candidate_raises_the_others_are_used(stage: Any, engine: Any, kind: str) -> None:
    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        if node.value:
            raise ValueError("boom")
        run.emit(Emitted(text="a whole answer"))

    stage.actions["say"] = say
    result = engine.run(two_scripts(kind), "q")
    (note,) = [event for event in result.trace if isinstance(event, Note) and event.name == "left_out"]
    assert note.data == {"candidates": {"1": "failed: ValueError: boom"}}
    assert len(result.completion.ids) == 4

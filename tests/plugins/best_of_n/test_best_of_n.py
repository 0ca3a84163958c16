"""Best-of-n: who is chosen, who is ended early, and what survives when something goes wrong."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.plugin import (
    Budget,
    BudgetSpent,
    CandidateFinished,
    CandidateScored,
    CandidateSelected,
    Completion,
    Emitted,
    ModelError,
    Note,
    Prompt,
    RecipeError,
    Run,
    RunError,
)
from counterpoint.testing import assert_generator_laws, make_engine

ASKED = {"text": "hello there", "fields": {"answer": "x"}}
MODEL = {"kind": "fake", "end_bias": 1.5}


def best(n: Any = 8, model: Any = MODEL, **fields: Any) -> dict[str, Any]:
    verifier = {"kind": "script_verifier", "action": "judge"}
    nodes = {"m": model, "judge": verifier, "b": {"kind": "best_of_n", "generators": "m", "n": n, **fields}}
    if "judge" not in str(fields.get("verifiers", "judge")):
        del nodes["judge"]
    nodes["b"].setdefault("verifiers", "judge")
    return {"nodes": nodes, "output": "b", "sampling": {"temperature": 1.0, "max_tokens": 30}}


def scripted(*texts: str, **fields: Any) -> dict[str, Any]:
    """A recipe whose candidates say these texts."""
    recipe = best(len(texts), **fields)
    del recipe["nodes"]["m"]
    recipe["nodes"]["b"]["generators"] = {"kind": "script", "action": "say"}
    return recipe


def judging(stage: Any, judge: Any) -> list[list[str]]:
    """Lets a function of the text judge; returns what is asked, call by call."""
    asked: list[list[str]] = []

    async def verdicts(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        asked.append([completion.text for completion in completions])
        return [judge(completion.text) for completion in completions]

    stage.actions["judge"] = verdicts
    return asked


def saying(stage: Any, *texts: str) -> None:
    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        run.emit(
            Emitted(text=texts[run.ordinal], ids=tuple(range(len(texts[run.ordinal]))), proposer=run.path, decider=run.path)
        )

    stage.actions["say"] = say


def events(result: Any, kind: type) -> list[Any]:
    return [event for event in result.trace if isinstance(event, kind)]


def selected(result: Any) -> CandidateSelected:
    (event,) = events(result, CandidateSelected)
    assert isinstance(event, CandidateSelected)
    return event


# --- choosing -----------------------------------------------------------------------------------------------------------


def test_the_highest_score_wins(stage: Any, engine: Any) -> None:
    judging(stage, lambda text: text.count("e"))
    result = engine.run(best(), ASKED)
    made = {event.candidate: event.completion for event in events(result, CandidateFinished)}
    scores = {event.candidate: event.score for event in events(result, CandidateScored)}
    assert len(made) == 8
    assert {number: one.text.count("e") for number, one in made.items() if one.text.strip()} == scores
    winner = selected(result).candidate
    assert scores[winner] == max(scores.values()) > min(scores.values())
    assert result.completion == made[winner]
    assert {len(event.completion.ids) for event in events(result, CandidateFinished)} != {30}


def test_candidates_share_the_prompt_and_passes(stage: Any, engine: Any) -> None:
    judging(stage, len)
    single = engine.run(best(1, MODEL | {"end_bias": -99}), ASKED, scope="one")
    sixteen = engine.run(best(16, MODEL | {"end_bias": -99}), ASKED, scope="many")
    one, many = (next(node for node in result.summary.nodes if node.passes) for result in (single, sixteen))
    assert many.prefill_tokens == one.prefill_tokens
    assert many.passes == one.passes
    assert many.rows > 15 * one.passes * 0.9


def test_each_candidate_differs_and_all_repeat(stage: Any, engine: Any) -> None:
    judging(stage, len)
    results = [engine.run(best(), ASKED) for _ in range(2)]
    texts = [[event.completion.text for event in events(result, CandidateFinished)] for result in results]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 4


def test_further_verifiers_decide_among_equals(stage: Any, engine: Any) -> None:
    texts = ["ab", "abc", "b", "abcd"]
    saying(stage, *texts)
    asked = judging(stage, lambda text: float("a" in text))

    async def length(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        asked.append(["length", *(completion.text for completion in completions)])
        return [-len(completion.text) for completion in completions]

    stage.actions["length"] = length
    recipe = scripted(*texts, select="score", verifiers=["judge", {"kind": "script_verifier", "action": "length"}])
    result = engine.run(recipe, ASKED)
    assert result.text == "ab"
    assert selected(result).reason == "highest score, then that of 'b.verifiers[1]'"
    assert asked[-1] == ["length", "ab", "abc", "abcd"], "the second is asked about equals alone"
    assert asked[:-1] == [["ab"], ["abc"], ["b"], ["abcd"]]


def test_the_first_accepted_one_ends_the_others(stage: Any, engine: Any) -> None:
    texts = ["no, and long", "yes", "yes, and longer"]
    saying(stage, *texts)
    judging(stage, lambda text: float(text.startswith("yes")))
    result = engine.run(scripted(*texts, select="first", accept=1), ASKED)
    assert (result.text, selected(result).reason) == ("yes", "accepted")
    assert result.finish_reason == "stop"


def test_a_candidate_is_verified_while_others_are_still_made(stage: Any, engine: Any) -> None:
    texts, begun, met = ["early", "late, and longer"], threading.Event(), list[bool]()
    saying(stage, *texts)
    say = stage.actions["say"]

    async def wait(node: Any, run: Run, prompt: Prompt) -> None:
        if run.ordinal == 1:
            met.append(await run.thread(begun.wait, 60))
        await say(node, run, prompt)

    stage.actions["say"] = wait
    judging(stage, lambda text: begun.set() or 0.0)
    engine.run(scripted(*texts), ASKED)
    assert met == [True]


def test_acceptance_saves_passes(stage: Any, engine: Any) -> None:
    recipe = best(8, MODEL | {"end_bias": 0.5}, select="first", accept=1)
    judging(stage, lambda text: 1.0)
    accepted = engine.run(recipe, ASKED, scope="a")
    judging(stage, lambda text: 0.0)
    rejected = engine.run(recipe, ASKED, scope="b")
    assert accepted.summary.flops < 0.8 * rejected.summary.flops
    whole = [event.completion for event in events(rejected, CandidateFinished) if event.completion.text.strip()]
    assert accepted.completion == min(whole, key=lambda completion: len(completion.ids))
    assert selected(rejected).reason == "none was accepted: the highest score"


@settings(max_examples=15)
@given(delays=st.lists(st.floats(0, 0.02), min_size=8, max_size=8), accepted=st.sets(st.integers(0, 7)))
def test_how_long_verdicts_take_never_changes_the_answer(stage_type: Any, delays: list[float], accepted: set[int]) -> None:
    stage = stage_type()
    with make_engine([stage.plugin]) as engine:

        async def verdicts(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
            assert run.path == "judge"
            number = texts.index(completions[0].text) if texts else 0
            await asyncio.sleep(delays[number % 8])
            return [float(number in accepted)]

        texts: list[str] = []
        stage.actions["judge"] = verdicts
        recipe = best(8, MODEL | {"end_bias": 1.0}, select="score")
        made = sorted(events(engine.run(recipe, ASKED), CandidateFinished), key=lambda event: event.candidate)
        texts.extend(event.completion.text for event in made)
        result = engine.run(
            {**recipe, "nodes": {**recipe["nodes"], "b": {**recipe["nodes"]["b"], "select": "first", "accept": 1}}}, ASKED
        )
        right = [event for event in made if texts.index(event.completion.text) in accepted and event.completion.text.strip()]
        if right:
            expected = min(right, key=lambda event: (len(event.completion.ids), event.candidate))
            assert result.text == expected.completion.text
        else:
            assert selected(result).reason.startswith("none was accepted")


def test_a_verifier_that_draws_says_the_same_whoever_ends_first(stage: Any, engine: Any) -> None:
    async def draws(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        return [float(run.keys(0, 1, "sample")[0] % 1000) for _ in completions]

    stage.actions["judge"] = draws
    scores = []
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):

        async def say(node: Any, run: Run, prompt: Prompt, order: list[int] = order) -> None:
            await asyncio.sleep(0.02 * order[run.ordinal])
            run.emit(Emitted(text="abcd"[run.ordinal]))

        stage.actions["say"] = say
        result = engine.run(scripted(*"abcd", select="score"), ASKED)
        scores.append({event.candidate: event.score for event in events(result, CandidateScored)})
    assert scores[0] == scores[1]
    assert len(set(scores[0].values())) == 4


def test_few_in_flight_go_in_rounds(stage: Any, engine: Any) -> None:
    texts = ["no", "nope", "yes", "yes!", "never asked", "nor this"]
    saying(stage, *texts)
    asked = judging(stage, lambda text: float("yes" in text))
    result = engine.run(scripted(*texts, select="first", accept=1, in_flight=2), ASKED)
    assert result.text == "yes"
    assert [text for call in asked for text in call][:3] == ["no", "nope", "yes"]
    assert len(events(result, CandidateFinished)) == 4


# --- voting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "texts", "expected", "reason"),
    [
        ("number", ["it is 4", "so 5", "the answer is 5.0", "none"], "so 5", "2 of 3 votes"),
        ("text", ["Yes.", "no", "yes"], "Yes.", "2 of 3 votes"),
        (r"<(\w+)>", ["a <b>", "<c> <d>", "the <D>"], "<c> <d>", "2 of 3 votes"),
        ("number", ["none", "nothing"], "none", "no candidate gives an answer: the first one"),
        ("number", ["1", "2", "3", "2", "1"], "1", "2 of 5 votes"),
    ],
)
def test_votes(stage: Any, engine: Any, answers: str, texts: list[str], expected: str, reason: str) -> None:
    saying(stage, *texts)
    result = engine.run(scripted(*texts, verifiers=[], answers=answers), ASKED)
    assert (result.text, selected(result).reason) == (expected, reason)


def test_only_accepted_candidates_vote_and_scores_break_ties(stage: Any, engine: Any) -> None:
    texts = ["3", "3", "3", "it is 7", "7"]
    saying(stage, *texts)
    judging(stage, lambda text: {"3": 0.1, "it is 7": 0.8, "7": 0.9}[text])
    result = engine.run(scripted(*texts, select="vote", answers="number", accept=0.5), ASKED)
    assert result.text == "7"
    assert selected(result).reason == "2 of 2 votes, then that of 'judge'"


def test_a_rejected_candidate_does_not_stand_where_an_accepted_one_says_nothing(stage: Any, engine: Any) -> None:
    saying(stage, "3", "none", "4")
    judging(stage, lambda text: float(text == "none"))
    result = engine.run(scripted("a", "b", "c", select="vote", answers="number", accept=0.5), ASKED)
    assert (result.text, selected(result).reason) == ("none", "no accepted candidate gives an answer: the first one")


# --- several generators -------------------------------------------------------------------------------------------------


def test_several_generators_take_turns(stage: Any, engine: Any) -> None:
    judging(stage, lambda text: len(text))
    recipe = best([1, 3], MODEL)
    recipe["nodes"]["other"] = MODEL | {"seed": 5}
    recipe["nodes"]["b"]["generators"] = ["m", "other"]
    result = engine.run(recipe, ASKED)
    nodes = [event.node for event in result.trace if event.type == "node_started" and event.kind == "sample"]
    assert nodes == ["m:sample", "other:sample", "other:sample", "other:sample"]
    (emitted,) = [event for event in events(result, Emitted) if event.span == 1]
    assert emitted.proposer in ("m", "other")
    assert emitted.decider == "b"


# --- budgets ------------------------------------------------------------------------------------------------------------


def test_a_spent_budget_leaves_the_best_so_far(stage: Any, engine: Any) -> None:
    judging(stage, lambda text: float(len(text)))
    recipe = best(8, MODEL | {"end_bias": 1.0})
    whole = engine.run(recipe, ASKED)
    lengths = sorted(len(event.completion.ids) for event in events(whole, CandidateFinished))
    result = engine.run(recipe, ASKED, budget=Budget(tokens=8 * lengths[3]))
    assert result.finish_reason == "budget"
    finished = [event for event in events(result, CandidateFinished) if event.completion.finish_reason != "budget"]
    assert 0 < len(finished) < 8
    assert result.text == max((event.completion.text for event in finished), key=len)
    assert selected(result).reason == "highest score; the budget was spent"


def test_more_candidates_than_the_budget_allows(stage: Any, engine: Any) -> None:
    judging(stage, len)
    result = engine.run(best(16, MODEL | {"end_bias": -99}), ASKED, budget=Budget(tokens=40))
    assert result.finish_reason == "budget"
    assert 0 < len(result.text) <= 3
    assert selected(result).reason.startswith("no candidate was finished within the budget")


def test_shares_of_the_budget(stage: Any, engine: Any) -> None:
    judging(stage, len)
    endless = MODEL | {"end_bias": -99}
    recipe = best(2, endless, shares=[0.25, 0.75])
    recipe["nodes"]["other"] = endless | {"seed": 5}
    recipe["nodes"]["b"]["generators"] = ["m", "other"]
    recipe["sampling"]["max_tokens"] = 100
    result = engine.run(recipe, ASKED, budget=Budget(tokens=80))
    made = {event.candidate: len(event.completion.ids) for event in events(result, CandidateFinished)}
    assert made[0] + made[2] == 20
    assert made[1] + made[3] == 60
    assert result.finish_reason == "budget"


def test_a_verifier_that_the_budget_stops_abstains(stage: Any, engine: Any) -> None:
    async def costly(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        with pytest.raises(BudgetSpent) as spent:
            run._account.admit(tokens=10**6)
        raise spent.value

    stage.actions["judge"] = costly
    result = engine.run(best(3), ASKED, budget=Budget(tokens=1000))
    assert selected(result).reason == "no verifier gave a score: the first candidate; the budget was spent"
    assert result.text == events(result, CandidateFinished)[0].completion.text or result.text


def test_a_budget_that_stops_a_verifier_is_told(stage: Any, engine: Any) -> None:
    """Else an answer that hangs on the budget would be kept, and found again without one."""
    saying(stage, "no", "yes")

    async def costly(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        run._account.admit(tokens=50)
        return [float(completion.text == "yes") for completion in completions]

    stage.actions["judge"] = costly
    recipe = scripted("no", "yes", select="score")
    recipe["nodes"]["kept"] = {"kind": "cached", "generator": "b"}
    tight = engine.run({**recipe, "output": "kept"}, ASKED, budget=Budget(tokens=10))
    assert (tight.text, tight.finish_reason) == ("no", "budget")
    assert engine.run({**recipe, "output": "kept"}, ASKED).text == "yes"


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_longer_candidates_that_a_budget_cuts_do_not_touch_an_accepted_one(stage: Any, engine: Any, delay: float) -> None:
    saying(stage, "yes")

    async def slow(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        await asyncio.sleep(delay)
        return [1.0]

    stage.actions["judge"] = slow
    recipe = scripted("yes", select="first", accept=1)
    recipe["nodes"]["m"] = MODEL | {"end_bias": -99}
    recipe["nodes"]["b"] |= {"generators": [recipe["nodes"]["b"]["generators"], "m"], "n": [1, 1]}
    result = engine.run(recipe, ASKED, budget=Budget(tokens=20))
    assert (result.text, result.finish_reason) == ("yes", "stop")


def test_a_share_that_is_spent_further_down_leaves_the_rest_to_others(stage: Any, engine: Any) -> None:
    judging(stage, len)
    inner = {"kind": "best_of_n", "generators": "m", "n": 2, "verifiers": "judge", "select": "score", "shares": [0.1]}
    recipe = best(4, MODEL | {"end_bias": -99}, generators=inner, select="score", in_flight=1)
    result = engine.run(recipe, ASKED, budget=Budget(tokens=200))
    assert len([event for event in events(result, CandidateFinished) if event.span == 1]) == 4
    assert result.finish_reason == "budget"


def test_a_cancelled_run_keeps_the_best_so_far(stage: Any, engine: Any) -> None:
    texts = ["a", "abc", "ab"]

    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        if run.ordinal == 2:
            await asyncio.sleep(60)
        run.emit(Emitted(text=texts[run.ordinal], ids=(1,), proposer=run.path, decider=run.path))

    stage.actions["say"] = say
    judging(stage, len)
    stream = engine.stream(scripted(*texts, select="score"), ASKED)
    scored = 0
    for event in stream:
        scored += isinstance(event, CandidateScored)
        if scored == 2:
            stream.cancel()
    result = stream.wait()
    assert (result.finish_reason, result.text) == ("cancelled", "abc")
    assert selected(result).reason == "best so far"


# --- what goes wrong ----------------------------------------------------------------------------------------------------


def test_empty_candidates_are_passed_over(stage: Any, engine: Any) -> None:
    saying(stage, "", " ", "x", "")
    asked = judging(stage, lambda text: 0.0)
    result = engine.run(scripted(*"abcd", select="score"), ASKED)
    assert result.text == "x"
    assert asked == [["x"]]
    saying(stage, "", "", "", "")
    result = engine.run(scripted(*"abcd", select="score"), ASKED)
    assert (result.text, selected(result).reason) == ("", "every candidate is empty")


def test_a_candidate_that_fails_leaves_the_others(stage: Any, engine: Any) -> None:
    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        if run.ordinal != 2:
            raise ModelError("no memory", hint="buy some")
        run.emit(Emitted(text="here", ids=(1,), proposer=run.path, decider=run.path))

    stage.actions["say"] = say
    judging(stage, len)
    result = engine.run(scripted(*"abcd", select="score"), ASKED)
    assert result.text == "here"
    notes = [event.data for event in events(result, Note) if event.name == "candidate_failed"]
    assert [note["candidate"] for note in notes] == [0, 1, 3]
    assert notes[0]["error"].startswith("no memory")


def test_no_candidate_survives(stage: Any, engine: Any) -> None:
    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        raise ModelError("no memory", hint="buy some")

    stage.actions["say"] = say
    judging(stage, len)
    with pytest.raises(ModelError, match="no memory"):
        engine.run(scripted(*"abcd", select="score"), ASKED)


def test_all_verifiers_abstain(stage: Any, engine: Any) -> None:
    saying(stage, "b", "a")
    judging(stage, lambda text: math.nan)
    result = engine.run(scripted("b", "a", select="score"), ASKED)
    assert (result.text, selected(result).reason) == ("b", "no verifier gave a score: the first candidate")


def test_an_abstention_is_below_every_score(stage: Any, engine: Any) -> None:
    saying(stage, "b", "a", "c")
    judging(stage, lambda text: {"b": math.nan, "a": -1e9, "c": math.nan}[text])
    assert engine.run(scripted("b", "a", "c", select="score"), ASKED).text == "a"


def test_a_score_of_minus_infinity_is_above_an_abstention(stage: Any, engine: Any) -> None:
    saying(stage, "b", "a")
    judging(stage, lambda text: {"b": math.nan, "a": -math.inf}[text])
    result = engine.run(scripted("b", "a", select="score"), ASKED)
    assert (result.text, selected(result).reason) == ("a", "highest score")


def test_what_is_no_error_of_ours_says_where_it_comes_from(stage: Any, engine: Any) -> None:
    saying(stage, "b", "a")

    def judge(text: str) -> float:
        raise KeyError("x")

    judging(stage, judge)
    with pytest.raises(RunError, match="judge: KeyError: 'x'"):
        engine.run(scripted("b", "a", select="score"), ASKED)

    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        raise KeyError("y")

    stage.actions["say"] = say
    with pytest.raises(RunError, match=r"b.generators: KeyError: 'y'"):
        engine.run(scripted("b", "a", select="score"), ASKED)


def test_a_verifier_that_fails_on_some_abstains_there(stage: Any, engine: Any) -> None:
    saying(stage, "long text", "a", "bb")

    def judge(text: str) -> float:
        if len(text) > 4:
            raise ValueError("too long for me")
        return len(text)

    judging(stage, judge)
    result = engine.run(scripted("a", "b", "c", select="score"), ASKED)
    assert result.text == "bb"
    (note,) = [event.data for event in events(result, Note) if event.name == "verifier_failed"]
    assert note == {"candidates": [0], "verifier": "judge", "error": "too long for me"}


def test_a_verifier_that_fails_on_all_is_an_error_and_nothing_is_lost(stage: Any, engine: Any) -> None:
    saying(stage, "b", "a")

    def judge(text: str) -> float:
        raise RunError("no court is sitting", hint="come again")

    judging(stage, judge)
    with pytest.raises(RunError, match="no court is sitting") as raised:
        engine.run(scripted("b", "a", select="score"), ASKED)
    assert raised.value.result.text == "b"  # type: ignore[attr-defined]
    assert len(events(raised.value.result, CandidateFinished)) == 2  # type: ignore[attr-defined]


# --- when another sample pays -------------------------------------------------------------------------------------------


def test_only_as_many_as_pay(stage: Any, engine: Any) -> None:
    pytest.importorskip("scipy")
    asked = judging(stage, lambda text: 0.0)
    worth = {"completeness": 0.95, "soundness": 0.8, "difficulty": [0.6, 0.9], "wrong": -1.0}
    recipe = best(16, MODEL | {"end_bias": -1}, select="first", accept=1, worth=worth)
    engine.run(recipe, ASKED)
    assert len(asked) == 3
    told = [finding.message for finding in engine.plan(recipe, ASKED).findings if finding.level == "info"]
    assert "3 of at most 16 candidates pay" in told


def test_it_abstains_where_nothing_pays(stage: Any, engine: Any) -> None:
    pytest.importorskip("scipy")
    asked = judging(stage, lambda text: 1.0)
    worth = {"completeness": 0.95, "soundness": 0.8, "difficulty": [0.6, 0.9], "wrong": -10.0}
    result = engine.run(best(16, select="first", accept=1, worth=worth, abstention="I do not know."), ASKED)
    assert (result.text, result.finish_reason, asked) == ("I do not know.", "stop", [])
    assert [event.name for event in events(result, Note)] == ["abstained"]
    assert result.summary.flops == 0


# --- laws and bad recipes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("select", ["score", "vote"])
def test_laws(select: str) -> None:
    verifier = {"kind": "distinct_n"}
    node = {"kind": "best_of_n", "generators": ["m", "o"], "n": [2, 3], "select": select, "verifiers": verifier}
    assert_generator_laws({"nodes": {"m": MODEL, "o": MODEL | {"seed": 3}, "b": node}, "output": "b"})


def test_it_nests(stage: Any, engine: Any) -> None:
    judging(stage, len)
    inner = {"kind": "best_of_n", "generators": "m", "n": 3, "verifiers": "judge", "select": "score"}
    recipe = best(2, generators=inner)
    result = engine.run(recipe, ASKED)
    chosen = events(result, CandidateSelected)
    assert [event.node for event in chosen].count("b.generators") == 2
    assert chosen[-1].node == "b"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 0}, "at least 1 candidate"),
        ({"n": [1, 2]}, "2 numbers for 1 generators"),
        ({"n": 5000}, "at most 1024"),
        ({"shares": [0.5, 0.5]}, "shares: 2 for 1 generators"),
        ({"shares": [1.5]}, "their sum is at most 1"),
        ({"shares": [math.nan]}, "each is above 0"),
        ({"generators": []}, "name at least one"),
        ({"worth": {"completeness": 2, "soundness": 1, "difficulty": [1, 1]}}, "worth.completeness"),
        ({"worth": {"completeness": 1, "soundness": 1, "difficulty": [1, 0]}}, "above 0"),
        ({"select": "first"}, "set `accept`"),
        ({"select": "score", "verifiers": []}, "needs a verifier"),
        ({"select": "vote", "answers": "("}, "answers"),
        ({"worth": {"completeness": 1, "soundness": 1, "difficulty": [1, 1]}, "select": "score"}, "not for select: score"),
        ({"verifiers": {"kind": "bits_per_byte", "model": "m"}}, "measures a model"),
        ({"verifiers": {"kind": "preference", "judge": "m"}, "select": "first", "accept": 1}, "compares candidates"),
    ],
)
def test_bad_recipes(engine: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
        engine.run(best(**{"n": 2, **fields}), {**ASKED, "fields": {"answer": "x", "references": ["y"]}})


def test_greedy_candidates_are_all_the_same(stage: Any, engine: Any) -> None:
    judging(stage, len)
    recipe = best(4)
    recipe["sampling"] = {"temperature": 0.0, "max_tokens": 5}
    warnings = [finding.message for finding in engine.plan(recipe, ASKED).findings if finding.level == "warning"]
    assert warnings == ["4 candidates of 'm:sample' are the same: it decodes greedily"]

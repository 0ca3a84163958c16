"""Calibration: what is found of strategies whose verifiers are known to err in a known way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterpoint import EvaluationError
from counterpoint.evaluation.accepting import Goal, fit_thresholds, trust
from counterpoint.evaluation.calibrating import Stakes, calibrate
from counterpoint.evaluation.candidates import candidates_of
from counterpoint.evaluation.evaluating import load_evaluation
from counterpoint.plugin import Completion, Emitted, Prompt, Run
from counterpoint.testing import make_engine

pytest.importorskip("scipy")
ROWS = [{"question": f"what is number {index}", "answer": str(index)} for index in range(40)]


@pytest.fixture
def engine(stage: Any) -> Iterator[Any]:
    with make_engine([stage.plugin]) as made:
        yield made


def asked_for(prompt: Prompt) -> int:
    assert prompt.text is not None
    return int(prompt.text.split("number ")[1].split()[0].strip(".\n"))


def sampling(stage: Any, rate: Any) -> None:
    """Lets samples be right where `rate(index, sample)` says so."""

    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        index = asked_for(prompt)
        text = str(index) if rate(index, run.ordinal if node.value == 0 else node.value - 1) else "-1"
        text = f"sample {run.ordinal}: {text}"
        run.emit(Emitted(text=text, ids=(1,) * 5, proposer=run.path, decider=run.path, logprobs={run.path: (-0.1,) * 5}))

    stage.actions["say"] = say


def judging(stage: Any, judge: Any) -> None:
    async def verdicts(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        return [judge(prompt.fields["answer"], completion.text) for completion in completions]

    stage.actions["judge"] = verdicts


def best(n: int = 8, **fields: Any) -> dict[str, Any]:
    nodes = {
        "s": {"kind": "script", "action": "say"},
        "judge": {"kind": "script_verifier", "action": "judge"},
        "out": {"kind": "best_of_n", "generators": "s", "n": n, "verifiers": "judge", **fields},
    }
    return {"name": "best", "nodes": nodes, "output": "out"}


# --- samples ------------------------------------------------------------------------------------------------------------


def test_completeness_and_soundness_are_found(stage: Any, engine: Any, tmp_path: Path) -> None:
    sampling(stage, lambda index, sample: (index * 7 + sample * 3) % 10 < index % 10)

    def judge(answer: str, text: str) -> float:
        right = text.endswith(f": {answer}")
        sample = int(text.split()[1].rstrip(":"))
        return float((sample != 3) if right else (sample == 5))

    judging(stage, judge)
    found = calibrate(best(accept=0.5, select="first"), ROWS, engine=engine, out=tmp_path / "c")
    assert found is not None
    assert found.trust is not None
    rows = load_evaluation(tmp_path / "c", registry=engine.registry).records
    assert len(rows) == 320 == found.candidates
    right = [bool(row.scores["numeric_match"].value) for row in rows]
    accepted = [row.scores["accepting"].value == 1 for row in rows]
    assert found.trust.completeness.value == sum(a and r for a, r in zip(accepted, right, strict=True)) / sum(right)
    assert found.trust.soundness.value == sum(not a and not r for a, r in zip(accepted, right, strict=True)) / (
        320 - sum(right)
    )
    assert found.trust.completeness.low < found.trust.completeness.value < 1
    assert [outcome.samples for outcome in found.trust.predicted] == [1, 2, 4, 8]
    assert abs(found.trust.predicted[0].right_if_kept - sum(right) / 320) < 0.02
    settings = found.settings
    assert settings["select"] == "first"
    assert settings["worth"]["completeness"] == found.trust.completeness.value
    again = found.calibrated(engine.registry)
    assert again.nodes["out"].worth.soundness == found.trust.soundness.value  # type: ignore[attr-defined]


def test_the_model_agrees_with_what_is_measured() -> None:
    rng = np.random.default_rng(1)
    rate = rng.beta(0.7, 0.8, size=(400, 1))
    right = (rng.random((400, 16)) < rate).astype(float)
    scores = np.where(right > 0, rng.random(right.shape) < 0.9, rng.random(right.shape) > 0.85).astype(float)
    found = trust(right, scores, 0.5)
    assert found.completeness.value == pytest.approx(0.9, abs=0.02)
    assert found.soundness.value == pytest.approx(0.85, abs=0.02)
    assert found.difficulty == pytest.approx((0.7, 0.8), rel=0.25)
    for outcome, measured in zip(found.predicted, found.measured, strict=True):
        assert outcome.right_if_kept == pytest.approx(measured, abs=0.02)


def test_the_threshold_that_tells_best_is_found() -> None:
    right = np.tile([1.0, 1.0, 0.0, 0.0], (20, 1))
    right[::2] = [1, 0, 0, 0]
    scores = np.where(right > 0, 3.25, 1.0) + np.linspace(0, 0.5, 80).reshape(20, 4)
    found = trust(right, scores, None)
    assert found.accept >= 3.25
    assert (found.completeness.value, found.soundness.value) == (1.0, 1.0)


def test_shares_that_are_alike_for_all_examples_have_an_interval_too() -> None:
    right = np.tile([1.0, 0.0], (20, 1))
    right[0] = [1, 1]
    found = trust(right, right, 0.5)
    for estimate in (found.completeness, found.soundness):
        assert estimate.value == 1
        assert 0.8 < estimate.low < 0.9


def test_no_score_that_is_infinite_is_accepted_from() -> None:
    right = np.tile([1.0, 0.0, 0.0], (20, 1))
    right[::2] = [1, 1, 0]
    scores = np.where(right > 0, -np.inf, np.inf)
    with pytest.raises(EvaluationError, match="no answer has a finite score"):
        trust(right, scores, None)
    scores[:, 0] = 3.0
    assert trust(right, scores, None).accept == 3.0


@pytest.mark.parametrize("strategy", ["best", "cascade"])
def test_a_verifier_that_never_scores_is_refused_with_the_reason(stage: Any, engine: Any, strategy: str) -> None:
    sampling(stage, lambda index, sample: index % 2 == 0)

    async def broken(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        raise RuntimeError("no court")

    stage.actions["judge"] = broken
    given = best(accept=0.5) if strategy == "best" else cascade(thresholds=0.5)
    with pytest.raises(EvaluationError, match="no answer has a score") as refused:
        calibrate(given, ROWS, engine=engine)
    assert strategy == "cascade" or "0, answer 0: judge: RuntimeError: no court" in refused.value.hint


def test_answers_without_a_score_are_counted(stage: Any, engine: Any) -> None:
    sampling(stage, lambda index, sample: index % 2 == 0)
    judging(stage, lambda answer, text: math.nan if int(answer) < 5 else float(text.endswith(f": {answer}")))
    found = calibrate(best(accept=0.5), ROWS, engine=engine)
    assert found is not None
    assert found.silent.answers == 40
    assert found.silent.first == "0, answer 0: it abstains"
    assert found.unknown.answers == 0


@pytest.mark.parametrize("strategy", ["best", "cascade"])
def test_an_example_without_any_candidate_does_not_count(stage: Any, engine: Any, tmp_path: Path, strategy: str) -> None:
    sampling(stage, lambda index, sample: (index + sample) % 2 == 0)
    say, silent = stage.actions["say"], {3}

    async def sometimes(node: Any, run: Run, prompt: Prompt) -> None:
        if asked_for(prompt) in silent:
            raise RuntimeError("lost for words")
        await say(node, run, prompt)

    stage.actions["say"] = sometimes
    judging(stage, lambda answer, text: 0.9 if text.endswith(f": {answer}") else 0.1)
    given = best(accept=0.5) if strategy == "best" else cascade(thresholds=0.5)
    found = calibrate(given, ROWS, engine=engine, out=tmp_path / "c")
    assert found is not None
    each = found.candidates // len(ROWS)
    assert found.unknown.answers == each
    assert found.unknown.first.startswith("3, answer 0: ")
    assert "lost for words" in found.unknown.first
    without = calibrate(given, [row for row in ROWS if row["answer"] != "3"], engine=engine)
    assert without is not None
    assert found.settings == without.settings
    silent.update(range(40))
    with pytest.raises(EvaluationError, match="no answer has a score") as refused:
        calibrate(given, ROWS, engine=engine)
    assert "lost for words" in refused.value.hint


def test_a_stage_without_any_score_is_refused() -> None:
    scores, quality, cost = arrays()
    with pytest.raises(EvaluationError, match="no answer of stage 1 has a score"):
        fit_thresholds(np.full_like(scores, np.nan), quality, cost, Goal())


@pytest.mark.parametrize(("rate", "which"), [(True, "right"), (False, "wrong")])
def test_one_class_only_is_refused(stage: Any, engine: Any, rate: bool, which: str) -> None:
    sampling(stage, lambda index, sample: rate)
    judging(stage, lambda answer, text: 1.0)
    with pytest.raises(EvaluationError, match=f"all 320 answers are {which}"):
        calibrate(best(accept=0.5), ROWS, engine=engine)


def test_candidates_are_kept_and_other_stakes_cost_nothing(stage: Any, engine: Any, tmp_path: Path) -> None:
    sampling(stage, lambda index, sample: sample % 2 == 0 and index % 3 > 0)
    asked: list[str] = []

    def judge(answer: str, text: str) -> float:
        asked.append(text)
        return float(text.endswith(f": {answer}") or "sample 1" in text)

    judging(stage, judge)
    recipe = best(accept=0.5)
    first = calibrate(recipe, ROWS, engine=engine, out=tmp_path / "c")
    count = len(asked)
    second = calibrate(recipe, ROWS, engine=engine, out=tmp_path / "c", stakes=Stakes(wrong=-100.0))
    assert count == len(asked) == 320
    assert first is not None
    assert second is not None
    assert first.pays == 16
    assert second.pays == 0
    assert first.trust == second.trust


# --- stages -------------------------------------------------------------------------------------------------------------


def cascade(**fields: Any) -> dict[str, Any]:
    nodes = {
        "a": {"kind": "script", "action": "say", "value": 1},
        "b": {"kind": "script", "action": "say", "value": 2},
        "judge": {"kind": "script_verifier", "action": "judge"},
        "out": {"kind": "cascade", "stages": ["a", "b"], "verifiers": "judge", **fields},
    }
    return {"name": "cascade", "nodes": nodes, "output": "out"}


def test_a_cascade_is_calibrated(stage: Any, engine: Any) -> None:
    sampling(stage, lambda index, number: index % 4 == 0 or number == 1)  # the first stage is right on a quarter

    def judge(answer: str, text: str) -> float:
        return 0.9 if text.endswith(f": {answer}") else 0.1

    judging(stage, judge)
    recipe = cascade(thresholds=0.0)
    found = calibrate(recipe, ROWS, engine=engine)
    assert found is not None
    assert found.thresholds is not None
    assert found.thresholds.alone[0][0] == 0.25
    assert found.thresholds.alone[1][0] == 1.0
    assert 0.1 < found.settings["thresholds"][0] <= 0.9
    assert found.thresholds.quality.value == 1.0
    assert found.thresholds.reached
    calibrated = found.calibrated(engine.registry)
    answers = [engine.run(calibrated, {"text": row["question"], "fields": {"answer": row["answer"]}}).text for row in ROWS[:8]]
    assert [answer.split()[1] for answer in answers] == ["0:", "1:", "1:", "1:"] * 2


def arrays(seed: int = 0, count: int = 300) -> tuple[Any, Any, Any]:
    """A first stage whose score says how probably it is right, and a dear second one that is right nine times in ten."""
    rng = np.random.default_rng(seed)
    score = rng.random((count, 1))
    quality = np.hstack([rng.random((count, 1)) < score, rng.random((count, 1)) < 0.9]).astype(float)
    return score, quality, np.tile([1.0, 10.0], (count, 1))


def test_goals() -> None:
    scores, quality, cost = arrays()
    cheap = fit_thresholds(scores, quality, cost, Goal(cost=0.5, relative=True))
    assert cheap.cost.value == pytest.approx(5.0, rel=0.15)
    dear = fit_thresholds(scores, quality, cost, Goal(cost=8.0))
    assert dear.quality.value >= cheap.quality.value
    good = fit_thresholds(scores, quality, cost, Goal(quality=0.95, relative=True))
    assert good.quality.value == pytest.approx(0.95 * 0.9, abs=0.04)
    assert good.cost.value < 10
    everything = fit_thresholds(scores, quality, cost, Goal(quality=1.0))
    assert not everything.reached
    assert sum(good.answered_by) == pytest.approx(1)


def test_abstentions_go_on_to_the_next_stage() -> None:
    scores, quality, cost = arrays()
    scores[:100] = np.nan
    found = fit_thresholds(scores, quality, cost, Goal(quality=0.1))
    assert found.answered_by[1] >= 1 / 3


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({"quality": 1.0, "cost": 1.0}, "both given"),
        ({"quality": 0.0}, "quality 0 makes no sense"),
        ({"cost": math.inf}, "cost inf makes no sense"),
    ],
)
def test_goals_that_make_no_sense(goal: dict[str, float], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Goal(**goal)


@pytest.mark.parametrize("stakes", [{"right": 0.0}, {"wrong": 1.0}, {"price": -1.0}, {"price": math.nan}, {"wrong": -math.inf}])
def test_stakes_that_make_no_sense(stakes: dict[str, float]) -> None:
    with pytest.raises(EvaluationError, match=f"{next(iter(stakes))} .* makes no sense"):
        Stakes(**stakes)


def test_few_examples_are_refused() -> None:
    scores, quality, cost = arrays(count=9)
    with pytest.raises(EvaluationError, match="9 examples are too few"):
        fit_thresholds(scores, quality, cost, Goal())


# --- candidates of a trace ------------------------------------------------------------------------------------------------


def test_costs_go_to_the_candidates_that_caused_them(engine: Any) -> None:
    recipe = {
        "nodes": {
            "m": {"kind": "fake", "end_bias": 1.0},
            "r": {"kind": "fake", "seed": 3},
            "v": {"kind": "judge", "model": "r"},
            "out": {"kind": "best_of_n", "generators": "m", "n": 4, "verifiers": "v", "select": "score"},
        },
        "output": "out",
        "sampling": {"temperature": 1.0, "max_tokens": 40},
    }
    result = engine.run(recipe, "hello there")
    found = candidates_of(result.trace)
    assert sorted(found) == [0, 1, 2, 3]
    total = sum(one.flops + one.verifying_flops for one in found.values())
    assert total == pytest.approx(result.summary.flops)
    assert all(one.verifying_flops > 0 for one in found.values() if one.completion and one.completion.text.strip())
    assert sum(one.share for one in found.values()) == pytest.approx(result.summary.share)


@pytest.mark.parametrize("kind", ["cascade", "best_of_n"])
def test_what_is_made_once_for_all_candidates_is_paid_for(stage: Any, engine: Any, kind: str) -> None:
    async def verdicts(node: Any, run: Run, prompt: Prompt, completions: Sequence[Completion]) -> list[float]:
        async def make(making: Run) -> None:
            session = await making.open("m", Prompt(text="tests"))
            await session.logits()

        await run.once("tests", make)
        return [0.0] * len(completions)

    stage.actions["judge"] = verdicts
    nodes = {
        "m": {"kind": "fake", "end_bias": -99},
        "judge": {"kind": "script_verifier", "action": "judge"},
        "cascade": {"kind": "cascade", "stages": ["m", "m"], "verifiers": "judge", "thresholds": 1},
        "best_of_n": {"kind": "best_of_n", "generators": "m", "n": 3, "verifiers": "judge", "select": "score"},
    }
    recipe = {"nodes": nodes, "output": kind, "sampling": {"temperature": 1.0, "max_tokens": 20}}
    result = engine.run(recipe, {"text": "hello there", "fields": {"answer": "4"}})
    found = candidates_of(result.trace)
    assert sum(one.flops + one.verifying_flops for one in found.values()) == pytest.approx(result.summary.flops)
    assert len([number for number, one in found.items() if one.verifying_flops]) == 1
    assert kind == "best_of_n" or found[0].verifying_flops > 0


# --- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"output": "s"}, {}, "'s' is 'script', and accepts nothing"),
        ({}, {"node": "absent"}, "'absent' is not there"),
        ({}, {"scorers": ["distinct_n"]}, "'distinct_n' gives no verdicts"),
        (best(verifiers=[]), {}, "'out' has no verifier"),
        (best(verifiers={"kind": "consensus", "by": "number"}), {}, "compares answers with one another"),
        (cascade(thresholds=0.5), {"limit": 9}, "9 examples are too few"),
        ({}, {"scorers": ["numeric_match", "exact_match"]}, "the truth is one scorer"),
    ],
)
def test_bad_input(stage: Any, engine: Any, changes: dict[str, Any], options: dict[str, Any], message: str) -> None:
    sampling(stage, lambda index, sample: True)
    judging(stage, lambda answer, text: 1.0)
    with pytest.raises(EvaluationError, match=message):
        calibrate({**best(accept=0.5), **changes}, ROWS, engine=engine, **options)


# --- strategies inside strategies ---------------------------------------------------------------------------------------


def answering(stage: Any) -> dict[str, Any]:
    """Nodes: `poor` says 0 always, `rich` what is right for odd and even numbers, and `judge` knows."""

    async def say(node: Any, run: Run, prompt: Prompt) -> None:
        index = asked_for(prompt)
        text = str(index % 2 if node.value else 0)
        logprobs = (-((index * 7 + node.value) % 10) / 10 - 0.01,)  # says nothing of what is right
        run.emit(Emitted(text=text, ids=(1,), proposer=run.path, decider=run.path, logprobs={run.path: logprobs}))

    stage.actions["say"] = say
    judging(stage, lambda answer, text: 0.9 if text == answer else 0.1)
    return {
        "poor": {"kind": "script", "action": "say"},
        "poor_too": {"kind": "script", "action": "say"},
        "rich": {"kind": "script", "action": "say", "value": 1},
        "judge": {"kind": "script_verifier", "action": "judge"},
        "inner": {"kind": "cascade", "stages": ["poor", "poor_too"], "thresholds": 0.999},
    }


PARITY = [{"question": f"what is number {index}", "answer": str(index % 2)} for index in range(40)]


@pytest.mark.parametrize("first", ["poor", "inner"])
def test_scores_of_a_strategy_inside_are_its_own(stage: Any, engine: Any, first: str) -> None:
    nodes = answering(stage)
    nodes["out"] = {"kind": "cascade", "stages": [first, "rich"], "verifiers": "judge", "thresholds": 0.5}
    found = calibrate({"nodes": nodes, "output": "out"}, PARITY, engine=engine)
    assert found is not None
    assert found.thresholds is not None
    assert found.thresholds.thresholds == (0.9,)
    assert (found.thresholds.quality.value, found.thresholds.answered_by) == (1.0, (0.5, 0.5))
    nodes["out"] = {"kind": "best_of_n", "generators": [first, "rich"], "n": 1, "verifiers": "judge", "accept": 0.5}
    found = calibrate({"nodes": nodes, "output": "out"}, PARITY, engine=engine)
    assert found is not None
    assert found.trust is not None
    assert (found.trust.completeness.value, found.trust.soundness.value) == (1.0, 1.0)


def test_what_is_generated_for_a_candidate_is_counted(stage: Any, engine: Any, tmp_path: Path) -> None:
    judging(stage, lambda answer, text: float("e" in text))
    nodes = {
        "m": {"kind": "fake", "end_bias": -99},
        "several": {"kind": "best_of_n", "generators": "m", "n": 3, "select": "vote"},
        "judge": {"kind": "script_verifier", "action": "judge"},
        "out": {"kind": "cascade", "stages": ["several", "m"], "verifiers": "judge", "thresholds": 0.5},
    }
    graph = {"nodes": nodes, "output": "out", "sampling": {"max_tokens": 5, "temperature": 1.0}}
    found = calibrate(graph, ROWS[:10], engine=engine, out=tmp_path / "c")
    assert found is not None
    records = load_evaluation(tmp_path / "c", registry=engine.registry).records
    assert {(record.sample, record.cost.tokens, record.cost.answer_tokens) for record in records} == {(0, 15, 5), (1, 5, 5)}
    assert found.resumed == (1,), "the second stage's model has read the prompt for the first"


@pytest.mark.parametrize("verifier", [{"kind": "likelihood", "model": "large"}, {"kind": "likelihood", "model": "small"}])
def test_stages_whose_prompt_a_verifier_had_read(engine: Any, verifier: dict[str, Any]) -> None:
    nodes = {
        "small": {"kind": "fake", "seed": 1},
        "large": {"kind": "fake", "seed": 2},
        "out": {"kind": "cascade", "stages": ["small", "large"], "verifiers": {**verifier, "cut": "score"}, "thresholds": -1.0},
    }
    graph = {"nodes": nodes, "output": "out", "sampling": {"max_tokens": 4}}
    found = calibrate(graph, ROWS[:10], engine=engine)
    assert found is not None
    assert found.resumed == ((1,) if verifier["model"] == "large" else ())

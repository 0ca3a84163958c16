from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.engine import Engine
from counterpoint.errors import EvaluationError
from counterpoint.evaluation.comparing import comparison_of
from counterpoint.evaluation.evaluating import evaluate, load_evaluation
from counterpoint.evaluation.outcomes import Measure
from counterpoint.evaluation.records import Record, ScoreRecord
from counterpoint.evaluation.result import EvaluationResult
from counterpoint.events import Event
from counterpoint.testing import make_engine
from counterpoint_tui.state import answer_text, changes, fold, summary
from counterpoint_tui.state.changes import text_changes
from counterpoint_tui.state.compare import compare_evaluations, compare_runs, evaluations_in

Traces = dict[str, tuple[Event, ...]]
TEXTS = st.text(alphabet="ab .\n", max_size=60)


@given(a=TEXTS, b=TEXTS)
def test_the_sides_of_a_difference_are_the_texts(a: str, b: str) -> None:
    changes = text_changes(a, b)
    assert "".join(change.a for change in changes) == a
    assert "".join(change.b for change in changes) == b
    if a == b:
        assert all(change.same for change in changes)
        assert len(changes) <= 1


def test_words_that_differ_are_marked_and_no_others() -> None:
    changes = text_changes("def merge(a, b): return a", "def merge(a, c): return a + c")
    assert [(change.a, change.b) for change in changes if not change.same] == [("b", "c"), ("", " + c")]


def test_long_texts_are_compared_in_no_time() -> None:
    left = " ".join(f"word{number % 97} of line {number}" for number in range(6000))
    right = left.replace("line 300 ", "row 300 ")
    assert [(change.a, change.b) for change in text_changes(left, right) if not change.same] == [("line", "row")]


@given(a=TEXTS, b=TEXTS)
def test_long_texts_are_compared_by_lines_first_and_then_by_words(a: str, b: str) -> None:
    with mock.patch.object(changes, "_MANY", 4), mock.patch.object(changes, "_MOST", 8):
        made = text_changes(a, b)
    assert "".join(change.a for change in made) == a
    assert "".join(change.b for change in made) == b
    assert all(one.same != other.same for one, other in itertools.pairwise(made))
    assert all(change.same for change in made) == (a == b)


def test_lines_that_differ_are_compared_word_by_word() -> None:
    left = [f"word{number % 7} of line {number} and no other\n" for number in range(1000)]
    right = [line.replace("no other", "another") if number % 2 else line for number, line in enumerate(left)]
    made = text_changes("".join(left), "".join(right))
    assert [(change.a, change.b) for change in made if not change.same] == [("no other", "another")] * 500


def test_two_runs_stand_side_by_side(traces: Traces) -> None:
    a, b = fold(traces["sample"]), fold(traces["speculative"])
    made = compare_runs(a, b)
    assert "".join(change.b for change in made.changes) == answer_text(b)
    assert all(change.same for change in made.changes), "speculative decoding gives the very tokens of sampling"
    assert made.same_prompt
    rows = {row.name: row for row in made.figures}
    assert rows["recipe"].a == "large"
    assert rows["FLOPs"].ratio == pytest.approx(summary(a).flops / summary(b).flops)
    assert rows["FLOPs"].better == ("A" if summary(a).flops < summary(b).flops else "B")
    assert (rows["drafts accepted"].a, rows["drafts accepted"].ratio, rows["drafts accepted"].better) == ("–", None, "")
    assert made.notes == ()
    half = compare_runs(fold(traces["lookup"][:40]), b)
    assert not half.same_prompt
    assert half.notes[0] == "the prompts are not the same"
    assert "A has not ended" in half.notes[-1]


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationResult, EvaluationResult]:
    folder = tmp_path_factory.mktemp("evaluations")
    data = [
        {"prompt": f"question {word}", "answer": letter}
        for word, letter in zip(["one", "two", "three", "four"], "aeio", strict=True)
    ]
    with make_engine() as engine:
        made = [_evaluated(engine, seed, data, folder / f"model{seed}") for seed in (0, 3)]
    (folder / "notes.txt").write_text("no evaluation")
    return made[0], made[1]


def _evaluated(engine: Engine, seed: int, data: list[dict[str, Any]], out: Path) -> EvaluationResult:
    recipe = {"nodes": {"m": {"kind": "fake", "seed": seed}}, "output": "m", "sampling": {"max_tokens": 6}}
    return evaluate(recipe, data, engine=engine, out=out, name=f"model{seed}", scorers=["distinct_n"])


def test_examples_of_two_evaluations_are_paged_wins_first(evaluations: tuple[EvaluationResult, EvaluationResult]) -> None:
    a, b = evaluations
    made = compare_evaluations(a, b)
    assert made.names == ("model0", "model3")
    assert [row.id for row in made.rows] == [row.id for row in compare_evaluations(*map(_reloaded, evaluations)).rows]
    assert {row.id for row in made.rows} == {record.id for record in a.records}
    assert all(row.records_a[0].text and row.records_b[0].text for row in made.rows)
    assert {row.name for row in made.figures} == {"distinct_n", "FLOPs", "time", "time in passes", "tokens"}


def _reloaded(result: EvaluationResult) -> EvaluationResult:
    assert result.path is not None
    return load_evaluation(result.path)


def test_wins_losses_and_ties_are_those_of_core(evaluations: tuple[EvaluationResult, EvaluationResult]) -> None:
    a, b = (_scored(result, values) for result, values in zip(evaluations, ([1, 0, 1, 1], [0, 1, 1, 0]), strict=True))
    made = compare_evaluations(a, b)
    (pair,) = comparison_of([a, b]).pairs
    assert (made.count("win"), made.count("loss"), made.count("tie")) == (pair.wins, pair.losses, pair.ties) == (2, 1, 1)
    assert [row.outcome for row in made.rows] == ["win", "win", "loss", "tie"]
    lower = compare_evaluations(_lower(a), _lower(b))
    assert [row.outcome for row in lower.rows] == ["win", "loss", "loss", "tie"]


def _scored(result: EvaluationResult, values: list[float], name: str = "distinct_n") -> EvaluationResult:
    records = tuple(
        record.model_copy(update={"scores": {name: ScoreRecord(value=float(value))}})
        for record, value in zip(result.records, values, strict=True)
    )
    return EvaluationResult(result.configuration, records, (Measure(name, verdicts=True),), result.path)


def _lower(result: EvaluationResult) -> EvaluationResult:
    return EvaluationResult(result.configuration, result.records, (Measure("distinct_n", lower_is_better=True),))


def test_what_only_one_has_comes_last_and_is_said(evaluations: tuple[EvaluationResult, EvaluationResult]) -> None:
    a, b = (_scored(result, [1, 0, 1, 1]) for result in evaluations)
    fewer = EvaluationResult(b.configuration, b.records[:3], b.measures)
    made = compare_evaluations(a, fewer)
    assert made.rows[-1].outcome == "alone"
    assert made.rows[-1].b is None
    assert "1 examples were answered by one of them only" in made.notes
    failed = tuple(Record(id=record.id, finish_reason="failed", error="no") for record in b.records)
    notes = compare_evaluations(a, EvaluationResult(b.configuration, failed, b.measures)).notes
    assert "4 answers of 'model3' failed" in notes


def test_what_cannot_be_compared_is_refused_with_a_remedy(evaluations: tuple[EvaluationResult, EvaluationResult]) -> None:
    a, b = evaluations
    with pytest.raises(EvaluationError, match="no scorer 'rouge' in common") as caught:
        compare_evaluations(a, b, "rouge")
    assert "distinct_n" in caught.value.hint
    with pytest.raises(EvaluationError, match="no scorer in common"):
        compare_evaluations(a, EvaluationResult(b.configuration, b.records, ()))
    with pytest.raises(EvaluationError, match="no example in common"):
        compare_evaluations(a, EvaluationResult(b.configuration, (), b.measures))


def test_the_evaluations_of_a_place_are_found(evaluations: tuple[EvaluationResult, EvaluationResult], tmp_path: Path) -> None:
    (one, other) = [result.path for result in evaluations]
    assert one is not None
    assert evaluations_in(one.parent) == (one, other)
    assert evaluations_in(one) == (one,)
    assert evaluations_in(tmp_path / "nowhere") == ()

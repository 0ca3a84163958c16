"""What can be compared, and what is read of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.errors import CounterpointError, EvaluationError, RunError
from counterpoint.evaluation.evaluating import load_evaluation
from counterpoint.evaluation.folder import EXAMPLES, EvaluationFolder
from counterpoint.evaluation.outcomes import Measure
from counterpoint.evaluation.records import Record, ScoreRecord
from counterpoint.evaluation.result import EvaluationResult
from counterpoint.registry import Registry
from counterpoint.runstore import RunStore
from counterpoint_tui.answers import Answers
from counterpoint_tui.comparetext import asked_text
from counterpoint_tui.comparing import load, subjects
from counterpoint_tui.examples import Examples, examples_of_one

Two = tuple[Path, Path]


def read(folders: tuple[Path, ...], registry: Registry) -> Examples:
    made = load(folders, registry)
    assert isinstance(made, Examples)
    return made


def test_what_a_person_names(evaluations: Two, two_runs: tuple[str, str], tmp_path: Path) -> None:
    first, second = two_runs
    assert subjects([first, "last"]) == (first, second)
    assert subjects([str(evaluations[0])]) == (evaluations[0],)
    assert subjects([str(evaluations[0].parent)]) == evaluations
    for named, problem in [
        ([first], "a run is compared with another one"),
        ([first, str(evaluations[0])], "a run and an evaluation cannot be compared"),
        ([str(evaluations[0].parent), str(evaluations[0])], "3 cannot be shown side by side: one, other, one"),
        (["gone", first], "there is no stored run 'gone'"),
        ([str(tmp_path)], "holds no evaluation"),
        ([f"{tmp_path}/nowhere"], "holds no evaluation"),
    ]:
        with pytest.raises(CounterpointError, match=problem) as refused:
            subjects(named)
        assert refused.value.hint


def test_two_runs(two_runs: tuple[str, str], registry: Registry) -> None:
    made = load(two_runs, registry)
    assert isinstance(made, Answers)
    assert [side.run for side in made.sides] == list(two_runs)
    assert made.sides[0].name.startswith("pair, 20")
    assert made.sides[0].facts.startswith("40 tokens, ")
    assert "".join(change.b for change in made.changes) == RunStore().export(two_runs[1])
    assert made.asked == (("prompt", "hello there"),)
    assert made.notes == ("the seeds are 1 and 2",)


def test_a_run_that_is_gone_or_damaged(two_runs: tuple[str, str], registry: Registry) -> None:
    with pytest.raises(RunError, match="there is no stored run 'gone'"):
        load((two_runs[0], "gone"), registry)
    events = RunStore().path(two_runs[1]) / "events.jsonl"
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join(lines[:20]) + lines[20][:10])
    made = load(two_runs, registry)
    assert isinstance(made, Answers)
    assert [note[:3] for note in made.notes if note.startswith("B: ")], made.notes
    assert "run B has not ended: its figures are those so far" in made.notes
    events.write_bytes(b"")
    with pytest.raises(RunError, match="holds no events"):
        load(two_runs, registry)


def test_two_evaluations_wins_first(evaluations: Two, registry: Registry) -> None:
    made = read(evaluations, registry)
    assert [(item.id, item.outcome, item.scores) for item in made.items] == [
        ("q1", "win", (1.0, 0.0)),
        ("q4", "win", (1.0, 0.0)),
        ("q2", "loss", (0.0, 1.0)),
        ("q3", "tie", (1.0, 1.0)),
        ("q5", "tie", (0.0, 0.0)),
    ]
    assert (made.names, made.scorer, made.counts) == (("one", "other"), "rouge_l", {"win": 2, "loss": 1, "tie": 2})
    assert made.questions.headline("q1") == "question q1"
    answers = made.answers(made.items[0])
    assert answers.sides[0].facts.startswith("rouge_l 1, length, ")
    figures = {row.name: row for row in answers.figures}
    assert (figures["rouge_l"].a, figures["rouge_l"].b, figures["rouge_l"].better) == ("1", "0", "A")
    known = made.items[0].records[0][0].text
    assert answers.asked == (("prompt", "question q1"), ("references", json.dumps([known], ensure_ascii=False)))
    assert str(asked_text(answers.asked)).startswith("prompt\nquestion q1\n\nreferences\n")


def test_one_evaluation_what_is_wrong_first(evaluations: Two, registry: Registry) -> None:
    scored = read(evaluations[:1], registry)
    assert {item.outcome for item in scored.items} == {"scored"}
    assert [item.scores[0] for item in scored.items] == sorted(item.scores[0] or 0.0 for item in scored.items)
    result = load_evaluation(evaluations[0])
    made = examples_of_one(
        EvaluationResult(result.configuration, result.records, (Measure("rouge_l", verdicts=True),)), registry, None
    )
    assert [(item.id, item.outcome) for item in made.items] == [
        ("q2", "wrong"),
        ("q5", "wrong"),
        ("q1", "right"),
        ("q3", "right"),
        ("q4", "right"),
    ]
    answers = made.answers(made.items[0])
    assert len(answers.sides) == 1
    assert [change.a for change in answers.changes] == [made.items[0].records[0][0].text]
    assert {row.name: row.a for row in made.figures}["rouge_l"] == "0.6"


def test_failures_scores_and_samples_are_told(evaluations: Two, registry: Registry) -> None:
    folder = EvaluationFolder(evaluations[0])
    records = [record for record in folder.records() if record.id != "q5"]
    said = {"rouge_l": ScoreRecord(value=0.0, detail="says \x1b[2J why")}
    more = Record(id="q1", sample=1, text="second", scores=said)
    failed = Record(id="q5", finish_reason="failed", error="no memory", hint="free some")
    folder.replace([*records, failed, more])
    made = read(evaluations[:1], registry)
    assert made.items[0].outcome == "failed"
    assert made.answers(made.items[0]).sides[0].facts.startswith("failed: no memory, failed, ")
    assert made.answers(made.items[0]).remarks == ("no memory (free some)",)
    assert "1 answers failed" in made.notes
    item = next(item for item in made.items if item.id == "q1")
    assert item.samples == 2
    assert made.answers(item, 1).changes[0].a == "second"
    assert made.answers(item, 1).remarks == ("rouge_l: says \x1b[2J why",)
    both = read(evaluations, registry)
    other = next(item for item in both.items if item.id == "q1")
    assert both.answers(other, 1).changes[-1].b == other.records[1][0].text  # of the other there is one answer only


def test_data_that_is_not_here_or_has_been_changed(
    evaluations: Two, registry: Registry, compared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    changed = (compared_data / "letters.jsonl").read_text().replace("question q1", "question one")
    (tmp_path / "letters.jsonl").write_text(changed)
    made = read(evaluations, registry)
    assert made.questions.headline("q1") == ""
    ((name, problem),) = made.answers(made.items[0]).asked
    assert (name, problem[:22]) == ("", "The data set 'letters'")
    assert "COUNTERPOINT_DATA" in problem
    card = "data: file.jsonl\nname: letters\ntemplate: 'Please: {{ prompt }}'\n"  # a data set may be called so by its card
    (tmp_path / "card.yaml").write_text(card)
    (tmp_path / "file.jsonl").write_text((compared_data / "letters.jsonl").read_text())
    assert read(evaluations, registry).questions.headline("q1") == "question q1"


def test_what_does_not_belong_together(evaluations: Two, registry: Registry, tmp_path: Path) -> None:
    configuration = evaluations[1] / "config.json"
    data = json.loads(configuration.read_text())
    data["data"] |= {"name": "another", "sha256": "0"}
    configuration.write_text(json.dumps(data))
    with pytest.raises(EvaluationError, match="'one' answered 'letters' and 'other' answered 'another'") as refused:
        load(evaluations, registry)
    assert refused.value.hint == "compare evaluations of one data set"
    (evaluations[0] / EXAMPLES).unlink()
    with pytest.raises(EvaluationError, match="has no answers yet"):
        load(evaluations[:1], registry)
    (evaluations[0] / "config.json").write_text("{")
    with pytest.raises(EvaluationError, match=r"config\.json: cannot be read"):
        load(evaluations[:1], registry)


def test_evaluations_of_one_name_are_told_apart(evaluations: Two, registry: Registry) -> None:
    configuration = evaluations[1] / "config.json"
    configuration.write_text(configuration.read_text().replace('"name": "other"', '"name": "one"'))
    assert read(evaluations, registry).names == ("one (one)", "one (other)")

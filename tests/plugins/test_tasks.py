"""The built-in task types: the lines of public data sets fit, come into one form, and what does not fit is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from counterpoint import load_plugins, paths
from counterpoint.plugin import Verifier
from counterpoint.registry import Registry, describe_validation
from counterpoint_plugins.tasks import TASKS

TASK = {task.name: task for task in TASKS}
CODE = {
    "task_id": "T/0",
    "prompt": "def one():\n",
    "entry_point": "one",
    "test": "def check(candidate): ...",
    "canonical_solution": "    return 1\n",
}
MATH = {"question": "How many?", "answer": "Two and two thousand.\n#### 2,002"}
QA = {"question": "Why?", "best_answer": "So ", "correct_answers": "No; So;", "incorrect_answers": ["Never; ever"]}
LINES = {"code": CODE, "math": MATH, "rewrite": {"source": "a", "references": "b"}, "qa": QA, "text": {"prompt": "p"}}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins()


def columns(name: str, line: dict[str, Any]) -> dict[str, Any]:
    return TASK[name].columns.model_validate(line).model_dump(mode="json")


def problem(name: str, **changes: Any) -> str:
    line = {key: value for key, value in {**LINES[name], **changes}.items() if value is not None}
    with pytest.raises(ValidationError) as caught:
        columns(name, line)
    return "; ".join(f"{'.'.join(map(str, place))}: {message}" for place, message in describe_validation(caught.value))


def test_they_are_installed(registry: Registry) -> None:
    assert registry.tasks() == TASK


@pytest.mark.parametrize("name", TASK)
def test_default_scorers_read_what_the_task_has(name: str, registry: Registry) -> None:
    for scorer in TASK[name].scorers:
        assert isinstance(scorer, str)
        node = registry.kind(scorer).node
        assert issubclass(node, Verifier)
        assert set(node.requires) <= set(TASK[name].columns.model_fields)
    assert set(TASK[name].public) <= set(TASK[name].columns.model_fields)


def test_a_line_is_recognised_by_its_columns() -> None:
    for name, line in LINES.items():
        fitting = [task for task in TASKS if task.fits(frozenset(line))]
        assert name in [task.name for task in fitting]
        most = max(fitting, key=lambda task: sum(info.is_required() for info in task.columns.model_fields.values()))
        assert most.name == name


@pytest.mark.parametrize("name", TASK)
def test_the_form_is_a_fixed_point(name: str) -> None:
    once = columns(name, LINES[name])
    assert columns(name, once) == once
    json.dumps(once)


def test_code() -> None:
    assert columns("code", CODE)["references"] == ["def one():\n    return 1\n"]
    assert columns("code", CODE)["task_id"] == "T/0", "further columns are kept"
    without = {key: value for key, value in CODE.items() if key != "canonical_solution"}
    assert columns("code", without)["references"] == []
    assert problem("code", entry_point="1st") == "entry_point: expected the name of a function, found '1st'"
    assert "class" in problem("code", entry_point="class")
    assert problem("code", test=" ") == "test: expected text, found an empty string"
    assert problem("code", prompt=None) == "prompt: this field is required"
    assert problem("code", prompt=3) == "prompt: expected text, found 3"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (MATH["answer"], "2002"),
        ("18", "18"),
        (18, "18"),
        (-1.5, "-1.5"),
        ("x\n#### $1,000,000.", "1000000"),
        ("#### -3", "-3"),
    ],
)
def test_math(given: Any, kept: str) -> None:
    found = columns("math", {"question": "q", "answer": given})
    assert found["answer"] == kept
    assert found["references"] == ([given] if "####" in str(given) else [])


@pytest.mark.parametrize("answer", ["many", "#### many", True, [1], "", float("nan")])
def test_math_without_a_number(answer: Any) -> None:
    assert "answer: expected a number, or a worked solution that ends with '#### number', found" in problem(
        "math", answer=answer
    )


def test_rewrite() -> None:
    assert columns("rewrite", {"source": "a", "references": "b"})["references"] == ["b"]
    assert columns("rewrite", {"source": "a", "references": ["b", " ", "c"]})["references"] == ["b", "c"]
    assert problem("rewrite", references=[" "]) == "references: expected at least one reference that is not empty, found none"
    assert problem("rewrite", references=[1]) == "references: expected a list of texts, found [1]"
    assert len(problem("rewrite", references=["x" * 500, 1])) < 120, "a long value is cut"


def test_qa() -> None:
    found = columns("qa", QA)
    assert found["correct_answers"] == found["references"] == ["So", "No"], "the best first, each once"
    assert found["incorrect_answers"] == ["Never; ever"], "a list is kept as it is"
    assert problem("qa", incorrect_answers=" ; ") == "incorrect_answers: expected at least one answer, found none"
    assert "expected a list of texts, found 5" in problem("qa", correct_answers=5)


@given(st.lists(st.text(st.characters(blacklist_characters=";", blacklist_categories=["Cs"]), min_size=1), min_size=1))
def test_qa_splits_at_semicolons(answers: list[str]) -> None:
    answers = [stripped for answer in answers if (stripped := answer.strip())]
    if answers:
        line = {**QA, "incorrect_answers": "; ".join(answers)}
        assert columns("qa", line)["incorrect_answers"] == list(dict.fromkeys(answers))


@pytest.mark.parametrize(
    ("file", "name", "count"),
    [
        ("humaneval.jsonl", "code", 164),
        ("gsm8k_test_200.jsonl", "math", 200),
        ("gsm8k_train_2000.jsonl", "math", 2000),
        ("truthfulqa_400.jsonl", "qa", 400),
    ],
)
def test_every_line_of_the_data_fits(file: str, name: str, count: int) -> None:
    path = paths.data() / file
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == count
    for line in lines:
        found = columns(name, line)
        assert found["references"]
        assert columns(name, found) == found
        assert TASK[name].fits(frozenset(line))


def test_every_line_of_jfleg_fits() -> None:
    folder = paths.data() / "jfleg_dev"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    files = [folder / name for name in ("dev.src", *(f"dev.ref{k}" for k in range(4)))]
    rows = list(zip(*(path.read_text(encoding="utf-8").splitlines() for path in files), strict=True))
    assert len(rows) == 754
    for source, *references in rows:
        assert len(columns("rewrite", {"source": source, "references": references})["references"]) == 4

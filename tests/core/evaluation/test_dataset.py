"""Data sets: every way of being wrong has one message, and files of all forms give the same examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.dataset import load_dataset
from counterpoint.evaluation.job import words_of
from counterpoint.recipe import load_recipe
from counterpoint.registry import Registry
from counterpoint.tasks import Words

GOOD = {"question": "what is one and one", "answer": "#### 2"}
Lines = Callable[..., Path]


def load(registry: Registry, source: Any, **options: Any) -> Any:
    return load_dataset(source, registry=registry, **options)


def test_ids_come_from_the_lines_or_their_numbers(registry: Registry, lines: Lines) -> None:
    data = load(registry, lines({**GOOD, "id": "a"}, GOOD, "", {**GOOD, "task_id": 7}))
    assert [example.id for example in data.examples] == ["a", "1", "7"]
    assert data.task.name == "math"
    assert data.name == "data"


@pytest.mark.parametrize(
    ("rows", "says", "hint"),
    [
        (["{"], "line 1: is not JSON", "one JSON object"),
        (["[" * 100_000], "line 1: is nested too deeply", "remove the line"),
        ([GOOD, '{"question": "a", }'], "line 2: is not JSON", "one JSON object"),
        ([GOOD, "[1]"], "line 2: is a JSON list, not an object", "question, answer"),
        ([GOOD, {"question": "a"}], "line 2: answer: this field is required", "question, answer"),
        ([GOOD, {"question": "a", "answer": "none"}], "line 2: answer: expected a number", "question, answer"),
        ([{**GOOD, "id": 3}, GOOD, {**GOOD, "id": 3}], "its id '3' is that of", "each its own"),
        ([], "holds no example", "one JSON object a line"),
        (["", "  "], "holds no example", "one JSON object a line"),
        ([{"colour": "red"}], "line 1: fits no task type; it has colour", "math: question, answer"),
    ],
)
def test_bad_lines(registry: Registry, lines: Lines, rows: list[Any], says: str, hint: str) -> None:
    with pytest.raises(EvaluationError) as error:
        load(registry, lines(*rows))
    assert says in error.value.message
    assert hint in error.value.hint


def test_bad_files(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path / "data"))
    with pytest.raises(EvaluationError, match=r"no data set \'nowhere\.jsonl\'"):
        load(registry, "nowhere.jsonl")
    with pytest.raises(EvaluationError, match="is a folder"):
        load(registry, tmp_path)
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "caf\xe9"}')
    with pytest.raises(EvaluationError, match="not UTF-8"):
        load(registry, tmp_path / "latin.jsonl")


def test_a_name_is_looked_for_in_the_data_folder(
    registry: Registry, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(GOOD, name="there.jsonl")
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    assert len(load(registry, "there.jsonl").examples) == 1


def test_the_type_with_most_columns_is_taken_and_others_can_be_named(registry: Registry, lines: Lines) -> None:
    row = {"prompt": "def f():\n", "entry_point": "f", "test": "def check(c): pass"}
    assert load(registry, lines(row)).task.name == "code"
    assert load(registry, lines(row), task="text").task.name == "text"
    with pytest.raises(EvaluationError, match="no task type is called 'maths'") as error:
        load(registry, lines(row), task="maths")
    assert "math" in error.value.hint


def test_parallel_files(registry: Registry, tmp_path: Path) -> None:
    for name, text in {"src": "a\nb\n", "ref0": "A\nB\n", "ref1": "aa\nbb", "short": "A\n"}.items():
        (tmp_path / name).write_text(text)
    data = load(registry, tmp_path / "src", references=[tmp_path / "ref0", tmp_path / "ref1"])
    assert [example.columns["references"] for example in data.examples] == [["A", "aa"], ["B", "bb"]]
    with pytest.raises(EvaluationError, match=r"has 1 lines, and .* has 2"):
        load(registry, tmp_path / "src", references=[tmp_path / "short"])


def test_a_card(registry: Registry, lines: Lines, tmp_path: Path) -> None:
    lines(GOOD)
    card = tmp_path / "card.yaml"
    card.write_text("data: data.jsonl\nname: sums\ntemplate: 'Sum: {{ question }}'\nprefix: 'It is '\nstop: ['.']\n")
    data = load(registry, card)
    assert (data.name, data.task.name) == ("sums", "math")
    words = words_of(load_recipe({"nodes": {"m": {"kind": "fake"}}, "output": "m"}, registry=registry), data)
    (prompt,) = data.prompts(words).values()
    assert (prompt.text, prompt.prefix, words.stop) == ("Sum: what is one and one", "It is ", (".",))
    card.write_text("dta: data.jsonl\n")
    with pytest.raises(EvaluationError, match="dta: no such field"):
        load(registry, card)


def test_whose_words_win(registry: Registry, lines: Lines) -> None:
    data = load(registry, lines(GOOD))
    plain = {"nodes": {"m": {"kind": "fake"}}, "output": "m"}
    own = load_recipe({**plain, "tasks": {"math": {"template": "R {{ question }}"}}}, registry=registry)
    other = load_recipe({**plain, "tasks": {"code": {"template": "R"}}}, registry=registry)
    assert words_of(own, data).template == "R {{ question }}"
    assert words_of(own, data).prefix == data.task.prefix, "what the recipe does not say is the task's"
    assert words_of(other, data).template == data.task.template
    assert words_of(own, data, Words(template="C")).template == "C"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ colour }}", "names what the example lacks: 'colour' is undefined"),
        ("{{ question + 1 }}", "cannot be filled"),
        ("{{ question", "is no Jinja text"),
        (" ", "is empty"),
    ],
)
def test_templates(registry: Registry, lines: Lines, template: str, says: str) -> None:
    data = load(registry, lines(GOOD))
    with pytest.raises(EvaluationError, match="example '0'") as error:
        data.prompts(Words(template=template, prefix=""))
    assert says in error.value.message


def test_identity_is_that_of_the_examples(registry: Registry, lines: Lines) -> None:
    data = load(registry, lines(GOOD, {**GOOD, "question": "else"}))
    assert data.sha256 == load(registry, [GOOD, {**GOOD, "question": "else"}]).sha256
    assert data.first(1).sha256 != data.sha256
    assert data.only(["1"]).examples == data.examples[1:]
    with pytest.raises(EvaluationError, match="has no example '9'"):
        data.only(["9"])


@pytest.mark.parametrize("limit", [0, -1])
def test_no_limit_takes_from_the_end(registry: Registry, limit: int) -> None:
    with pytest.raises(EvaluationError, match=f"{limit} examples cannot be taken"):
        load(registry, [GOOD]).first(limit)

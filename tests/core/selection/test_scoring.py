"""`cp.score`: prompts and answers of lines, scores beside them, and what a kill leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import counterpoint as cp
from counterpoint.errors import CounterpointError, EvaluationError, RecipeError
from counterpoint.evaluation.driver import Progress
from counterpoint.selection.choosing import Top
from counterpoint.selection.job import ScoreOptions, make_score_job
from counterpoint.selection.scoring import json_line, run_score
from counterpoint.testing import make_engine

SAYS = {"nodes": {"v": {"kind": "says"}}, "output": "v"}


def of(kind: str, **fields: Any) -> dict[str, Any]:
    return {"nodes": {"v": {"kind": kind, **fields}}, "output": "v"}


def pairs(*answers: Any, **columns: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"question {number}", "response": answer, **columns} for number, answer in enumerate(answers)]


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: Any, name: str = "data.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


# --- what comes out -------------------------------------------------------------------------------------------------------


def test_a_score_stands_beside_the_columns(engine: cp.Engine) -> None:
    rows = pairs("0.5", "", "2", more=[1, {"a": None}])
    found = cp.score(SAYS, rows, engine=engine)
    assert found == [{**row, "says": score} for row, score in zip(rows, [0.5, None, 2.0], strict=True)]
    assert list(found[0]) == ["prompt", "response", "more", "says"]
    assert "says" not in rows[0], "the caller's rows are as they were"
    assert cp.score(SAYS, rows, engine=engine, keep_below=1, name="how much") == [{**rows[0], "how much": 0.5}]
    assert [row["says"] for row in cp.score(SAYS, pairs(*"31424"), engine=engine, top=3)] == [3, 4, 4]
    assert [row["says"] for row in cp.score(of("says_less"), pairs(*"31424"), engine=engine, top="40%", name="says")] == [1, 2]


def test_several_answers_have_a_best_one(engine: cp.Engine) -> None:
    rows = [
        {"prompt": "a", "one": "1", "two": "3"},
        {"prompt": "b", "one": "", "two": ""},
        {"prompt": "c", "one": "7", "two": "0"},
    ]
    found = cp.score(SAYS, rows, engine=engine, answers=["one", "two"])
    assert [row["says"] for row in found] == [[1.0, 3.0], [None, None], [7.0, 0.0]]
    assert [(row["selected"], row["answer"]) for row in found] == [(1, "3"), (None, None), (0, "7")]
    fewer = cp.score(SAYS, rows, engine=engine, answers=["one", "two"], keep_below=5, keep_above=0.5)
    assert [(row["prompt"], row["selected"], row["answer"]) for row in fewer] == [("a", 1, "3")]
    less = cp.score(of("says_less"), rows, engine=engine, answers=["one", "two"])
    assert [row["answer"] for row in less] == ["1", None, "0"]


def test_a_list_is_several_answers(engine: cp.Engine) -> None:
    rows = [{"prompt": "a", "response": ["1", "3", "2"]}, {"prompt": "b", "response": ["4"]}, {"prompt": "c", "response": "5"}]
    found = cp.score(SAYS, rows, engine=engine)
    assert [row["says"] for row in found] == [[1, 3, 2], [4], 5]
    assert [row.get("selected") for row in found] == [1, 0, None]
    assert "answer" not in found[2]
    joined = [{"prompt": "a", "one": ["1", "2"], "two": "9"}]
    (row,) = cp.score(SAYS, joined, engine=engine, answers=("one", "two"))
    assert (row["says"], row["selected"], row["answer"]) == ([1, 2, 9], 2, "9")


def test_answers_of_unlike_models_that_agree(engine: cp.Engine) -> None:
    rows = [
        {"prompt": "a", "one": "x", "two": "y", "three": "y"},
        {"prompt": "b", "one": "x", "two": "y", "three": "z"},
    ]
    (row,) = cp.score(of("alike"), rows, engine=engine, answers=["one", "two", "three"], keep_above=1)
    assert (row["prompt"], row["alike"], row["selected"], row["answer"]) == ("a", [1, 2, 2], 1, "y")


def test_the_shipped_recipe_keeps_what_is_agreed(engine: cp.Engine) -> None:
    pytest.importorskip("rouge_score")
    rows = [
        {"prompt": "a", "one": "It is Bach.", "two": "it is bach", "three": "Mozart"},
        {"prompt": "b", "one": "red wine of the year", "two": "a glass of red wine", "three": "red wine"},
        {"prompt": "c", "one": "alpha", "two": "beta", "three": "gamma"},
    ]
    found = cp.score("agreement", rows, engine=engine, answers=["one", "two", "three"], keep_above=0)
    assert [(row["prompt"], row["answer"]) for row in found] == [("a", "It is Bach."), ("b", "red wine")]


DIFFICULTY = {
    "nodes": {"m": {"kind": "fake", "memory": 30}, "v": {"kind": "instruction_difficulty", "model": "m"}},
    "output": "v",
}


def test_the_selected_answer_goes_where_there_is_room(engine: cp.Engine) -> None:
    rows = [{"prompt": "a", "response": ["1", "3"], "known": "3", "answer": "kept"}]
    (row,) = cp.score(of("knows"), rows, engine=engine, into="best")
    assert (row["answer"], row["best"], row["selected"]) == ("kept", "3", 1)


def test_a_template_makes_the_prompt(engine: cp.Engine) -> None:
    def measured(row: dict[str, str], **options: Any) -> Any:
        (made,) = cp.score(DIFFICULTY, [row], engine=engine, name="score", **options)
        return pytest.approx(made["score"], rel=1e-5)

    row = {"instruction": "add", "input": "one and two", "output": "three"}
    plain = measured({"prompt": "add one and two", "response": "three"})
    assert measured(row, template="{{ instruction }} {{ input }}", answers="output") == plain.expected
    assert measured(row, prompt="input", answers="output") != plain.expected


def test_lines_in_flight_share_passes() -> None:
    rows = [{"prompt": f"what is {word}", "response": f"it is {word}"} for word in ("red", "blue", "green", "grey")]
    found, passes = {}, {}
    for in_flight in (1, 4):
        with make_engine() as own:
            found[in_flight] = cp.score(DIFFICULTY, rows, engine=own, in_flight=in_flight)
            passes[in_flight] = own.hosts()[0].backend.passes  # type: ignore[attr-defined]
    assert passes[4] < passes[1]
    scores = [[row["instruction_difficulty"] for row in found[in_flight]] for in_flight in (1, 4)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
    assert len(set(scores[0])) == 4


def test_a_verifier_gets_the_columns_that_it_reads(engine: cp.Engine) -> None:
    rows = [
        {"prompt": "a", "response": "x", "known": "x", "secret": 1},
        {"prompt": "b", "response": "x", "known": "y", "secret": 1},
    ]
    assert [row["knows"] for row in cp.score(of("knows"), rows, engine=engine)] == [1, 0]
    with pytest.raises(EvaluationError, match=r"row 2: has no column 'known'; its columns: prompt, response") as caught:
        cp.score(of("knows"), [rows[0], {"prompt": "b", "response": "x"}], engine=engine)
    assert "the verifier 'v' reads it" in caught.value.hint


def test_lines_draw_apart_and_by_the_seed(engine: cp.Engine) -> None:
    def drawn(**options: Any) -> list[float]:
        return [row["dice"] for row in cp.score(of("dice"), pairs("a", "a", "a", "a"), engine=engine, **options)]

    assert len(set(drawn())) > 1
    assert drawn() == drawn(in_flight=1)
    assert drawn(seed=3) != drawn(seed=4)


def test_at_most_so_many_are_in_flight(engine: cp.Engine, says: Any) -> None:
    says.gate = threading.Event()
    threading.Timer(0.6, says.gate.set).start()
    cp.score(SAYS, pairs(*"123456789"), engine=engine, in_flight=3)
    assert says.most == 3


def test_only_the_first_lines(engine: cp.Engine, says: Any) -> None:
    assert len(cp.score(SAYS, pairs(*"123456789"), engine=engine, limit=2)) == 2
    assert sorted(says.asked) == ["1", "2"]


def test_a_line_on_which_the_verifier_fails(engine: cp.Engine) -> None:
    """Its other answers are scored, unless they are compared; the other lines are in any case."""
    job = make_score_job(engine, SAYS, pairs(["1", "broken"], "2", "broken"), ScoreOptions())
    scored = run_score(engine, job)
    assert [row["says"] for row in scored.rows()] == [[1, None], 2, None]
    assert [(line.place, problem) for line, problem in scored.without(failed=True)] == [
        ("row 1", "it broke"),
        ("row 3", "it broke"),
    ]
    counts = {"lines": 3, "scored": 2, "abstained": 0, "failed": 2, "kept": 3}
    assert counts.items() <= scored.summary().items()
    compared = run_score(engine, make_score_job(engine, of("alike"), pairs(["x", "broken"], ["y", "y"]), ScoreOptions()))
    assert [row["alike"] for row in compared.rows()] == [[None, None], [2, 2]]


def test_a_score_that_json_does_not_know_is_none(engine: cp.Engine) -> None:
    scored = run_score(engine, make_score_job(engine, SAYS, pairs("inf", "1"), ScoreOptions()))
    assert [row["says"] for row in scored.rows()] == [None, 1]
    ((line, problem),) = scored.without(failed=False)
    assert (line.place, problem) == ("row 1", "says inf")


def test_json_holds_whatever_text_there_is() -> None:
    assert json_line({"a": "naïve ♭"}) == '{"a": "naïve ♭"}\n'
    torn = {"a": "half \ud83d of a pair"}
    assert json.loads(json_line(torn)) == torn
    json_line(torn).encode()


# --- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "says", "hint"),
    [
        ({"response": "1"}, "line 2: has no column 'prompt'; its columns: response", "--prompt COLUMN"),
        ({"prompt": "a"}, "line 2: has no column 'response'; its columns: prompt", "--answer COLUMN"),
        ({"prompt": " ", "response": "1"}, "line 2: its column 'prompt' is empty", "remove the line"),
        ({"prompt": 3, "response": "1"}, "line 2: its column 'prompt' holds a JSON int, not text", "make it text"),
        ({"prompt": "a", "response": None}, "line 2: its column 'response' holds null, not text", "make it text"),
        ({"prompt": "a", "response": ["1", 2]}, "line 2: its column 'response' holds a JSON int, not text", "make it text"),
        ({"prompt": "a", "response": []}, "line 2: its column 'response' is an empty list", "remove the line"),
        ([1], "line 2: is a JSON list, not an object", "a prompt, and an answer"),
        ('{"prompt": ', "line 2: is not JSON", "one JSON object"),
        ('{"prompt": "a", "response": "\\ud83d"}', "line 2: its text holds half of a surrogate pair", "remove the line"),
        ({"prompt": "a", "response": "1", "says": 0}, "line 2: has a column 'says' already", "--name NAME"),
        (
            {"prompt": "a", "response": ["1"], "answer": "x"},
            "line 2: has a column 'answer', where the answer that is selected is to go",
            "--into COLUMN",
        ),
        ({"prompt": "a", "response": ["1"], "selected": 0}, "line 2: has a column 'selected', where the number", "jq -c"),
    ],
)
def test_bad_lines(engine: cp.Engine, file: Callable[..., Path], row: Any, says: str, hint: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        cp.score(SAYS, file({"prompt": "a", "response": "1"}, row), engine=engine)
    assert says in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("recipe", "rows", "options", "error", "says"),
    [
        ({"nodes": {"m": {"kind": "fake"}}, "output": "m"}, pairs("1"), {}, RecipeError, r"'m' \(fake\) generates, and scores"),
        (of("says") | {"output": "w"}, pairs("1"), {}, RecipeError, "no node is called 'w'"),
        (SAYS, [], {}, EvaluationError, "the data: holds no line"),
        (SAYS, "nowhere.jsonl", {}, EvaluationError, "no data set 'nowhere.jsonl'"),
        (SAYS, pairs("1"), {"template": "{{ colour }}"}, EvaluationError, "row 1: the template names what"),
        (SAYS, pairs("1"), {"template": "{{ '' }}"}, EvaluationError, "row 1: what the template makes of it is empty"),
        (SAYS, pairs("1"), {"name": "answer"}, EvaluationError, "the columns of the score, 'answer', of the selected"),
        (SAYS, pairs("1"), {"into": "selected"}, EvaluationError, "and 'selected' are to be three"),
        (SAYS, pairs("1"), {"answers": []}, EvaluationError, "no column of answers"),
        (SAYS, pairs("1"), {"in_flight": 0}, EvaluationError, "in_flight and limit"),
        (SAYS, pairs("1"), {"limit": 0}, EvaluationError, "in_flight and limit"),
        (SAYS, pairs("1"), {"top": "some"}, EvaluationError, "top some"),
        (SAYS, pairs("1"), {"seed": -1}, RecipeError, "seed"),
        (of("alike"), pairs("1", ["2"]), {}, EvaluationError, "compares the answers to a prompt, and every line has one alone"),
        (of("instruction_difficulty", model="m"), pairs("1"), {}, RecipeError, "no node is called 'm'"),
    ],
)
def test_what_is_refused(engine: cp.Engine, recipe: Any, rows: Any, options: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        cp.score(recipe, rows, engine=engine, **options)
    assert isinstance(caught.value, CounterpointError)
    assert caught.value.hint


def test_a_model_that_cannot_be_loaded_is_told_once(engine: cp.Engine, says: Any) -> None:
    recipe = {"nodes": {"m": {"kind": "torn"}, "v": {"kind": "instruction_difficulty", "model": "m"}}, "output": "v"}
    with pytest.raises(CounterpointError, match="its weights are torn"):
        cp.score(recipe, pairs("1", "2"), engine=engine)


# --- a file, and what a kill leaves ---------------------------------------------------------------------------------------


def rows_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_is_written_whole(engine: cp.Engine, file: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "scored.jsonl"
    data = file(*pairs("3", "1", "2", note="naïve"))
    found = cp.score(SAYS, data, engine=engine, out=out, top=2)
    assert rows_in(out) == found
    assert [row["says"] for row in found] == [3, 2]
    assert [path.name for path in out.parent.iterdir()] == ["scored.jsonl"], "nothing is left beside it"


def stopped_after(count: int, engine: cp.Engine, data: Path, out: Path) -> None:
    """A scoring that is stopped when so many lines are scored."""
    stop = threading.Event()

    def heard(state: Progress) -> None:
        if state.done >= count:
            stop.set()

    assert cp.score(SAYS, data, engine=engine, out=out, progress=heard, cancelled=stop, in_flight=1) == []


def test_a_restart_goes_on(engine: cp.Engine, file: Callable[..., Path], tmp_path: Path, says: Any) -> None:
    data, out, whole = file(*pairs(*"314159265")), tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    stopped_after(4, engine, data, out)
    assert not out.exists()
    partial = tmp_path / "out.jsonl.partial"
    done = len(partial.read_text().splitlines()) - 1
    assert done == 4
    with partial.open("a") as torn:
        torn.write('{"key": "8", "scor')  # the line that a kill left
    says.asked.clear()
    states: list[int] = []
    cp.score(SAYS, data, engine=engine, out=out, top=3, progress=lambda state: states.append(state.done))
    assert len(says.asked) == 9 - done, "what was scored is not scored again"
    assert (states[0], states[-1]) == (done, 9)
    assert not partial.exists()
    cp.score(SAYS, data, engine=engine, out=whole, top=3)
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", [{"scores": None}, {"scores": []}, {"scores": ["x"]}, {"problem": None}])
def test_a_kept_line_that_holds_no_scores(
    engine: cp.Engine, file: Callable[..., Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    data, out = file(*pairs(*"314159265")), tmp_path / "out.jsonl"
    stopped_after(4, engine, data, out)
    partial = tmp_path / "out.jsonl.partial"
    head, first, *rest = partial.read_text().splitlines(keepends=True)
    partial.write_text("".join([head, json.dumps({**json.loads(first), **change}) + "\n", *rest]))
    with pytest.raises(cp.EvaluationError, match="has a line that is none of what it keeps") as refused:
        cp.score(SAYS, data, engine=engine, out=out)
    assert str(partial) in refused.value.hint


def test_what_failed_is_tried_again(engine: cp.Engine, file: Callable[..., Path], tmp_path: Path, says: Any) -> None:
    data, out = file(*pairs("broken", "1", "2", "3")), tmp_path / "out.jsonl"
    stopped_after(3, engine, data, out)
    says.asked.clear()
    found = cp.score(SAYS, data, engine=engine, out=out)
    assert "broken" in says.asked
    assert "1" not in says.asked
    assert [row["says"] for row in found] == [None, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "differs"),
    [({"seed": 5}, "seed: 0 there, 5 here"), ({"limit": 7}, "lines: 9 there, 7 here"), ({"prompt": "title"}, "prompt: ")],
)
def test_scores_of_other_settings_are_left_alone(
    engine: cp.Engine, file: Callable[..., Path], tmp_path: Path, options: dict[str, Any], differs: str
) -> None:
    data, out = file(*pairs(*"314159265", title="an essay")), tmp_path / "out.jsonl"
    stopped_after(2, engine, data, out)
    partial = tmp_path / "out.jsonl.partial"
    before = partial.read_bytes()
    with pytest.raises(EvaluationError) as caught:
        cp.score(SAYS, data, engine=engine, out=out, **options)
    assert differs in caught.value.message
    assert f"remove {partial}" in caught.value.hint
    assert partial.read_bytes() == before


def test_other_data_and_another_recipe_are_other_settings(engine: cp.Engine, file: Callable[..., Path], tmp_path: Path) -> None:
    data, out = file(*pairs(*"314159265")), tmp_path / "out.jsonl"
    stopped_after(2, engine, data, out)
    with pytest.raises(EvaluationError, match="data: "):
        cp.score(SAYS, file(*pairs(*"314159264"), name="other.jsonl"), engine=engine, out=out)
    with pytest.raises(EvaluationError, match=r"recipe\.nodes\.v\.kind: 'says' there, 'says_less' here"):
        cp.score(of("says_less"), data, engine=engine, out=out)
    # what is kept, and how many are in flight, may be another, and so may columns that nobody reads
    changed = file(*pairs(*"314159265", note=1), name="noted.jsonl")
    assert len(cp.score(SAYS, changed, engine=engine, out=out, keep_above=4.5, in_flight=5)) == 4


def test_no_file_is_overwritten(engine: cp.Engine, file: Callable[..., Path], tmp_path: Path) -> None:
    data = file(*pairs("1", "2"))
    precious = tmp_path / "precious.jsonl"
    precious.write_text("precious")
    for out, says in ((precious, "is there already"), (data, "is the file that is to be scored"), (tmp_path, "is a folder")):
        with pytest.raises(EvaluationError, match=says) as caught:
            cp.score(SAYS, data, engine=engine, out=out)
        assert "name a" in caught.value.hint
    assert precious.read_text() == "precious"
    strange = tmp_path / "out.jsonl.partial"
    strange.write_text("dear diary\n")
    with pytest.raises(EvaluationError, match="is a file of another kind"):
        cp.score(SAYS, data, engine=engine, out=tmp_path / "out.jsonl")
    assert strange.read_text() == "dear diary\n"


def test_a_kill_between_the_last_two_steps(
    engine: cp.Engine, file: Callable[..., Path], tmp_path: Path, says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines are in place, and the scores beside them not yet removed."""
    data, out = file(*pairs("1", "2")), tmp_path / "out.jsonl"

    def killed(self: Path, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            cp.score(SAYS, data, engine=engine, out=out)
    before = out.read_bytes()
    says.asked.clear()
    cp.score(SAYS, data, engine=engine, out=out)
    assert out.read_bytes() == before
    assert not says.asked
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl"]


def test_a_full_disk(engine: cp.Engine, file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = file(*pairs("1", "2")), tmp_path / "out.jsonl"

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(EvaluationError, match="No space left on device") as caught:
            cp.score(SAYS, data, engine=engine, out=out)
    assert "the same command goes on" in caught.value.hint
    assert not out.exists()
    assert [row["says"] for row in cp.score(SAYS, data, engine=engine, out=out)] == [1, 2]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["data.jsonl", "out.jsonl"]


def test_options_name_what_they_hold() -> None:
    options = ScoreOptions(answers="only", top="10%")
    assert options.layout.answers == ("only",)
    assert options.wanted.top == Top.of("10%")

"""Two runs side by side, and evaluations example by example."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from textual.widgets import Static

from counterpoint.evaluation.folder import EvaluationFolder
from counterpoint.runstore import RunStore
from counterpoint_tui.screens.compare import CompareScreen
from counterpoint_tui.screens.dialogs import ErrorDialog
from counterpoint_tui.screens.home import HomeScreen
from counterpoint_tui.settings import load_settings
from counterpoint_tui.widgets.answers import AnswerPair, AnswerView
from counterpoint_tui.widgets.rows import RowList

Two = tuple[Path, Path]
NARROW, WIDE = (80, 24), (160, 48)


def said(app: Any, selector: str) -> str:
    """What stands in a part of the screen, tables included."""
    written = StringIO()
    Console(file=written, width=200).print(app.screen.query_one(selector, Static).content)
    return written.getvalue().strip()


async def opened(app: Any, until: Any) -> None:
    await until(lambda: isinstance(app.screen, CompareScreen) and app.screen.answers and app.screen.focused)


def drawn(view: AnswerView) -> list[str]:
    return [view.render_line(y).text.rstrip() for y in range(view.scrollable_content_region.height)]


def ids(app: Any) -> list[str]:
    return [row.key for row in app.screen.query_one(RowList).rows]


def keys_now(app: Any) -> set[str]:
    """The actions that the footer shows."""
    return {one.binding.action for one in app.active_now() if one.binding.show}


async def test_two_runs_side_by_side(make_app: Any, until: Any, two_runs: tuple[str, str]) -> None:
    app = make_app(compared=two_runs)
    async with app.run_test(size=WIDE) as pilot:
        await opened(app, until)
        a, b = app.screen.query_one(AnswerPair).views
        await until(lambda: a.region.width > 70 and drawn(a)[0])
        assert (a.region.y, a.region.right <= b.region.x) == (b.region.y, True)
        assert RunStore().export(two_runs[0]).split("\n")[0].split(" ")[0] in drawn(a)[0]
        assert "≠" in "".join(drawn(a))
        assert said(app, "#name-a").startswith("A  pair, 20")
        figures = said(app, "#figures")
        assert "the seeds are 1 and 2" in figures
        assert "FLOPs" in figures
        assert "hello there" in said(app, "#asked")
        assert "differ" in said(app, "#title")
        assert {"next_change", "open_a", "open_b", "back"} <= keys_now(app)
        assert "next_kind" not in keys_now(app)
        shown: list[str] = []
        app.open_stored = shown.append
        await pilot.press("b", "a")
        assert shown == [two_runs[1], two_runs[0]]
        await pilot.press("f9")
        await until(lambda: isinstance(app.screen, CompareScreen) and app.screen.answers and len(app.screen_stack) == 2)
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, HomeScreen))


async def test_both_texts_scroll_together_and_jump_to_differences(make_app: Any, until: Any, two_runs: tuple[str, str]) -> None:
    lines = [f"line {number}" for number in range(300)]
    other = [*lines]
    for place in (100, 200):
        other[place] = f"another {place}"
    app = make_app(compared=two_runs)
    async with app.run_test(size=NARROW) as pilot:
        await opened(app, until)
        pair = app.screen.query_one(AnswerPair)
        a, b = pair.views
        await until(lambda: a.region.width > 70 and a.region.bottom < b.region.bottom)
        app.screen._show_answers(_answers(app.screen.answers, "\n".join(lines), "\n".join(other)))
        await until(lambda: "2 places that differ" in said(app, "#title"))
        await pilot.press("pagedown", "down")
        await until(lambda: a.scroll_offset.y > 1 and b.scroll_offset.y == a.scroll_offset.y)
        await pilot.press("n")
        await until(lambda: "1 of 2 places that differ" in said(app, "#title"))
        assert "▶ line 100" in drawn(a)
        assert "▶ another 100" in drawn(b)
        await pilot.press("n")
        assert "▶ another 200" in drawn(b)
        await pilot.press("n")  # after the last comes the first
        assert "▶ line 100" in drawn(a)
        await pilot.press("N", "N")
        assert "▶ line 100" in drawn(a)
        await pilot.press("end", "n")
        await until(lambda: "▶ line 100" in drawn(a))
        b.focus()  # the mouse over the second one scrolls both, too
        b.scroll_to(y=7, animate=False, immediate=True)
        assert a.scroll_offset.y == 7
        # another width: other lines, and the texts are whole
        await pilot.resize_terminal(*WIDE)
        await until(lambda: a.region.y == b.region.y)
        assert a.virtual_size.height == 300


def _answers(made: Any, a: str, b: str) -> Any:
    from dataclasses import replace

    from counterpoint_tui.state.changes import text_changes

    return replace(made, changes=text_changes(a, b))


async def test_examples_of_two_evaluations(make_app: Any, until: Any, evaluations: Two) -> None:
    app = make_app(compared=evaluations)
    async with app.run_test(size=NARROW) as pilot:
        await opened(app, until)
        rows = app.screen.query_one(RowList)
        assert app.focused is rows
        assert ids(app) == ["q1", "q4", "q2", "q3", "q5"]
        assert rows.rows[0].cells == ("q1", "win", "1", "0", "question q1")
        assert rows.rows[2].bad
        assert said(app, "#title") == "A one  B other  by rouge_l: A wins 2, loses 1, ties 2"
        assert "next_change" not in keys_now(app)
        # only one kind of them
        await pilot.press("f")
        await until(lambda: ids(app) == ["q1", "q4"])
        await pilot.press("f")
        await until(lambda: ids(app) == ["q2"])
        await until(lambda: "rouge_l 0" in said(app, "#name-a"))
        # the answers to one
        await pilot.press("enter")
        view = app.screen.query_one("#text-a", AnswerView)
        await until(lambda: app.focused is view and "q2  loss  one place that differs" in said(app, "#title"))
        assert {"next_change", "back"} <= keys_now(app)
        assert "open_a" not in keys_now(app)
        await pilot.press("f8")
        await until(lambda: app.screen.query_one("#part-figures").region)
        assert "the answers to q2" in said(app, "#figures")
        await pilot.press("f8")
        await until(lambda: app.screen.query_one("#part-asked").region)
        assert "question q2" in said(app, "#asked")
        await pilot.press("shift+f8", "escape")
        await until(lambda: app.focused is rows)
        await pilot.click("#kinds #all")
        await until(lambda: len(ids(app)) == 5)
        assert rows.key == "q2"  # the cursor stays
        await pilot.press("right")
        assert rows.key == "q3"
        await pilot.press("left", "left")
        await until(lambda: "rouge_l 1" in said(app, "#name-a") and rows.key == "q4")
        await pilot.resize_terminal(*WIDE)
        await until(lambda: all(pane.region for pane in app.screen.query(".part")))
        await until(lambda: "q4  win" in said(app, "#title") and "A one" in said(app, "#title"))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, HomeScreen))


async def test_one_evaluation_with_several_answers(make_app: Any, until: Any, evaluations: Two) -> None:
    folder = EvaluationFolder(evaluations[0])
    more = [record.model_copy(update={"sample": 1, "text": "the second"}) for record in folder.records()]
    folder.replace([*folder.records(), *more])
    app = make_app(compared=evaluations[:1])
    async with app.run_test(size=WIDE) as pilot:
        await opened(app, until)
        assert not app.screen.query_one("#side-b").display
        assert app.screen.query_one(RowList).rows[0].cells[1] == "scored"
        await pilot.press("s")
        view = app.screen.query_one("#text-a", AnswerView)
        await until(lambda: drawn(view)[0] == "  the second")
        assert "answer 2 of 2" in said(app, "#title")
        assert "next_change" not in keys_now(app)


async def test_thousands_of_examples_are_drawn_as_they_come_into_sight(make_app: Any, until: Any, evaluations: Two) -> None:
    for path in evaluations:
        folder = EvaluationFolder(path)
        (first, *_) = folder.records()
        folder.replace([first.model_copy(update={"id": f"example {number}"}) for number in range(3000)])
    app = make_app(compared=evaluations)
    async with app.run_test(size=WIDE) as pilot:
        await opened(app, until)
        rows = app.screen.query_one(RowList)
        lines: list[int] = []
        draw = rows.render_line
        rows.render_line = lambda y: lines.append(y) or draw(y)
        await pilot.press("end")
        await until(lambda: rows.key == "example 999" and lines)
        assert len(lines) < 200


async def test_what_cannot_be_read_is_said_and_changes_nothing(make_app: Any, until: Any, two_runs: tuple[str, str]) -> None:
    app = make_app(compared=(two_runs[0], "gone"))
    async with app.run_test(size=NARROW) as pilot:
        await until(lambda: isinstance(app.screen, ErrorDialog) and app.screen.query("Button:focus"))
        assert "there is no stored run 'gone'" in "\n".join(str(one.render()) for one in app.screen.query(Static))
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, HomeScreen))
        app.open_comparison(two_runs)
        await opened(app, until)
        before = app.screen.answers
        shutil.rmtree(RunStore().path(two_runs[1]))
        await pilot.press("f9")
        await until(lambda: isinstance(app.screen, ErrorDialog) and app.screen.query("Button:focus"))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, CompareScreen))
        assert app.screen.answers is before


async def test_marked_at_home_and_compared(make_app: Any, until: Any, evaluations: Two, two_runs: tuple[str, str]) -> None:
    app = make_app()
    async with app.run_test(size=NARROW) as pilot:
        await until(lambda: len(app.screen._entries) == 5)
        rows = app.screen.query_one(RowList)
        assert "mark" not in keys_now(app)  # a recipe
        await pilot.press("right")
        await until(lambda: set(ids(app)) == {f"runs/{run}" for run in two_runs})
        await until(lambda: "mark" in keys_now(app) and "compare" not in keys_now(app))
        await pilot.press("space")
        assert rows.rows[0].cells[0] == "◆ pair"
        await pilot.press("space")
        assert rows.rows[0].cells[0] == "pair"
        await pilot.press("space", "right")
        await until(lambda: ids(app) == [f"evaluations/{path}" for path in evaluations] or len(ids(app)) == 2)
        await until(lambda: rows.key.startswith("evaluations/"))
        assert "compare" not in keys_now(app)  # a run with an evaluation
        await pilot.press("left", "down")
        await until(lambda: "compare" in keys_now(app))
        await pilot.press("f6")
        await opened(app, until)
        assert sorted(app.screen.subjects) == sorted(two_runs)
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, HomeScreen))
        await pilot.press("right")
        await until(lambda: rows.key.startswith("evaluations/"))
        about = app.screen.query_one("#about-text", Static)
        await until(lambda: "letters, 5 examples" in str(about.render()))
        await pilot.press("enter")
        await opened(app, until)
        assert len(app.screen.subjects) == 1


async def test_evaluations_kept_elsewhere_are_remembered_and_broken_ones_shown(
    make_app: Any, until: Any, compared_data: Path, home: Path
) -> None:
    elsewhere = compared_data / "evaluations"
    app = make_app(compared=(elsewhere / "one", elsewhere / "other"))
    async with app.run_test(size=NARROW):
        await opened(app, until)
    assert load_settings().evaluations == [str(elsewhere / "one"), str(elsewhere / "other")]
    broken = home / "evaluations" / "broken"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{")
    again = make_app()
    async with again.run_test(size=NARROW) as pilot:
        await until(lambda: len(again.screen._entries) == 5)
        await pilot.press("right", "right")
        await until(lambda: len(ids(again)) == 3)
        damaged = next(row for row in again.screen.query_one(RowList).rows if row.bad)
        assert damaged.cells[:2] == ("broken", "damaged")


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_differences_are_marked_without_colour(
    make_app: Any, until: Any, two_runs: tuple[str, str], theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = make_app(compared=two_runs, theme=theme)
    async with app.run_test(size=WIDE):
        await opened(app, until)
        view = app.screen.query_one("#text-a", AnswerView)
        await until(lambda: drawn(view)[0].startswith("≠"))
        assert any(segment.style and segment.style.underline for segment in view.render_line(0))

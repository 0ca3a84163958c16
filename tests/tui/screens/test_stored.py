"""A stored run, looked at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen
from textual.widgets import Button, Input, Select, Static

from counterpoint.events import Event, Note
from counterpoint.plugin import hookimpl
from counterpoint.recording import EVENTS
from counterpoint.registry import load_plugins
from counterpoint.testing import fake
from counterpoint_tui.screens.dialogs import ErrorDialog
from counterpoint_tui.screens.exporting import ExportDialog
from counterpoint_tui.screens.home import HomeScreen
from counterpoint_tui.screens.recipe import RecipeScreen
from counterpoint_tui.screens.stored import StoredScreen
from counterpoint_tui.settings import load_settings
from counterpoint_tui.state import answer_text
from counterpoint_tui.widgets.answer import AnswerView
from counterpoint_tui.widgets.asking import AskPane
from counterpoint_tui.widgets.contest import ContestView
from counterpoint_tui.widgets.details import DetailsView
from counterpoint_tui.widgets.events import EventsPane
from counterpoint_tui.widgets.nodes import NodeTable
from counterpoint_tui.widgets.rows import RowList
from counterpoint_tui.widgets.scrubber import Scrubber
from counterpoint_tui.widgets.timeline import Timeline

Keep = Callable[[str], Path]


@pytest.fixture
def bare_app(make_app: Any) -> Callable[..., Any]:
    """The application with nothing on its first screen, which would look at everything on the machine."""

    def make(**options: Any) -> Any:
        app = make_app(**options)
        app.get_default_screen = Screen
        return app

    return make


@pytest.fixture
def opened(until: Any) -> Callable[..., Any]:
    """Opens a run in an application that is running and waits until it is read."""

    async def show(app: Any, run: str) -> Any:
        app.open_stored(run)
        await until(
            lambda: isinstance(app.screen, StoredScreen) and app.screen.position is not None and not app.screen._drawing
        )
        whole = answer_text(app.screen.position.trace.last)
        await until(lambda: read(app.screen) == whole)  # laid out, and fit to be clicked on
        return app.screen

    return show


def _content(path: Path) -> str:
    return path.read_text()


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _remove(path: Path) -> None:
    path.unlink()


def words(screen: Any, selector: str) -> str:
    return str(screen.query_one(selector, Static).render())


def where(screen: Any) -> str:
    return str(screen.query_one(Scrubber).render_line(1).text)


def read(screen: Any) -> str:
    """What the answer pane shows of the text itself."""
    view = screen.query_one(AnswerView)
    return "".join(view._text.lines)


# --- opening ----------------------------------------------------------------------------------------------------------------


async def test_home_opens_it_and_escape_goes_back(make_app: Any, until: Any, keep_run: Keep) -> None:
    run = keep_run("drafted").name
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("right")
        await until(lambda: [row.key for row in app.screen.query_one(RowList).rows] == [f"runs/{run}"])
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, StoredScreen) and app.screen.position and not app.screen._drawing)
        screen = app.screen
        assert "drafted  finished" in words(screen, "#title")
        assert "“hello there”" in words(screen, "#title")
        assert not screen.query_one("#trouble").display
        trace = screen.position.trace
        assert read(screen) == answer_text(trace.last)
        assert f"event {len(trace)} of {len(trace)}" in where(screen)
        assert app.focused is screen.query_one(AnswerView)
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, HomeScreen))


async def test_ways_to_name_a_run(bare_app: Any, opened: Any, keep_run: Keep, tmp_path: Path) -> None:
    folder = keep_run("full")
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    app = bare_app()
    async with app.run_test() as pilot:
        for named in ("last", str(elsewhere), folder.name[:-3]):
            screen = await opened(app, named)
            assert screen.position.trace.last.recipe["name"] == "full"
            assert folder.name in words(screen, "#title")
            await pilot.press("escape")


async def test_where_nothing_can_be_read_it_says_so_and_goes_back(bare_app: Any, until: Any, keep_run: Keep) -> None:
    folder = keep_run("full")
    app = bare_app()
    async with app.run_test() as pilot:
        for content, message in (
            (b"\x00\xff no event\n" * 3, "holds no events"),
            (b"", "holds no events"),
            (None, "cannot be read"),
        ):
            if content is None:
                _remove(folder / EVENTS)
            else:
                _write(folder / EVENTS, content)
            app.open_stored(folder.name)
            await until(lambda: isinstance(app.screen, ErrorDialog) and app.focused)
            said = "\n".join(str(one.render()) for one in app.screen.query(Static))
            assert message in said
            assert f"`counterpoint runs rm {folder.name}` deletes it" in said
            await pilot.press("escape")
            await until(lambda: len(app.screen_stack) == 1)


async def test_a_run_that_is_not_there(bare_app: Any, until: Any) -> None:
    app = bare_app()
    async with app.run_test() as pilot:
        app.open_stored("nothing")
        await until(lambda: isinstance(app.screen, ErrorDialog) and app.focused)
        await pilot.press("enter")
        await until(lambda: len(app.screen_stack) == 1)


async def test_what_can_be_read_of_a_damaged_run_is_shown(bare_app: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("drafted")
    lines = (folder / EVENTS).read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0]) | {"schema_version": 99}
    lines[0] = json.dumps(first).encode() + b"\n"
    lines[5] = b"{broken\n"
    (folder / EVENTS).write_bytes(b"".join(lines)[:-7])
    app = bare_app()
    async with app.run_test(size=(120, 30)):
        screen = await opened(app, folder.name)
        trouble = words(screen, "#trouble")
        assert screen.query_one("#trouble").display
        assert "format 99" in trouble
        assert "pip install -U counterpoint" in trouble
        assert "cut off" in trouble
        assert "line 6 is no event" in trouble
        assert len(screen.position.trace) == len(lines) - 1
        assert read(screen) == answer_text(screen.position.trace.last) != ""


async def test_a_run_that_still_goes_on_is_read_again(bare_app: Any, until: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("drafted")
    lines = (folder / EVENTS).read_bytes().splitlines(keepends=True)
    (folder / EVENTS).write_bytes(b"".join(lines[:40]))
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        assert len(screen.position.trace) == 40
        assert "interrupted" in words(screen, "#title")
        assert "F9 looks again, in case it still goes on" in words(screen, "#trouble")
        (folder / EVENTS).write_bytes(b"".join(lines[:60]))
        await pilot.press("f9")
        await until(lambda: len(screen.position.trace) == 60)
        assert screen.position.place == 60  # it was at the end, and is
        await pilot.press("home")
        (folder / EVENTS).write_bytes(b"".join(lines))
        await pilot.press("f9")
        await until(lambda: len(screen.position.trace) == len(lines))
        assert screen.position.place == 0
        assert not screen.query_one("#trouble").display
        assert not screen.check_action("reload", ())


# --- going through it -------------------------------------------------------------------------------------------------------


async def test_steps_pages_and_jumps(bare_app: Any, until: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("stages")
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        position, trace = screen.position, screen.position.trace
        await pilot.press("home")
        assert position.place == 0
        await until(lambda: "nothing has happened yet" in where(screen) and read(screen) == "")
        await pilot.press("right", "right")
        assert position.place == 2
        await pilot.press("left", "shift+right")
        assert position.place == 1 + len(trace) // 20
        await pilot.press("pagedown", "pageup", "shift+left")
        assert position.place == 1
        for key, mark in (("r", "rejection"), ("c", "candidate"), ("s", "selection")):
            await pilot.press("home", key, key)
            assert position.place == trace.marks(mark)[1]
            await pilot.press(key.upper())
            assert position.place == trace.marks(mark)[0]
        await pilot.press("w")  # there is none, and nothing happens
        assert position.place == trace.marks("selection")[0]
        await pilot.press("home", "m", "m", "M")
        first = min(trace.marks(mark)[0] for mark in ("rejection", "candidate", "note") if trace.marks(mark))
        assert position.place == first
        await pilot.press("end", "t", "left")
        assert position.token == position.tokens - 2
        assert app.settings.steps == "tokens"
        await until(lambda: f"token {position.tokens - 1} of {position.tokens}" in where(screen))
        assert len(read(screen)) < len(answer_text(trace.last))
    assert load_settings().steps == "tokens"


async def test_many_keys_are_drawn_together(bare_app: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("drafted")
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        drawn: list[int] = []
        draw = screen.draw
        screen.draw = lambda: drawn.append(screen.position.place) or draw()
        for _ in range(30):
            screen.action_step_back()
        await pilot.pause()
        assert 1 <= len(drawn) <= 3
        assert drawn[-1] == len(screen.position.trace) - 30


async def test_by_mouse(bare_app: Any, until: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("drafted")
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        position = screen.position
        await pilot.click(Scrubber, offset=(40, 0))
        await until(lambda: 0 < position.place < len(position.trace))
        await pilot.press("end")
        await until(lambda: len(read(screen)) == len(answer_text(position.trace.last)))
        await pilot.click(AnswerView, offset=(screen.query_one(AnswerView).gutter.left + 3, 0))
        await until(lambda: position.token == 3)
        event = position.trace.last.spans[1].pieces[3].event
        assert position.place == event + 1
        await until(lambda: "4 of 20" in words(screen, "#details-text"))
        await pilot.click("#tab-nodes")
        await until(lambda: screen.query_one(NodeTable).region.height > 2)


async def test_playing(bare_app: Any, until: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("drafted")
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        position = screen.position
        await pilot.press("minus", "minus", "minus")
        assert screen.player.speed == 0.5
        await pilot.press("plus", "equals_sign")
        assert screen.player.speed == 2
        for _ in range(9):
            screen.action_faster()
        await until(lambda: "⏸ ×32" in where(screen))
        places: list[int] = []
        draw = screen.draw
        screen.draw = lambda: places.append(position.place) or draw()
        await pilot.press("space")  # from the end it begins at the beginning
        await until(lambda: any(place < len(position.trace) for place in places))
        await until(lambda: position.place == len(position.trace) and not screen.player.playing)
        await until(lambda: read(screen) == answer_text(position.trace.last))
        position.trace.columns.times[5] += 3600  # a gap, so that there is time to stop
        for index in range(6, len(position.trace)):
            position.trace.columns.times[index] = 3600.0 * index
        for _ in range(9):
            screen.action_slower()
        await pilot.press("space")
        assert screen.player.playing
        await until(lambda: "▶ ×0.5" in where(screen))
        await pilot.press("right")
        assert not screen.player.playing


# --- what is around ---------------------------------------------------------------------------------------------------------


async def test_the_timeline_shows_the_text_of_a_call(bare_app: Any, until: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("stages")
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        position, tree = screen.position, screen.query_one(Timeline)
        await pilot.press("f8")
        await until(lambda: app.focused is tree and tree.region.height > 5)
        calls = position.trace.last.spans
        wanted = next(number for number, row in enumerate(tree.rows) if calls[row.span].text and row.depth == 2)
        await pilot.press(*["down"] * wanted, "enter")
        row = tree.rows[wanted]
        await until(lambda: read(screen) == calls[row.span].text)
        assert screen.query_one("#call").display
        assert f"the text of call {row.span}" in words(screen, "#call")
        await pilot.press("enter")
        assert position.place == row.first + 1
        await pilot.press("shift+f8")  # back to the details
        await until(lambda: f"call {row.span} " in words(screen, "#details-text"))
        await pilot.press("escape")
        assert position.span == 1
        assert isinstance(app.screen, StoredScreen)
        await until(lambda: not screen.query_one("#call").display)
        await pilot.press("f8")
        await until(lambda: app.focused is tree)
        count = tree.count
        await pilot.press("home", "f")
        assert tree.count == 1
        await pilot.press("f")
        assert tree.count == count
        await pilot.press("down", "b")
        await until(lambda: app.focused is screen.query_one(EventsPane).events)
        shown = screen.query_one(EventsPane)
        await until(lambda: 0 < shown.events.count < len(position.trace))
        assert 1 not in {position.trace.columns.spans[index] for index in shown.events.indices}


async def test_searching_leads_to_the_place(bare_app: Any, until: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("drafted")
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        position, pane = screen.position, screen.query_one(EventsPane)
        wanted = answer_text(position.trace.last)[8:11].replace("\n", "")
        await pilot.press("slash")
        await until(lambda: app.focused is pane.query_one("#event-search", Input))
        await pilot.press(*("space" if one == " " else one for one in wanted), "enter")
        await until(lambda: app.focused is pane.events and pane.events.count and pane.searching)
        await until(lambda: pane.events._hits)
        await pilot.press("home", "enter")
        assert position.place == pane.events.indices[0] + 1
        await pilot.press("slash", "escape")
        await until(lambda: not pane.searching and pane.events.count == len(position.trace))
        assert app.focused is pane.events


async def test_candidates_nodes_and_figures_are_those_of_the_place(
    bare_app: Any, until: Any, opened: Any, keep_run: Keep
) -> None:
    folder = keep_run("best")
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        await pilot.press("f8", "f8", "f8")
        contest = screen.query_one(ContestView)
        await until(lambda: contest.region.height > 3)
        rows = contest.query_one(RowList)
        await until(lambda: sum(bool(row.key) for row in rows.rows) >= 4)
        await until(lambda: app.focused is rows)
        await pilot.press("home", "enter")
        await until(lambda: screen.position.span != 1)
        await until(lambda: read(screen) == screen.position.trace.last.spans[screen.position.span].text)
        screen.query_one(Scrubber).focus()
        await pilot.press("home")
        await until(lambda: not any(row.key for row in rows.rows))
        await pilot.press("f8")
        await until(lambda: screen.query_one(NodeTable).region.height > 2)


async def test_a_chosen_candidates_token_leads_to_its_writer(bare_app: Any, until: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("best")
    app = bare_app()
    async with app.run_test(size=(160, 48)) as pilot:
        screen = await opened(app, folder.name)
        position = screen.position
        await pilot.click(AnswerView, offset=(screen.query_one(AnswerView).gutter.left + 2, 0))
        await until(lambda: position.token == 2)
        await until(lambda: "written in" in words(screen, "#details-text"))
        await pilot.press("g")
        assert position.span != 1
        await until(lambda: screen.query_one("#call").display)
        await pilot.press("g")  # it is here
        assert position.origin() is None


@pytest.mark.parametrize(("size", "beside"), [((80, 24), False), ((160, 24), False), ((160, 48), True)])
async def test_sizes(bare_app: Any, until: Any, opened: Any, keep_run: Keep, size: tuple[int, int], beside: bool) -> None:
    folder = keep_run("stages")
    app = bare_app()
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, folder.name)
        for _ in range(2):
            await pilot.press("f8")
            await pilot.pause()
            answer, line = screen.query_one(AnswerView).region, screen.query_one(Scrubber).region
            assert answer.height >= 5
            assert line.height == (3 if size[1] > 30 else 2)
            shown = [part for part in screen.query(".part") if part.region.height > 3]
            assert 1 <= len(shown) <= 2
            assert all(part.region.right <= size[0] and part.region.bottom <= size[1] - 1 for part in shown)
            part = app.settings.stored_part
            assert (len(shown) == 2) == (beside and part != "details")
            assert (shown[0].region.x > answer.x) == (size[0] > 120)
        assert bool(screen.query_one(DetailsView).region) == (beside or app.settings.stored_part == "details")


class Panel(Static):
    def show(self, notes: Sequence[Note]) -> None:
        self.update(f"{len(notes)} notes of {', '.join(sorted({note.name for note in notes}))}")


async def test_a_plugins_panel_shows_the_notes_up_to_the_place(
    bare_app: Any, until: Any, opened: Any, keep_run: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    stranger = types.ModuleType("a_stranger")
    stranger.Panel = Panel  # type: ignore[attr-defined]
    stranger.counterpoint_panels = hookimpl(lambda: {"window_scores": "a_stranger:Panel", "other": "a_stranger:Panel"})  # type: ignore[attr-defined]
    stranger.counterpoint_panels.__name__ = "counterpoint_panels"
    monkeypatch.setitem(sys.modules, "a_stranger", stranger)
    folder = keep_run("handed")
    app = bare_app()
    app.registry = load_plugins([fake, stranger])
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        notes = screen.position.trace.last.notes["window_scores"]
        await pilot.press("shift+f8")
        await until(lambda: str(screen.query_one(Panel).render()) == f"{len(notes)} notes of window_scores")
        screen.query_one(Scrubber).focus()
        await pilot.press("home", "x")
        screen.position.go(notes[0].event + 1)
        screen.moved()
        await until(lambda: str(screen.query_one(Panel).render()) == "1 notes of window_scores")
        assert len(screen.query(Panel)) == 1


# --- the whole run ----------------------------------------------------------------------------------------------------------


async def test_exporting_never_replaces_unasked(
    bare_app: Any, until: Any, opened: Any, keep_run: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = keep_run("drafted")
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        await pilot.press("e")
        await until(lambda: isinstance(app.screen, ExportDialog) and app.focused)
        dialog = app.screen
        field = dialog.query_one("#path", Input)
        assert field.value == str(tmp_path / f"{folder.name}.html")
        dialog.query_one("#format", Select).value = "text"
        await until(lambda: field.value == str(tmp_path / f"{folder.name}.txt"))
        written = Path(field.value)
        _write(written, "precious")
        field.focus()
        await pilot.press("enter")
        await until(lambda: "exists: once more replaces it" in words(dialog, "#where"))
        assert _content(written) == "precious"
        field.value = str(tmp_path)
        await until(lambda: str(dialog.query_one("#export", Button).label) == "Export")
        await pilot.press("enter")
        await until(lambda: "is a folder" in words(dialog, "#where"))
        field.value = ""
        await pilot.press("enter")
        await until(lambda: "write where it is to go" in words(dialog, "#where"))
        (tmp_path / "file").touch()
        field.value = str(tmp_path / "file" / "below.txt")
        await pilot.press("enter")
        await until(lambda: "cannot write" in words(dialog, "#where"))
        field.value = str(written)
        await until(lambda: words(dialog, "#where") == "")
        await pilot.press("enter")
        await until(lambda: "once more" in words(dialog, "#where"))
        await pilot.press("enter")
        await until(lambda: app.screen is screen)
        assert _content(written) == answer_text(screen.position.trace.last)


async def test_opening_its_recipe(bare_app: Any, until: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("best")
    app = bare_app()
    async with app.run_test() as pilot:
        await opened(app, folder.name)
        await pilot.press("o")
        await until(lambda: isinstance(app.screen, RecipeScreen) and app.screen.checked.recipe)
        assert app.screen.entry.name == "best"
        assert set(app.screen.checked.recipe.nodes) >= {"best", "answer"}
        await until(lambda: app.screen.query_one(AskPane).text == "hello there")


async def test_running_it_again(
    bare_app: Any, until: Any, opened: Any, keep_run: Keep, fake_runs: dict[str, tuple[Event, ...]]
) -> None:
    folder = keep_run("best")
    app = bare_app()
    asked: list[Any] = []

    async def start(request: Any) -> bool:
        asked.append(request)
        return True

    app.start_run = start
    async with app.run_test() as pilot:
        await opened(app, folder.name)
        await pilot.press("f5")
        await until(lambda: asked)
        (request,) = asked
        begun: Any = fake_runs["best"][0]
        assert request.prompt == begun.prompt
        assert request.seed == begun.seed
        assert request.recipe.name == "best"
        assert set(request.recipe.nodes) == set(begun.recipe["nodes"])


async def test_a_recipe_that_no_longer_holds_is_refused_in_words(
    bare_app: Any, until: Any, opened: Any, keep_run: Keep
) -> None:
    folder = keep_run("drafted")
    (folder / "recipe.yaml").write_text("name: x\nnodes: {m: {kind: gone}}\noutput: m\n")
    app = bare_app()
    async with app.run_test() as pilot:
        await opened(app, folder.name)
        await pilot.press("f5")
        await until(lambda: isinstance(app.screen, ErrorDialog))
        assert "gone" in "\n".join(str(one.render()) for one in app.screen.query(Static))


async def test_a_run_that_failed(bare_app: Any, until: Any, opened: Any, keep_run: Keep) -> None:
    folder = keep_run("failed")
    app = bare_app()
    async with app.run_test() as pilot:
        screen = await opened(app, folder.name)
        assert "failed" in words(screen, "#title")
        await pilot.press("home", "x")
        assert screen.position.place == screen.position.trace.marks("failure")[0]
        await until(lambda: "failed" in where(screen))


async def test_what_a_larger_window_has_room_for_is_as_it_is_here(
    bare_app: Any, until: Any, opened: Any, keep_run: Keep
) -> None:
    app = bare_app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, keep_run("drafted").name)
        count = len(screen.position.trace)
        await pilot.press("f8", "left", "left")  # the timeline hides the details
        await until(lambda: screen.position.place == count - 2 and not screen._drawing)
        await pilot.resize_terminal(160, 48)
        await until(lambda: f"last event  {count - 2}, " in words(screen, "#details-text"))

"""Home."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.events import Key, Paste
from textual.widgets import Input, Static

from counterpoint_tui.screens.dialogs import Details, ErrorDialog
from counterpoint_tui.screens.recipe import RecipeScreen
from counterpoint_tui.widgets.rows import Row, RowList


def names(app: Any) -> list[str]:
    return [row.key for row in app.screen.query_one(RowList).rows]


async def test_an_empty_home(make_app: Any, until: Any) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await until(lambda: "recipes/speculative" in names(app))
        await until(lambda: all(section in app.screen._entries for section in ("recipes", "runs", "models", "plugins")))
        rows = app.screen.query_one(RowList)
        assert app.focused is rows
        await pilot.press("right")
        await until(lambda: app.screen.section == "runs")
        assert (names(app), rows.empty) == ([], "nothing has been run yet: choose a recipe")
        await pilot.press("enter", "space", "f6")  # on nothing
        await pilot.press("right")
        await until(lambda: app.screen.section == "evaluations" and "evaluations" in app.screen._entries)
        assert rows.empty.startswith("nothing has been evaluated yet")
        await pilot.press("right")
        await until(lambda: "models/gemma-3-270m" in names(app))
        await pilot.press("right")
        await until(lambda: "plugins/counterpoint:speculative" in names(app))
        assert "kinds" in str(app.screen.query_one("#about-text", Static).render())
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, Details))


async def test_a_letter_that_the_user_made_a_key_begins_no_search(make_app: Any, until: Any, home: Path) -> None:
    (home / "tui").mkdir(parents=True)
    (home / "tui" / "keys.toml").write_text('[home]\nrefresh = "m"\nsearch = "ctrl+f"\n')
    app = make_app()
    async with app.run_test() as pilot:
        await until(lambda: "recipes/speculative" in names(app))
        search = app.screen.query_one("#search", Input)
        await pilot.press("m")
        assert (search.value, app.focused) == ("", app.screen.query_one(RowList))
        await pilot.press("slash")
        await until(lambda: search.value == "/")


async def test_searching_and_opening(make_app: Any, until: Any, own_recipe: Callable[[str, str], Path], pair_text: str) -> None:
    own_recipe("zebra", pair_text)
    app = make_app()
    async with app.run_test() as pilot:
        await until(lambda: "recipes/zebra" in names(app) and "plugins" in app.screen._entries)
        await pilot.press(*"zeb")
        search = app.screen.query_one("#search", Input)
        assert app.focused is search
        assert search.value == "zeb"
        await until(lambda: names(app) == ["", "recipes/zebra"])
        await pilot.press("x")
        await until(lambda: not names(app))
        assert app.screen.query_one(RowList).empty == "nothing is called like 'zebx'"
        await pilot.press("escape")
        await until(lambda: "recipes/speculative" in names(app))
        assert app.focused is app.screen.query_one(RowList)
        await pilot.press("slash", *"spec")
        await until(lambda: "plugins/counterpoint:speculative" in names(app))
        assert names(app)[:2] == ["", "recipes/speculative"]
        await pilot.press("down", "up", "down", "enter")
        await until(lambda: isinstance(app.screen, RecipeScreen))
        assert app.screen.entry.name == "speculative-across"


async def test_a_megabyte_is_not_searched_for(make_app: Any, until: Any) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await until(lambda: len(app.screen._entries) == 5)
        await pilot.press("slash", "s")
        search = app.screen.query_one("#search", Input)
        search.post_message(Paste("p" * 1_000_000 + "\nmore"))
        await pilot.press("p")
        assert search.value == "sp"
        await until(lambda: "recipes/speculative" in names(app))


async def test_a_broken_run_is_shown_as_such(make_app: Any, until: Any, home: Path) -> None:
    (home / "runs" / "20200101-000000-broken").mkdir(parents=True)
    app = make_app()
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.press("right")
        await until(lambda: names(app) == ["runs/20200101-000000-broken"])
        (row,) = app.screen.query_one(RowList).rows
        assert row.bad
        assert row.cells[1] == "damaged"
        await pilot.click(RowList, offset=(5, 0))
        await until(lambda: isinstance(app.screen, ErrorDialog))  # nothing of it can be read


async def test_many_rows_are_drawn_as_they_come_into_sight(make_app: Any, until: Any) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await until(lambda: len(app.screen._entries) == 5)
        rows = app.screen.query_one(RowList)
        rows.show(
            [Row(("heading",)), *(Row((f"run {number}", "finished", "x" * 200), str(number)) for number in range(50_000))]
        )
        drawn: list[int] = []
        draw = rows.render_line
        rows.render_line = lambda y: drawn.append(y) or draw(y)
        await pilot.press("end")
        await pilot.pause()
        assert rows.key == "49999"
        assert 0 < len(drawn) < 200
        assert "run 49999" in draw(rows.scrollable_content_region.height - 1).text
        await pilot.press("pageup", "up")
        assert int(rows.key) < 49_990
        await pilot.press("home", "up")
        assert (rows.key, rows.scroll_offset.y) == ("0", 0)
        assert draw(0).text.startswith(" heading")
        assert "…" in draw(1).text
        await pilot.hover(RowList, offset=(3, 5))
        assert rows.hover == 5
        await pilot.click(RowList, offset=(3, 5))
        assert rows.key == "4"


async def test_letters_typed_at_once_are_searched_for_in_their_order(make_app: Any, until: Any) -> None:
    app = make_app()
    async with app.run_test():
        await until(lambda: "recipes/speculative" in names(app))
        search = app.screen.query_one("#search", Input)
        for turns in range(24):  # of the event loop between two keys: they come while the one before changes the focus
            word = ("smaller", "across")[turns % 2]
            for key in ("escape", *word):  # what is typed after a search is cleared is no part of it
                app.post_message(Key(key, key if len(key) == 1 else None))
                for _ in range(turns):
                    await asyncio.sleep(0)
            await until(lambda word=word: search.value == word)
        await until(lambda: names(app)[:2] == ["", "recipes/speculative-across"])

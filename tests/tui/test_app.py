"""What all screens share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Static

from counterpoint_tui import keys
from counterpoint_tui.screens import screen_class
from counterpoint_tui.screens.base import TooSmall
from counterpoint_tui.screens.dialogs import ErrorDialog, HelpDialog
from counterpoint_tui.settings import load_settings


async def test_help_and_palette_have_every_action(make_app: Any, until: Any) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        listed = {command.title for command in app.get_system_commands(app.screen)}
        expected = {action.label for action in keys.ACTIONS if action.scope in ("home", "list", "app")}
        assert expected - listed == {
            "Mark",
            "Compare",
            "Clear search",
            "Commands",
        }  # not to be done now; and the palette itself
        await pilot.press("f1")
        await until(lambda: isinstance(app.screen, HelpDialog))
        table = app.screen._keys()
        cells = [list(column.cells) for column in table.columns]
        assert ("/ ^f", "Search: in all lists at once; typing does it, too", "home.search") in list(
            zip(cells[0], map(str, cells[1]), cells[2], strict=True)
        )
        assert "recipes to run" in app.screen._text
        await pilot.press("f1")
        assert len(app.screen_stack) == 2  # no help for the help
        await pilot.press("escape")
        await until(lambda: len(app.screen_stack) == 1)
        # a command of the palette does what its key does
        command = next(one for one in app.get_system_commands(app.screen) if one.title == "Next list")
        await command.callback()
        await until(lambda: app.screen.section == "runs")


async def test_a_terminal_that_is_too_small_shows_a_sentence(make_app: Any) -> None:
    app = make_app()
    async with app.run_test(size=(50, 12)) as pilot:
        assert app.screen.query_one(TooSmall).display
        assert app.screen.query_one(TooSmall).region.width == 50
        assert not app.screen.query_one(".parts").region
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert not app.screen.query_one(TooSmall).region
        assert app.screen.query_one(".parts").region.height == 23
        await pilot.press("f1")
        await pilot.resize_terminal(80, 10)
        await pilot.pause()
        assert app.screen.query_one(TooSmall).region


@pytest.mark.parametrize(("theme", "size"), [("dark", (80, 24)), ("light", (160, 48))])
async def test_without_colours_there_are_greys_only(
    make_app: Any, until: Any, theme: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def colours(svg: str) -> set[str]:
        window = {"#ff5f57", "#febc2e", "#28c840", "#c5c8c6"}  # what the picture has around the screen
        return {
            one for one in re.findall(r"#[0-9a-f]{6}", svg.lower()) if one[1:3] != one[3:5] or one[3:5] != one[5:7]
        } - window

    monkeypatch.setenv("NO_COLOR", "1")
    app = make_app(theme=theme)
    async with app.run_test(size=size):
        await until(lambda: len(app.screen._entries) == 5)
        assert not colours(app.export_screenshot())
    monkeypatch.delenv("NO_COLOR")
    app = make_app(theme=theme)
    async with app.run_test(size=size):
        await until(lambda: len(app.screen._entries) == 5)
        assert colours(app.export_screenshot())


async def test_themes_and_what_is_kept_between_starts(make_app: Any, until: Any) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        assert app.theme == "counterpoint-dark"
        await pilot.press("f2", "right", "right", "right")
        await until(lambda: app.screen.section == "models")
        assert app.theme == "counterpoint-light"
    assert (load_settings().theme, load_settings().section) == ("counterpoint-light", "models")
    again = make_app()
    async with again.run_test():
        assert again.theme == "counterpoint-light"
        assert again.screen.section == "models"
    assert make_app(theme="dark").theme == "counterpoint-dark"


async def test_keys_of_the_users_own_and_what_is_wrong_with_them(make_app: Any, home: Path, until: Any) -> None:
    (home / "tui").mkdir(parents=True)
    (home / "tui" / "keys.toml").write_text('[app]\nswitch_theme = "f7"\nhelp = "nokey"\n[nothing]\nx = "y"\n')
    app = make_app()
    async with app.run_test() as pilot:
        await until(lambda: isinstance(app.screen, ErrorDialog) and app.screen.query("Button:focus"))
        said = "\n".join(str(one.render()) for one in app.screen.query(Static))
        assert "app.help: no key is called 'nokey'" in said
        assert "no action is called 'nothing.x'" in said
        await pilot.press("escape")
        await until(lambda: len(app.screen_stack) == 1)
        await pilot.press("f7")
        assert app.theme == "counterpoint-light"
        await pilot.press("f1")
        await until(lambda: isinstance(app.screen, HelpDialog))


async def test_ctrl_c_twice_quits(make_app: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoint_tui.app._TWICE", 60.0)
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("ctrl+c")
        assert app.return_code is None
        await pilot.press("ctrl+c")
        await until(lambda: app.return_code == 0)


async def test_a_failure_ends_it_with_a_status_and_no_traceback(make_app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    app = make_app()

    def fail() -> None:
        raise ValueError("a bug")

    async def run() -> None:
        async with app.run_test() as pilot:
            app.call_later(fail)
            await pilot.pause()

    with pytest.raises(ValueError, match="a bug"):
        await run()
    assert str(app.failure) == "a bug"
    assert app.return_code == 1
    assert capsys.readouterr().err == ""


def test_only_screens_that_there_are_can_be_opened() -> None:
    with pytest.raises(LookupError, match="no screen is called 'nothing'"):
        screen_class("nothing")

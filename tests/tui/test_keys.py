"""The keys, and the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.screen import Screen

from counterpoint_tui import keys
from counterpoint_tui.keys import ACTIONS, KeyMap, is_key, load_keys, read_keys
from counterpoint_tui.screens import SCREENS, screen_class


def test_without_a_file_there_are_the_defaults() -> None:
    assert load_keys() == KeyMap({})


def test_a_file(home: Path) -> None:
    keys.key_file().parent.mkdir(parents=True)
    keys.key_file().write_text('[recipe]\nsave = "Ctrl+O"\npull = ["f7", "/"]\n')
    assert keys.key_file() == home / "tui" / "keys.toml"
    assert load_keys() == KeyMap({"recipe.save": "ctrl+o", "recipe.pull": "f7,slash"})


@pytest.mark.parametrize("content", [b"[recipe", b"\xff\xfe"])
def test_a_file_that_cannot_be_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_bytes(content)
    found = load_keys(tmp_path / "keys.toml")
    assert not found.keys
    assert found.problems[0].startswith("it cannot be read: ")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"recipe": {"sav": "f9"}}, "no action is called 'recipe.sav'; did you mean 'recipe.save'?"),
        ({"recipe": {"save": "spam"}}, "recipe.save: no key is called 'spam'"),
        ({"recipe": {"save": ""}}, "recipe.save: no key is called ''"),
        ({"recipe": {"save": 7}}, 'recipe.save is a key or a list of keys, as in "ctrl+r" or ["f5", "ctrl+r"]'),
        ({"recipe": {"save": []}}, "recipe.save is a key or a list of keys"),
        ({"save": "f9"}, "'save' stands outside a table"),
        ({"recipe": {"save": "f1"}}, "recipe.save: 'f1' is the key of app.help already"),
        ({"recipe": {"save": "f5"}}, "recipe.save: 'f5' is the key of recipe.run already"),
    ],
)
def test_what_is_wrong_is_said_and_the_default_stands(data: dict[str, Any], problem: str) -> None:
    found = read_keys({**data, "home": {"refresh": "f11"}})
    assert found.keys == {"home.refresh": "f11"}
    assert len(found.problems) == 1
    assert found.problems[0].startswith(problem)


def test_two_actions_may_change_places() -> None:
    assert read_keys({"recipe": {"run": "ctrl+s", "save": "f5"}}) == KeyMap({"recipe.run": "ctrl+s", "recipe.save": "f5"})


@pytest.mark.parametrize(
    "key", ["f5", "ctrl+r", "/", "+", "space", "ctrl+shift+f5", "Alt+X", "question_mark", "minus", "ü", "enter"]
)
def test_keys_that_there_are(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize("key", ["", "spam", "ctrl+", "bogus+x", "f99", "ctrl r"])
def test_keys_that_there_are_not(key: str) -> None:
    assert not is_key(key)


def test_every_action_is_bound_where_it_belongs_and_does_something() -> None:
    from counterpoint_tui.app import CounterpointApp
    from counterpoint_tui.screens.base import Dialog
    from counterpoint_tui.screens.prompting import PromptDialog
    from counterpoint_tui.widgets.rows import RowList

    homes: dict[str, Any] = {"app": CounterpointApp, "dialog": Dialog, "list": RowList, "prompt": PromptDialog}
    homes |= {name: screen_class(name) for name in SCREENS}
    for action in ACTIONS:
        home = homes[action.scope]
        assert action.id in {binding.id for binding in home.BINDINGS}, action.id
        method = f"action_{action.id.partition('.')[2]}"
        assert getattr(home, method) not in (getattr(App, method, None), getattr(Screen, method, None)) or (
            action.id == "app.command_palette"
        )


def test_no_default_key_has_two_meanings() -> None:
    assert not read_keys({}).problems
    for scope in {action.scope for action in ACTIONS}:
        used = [key for action in ACTIONS if action.scope in (scope, "app") for key in action.keys.split(",")]
        assert len(used) == len(set(used)), scope

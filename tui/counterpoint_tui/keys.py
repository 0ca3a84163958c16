"""The keys: what every action of the application is bound to, and the user's own choice in ``COUNTERPOINT_HOME/tui/keys.toml``.

An action's id is its screen's name, a dot, and its own: ``recipe.save``. In the file, a table is a screen::

    [recipe]
    save = "ctrl+s"
    run = ["f5", "ctrl+r"]
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.binding import Binding
from textual.keys import REPLACED_KEYS, Keys, key_to_character

from counterpoint_tui.settings import folder

_MODIFIERS = {"ctrl", "shift", "alt", "super", "hyper", "meta"}
_NAMES = {key.value for key in Keys if not key.value.startswith("<")}


@dataclass(frozen=True)
class Action:
    """One thing that can be done by a key.

    ``shown`` ones are in the footer; all are in the command palette and in the help.
    """

    id: str
    keys: str
    """Default keys, separated by commas."""
    label: str
    about: str
    shown: bool = True
    priority: bool = False
    """Whether it comes before what the focused field would do with the key."""

    @property
    def scope(self) -> str:
        """The screen it belongs to; ``app`` for all of them."""
        return self.id.partition(".")[0]

    def binding(self) -> Binding:
        """It as a binding; what it does is the method ``action_NAME`` of its screen."""
        name = self.id.partition(".")[2]
        return Binding(self.keys, name, self.label, show=self.shown, id=self.id, tooltip=self.about, priority=self.priority)


ACTIONS = (
    Action("app.help", "f1", "Help", "what this screen is for, and its keys", priority=True),
    Action("app.command_palette", "ctrl+p", "Commands", "search everything that can be done here", priority=True),
    Action("app.switch_theme", "f2", "Theme", "dark or light", shown=False, priority=True),
    Action("app.quit", "ctrl+q", "Quit", "a run under way is stored as cancelled", priority=True),
    Action("app.interrupt", "ctrl+c", "Quit", "pressed twice, unless a text is being copied", shown=False),
    Action("home.run_default", "f5", "Run the demo", "the recipe `speculative` on its own prompt"),
    Action("home.search", "slash,ctrl+f", "Search", "in recipes, runs, models and plugins; typing does it, too"),
    Action("home.refresh", "f9", "Look again", "read recipes, runs, models and plugins anew", shown=False),
    Action("home.next_section", "right", "Next list", "recipes, runs, models, plugins", shown=False),
    Action("home.previous_section", "left", "Previous list", "recipes, runs, models, plugins", shown=False),
    Action("home.clear_search", "escape", "Clear search", "all entries again"),
    Action("recipe.run", "f5", "Run", "this recipe, as it stands here, on the prompt"),
    Action("recipe.save", "ctrl+s", "Save as", "a recipe of your own"),
    Action("recipe.pull", "f3", "Download", "the models that are missing"),
    Action("recipe.next_pane", "f8", "Next part", "graph, plan, form, text, prompt", shown=False),
    Action("recipe.previous_pane", "shift+f8", "Previous part", "graph, plan, form, text, prompt", shown=False),
    Action("recipe.go_to_problem", "f4", "Problem", "go to the line of the text that is wrong"),
    Action("recipe.plan", "f9", "Plan again", "look at models and memory anew", shown=False),
    Action("recipe.back", "escape", "Back", "to the screen before"),
    Action("list.open", "enter", "Open", "the entry under the cursor"),
    Action("dialog.close", "escape", "Close", "and change nothing"),
)


def bindings(scope: str) -> list[Binding]:
    """The default bindings of a screen."""
    return [action.binding() for action in ACTIONS if action.scope == scope]


@dataclass(frozen=True)
class KeyMap:
    """The user's keys by action id, and what is wrong with their file; where it is wrong, defaults stand."""

    keys: Mapping[str, str]
    problems: tuple[str, ...] = ()


def key_file() -> Path:
    """The user's file."""
    return folder() / "keys.toml"


def load_keys(path: Path | None = None, actions: Iterable[Action] = ACTIONS) -> KeyMap:
    """The user's key map; an empty one where there is no file."""
    path = path or key_file()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return KeyMap({})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return KeyMap({}, (f"it cannot be read: {error}",))
    return read_keys(data, actions)


def read_keys(data: Mapping[str, Any], actions: Iterable[Action] = ACTIONS) -> KeyMap:
    """The key map that a file's tables say."""
    known = {action.id: action for action in actions}
    chosen: dict[str, str] = {}
    problems: list[str] = []
    for scope, table in data.items():
        if not isinstance(table, Mapping):
            problems.append(f"'{scope}' stands outside a table; write [app], [home], [recipe] … above it")
            continue
        for name, value in table.items():
            identity = f"{scope}.{name}"
            if identity not in known:
                close = difflib.get_close_matches(identity, known, n=1)
                problems.append(f"no action is called '{identity}'" + (f"; did you mean '{close[0]}'?" if close else ""))
                continue
            keys = [value] if isinstance(value, str) else value
            if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
                problems.append(f'{identity} is a key or a list of keys, as in "ctrl+r" or ["f5", "ctrl+r"]')
                continue
            if bad := [key for key in keys if not is_key(key)]:
                problems.append(f"{identity}: no key is called '{bad[0]}'")
                continue
            chosen[identity] = ",".join(normal(key) for key in keys)
    problems += _drop_clashes(chosen, known)
    return KeyMap(chosen, tuple(problems))


def _drop_clashes(chosen: dict[str, str], known: Mapping[str, Action]) -> list[str]:
    """Takes out choices that leave a key with two meanings on one screen, and says which."""
    problems = []
    for identity in list(chosen):
        for key in chosen.get(identity, "").split(","):
            rivals = [
                other
                for other, action in known.items()
                if other != identity
                and action.scope in ("app", known[identity].scope)
                and key in chosen.get(other, action.keys).split(",")
            ]
            if rivals:
                problems.append(f"{identity}: '{key}' is the key of {rivals[0]} already")
                chosen.pop(identity, None)
    return problems


def normal(key: str) -> str:
    """A key as Textual names it: ``/`` is ``slash``, ``Ctrl+R`` is ``ctrl+r``."""
    from textual.keys import _character_to_key

    *modifiers, last = key.split("+") if key != "+" else [key]
    if len(last) == 1:
        return "+".join([*(part.lower() for part in modifiers), _character_to_key(last.lower() if modifiers else last)])
    return "+".join([*(part.lower() for part in modifiers), last.lower()])


def is_key(key: str) -> bool:
    """Whether there is a key of this name, with modifiers or without."""
    *modifiers, last = normal(key).split("+") if key else [""]
    if not last or not set(modifiers) <= _MODIFIERS:
        return False
    return (
        normal(key) in _NAMES or last in _NAMES or len(last) == 1 or key_to_character(REPLACED_KEYS.get(last, last)) is not None
    )

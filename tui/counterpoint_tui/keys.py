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
    Action(
        "home.search",
        "slash,ctrl+f",
        "Search",
        "in all lists at once; typing does it, too",
        shown=False,
    ),
    Action("home.refresh", "f9", "Look again", "read all lists anew", shown=False),
    Action("home.next_section", "right", "Next list", "of recipes, runs, evaluations …", shown=False),
    Action("home.previous_section", "left", "Previous list", "of recipes, runs, evaluations …", shown=False),
    Action("home.mark", "space", "Mark", "a run or an evaluation, to compare it with another one"),
    Action("home.compare", "f6", "Compare", "what is marked with what is under the cursor"),
    Action("home.clear_search", "escape", "Clear search", "all entries again", priority=True),
    Action("recipe.run", "f5", "Run", "this recipe, as it stands here, on the prompt"),
    Action("recipe.save", "ctrl+s", "Save", "as a recipe of your own"),
    Action("recipe.pull", "f3", "Download", "the models that are missing"),
    Action("recipe.next_part", "f8", "Part", "the next one: graph, plan, form, text, prompt"),
    Action("recipe.previous_part", "shift+f8", "Previous part", "graph, plan, form, text, prompt", shown=False),
    Action("recipe.go_to_problem", "f4", "Problem", "go to the line of the text that is wrong"),
    Action("recipe.plan", "f9", "Plan again", "look at models and memory anew", shown=False),
    Action("recipe.back", "escape", "Back", "to the screen before"),
    Action("run.cancel", "x", "Cancel", "ends the run within one pass; what there is is stored"),
    Action("run.another_seed", "r", "Rerun", "the same again, with the next seed"),
    Action("run.another_prompt", "p", "Prompt", "the same recipe and settings on another prompt"),
    Action("run.chat_on", "c", "Chat", "goes on: the conversation so far, and another message"),
    Action("run.inspect", "i", "Inspect", "step through the run, token by token"),
    Action("run.open_recipe", "o", "Open recipe", "as it was run, to be changed and run again", shown=False),
    Action("run.copy", "y", "Copy", "the answer, as it stands", shown=False),
    Action("run.letters", "l", "Letters", "who proposed what, as letters in the answer", shown=False),
    Action("run.next_part", "f8", "Next part", "nodes, graph, candidates, prompt", shown=False),
    Action("run.previous_part", "shift+f8", "Previous part", "nodes, graph, candidates, prompt", shown=False),
    Action("run.back", "escape", "Back", "to the screen before; asks first where that ends a run"),
    Action("prompt.run", "f5", "Run", "on this text"),
    Action("stored.play", "space", "Play", "as it happened, idle gaps shortened; again: stop"),
    Action("stored.next_mark", "m", "Jump", "to the next of the signs on the line, whatever it is"),
    Action("stored.previous_mark", "M", "Jump back", "to the sign before", shown=False),
    Action("stored.search", "slash,ctrl+f", "Search", "a text, in all that was said"),
    Action("stored.export", "e", "Export", "as a page, text, JSON or recipe"),
    Action("stored.run_again", "f5", "Run again", "the same recipe on the same prompt", shown=False),
    Action("stored.open_recipe", "o", "Open recipe", "of this run, to be changed and run", shown=False),
    Action("stored.step_back", "left", "Step back", "an event or a token", shown=False),
    Action("stored.step_forward", "right", "Step", "an event or a token", shown=False),
    Action("stored.page_back", "shift+left,pageup", "Page back", "a twentieth of the run", shown=False),
    Action("stored.page_forward", "shift+right,pagedown", "Page forward", "a twentieth of the run", shown=False),
    Action("stored.first", "home", "To the beginning", "before anything happened", shown=False),
    Action("stored.last", "end", "To the end", "after all that happened", shown=False),
    Action("stored.switch_unit", "t", "Events or tokens", "what a step is", shown=False),
    Action("stored.faster", "plus,equals_sign", "Faster", "play at twice the speed", shown=False),
    Action("stored.slower", "minus", "Slower", "play at half the speed", shown=False),
    Action("stored.next_rejection", "r", "Next rejection", "where a draft did not stand", shown=False),
    Action("stored.previous_rejection", "R", "Previous rejection", "where a draft did not stand", shown=False),
    Action("stored.next_switch", "w", "Next switch", "where one model hands over to another", shown=False),
    Action("stored.previous_switch", "W", "Previous switch", "where one model hands over to another", shown=False),
    Action("stored.next_selection", "s", "Next selection", "where a candidate is chosen", shown=False),
    Action("stored.previous_selection", "S", "Previous selection", "where a candidate is chosen", shown=False),
    Action("stored.next_candidate", "c", "Next candidate", "where a candidate is finished", shown=False),
    Action("stored.previous_candidate", "C", "Previous candidate", "where a candidate is finished", shown=False),
    Action("stored.next_failure", "x", "Next failure", "where something failed or was stopped", shown=False),
    Action("stored.previous_failure", "X", "Previous failure", "where something failed or was stopped", shown=False),
    Action("stored.letters", "l", "Letters", "who proposed what, as letters in the answer", shown=False),
    Action("stored.origin", "g", "Where it was written", "the call that wrote this token of a chosen candidate", shown=False),
    Action("stored.fold", "f", "Fold", "hide or show what is below a call of the timeline", shown=False),
    Action("stored.fold_all", "F", "Fold all", "hide or show what is below all calls of the timeline", shown=False),
    Action(
        "stored.filter_call", "b", "Events of a call", "and of those below it: the one that is read, or is marked", shown=False
    ),
    Action("stored.next_part", "f8", "Next part", "details, timeline, events, candidates, nodes", shown=False),
    Action("stored.previous_part", "shift+f8", "Previous part", "details, timeline, events, candidates, nodes", shown=False),
    Action("stored.reload", "f9", "Look again", "read what has come since, of a run that still goes on", shown=False),
    Action("stored.back", "escape", "Back", "to the whole answer, to all events, or to the screen before"),
    Action("compare.next_change", "n", "Difference", "go to the next one in the answers"),
    Action("compare.previous_change", "N", "Difference before", "go back to it", shown=False),
    Action("compare.next_part", "f8", "Part", "the next one: examples, answers, figures, prompt"),
    Action("compare.next_kind", "f", "Filter", "all examples, wins, losses or ties"),
    Action("compare.next_sample", "s", "Answer", "the next of the answers to this example"),
    Action("compare.next_scorer", "c", "Other scorer", "order the examples by another score", shown=False),
    Action("compare.next_example", "right", "Next example", "of the list", shown=False),
    Action("compare.previous_example", "left", "Previous example", "of the list", shown=False),
    Action("compare.open_a", "a", "Open A", "the one run, token by token"),
    Action("compare.open_b", "b", "Open B", "the other run, token by token"),
    Action("compare.previous_part", "shift+f8", "Previous part", "examples, answers, figures, prompt", shown=False),
    Action("compare.reload", "f9", "Look again", "read everything anew", shown=False),
    Action("compare.back", "escape", "Back", "to the list of examples, then to the screen before"),
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

    def bound(self, *scopes: str) -> set[str]:
        """The keys of all actions of some screens."""
        chosen = (self.keys.get(action.id, action.keys) for action in ACTIONS if action.scope in scopes)
        return {key for keys in chosen for key in keys.split(",")}


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

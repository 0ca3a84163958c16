"""The application's screens as they show the recorded runs: what the snapshot tests compare, and what documentation has pictures of.

No model, no worker and no clock has a part in them: the runs are recorded ones, plans and the list of recipes are said here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from rich.text import Text
from textual.css.query import NoMatches
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, TextArea

from counterpoint.errors import ModelError
from counterpoint.events import Event, RunStarted
from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe, load_recipe
from counterpoint.registry import Registry
from counterpoint.runstore import RunStore
from counterpoint_tui import library, settings
from counterpoint_tui.app import CounterpointApp
from counterpoint_tui.live import LiveRun
from counterpoint_tui.screens.dialogs import Details, ErrorDialog, HelpDialog, Question
from counterpoint_tui.screens.exporting import ExportDialog
from counterpoint_tui.screens.home import HomeScreen
from counterpoint_tui.screens.prompting import PromptDialog
from counterpoint_tui.screens.pulling import PullDialog
from counterpoint_tui.screens.recipe import RecipeScreen
from counterpoint_tui.screens.run import RunScreen
from counterpoint_tui.screens.saving import SaveDialog
from counterpoint_tui.widgets.answer import AnswerView
from counterpoint_tui.widgets.answers import AnswerPair
from counterpoint_tui.widgets.editor import YamlEditor
from counterpoint_tui.widgets.form import RecipeForm
from counterpoint_tui.widgets.parts import PartTabs
from counterpoint_tui.widgets.rows import RowList
from counterpoint_tui.worker.client import Running, RunRequest, WorkerClient
from counterpoint_tui.worker.protocol import Planned, Pulled, PullProgress, RunEnded, RunEvent

HERE = Path(__file__).parent
RUNS = HERE / "runs"
RECIPES = ("speculative", "best-of-n", "weak-to-strong", "small-first", "contrastive", "sample", "small", "train-verifier")
"""The recipes that home lists."""
PLUGINS = 6
"""How many plugins it lists."""
SIZES = {"narrow": (80, 24), "wide": (160, 48), "tiny": (50, 12)}
THEMES = {"dark": "counterpoint-dark", "light": "counterpoint-light"}
_GB = 1_000_000_000
_PLAN: dict[str, Any] = {
    "output": "speculative",
    "nodes": [],
    "models": [],
    "download_bytes": 0,
    "memory": {"weights": 4 * _GB, "cache": 40_000_000, "total": 16 * _GB, "available": 11 * _GB},
    "findings": [],
}


class Recorded(WorkerClient):
    """A worker that makes nothing: a run is the recorded one of its recipe, whole or up to an event."""

    def __init__(self) -> None:
        super().__init__()
        self.events: int | None = None
        """After how many events a run stands still."""

    async def start(self) -> None:
        """There is nothing to start."""

    async def close(self, patience: float = 0) -> None:
        """There is nothing to end."""

    async def plan(self, recipe: Recipe, prompt: Prompt | None = None) -> Planned:
        return Planned.model_validate({**_PLAN, "recipe": recipe.name})

    async def pull(self, source: str, report: Callable[[PullProgress], None] = lambda _: None) -> Pulled:
        report(PullProgress(phase="download", item=source, done=180_000_000, total=491_000_000, unit="bytes"))
        return await asyncio.Future()  # it never ends

    async def run(self, request: RunRequest) -> Running:
        events = recorded(request.recipe.name)
        running = Running(1, self, asyncio.Queue())
        running._replies.put_nowait([RunEvent(id=1, event=event) for event in events[: self.events]])
        if self.events is None:
            running._replies.put_nowait([RunEnded(id=1, run_id=request.recipe.name)])
        return running


def recorded(name: str) -> list[Event]:
    """The events of a recorded run."""
    return list(RunStore(RUNS).replay(name))


@contextlib.contextmanager
def setting(folder: Path) -> Iterator[None]:
    """Everything that pictures would otherwise have of this machine and this moment.

    Args:
        folder: an empty one, for what the application writes.
    """
    home = folder / "counterpoint"
    home.mkdir()
    (home / "runs").symlink_to(RUNS)
    shutil.copytree(HERE / "evaluations", home / "evaluations")
    newest = max(run.started for run in RunStore(RUNS).list())
    environment = {"COUNTERPOINT_HOME": home.name, "COUNTERPOINT_DATA": str(HERE), "TZ": "UTC", "TEXTUAL_ANIMATIONS": "none"}
    plugins, before = library.plugins, Path.cwd()

    def few_recipes(registry: Registry, given: Sequence[Path] = ()) -> list[library.RecipeEntry]:
        return [library.recipe_entry(name, registry) for name in RECIPES]

    with contextlib.ExitStack() as stack:
        stack.callback(time.tzset)  # when the environment is what it was
        stack.enter_context(patch.dict(os.environ, environment))
        os.environ.pop("NO_COLOR", None)
        time.tzset()
        os.chdir(folder)  # so that the home's path is short, and the same everywhere
        stack.callback(os.chdir, before)
        stack.enter_context(patch("counterpoint_tui.texts.time", _Clock(newest + 1800)))
        stack.enter_context(patch.object(library, "recipes", few_recipes))
        stack.enter_context(patch.object(library, "plugins", lambda registry: plugins(registry)[:PLUGINS]))
        stack.enter_context(patch.object(LiveRun, "now", property(lambda live: None if live.over else live.state.last_t)))
        yield


class _Clock(SimpleNamespace):
    """The module `time`, at which it is always the same time."""

    def __init__(self, now: float) -> None:
        super().__init__(time=lambda: now, localtime=time.localtime, strftime=time.strftime)


@contextlib.asynccontextmanager
async def playing(name: str, registry: Registry, size: tuple[int, int], theme: str = "dark") -> AsyncIterator[Pilot[None]]:
    """The application, set for a scene."""
    (settings.folder() / "state.json").unlink(missing_ok=True)
    app = CounterpointApp(registry, theme=theme)
    app.client = Recorded()
    app.get_default_screen = Screen  # type: ignore[method-assign]  # a scene opens what it shows
    async with app.run_test(size=size) as pilot:
        await SCENES[name].play(app, pilot)
        yield pilot


async def picture(pilot: Pilot[None]) -> str:
    """The screen as SVG, once it has come to rest; ids that differ from one picture to the next are made equal."""
    before = ""
    while True:
        for screen in pilot.app.screen_stack:
            if isinstance(screen, RunScreen):
                screen._draw()  # what it would do in a moment
        for widget in pilot.app.screen.query("Input, TextArea"):
            assert isinstance(widget, Input | TextArea)
            widget.cursor_blink = False
        await pilot.pause()
        now = normal(pilot.app.export_screenshot(simplify=True))
        if now == before:
            return now
        before = now


def normal(svg: str) -> str:
    """A picture without what differs from one to the next though nothing is to be seen of it."""
    return re.sub(r"terminal-\d+-", "terminal-", svg)


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits until something holds; what makes no sense yet does not hold."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(NoMatches):
                if condition():
                    return
            await asyncio.sleep(0.005)


# --- the scenes -------------------------------------------------------------------------------------------------------------

Play = Callable[[CounterpointApp, Pilot[None]], Awaitable[None]]
DARK, LIGHT, DARK_WIDE, LIGHT_WIDE = ("narrow", "dark"), ("narrow", "light"), ("wide", "dark"), ("wide", "light")
ALL = (DARK, LIGHT, LIGHT_WIDE, DARK_WIDE)  # one change at a time


@dataclass(frozen=True)
class Scene:
    """How the application comes to a point worth a picture, and the sizes and themes in which there is a snapshot of it."""

    play: Play
    variants: tuple[tuple[str, str], ...]


SCENES: dict[str, Scene] = {}


def scene(*variants: tuple[str, str]) -> Callable[[Play], Play]:
    """Enters a scene under the name of its function."""

    def enter(play: Play) -> Play:
        SCENES[play.__name__.replace("_", "-")] = Scene(play, variants)
        return play

    return enter


@scene(*ALL)
async def home(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """The recipes."""
    await app.push_screen(HomeScreen())
    await until(lambda: len(app.screen._entries) == 5 and app.screen.query_one(RowList).rows)  # type: ignore[attr-defined]


@scene(LIGHT)
async def home_runs(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """The runs, one of them marked."""
    await home(app, pilot)
    await pilot.press("right")
    await until(lambda: app.screen.query_one(RowList).key.startswith("runs/"))
    await pilot.press("down", "down", "space", "down")


@scene(DARK)
async def home_search(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A search in everything."""
    await home(app, pilot)
    await pilot.press(*"smal")
    await until(lambda: app.screen.query_one(RowList).rows[1:2] and "small" in app.screen.query_one(RowList).rows[1].key)


async def _recipe(app: CounterpointApp, name: str) -> RecipeScreen:
    app.open_recipe(library.recipe_entry(name, app.registry))
    await until(lambda: isinstance(app.screen, RecipeScreen) and app.screen.plan and app.screen.query_one(RecipeForm)._built)
    screen = app.screen
    assert isinstance(screen, RecipeScreen)
    return screen


@scene(*ALL)
async def recipe(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A recipe: where there is room for one part, its graph."""
    await _recipe(app, "small-first")


@scene(DARK)
async def recipe_form(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """The form of a node, with the help of a field."""
    screen = await _recipe(app, "speculative")
    screen.query_one(PartTabs).turn_to("form")
    await until(lambda: app.focused is not None)


@scene(LIGHT_WIDE)
async def recipe_wrong(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A text with a mistake."""
    screen = await _recipe(app, "speculative")
    editor = screen.query_one(YamlEditor)
    editor.change(editor.text.replace("target: large", "target: larger"))
    await until(lambda: screen.checked.problems)
    screen.action_go_to_problem()
    await until(lambda: app.focused is editor)


async def _run(app: CounterpointApp, name: str, events: int | None = None) -> RunScreen:
    client = app.client
    assert isinstance(client, Recorded)
    client.events = events
    whole = recorded(name)
    assert isinstance(whole[0], RunStarted)
    app.open_run(RunRequest(load_recipe(str(RUNS / name / "recipe.yaml"), registry=app.registry), whole[0].prompt))
    wanted = len(whole) if events is None else events
    await until(lambda: isinstance(app.screen, RunScreen) and app.screen.live and app.screen.live.state.count == wanted)
    screen = app.screen
    assert isinstance(screen, RunScreen)
    await until(lambda: screen.live.over == (events is None) and screen._drawn is screen.live.state)  # type: ignore[union-attr]
    for _ in range(4):  # figures are looked at now and then
        screen._draw()
    return screen


def _place(name: str, kind: str, number: int) -> int:
    """How many events bring one to the so manieth of a kind."""
    return [place for place, event in enumerate(recorded(name), start=1) if event.type == kind][number]


@scene(DARK)
async def run_loading(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """Before the first token."""
    await _run(app, "speculative", _place("speculative", "progress", 0))


@scene(*ALL)
async def run_drafting(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """In the middle of speculative decoding, a draft waiting for its verdict."""
    await _run(app, "speculative", _place("speculative", "drafted", 12))


@scene(*ALL)
async def run_handover(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A hand-over from one model to another, and the scores that led to it."""
    await _run(app, "weak-to-strong")


@scene(*ALL)
async def run_candidates(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """Candidates that grow, some of them already judged."""
    await _run(app, "best-of-n", _place("best-of-n", "candidate_scored", 0) + 4)


@scene(LIGHT_WIDE)
async def run_chosen(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """Candidates, one of them chosen."""
    await _run(app, "judged")


@scene(DARK)
async def run_steps(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A cascade whose first stage was not accepted."""
    await _run(app, "cascade")


async def _stored(app: CounterpointApp, pilot: Pilot[None], name: str, *keys: str) -> None:
    app.open_stored(name)
    await until(lambda: getattr(app.screen, "position", None) is not None and app.screen.query_one(AnswerView).region)
    await pilot.press(*keys)


@scene(*ALL)
async def stored_rejection(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A draft that did not stand."""
    await _stored(app, pilot, "speculative", "home", "r", "r", "r")


@scene(*ALL)
async def stored_timeline(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """Calls inside calls."""
    await _stored(app, pilot, "small-first", "f8")


@scene(LIGHT)
async def stored_handover(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """Where one model hands over to another."""
    await _stored(app, pilot, "weak-to-strong", "home", "w")


@scene(DARK_WIDE)
async def stored_alternatives(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A token, with what each model thinks of it and of others."""
    await _stored(app, pilot, "contrastive", "home", "t", *["right"] * 12)


@scene(LIGHT)
async def stored_candidates(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """What became of each candidate."""
    await _stored(app, pilot, "best-of-n", *["f8"] * 3)


@scene(*ALL)
async def compare_runs(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """Two runs of the same prompt."""
    app.open_comparison(("sample", "small"))
    await until(lambda: app.screen.query_one(AnswerPair).region and app.focused)


@scene(*ALL)
async def compare_evaluations(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """Two evaluations, example by example."""
    app.open_comparison((Path("counterpoint/evaluations/small"), Path("counterpoint/evaluations/sample")))
    await until(lambda: app.screen.query_one("#kinds") and app.screen.query_one("#list", RowList).rows and app.focused)
    await until(lambda: app.screen.answers is not None)  # type: ignore[attr-defined]


@scene(*ALL)
async def help_dialog(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """The help of the run screen."""
    await _run(app, "speculative")
    await pilot.press("f1")
    await until(lambda: isinstance(app.screen, HelpDialog) and app.focused)


async def _above(app: CounterpointApp, pilot: Pilot[None], dialog: Any) -> None:
    """A dialog above the list of recipes."""
    await home(app, pilot)
    app.push_screen(dialog)
    await until(lambda: app.screen is dialog and app.focused)


@scene(*ALL)
async def error_dialog(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """Something that went wrong."""
    error = ModelError(
        "large: 'qwen2.5-coder-1.5b-instruct' is damaged: model.safetensors is not as it was recorded",
        hint="`counterpoint models rm qwen2.5-coder-1.5b-instruct`, then pull it again",
    )
    await _above(app, pilot, ErrorDialog.of(error))


@scene(*ALL)
async def question_dialog(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A question before something is lost."""
    answers = [("stay", "Stay"), ("save", "Save as …"), ("leave", "Leave without saving")]
    await _above(app, pilot, Question("Not saved", "This recipe was changed and not saved.", answers))


@scene(*ALL)
async def save_dialog(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A recipe to be kept."""
    await _above(app, pilot, SaveDialog("nodes: {}", "my-speculative"))


@scene(*ALL)
async def prompt_dialog(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A message that goes on with a conversation."""
    await _above(app, pilot, PromptDialog("Chat on", "The conversation so far, and this message:", "And in one line?"))


@scene(*ALL)
async def pull_dialog(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A download."""
    await home(app, pilot)
    app.push_screen(PullDialog(app.client, ["qwen2.5-coder-0.5b-instruct"]))
    await until(lambda: isinstance(app.screen, PullDialog))


@scene(*ALL)
async def export_dialog(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A run to be written into a file."""
    await _stored(app, pilot, "speculative", "e")
    await until(lambda: isinstance(app.screen, ExportDialog) and app.focused)
    app.screen.query_one("#path", Input).value = "speculative.html"


@scene(*ALL)
async def details(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A candidate's text, whole."""
    await _above(app, pilot, Details("tries", Text("def second(values):\n    return sorted(set(values))[-2]\n")))


@scene(("tiny", "dark"), ("tiny", "light"))
async def too_small(app: CounterpointApp, pilot: Pilot[None]) -> None:
    """A terminal in which there is no room for the screens."""
    await home(app, pilot)

"""A run, live: through a worker that really is a process, and by what a worker might say."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Button, Static, Tabs

from counterpoint.errors import RecipeError
from counterpoint.events import Event, Failed, RunFinished
from counterpoint.plugin import hookimpl
from counterpoint.prompt import Completion, Prompt
from counterpoint.recipe import Recipe, load_recipe
from counterpoint.registry import Registry
from counterpoint.runstore import RunStore
from counterpoint_tui.screens import following
from counterpoint_tui.screens.base import Dialog
from counterpoint_tui.screens.dialogs import Details, ErrorDialog, Question
from counterpoint_tui.screens.home import HomeScreen
from counterpoint_tui.screens.prompting import PromptDialog
from counterpoint_tui.screens.recipe import RecipeScreen
from counterpoint_tui.screens.run import RunScreen
from counterpoint_tui.state import answer_text, fold
from counterpoint_tui.widgets.answer import AnswerView
from counterpoint_tui.widgets.asking import AskPane
from counterpoint_tui.widgets.contest import ContestView
from counterpoint_tui.widgets.editor import PromptArea
from counterpoint_tui.widgets.graph import GraphView
from counterpoint_tui.widgets.nodes import NodeTable
from counterpoint_tui.worker.client import RunRequest
from counterpoint_tui.worker.protocol import RunEnded

WIDE = (160, 48)
Runs = dict[str, tuple[Event, ...]]


class Told:
    """A run that says what it is told to; waits for :attr:`more` in between."""

    id = 1

    def __init__(self, batches: Sequence[Sequence[Event]], error: Exception | None, ended: RunEnded) -> None:
        self._batches, self._error, self._ends = batches, error, ended
        self.more = asyncio.Event()
        self.ended: RunEnded | None = None
        self.cancelled = 0

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        for place, batch in enumerate(self._batches):
            if place:
                await self.more.wait()
            if batch:
                yield list(batch)
        if self._error is not None:
            raise self._error
        self.ended = self._ends

    def cancel(self) -> None:
        self.cancelled += 1


class Client:
    """Stands in for the worker."""

    def __init__(self, *batches: Sequence[Event], error: Exception | None = None, warnings: tuple[str, ...] = ()) -> None:
        self.told = Told(batches, error, RunEnded(run_id="the-id", warnings=warnings))
        self.requests: list[RunRequest] = []

    async def run(self, request: RunRequest) -> Told:
        self.requests.append(request)
        return self.told

    async def close(self) -> None: ...


@pytest.fixture
def open_told(make_app: Any, fake_runs: Runs, registry: Registry) -> Callable[..., Any]:
    """The application on a run that is told."""

    def made(name: str, *places: int, end: int | None = None, **more: Any) -> tuple[Any, Client, RunRequest]:
        events = fake_runs[name][:end]
        cuts = [0, *places, len(events)]
        app = make_app()
        client = app.client = Client(*[events[a:b] for a, b in itertools.pairwise(cuts)], **more)
        state = fold(fake_runs[name])
        return app, client, RunRequest(load_recipe(dict(state.recipe), registry=registry), state.prompt)

    return made


def begin(app: Any, request: RunRequest) -> None:
    app.open_run(request)


def said(app: Any, selector: str) -> str:
    return str(app.screen.query_one(selector, Static).render())


def answer(app: Any) -> str:
    view = app.screen.query_one(AnswerView)
    return "".join(view._text.lines)


def over(app: Any) -> bool:
    return isinstance(app.screen, RunScreen) and bool(app.screen.live) and app.screen.live.over


def writing(app: Any) -> bool:
    live = getattr(app.screen, "live", None)
    return live is not None and not live.over and live.state.answer_tokens > 50


def press(app: Any, *keys: str) -> None:
    """Presses keys without waiting for idleness, which a run under way does not allow."""
    for key in keys:
        app.simulate_key(key)


def offered(app: Any) -> set[str]:
    return {
        one.binding.id.removeprefix("run.")
        for one in app.active_now()
        if one.enabled and (one.binding.id or "").startswith("run.")
    }


async def test_a_run_and_what_can_be_done_after_it(make_app: Any, until: Any, pair: Recipe, home: Path) -> None:
    app = make_app()
    async with app.run_test(size=WIDE) as pilot:
        app.open_run(RunRequest(pair))
        await until(lambda: said(app, "#run-status"))
        assert offered(app) >= {"cancel", "back", "open_recipe"}
        assert not offered(app) & {"another_seed", "another_prompt", "chat_on", "inspect"}
        await until(lambda: "stored as" in said(app, "#run-status"))
        first = app.screen.live
        assert said(app, "#title") == "pair  hello there"
        assert "reached max_tokens  24 tokens" in said(app, "#run-status")
        assert f"seed 0  stored as {first.state.run_id}" in said(app, "#run-status")
        assert answer(app) == answer_text(first.state)
        assert said(app, "#legend") == "A large  B small"
        table = str(app.screen.query_one(NodeTable).query_one(Static).render())
        assert "A large" in table
        assert "B small" in table
        assert "spec" in str(app.screen.query_one("#picture", Static).render())
        assert not app.screen.query_one(GraphView)._active
        assert [run.id for run in RunStore(home / "runs").list()] == [first.state.run_id]
        await until(lambda: offered(app) >= {"another_seed", "another_prompt", "chat_on", "inspect", "copy"})
        assert "cancel" not in offered(app)
        # the same with another seed takes its place
        press(app, "r")
        await until(lambda: over(app) and app.screen.live is not first)
        assert len(app.screen_stack) == 2
        second = app.screen.live
        assert (second.state.seed, second.state.prompt) == (1, first.state.prompt)
        # another prompt
        press(app, "p")
        await until(lambda: app.screen.query_one(PromptArea).value == "hello there")
        await pilot.press(*"Why")
        press(app, "f5")
        await until(lambda: over(app) and app.screen.live is not second)
        third = app.screen.live
        assert third.state.prompt == Prompt(text="Why")
        assert third.state.seed == 1
        # the conversation goes on
        press(app, "c")
        await until(lambda: isinstance(app.screen, PromptDialog))
        await pilot.press("f5")
        assert isinstance(app.screen, PromptDialog)  # there is nothing to say yet
        await pilot.press(*"So")
        app.screen.query_one("#run", Button).press()
        await until(lambda: over(app) and app.screen.live is not third)
        fourth = app.screen.live
        spoken = [message["content"] for message in fourth.state.prompt.chat()]
        assert spoken == ["Why", answer_text(third.state), "So"]
        assert "assistant: " in said(app, "#asked")
        await pilot.press("y")
        assert app.clipboard == answer_text(fourth.state)
        await pilot.press("i")
        await until(lambda: type(app.screen).__name__ == "StoredScreen")
        await pilot.press("escape")
        await until(lambda: over(app))
        await pilot.press("o")
        await until(lambda: isinstance(app.screen, RecipeScreen))
        assert "draft: " in app.screen.entry.text
        # what it is asked there is the conversation, of which the field shows the last message
        await until(lambda: app.screen.checked.recipe is not None and app.screen.query_one(AskPane).text == "So")
        assert [message.content for message in app.screen.checked.recipe.prompt.messages] == spoken
        assert app.screen.query_one(AskPane).prompt(app.screen.checked.recipe) is None
        await pilot.press("escape")
        await until(lambda: over(app))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, HomeScreen))


async def test_a_run_below_another_screen_goes_on_and_is_not_drawn(make_app: Any, until: Any, endless: Recipe) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        app.open_run(RunRequest(endless))
        await until(lambda: writing(app))
        screen = app.screen
        press(app, "f1")  # a dialog lets it be seen
        await until(lambda: isinstance(app.screen, Dialog))
        drawn = screen._drawn
        await until(lambda: screen._drawn is not drawn)
        await pilot.press("escape")
        await until(lambda: app.screen is screen)
        press(app, "o")
        await until(lambda: isinstance(app.screen, RecipeScreen))
        drawn, count = screen._drawn, screen.live.state.count
        await until(lambda: screen.live.state.count > count + 200)
        assert screen._drawn is drawn
        await pilot.press("escape")
        await until(lambda: app.screen is screen and screen._drawn is not drawn)
        press(app, "x")
        await until(lambda: over(app))


async def test_runs_end_when_they_are_told_to_and_are_stored(make_app: Any, until: Any, endless: Recipe, home: Path) -> None:
    app = make_app()
    store = RunStore(home / "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        # by its key, and the screen stays
        app.open_run(RunRequest(endless))
        await until(lambda: writing(app))
        await pilot.resize_terminal(40, 10)
        await pilot.resize_terminal(80, 24)
        press(app, "x")
        await until(lambda: over(app))
        assert "cancelled" in said(app, "#run-status")
        assert answer(app) == answer_text(app.screen.live.state)
        # by going away, which is asked about
        press(app, "r")
        await until(lambda: writing(app))
        live = app.screen.live
        press(app, "escape")
        await until(lambda: isinstance(app.screen, Question))
        press(app, "enter")
        await until(lambda: isinstance(app.screen, RunScreen))
        assert not over(app)
        press(app, "escape")
        await until(lambda: app.screen.query_one("#leave", Button).press())
        await until(lambda: isinstance(app.screen, HomeScreen))
        await until((store.root / live.state.run_id / "result.json").exists)
        # by going away before it has begun
        app.open_run(RunRequest(endless))
        await until(lambda: getattr(app.screen, "live", None))
        app.pop_screen()
        await until(lambda: len(list(store.root.glob("*/result.json"))) == 3)
        assert [run.status for run in store.list()] == ["cancelled"] * 3
        # by the end of the process
        app.open_run(RunRequest(endless))
        await until(lambda: writing(app))
        live = app.screen.live
        os.kill(app.client.pid, signal.SIGKILL)
        await until(lambda: isinstance(app.screen, ErrorDialog))
        assert "SIGKILL" in app.screen._message
        assert "interrupted" in app.screen._hint
        await pilot.press("escape")
        assert "interrupted" in said(app, "#run-status")
        assert answer(app) == answer_text(live.state) != ""
        # by the end of the application
        press(app, "r")
        await until(lambda: writing(app))
        last = app.screen.live.state.run_id
        app.stop(0)
    assert {run.id: run.status for run in store.list()}[last] == "cancelled"


async def test_a_run_that_fails_says_why_and_keeps_what_there_is(open_told: Any, until: Any, fake_runs: Runs) -> None:
    app, client, request = open_told("failed", warnings=("large: it is <old>",))
    async with app.run_test(size=(80, 24)) as pilot:
        begin(app, request)
        await until(lambda: isinstance(app.screen, ErrorDialog))
        failed = next(event for event in fake_runs["failed"] if isinstance(event, Failed))
        assert failed.message in app.screen._message
        assert app.screen._hint == failed.hint
        await pilot.press("escape")
        assert "✗ failed" in said(app, "#run-status")
        assert answer(app) == answer_text(fold(fake_runs["failed"])) != ""
        assert said(app, "#run-warnings") == "! large: it is <old>"
        assert offered(app) >= {"another_seed", "another_prompt", "inspect"}
        assert "chat_on" not in offered(app)
        assert client.told.cancelled == 0


async def test_a_run_that_never_began(open_told: Any, until: Any) -> None:
    error = RecipeError("it cannot [be]", hint="mend [it]")
    app, _, request = open_told("drafted", end=0, error=error)
    async with app.run_test(size=(80, 24)) as pilot:
        begin(app, request)
        await until(lambda: isinstance(app.screen, ErrorDialog))
        assert (app.screen._message, app.screen._hint) == (error.message, error.hint)
        await pilot.press("escape")
        assert "not run" in said(app, "#run-status")
        assert "inspect" not in offered(app)
        await pilot.press("p")
        await until(lambda: isinstance(app.screen, PromptDialog))
        assert app.screen.query_one(PromptArea).value == "hello there"


async def test_where_work_is_while_it_goes_on(open_told: Any, until: Any, fake_runs: Runs) -> None:
    middle = len(fake_runs["drafted"]) // 2
    app, client, request = open_told("drafted", middle)
    async with app.run_test(size=(80, 24)) as pilot:
        begin(app, request)
        await until(lambda: "running" in said(app, "#run-status"))
        state = fold(fake_runs["drafted"][:middle])
        await until(lambda: answer(app) == answer_text(state))
        assert app.screen.query_one(GraphView)._active >= {"large", "answer"}
        assert "▶ " in str(app.screen.query_one(NodeTable).query_one(Static).render())
        assert "cancel" in offered(app)
        await pilot.press("x")
        await until(lambda: client.told.cancelled == 1)
        assert "is being cancelled" in said(app, "#run-status")
        assert "cancel" not in offered(app)
        client.told.more.set()
        await until(lambda: over(app) and "reached max_tokens" in said(app, "#run-status"))
        assert not app.screen.query_one(GraphView)._active
        assert answer(app) == answer_text(fold(fake_runs["drafted"]))
        # who proposed a token, by a click or a key
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, Details))
        shown = str(app.screen.query("VerticalScroll Static").first(Static).render())
        assert "proposed by" in shown
        await pilot.press("escape")
        await pilot.press("l")
        assert answer(app).startswith("‹A›")


async def test_parts_in_a_small_terminal(open_told: Any, until: Any, fake_runs: Runs) -> None:
    app, client, request = open_told("best", 2)
    async with app.run_test(size=(80, 24)) as pilot:
        begin(app, request)
        await until(lambda: getattr(app.screen, "live", None) is not None)
        tabs = app.screen.query_one("#parts-tabs", Tabs)
        assert not app.screen.query_one("#tab-contest").display
        await pilot.press("f8")
        assert tabs.active == "tab-graph"
        assert app.screen.query_one(GraphView).region.height > 0
        assert not app.screen.query_one(NodeTable).region
        client.told.more.set()
        await until(lambda: over(app) and app.screen.query_one("#tab-contest").display)
        assert tabs.active == "tab-graph"  # the user has chosen it
        await pilot.press("f8")
        assert tabs.active == "tab-contest"
        assert app.screen.query_one(ContestView).region.height >= 7
        assert app.screen.query_one(AnswerView).region.height >= 7
        assert not app.screen.query_one(GraphView).region
        await pilot.press("f8")
        assert "hello there" in said(app, "#asked")
        await pilot.press("f8", "shift+f8", "shift+f8")
        app.screen.query_one("ContestView RowList").focus()
        await pilot.press("home", "enter")
        await until(lambda: isinstance(app.screen, Details))
        await pilot.press("escape")
        await pilot.resize_terminal(*WIDE)
        await pilot.pause()
        for widget in (AnswerView, ContestView, GraphView, NodeTable):
            assert app.screen.query_one(widget).region.height >= 7
        assert not tabs.region
    # a part that has something to show comes to the front, until one chooses
    app, client, request = open_told("handed")
    app.settings.run_part = "nodes"
    async with app.run_test(size=(80, 24)) as pilot:
        begin(app, request)
        await until(lambda: over(app) and app.screen.tabs.shown == "contest")
        assert str(app.screen.query_one("#tab-contest").label) == "Hand-over"


class Scores(Static):
    def show(self, notes: Sequence[Any]) -> None:
        self.update(f"{len(notes)} notes of {notes[0].node}, type {notes[0].type}")


async def test_plugins_show_their_notes(open_told: Any, until: Any, fake_runs: Runs) -> None:
    class Plugin:
        @hookimpl
        def counterpoint_panels(self) -> dict[str, str]:
            return {"window_scores": f"{__name__}:Scores", "never_said": f"{__name__}:Missing"}

    app, _, request = open_told("handed")
    plugin = Plugin()
    app.registry.manager.register(plugin)
    try:
        async with app.run_test(size=WIDE):
            begin(app, request)
            await until(lambda: over(app) and app.screen.query_one("PanelBox"))
            count = len(fold(fake_runs["handed"]).notes["window_scores"])
            await until(lambda: said(app, "PanelBox Static").startswith(f"{count} notes of handed, type note"))
            assert app.screen.query_one("#part-notes").region.height > 3
    finally:
        app.registry.manager.unregister(plugin)


async def test_a_prompt_of_a_megabyte(open_told: Any, until: Any, fake_runs: Runs) -> None:
    long = "word " * 200_000
    ended = [event for event in fake_runs["drafted"] if not isinstance(event, RunFinished)]
    started = ended[0].model_copy(update={"prompt": Prompt(text=long)})
    finish = RunFinished(completion=Completion(text="", finish_reason="stop"))
    app, client, request = open_told("drafted")
    client.told._batches = [[started, finish]]  # type: ignore[list-item]
    async with app.run_test(size=WIDE) as pilot:
        begin(app, RunRequest(request.recipe, Prompt(text=long)))
        await until(lambda: over(app))
        assert len(said(app, "#asked")) < 10_000
        assert "996,000 characters" in said(app, "#asked")
        await pilot.press("p")
        await until(lambda: isinstance(app.screen, PromptDialog))
        assert app.screen.query_one(PromptArea).value == long
        assert "1,000,000 characters" in said(app, "#prompt-note")


def test_drawing_takes_little_of_the_processor(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = RunScreen(RunRequest(load_recipe({"nodes": {"m": {"kind": "fake"}}, "output": "m"}, registry=registry)))
    clock, spent = 100.0, 0.0
    drawn: list[float] = []
    monkeypatch.setattr(following.time, "monotonic", lambda: clock)
    monkeypatch.setattr(following.time, "process_time", lambda: spent)

    def drawings(cost: float, seconds: float) -> int:
        """How many there are in this time where each costs so much."""
        nonlocal clock, spent
        drawn.clear()
        for _ in range(round(seconds / 0.1)):
            clock += 0.1
            before = len(drawn)
            screen._draw_in_turn()
            spent += cost * (len(drawn) - before)
        return len(drawn)

    monkeypatch.setattr(screen, "_draw", lambda: drawn.append(clock))
    assert drawings(0.001, 10) == 100
    assert 30 <= drawings(0.0065, 10) <= 46, "3 % of ten seconds at 6.5 ms each, in turns of a tenth"
    assert 16 <= drawings(1.0, 10) <= 21, "but never more seldom than twice a second"

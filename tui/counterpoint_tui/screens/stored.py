"""A stored run, looked at: a line to go through it on, and everything that is known of each place. No model is loaded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widgets import Input, Static

from counterpoint.errors import CounterpointError
from counterpoint.recipe import parse_recipe
from counterpoint.tally import ROOT_SPAN
from counterpoint_tui import keys
from counterpoint_tui.collecting import traced_again
from counterpoint_tui.library import recipe_of_run
from counterpoint_tui.opening import open_run
from counterpoint_tui.runtext import asked
from counterpoint_tui.screens.dialogs import ErrorDialog
from counterpoint_tui.screens.exporting import ExportDialog
from counterpoint_tui.screens.scrubbed import ScrubbedScreen
from counterpoint_tui.scrubbing import Position
from counterpoint_tui.state import LegendEntry, TraceView, legend
from counterpoint_tui.state.export import export
from counterpoint_tui.storedtext import call_text, place_text, title_text, trouble_text
from counterpoint_tui.texts import one_line
from counterpoint_tui.widgets.answer import AnswerView
from counterpoint_tui.widgets.around import Around
from counterpoint_tui.widgets.contest import ContestView
from counterpoint_tui.widgets.events import EventList, EventsPane
from counterpoint_tui.widgets.legend import LegendBar
from counterpoint_tui.widgets.parts import PartTabs
from counterpoint_tui.widgets.scrubber import SIGNS, Scrubber
from counterpoint_tui.widgets.timeline import Timeline
from counterpoint_tui.worker.client import RunRequest

_NEEDS_TRACE = {one.id.partition(".")[2] for one in keys.ACTIONS if one.scope == "stored"} - {
    "back",
    "next_part",
    "previous_part",
}


class StoredScreen(ScrubbedScreen):
    """One stored run.

    Args:
        run: its id, the beginning of that, ``last``, or its folder.
    """

    HELP_TEXT = (
        "What happened in this run, step by step. The line below the answer is the run from its first event to its last: go along it "
        "with left and right, click on it, drag on it, or play it. Its signs are where something notable was:\n"
        "  × a draft that did not stand, ⇄ a hand-over, ◇ a candidate that is finished, ★ the one that is chosen, · a note, "
        "! a failure\n"
        "Click a token of the answer to see who proposed it and how probable it was. In the timeline, enter shows the text of a call; "
        "escape goes back to the answer.\n"
    )
    BINDINGS = [*keys.bindings("stored")]
    AUTO_FOCUS = "AnswerView"

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run_name = run
        self._legend: Mapping[str, LegendEntry] = {}

    def parts(self) -> ComposeResult:
        yield Static(id="title")
        yield Static(id="trouble")
        with Container(id="stored"):
            with Vertical(id="read"):
                yield LegendBar(id="legend")
                yield Static(id="call")
                yield AnswerView(id="answer")
                yield Scrubber(id="scrubber")
            yield Around(self.application.registry, id="around")

    def on_mount(self) -> None:
        """Reads the trace."""
        self.query_one("#title", Static).update(Text(one_line(self.run_name), "bold"))
        answer = self.query_one(AnswerView)
        answer.show_letters, answer.empty = self.app.no_color, "no text by now"
        self.query_one(PartTabs).turn_to(self.application.settings.stored_part, focus=False)
        self._read()

    # --- reading --------------------------------------------------------------------------------------------------------------

    @property
    def trace(self) -> TraceView | None:
        """The trace, once it is read."""
        return self.position.trace if self.position else None

    @work(exclusive=True, group="read")
    async def _read(self) -> None:
        scrubber = self.query_one(Scrubber)
        try:
            trace = await open_run(self.run_name, lambda read, of: scrubber.move(0, f"reading: {read:,} of {of:,} events"))
        except CounterpointError as error:
            await self.app.push_screen_wait(ErrorDialog.of(error))
            if self.position is None:  # otherwise what had been read stays
                self.app.pop_screen()  # not awaited: it ends this worker, too
            return
        if self.in_place:
            self._opened(trace)

    def _opened(self, trace: TraceView) -> None:
        before, registry = self.position, self.application.registry
        at_end = before is None or before.place == len(before.trace)
        self.position = Position(trace, len(trace)) if before is None else Position(trace, before.place, before.span)
        if at_end:
            self.position.go(len(trace))
        self._legend = legend(trace.last.recipe, trace.last, registry)
        self.query_one("#title", Static).update(title_text(trace, self.run_name))
        again = self.application.key_map.keys.get("stored.reload", "f9").partition(",")[0].upper()
        trouble = self.query_one("#trouble", Static)
        trouble.update(text := trouble_text(trace, again))
        trouble.display = bool(text)
        self.query_one(LegendBar).show(self._legend)
        self.query_one(Scrubber).show(trace)
        self.query_one(Around).open(trace, self._legend)
        self.refresh_bindings()
        self.moved()

    def on_unmount(self) -> None:
        """What was made of a long trace may go."""
        traced_again(self.trace)

    def action_reload(self) -> None:
        """Reads what has come since."""
        self._read()

    # --- where one is ---------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Shows where one is."""
        if (position := self.position) is None:
            return
        state = position.state
        self.query_one(AnswerView).show(
            state, self._legend, span=position.span, adopted=bool(state.contests), cursor=position.token
        )
        banner = self.query_one("#call", Static)
        banner.display = position.span != ROOT_SPAN
        if banner.display:
            banner.update(call_text(position))
        where, what = place_text(position, self.player if self.played else None)
        self.query_one(Scrubber).move(position.place, where, what)
        self.query_one(Around).show(position)

    @on(Scrubber.Moved)
    def _pointed_at(self, event: Scrubber.Moved) -> None:
        self.go(event.place)

    @on(AnswerView.TokenChosen)
    def _token_chosen(self, event: AnswerView.TokenChosen) -> None:
        if self.position is not None:
            self.stop()
            self.position.choose(event.number)
            self.moved()

    @on(Timeline.Opened)
    def _call_chosen(self, event: Timeline.Opened) -> None:
        if self.position is None:
            return
        if self.position.span == event.row.span:  # once more: where it began
            self.go(event.row.first + 1)
        else:
            self._read_call(event.row.span)

    def _read_call(self, span: int) -> None:
        if self.position is not None:
            self.stop()
            self.position.read(span)
            self.moved()

    @on(ContestView.Chosen)
    def _candidate_chosen(self, event: ContestView.Chosen) -> None:
        self._read_call(event.span)

    @on(EventList.Opened)
    def _event_chosen(self, event: EventList.Opened) -> None:
        if self.position is not None and event.hit is not None and event.hit.emitted:
            self.position.span = event.hit.span
        self.go(event.event + 1)

    # --- parts ----------------------------------------------------------------------------------------------------------------

    def on_part_tabs_turned(self, event: PartTabs.Turned) -> None:
        """Another part is shown."""
        self.application.settings.stored_part = event.name
        self.moved()

    def action_letters(self) -> None:
        """Shows or hides letters in the answer."""
        view = self.query_one(AnswerView)
        view.set_letters(not view.show_letters)

    def action_search(self) -> None:
        """Goes to the search field."""
        self.query_one(PartTabs).turn_to("events", focus=False)
        self.query_one("#event-search", Input).focus()

    def action_fold(self) -> None:
        """Folds a call of the timeline, or unfolds it."""
        self.query_one(Timeline).fold()

    def action_fold_all(self) -> None:
        """Folds all calls of the timeline, or unfolds them."""
        self.query_one(Timeline).fold_all()

    def action_filter_call(self) -> None:
        """Shows the events of a call, and of those below it."""
        tree = self.query_one(Timeline)
        span = tree.span if self.focused is tree else self.position.span if self.position else None
        if span is not None:
            self.query_one(PartTabs).turn_to("events")
            self.query_one(EventsPane).only(span)

    # --- the whole run --------------------------------------------------------------------------------------------------------

    @work
    async def action_export(self) -> None:
        """Writes the run into a file."""
        if self.trace is not None:
            name = self.trace.last.run_id or Path(self.run_name).name
            file = await self.app.push_screen_wait(ExportDialog(self.trace, _file_name(name)))
            if file is not None:
                self.notify(f"Written: {file}")

    @work
    async def action_open_recipe(self) -> None:
        """Shows the run's recipe."""
        if self.trace is not None:
            prompt = self.trace.last.prompt
            text = await asyncio.to_thread(export, self.trace, "recipe")
            entry = await asyncio.to_thread(recipe_of_run, text, self.application.registry, prompt)
            self.application.open_recipe(entry, asked(prompt) if prompt else None)

    @work(exclusive=True, group="run")
    async def action_run_again(self) -> None:
        """Runs the run's recipe on its prompt."""
        if self.trace is None:
            return
        state = self.trace.last
        try:
            name = str(state.recipe.get("name") or "recipe")
            recipe = parse_recipe(export(self.trace, "recipe"), name, registry=self.application.registry)
        except CounterpointError as error:
            await self.app.push_screen_wait(ErrorDialog.of(error))
            return
        await self.application.start_run(RunRequest(recipe, state.prompt, seed=state.seed))

    def action_back(self) -> None:
        """Leaves the search, then the call that is read, then the screen."""
        pane = self.query_one(EventsPane)
        if isinstance(self.focused, Input):
            pane.clear()
            pane.events.focus()
        elif self.position is not None and self.position.span != ROOT_SPAN:
            self._read_call(ROOT_SPAN)
        else:
            self.stop()
            self.app.pop_screen()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offers what can be done."""
        trace = self.trace
        if action not in _NEEDS_TRACE:
            return True
        if trace is None:
            return False
        way, _, mark = action.partition("_")
        if way in ("next", "previous"):
            marks = SIGNS if mark == "mark" else [one for one in SIGNS if one == mark]
            return any(len(trace.marks(one)) for one in marks)
        if action in ("fold", "fold_all"):
            return self.focused is self.query_one(Timeline)
        if action in ("run_again", "open_recipe"):
            return bool(trace.last.recipe)
        if action == "reload":
            return trace.status == "interrupted"
        return True


def _file_name(name: str) -> str:
    """A run's id as the beginning of a file's name."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"

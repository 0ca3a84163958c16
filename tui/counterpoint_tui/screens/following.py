"""A run as it goes on: the answer as it is written, where work is, what it costs, and what competes for the answer."""

from __future__ import annotations

import time

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.widgets import Static

from counterpoint.errors import CounterpointError
from counterpoint.graph import build_graph
from counterpoint.printable import plain
from counterpoint_tui.live import LiveRun
from counterpoint_tui.runtext import (
    asked,
    conversation_text,
    progress_text,
    prompt_of,
    status_text,
    warnings_of,
)
from counterpoint_tui.screens.base import CounterpointScreen
from counterpoint_tui.screens.dialogs import Details, ErrorDialog
from counterpoint_tui.state import (
    LegendEntry,
    RunState,
    active_nodes,
    budget_bars,
    legend,
    node_rows,
    problems,
    progress_rows,
    token_details,
)
from counterpoint_tui.state.spans import base_path
from counterpoint_tui.texts import one_line
from counterpoint_tui.widgets.answer import AnswerView
from counterpoint_tui.widgets.budget import BudgetBars
from counterpoint_tui.widgets.contest import ContestView
from counterpoint_tui.widgets.details import Shown, details_text
from counterpoint_tui.widgets.graph import GraphView
from counterpoint_tui.widgets.legend import LegendBar
from counterpoint_tui.widgets.nodes import NodeTable
from counterpoint_tui.widgets.notes import NotesPane
from counterpoint_tui.widgets.parts import PartTabs, part
from counterpoint_tui.worker.client import RunRequest

PARTS = {"nodes": "Nodes", "graph": "Graph", "contest": "Candidates", "notes": "Notes", "ask": "Prompt"}
_FRAME, _LONGEST = 0.1, 0.5
"""Seconds between two drawings: the least, and the most."""
_SHARE = 0.03
"""Of a processor's time, which the models need: drawings are as frequent as the application can make them with it."""
_FIGURES = 4
"""Drawings of the answer to one of the figures, which nobody reads faster."""

_DETAILS = 80
"""Columns of a token's details."""


class FollowingScreen(CounterpointScreen):
    """Starts a run, draws what comes of it, and cancels it when it is left; what can be done with it is the run screen's."""

    def __init__(self, request: RunRequest) -> None:
        super().__init__()
        self.request = request
        self.live: LiveRun | None = None
        self._drawn: RunState | None = None
        self._legend: dict[str, LegendEntry] = {}
        self._speakers = -1
        self._frame = 0
        self._last = (0.0, 0.0)  # when it was drawn, and the processor's time until then
        self._chosen = False  # whether the user has chosen a part
        self._shown: dict[str, object] = {}

    def parts(self) -> ComposeResult:
        yield Static(self._title(), id="title")
        yield Static(id="run-status")
        yield Static(id="run-warnings")
        with Container(id="run-parts"):
            with Vertical(id="run-main"):
                with Vertical(id="run-answer", classes="part -shown") as answer:
                    answer.border_title = "Answer"
                    yield LegendBar(id="legend")
                    yield Static(id="run-progress")
                    yield AnswerView(id="answer")
                yield PartTabs(PARTS)
                yield part("contest", PARTS["contest"], ContestView(id="contest"))
            with Vertical(id="run-side"):
                yield part("nodes", PARTS["nodes"], BudgetBars(id="budget"), NodeTable(id="nodes"))
                yield part("graph", PARTS["graph"], GraphView(id="graph-view"))
                yield part("notes", PARTS["notes"], NotesPane(self.application.registry, id="notes"))
                yield part("ask", PARTS["ask"], VerticalScroll(Static(id="asked"), id="asked-scroll"))

    def _title(self) -> Text:
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(one_line(self.request.recipe.name), style="bold")
        text = asked(self.request.prompt or self.request.recipe.prompt)
        title.append(f"  {one_line(text[:500])}")
        return title

    def on_mount(self) -> None:
        """Starts the run."""
        if not self.query(AnswerView):
            return  # it has been left already
        self.live = LiveRun(self.application.client, self.request)
        self.query_one(AnswerView).show_letters = self.app.no_color
        self.tabs.offer("nodes", "graph", "ask")
        self.tabs.turn_to(self.application.settings.run_part)
        self.query_one("#asked", Static).update(conversation_text(prompt_of(self.live)))
        self._draw_graph()
        self._draw()
        self.set_interval(_FRAME, self._draw_in_turn)
        self.app.theme_changed_signal.subscribe(self, lambda _: self.on_resize())  # texts have the colours of the theme
        self._follow(self.live)

    def on_unmount(self) -> None:
        """Nobody looks any more: what is under way ends, and is stored as cancelled."""
        if self.live is not None and not self.live.over:
            self.live.cancel()

    @property
    def under_way(self) -> bool:
        """Whether the run goes on."""
        return self.live is not None and not self.live.over

    # --- the run --------------------------------------------------------------------------------------------------------------

    @work(exclusive=True, group="run")
    async def _follow(self, live: LiveRun) -> None:
        await live.follow()
        if not self.in_place:
            return
        self._frame = 0
        self._draw()
        self.refresh_bindings()
        fatal = next((one for one in reversed(problems(live.state)) if one.fatal), None)
        if live.failure is not None:
            await self.app.push_screen_wait(ErrorDialog.of(live.failure))
        elif fatal is not None:
            where = f"{fatal.node}: " if fatal.node and fatal.node not in fatal.message else ""
            await self.app.push_screen_wait(ErrorDialog(f"{where}{fatal.message}", fatal.hint))

    # --- drawing --------------------------------------------------------------------------------------------------------------

    def _draw_in_turn(self) -> None:
        """Shows what has come, unless the last drawing and what has been read since took too much of the processor's time."""
        now, spent = time.monotonic(), time.process_time()
        drawn, before = self._last
        if now - drawn >= min(_LONGEST, (spent - before) / _SHARE):
            self._last = now, spent
            self._draw()

    def _draw(self) -> None:
        """Shows what has come since the last time; figures now and then."""
        live = self.live
        if live is None or not self.is_attached or self.covered:
            return
        state = live.state
        news, turned = state is not self._drawn, self._shown.get("over") != live.over
        often = turned or self._frame % _FIGURES == 0
        self._frame += 1
        self._shown["over"] = live.over
        if news or turned:
            self._draw_answer(live, state)
        if often and (news or turned or not live.over):  # seconds go by without news
            self._draw_figures(live, state)
        elif news:
            self._light(live, state)
        self._drawn = state

    def on_screen_resume(self) -> None:
        """Shows what has come while another screen was above this one."""
        self._frame = 0
        self._draw()

    def on_resize(self) -> None:
        """What is broken into lines by width is drawn anew."""
        self._shown.pop("over", None)

    def _draw_answer(self, live: LiveRun, state: RunState) -> None:
        speakers = sum(1 for node in state.nodes.values() if node.emitted or node.drafted)
        if state.recipe and speakers != self._speakers:
            self._speakers = speakers
            self._legend = legend(state.recipe, state, self.application.registry)
        view = self.query_one(AnswerView)
        rows = progress_rows(state)
        view.empty = "" if rows else "no text" if live.over else "waiting for the first token …"
        # an answer that was chosen among others came at once; when the run is over it is shown as it was written
        view.show(state, self._legend, adopted=live.over)
        if self._legend:
            drafters = {base_path(node.node) for node in state.nodes.values() if node.drafted} if view.proposers else ()
            self.query_one(LegendBar).show(self._legend, view.proposers.union(drafters))
        self._say("#run-progress", progress_text(rows, self.application.styles_of_levels))

    def _draw_figures(self, live: LiveRun, state: RunState) -> None:
        registry = self.application.registry
        self._say("#run-status", status_text(live, self.size.width - 2, self.application.styles_of_levels))
        self._say("#run-warnings", Text("\n".join(f"! {one}" for one in warnings_of(live))))
        self.query_one(NodeTable).show(node_rows(state), self._legend)
        self.query_one(BudgetBars).show(budget_bars(state, live.now))
        self._light(live, state)
        contest = self.query_one(ContestView)
        if contest.show(state, registry, self._legend):
            self._offer("contest", contest.title)
        if self.query_one(NotesPane).follow(live.trace):
            self._offer("notes")

    def _light(self, live: LiveRun, state: RunState) -> None:
        self.query_one(GraphView).activate(frozenset() if live.over else active_nodes(state))

    def _draw_graph(self) -> None:
        try:
            graph = build_graph(self.request.recipe, self.application.registry)
        except CounterpointError:
            return  # the run says why
        self.query_one(GraphView).show(graph)

    def _say(self, selector: str, text: Text) -> None:
        """Changes a text where it is another one; there is no room for an empty one."""
        before = self._shown.get(selector)
        if before != text:
            self._shown[selector] = text
            widget = self.query_one(selector, Static)
            widget.display = bool(text)
            # a layout of the whole screen only where the text needs another number of lines
            widget.update(text, layout=not isinstance(before, Text) or before.plain.count("\n") != text.plain.count("\n"))

    @on(AnswerView.TokenChosen)
    def _token_chosen(self, event: AnswerView.TokenChosen) -> None:
        """Says what there is to say of a token."""
        if self.live is not None and (token := token_details(self.live.trace, event.number)) is not None:
            width = min(_DETAILS, self.size.width - 10)
            text = details_text(
                Shown(token, event=self.live.trace.row(token.token.event)),
                self._legend,
                width,
                dark=self.app.current_theme.dark,
            )
            self.app.push_screen(Details(f"Token {event.number + 1}", text))

    @on(ContestView.Chosen)
    def _candidate_chosen(self, event: ContestView.Chosen) -> None:
        """Shows a candidate whole."""
        if self.live is not None and event.span in self.live.state.spans:
            call = self.live.state.spans[event.span]
            self.app.push_screen(Details(one_line(call.node), Text(plain(call.text) or "nothing yet")))

    # --- parts ----------------------------------------------------------------------------------------------------------------

    def _offer(self, name: str, title: str = "") -> None:
        """Gives a part a place that has something to show only now; where there is room for one part, shows it."""
        title = title or PARTS[name]
        if self._shown.get(name) == title:
            return
        first = name not in self._shown
        self._shown[name] = title
        self.tabs.label(name, title)
        self.query_one(f"#part-{name}").border_title = title
        if not first:
            return
        self.tabs.offer(*self.tabs.there, name)
        self.query_one(f"#part-{name}").add_class("-offered")
        if name == "contest" and not self._chosen:
            self.tabs.turn_to(name)

    @property
    def tabs(self) -> PartTabs:
        """The names of the parts."""
        return self.query_one(PartTabs)

    def on_part_tabs_turned(self, event: PartTabs.Turned) -> None:
        """Another part is shown."""
        if event.chosen:
            self._chosen = True
            self.application.settings.run_part = event.name
        self.query_one("#run-side").set_class(event.name == "contest", "-empty")

    def action_letters(self) -> None:
        """Shows or hides the letters in the answer."""
        view = self.query_one(AnswerView)
        view.set_letters(not view.show_letters)

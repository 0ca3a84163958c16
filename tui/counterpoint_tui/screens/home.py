"""Home: what there is on this machine, searchable, and the way into it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.widgets import Input, Static, Tab, Tabs

from counterpoint.errors import CounterpointError
from counterpoint_tui import keys, library
from counterpoint_tui.comparing import Subject
from counterpoint_tui.entries import SECTIONS, Entry, evaluation_entry, model_entry, plugin_entry, recipe_entry, run_entry
from counterpoint_tui.screens.base import CounterpointScreen
from counterpoint_tui.screens.dialogs import Details
from counterpoint_tui.searching import Search
from counterpoint_tui.widgets.rows import Row, RowList

_EMPTY = {
    "recipes": "no recipe is installed",
    "runs": "nothing has been run yet: choose a recipe",
    "evaluations": "nothing has been evaluated yet: `counterpoint eval RECIPE --data FILE` does it",
    "models": "no models",
    "plugins": "no plugins",
}


_MARK = "◆"
_LONGEST = 200
"""Most characters that are searched for."""


class HomeScreen(CounterpointScreen):
    """The first screen."""

    HELP_TEXT = (
        "Everything on this machine: recipes to run, what has been run and evaluated, models and plugins.\n"
        "Type to search all of it at once: letters that stand in a name in this order are enough.\n"
        "Mark a run or an evaluation, and compare it with another one."
    )
    BINDINGS = [*keys.bindings("home")]
    AUTO_FOCUS = "#list"

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, Sequence[Entry]] = {}
        self._by_key: dict[str, Entry] = {}
        self._failed: dict[str, str] = {}
        self._marked: Entry | None = None
        """What the next one is to be compared with."""

    def parts(self) -> ComposeResult:
        yield Static(
            Text.assemble(("Counterpoint", "bold"), "  small and large language models that work together"), id="title"
        )
        yield Input(
            placeholder="type to search recipes, runs, evaluations, models and plugins",
            id="search",
            compact=True,
            max_length=_LONGEST,
            select_on_focus=False,
        )
        yield Tabs(*(Tab(label, id=name) for name, label in SECTIONS.items()), id="sections")
        with Container(id="lists"):
            yield RowList(widest=32, id="list")
            with VerticalScroll(id="about", can_focus=False):
                yield Static(id="about-text")

    def on_mount(self) -> None:
        """Shows the list that was looked at last."""
        if self.application.settings.section in SECTIONS:
            self.query_one(Tabs).active = self.application.settings.section

    def on_screen_resume(self) -> None:
        """Looks at everything, for something may have been run or saved meanwhile; not while another screen covers this one."""
        self.call_after_refresh(self._look_again)

    def _look_again(self) -> None:
        if self.is_current:
            self.action_refresh()

    # --- what there is ------------------------------------------------------------------------------------------------------

    def action_refresh(self) -> None:
        """Looks at everything anew."""
        registry, given = self.application.registry, self.application.given
        self._look("recipes", lambda: [recipe_entry(entry) for entry in library.recipes(registry, given)])
        self._look("runs", lambda: [run_entry(run) for run in library.runs()])
        elsewhere = tuple(self.application.settings.evaluations)
        self._look("evaluations", lambda: [evaluation_entry(entry) for entry in library.evaluations(elsewhere)])
        self._look("models", lambda: [model_entry(entry) for entry in library.models()])
        self._look("plugins", lambda: [plugin_entry(entry) for entry in library.plugins(registry)])

    @work
    async def _look(self, section: str, find: Callable[[], list[Entry]]) -> None:
        try:
            found, problem = await asyncio.to_thread(find), ""
        except (CounterpointError, OSError) as error:
            found, problem = [], str(error)
        if not self.in_place:
            return
        self._entries[section] = found
        self._failed[section] = problem
        self._by_key = {entry.key: entry for entries in self._entries.values() for entry in entries}
        self._show()

    # --- the list -----------------------------------------------------------------------------------------------------------

    @property
    def section(self) -> str:
        """Which list is shown while nothing is searched for."""
        return self.query_one(Tabs).active or "recipes"

    def _show(self) -> None:
        query = self.query_one("#search", Input).value.strip()
        rows: list[Row] = []
        counts = {}
        for section, label in SECTIONS.items():
            entries = self._entries.get(section, ())
            if query:
                search: Search[Entry] = Search(query)
                entries = search.best((entry, (entry.cells[0], entry.searched)) for entry in entries)
                if entries:
                    rows.append(Row((label,)))
            counts[section] = len(entries)
            if query or section == self.section:
                rows += [self._row(entry) for entry in entries]
        self._label(counts)
        empty = f"nothing is called like '{query}'" if query else self._failed.get(self.section) or _EMPTY[self.section]
        self.query_one(RowList).show(rows, empty if query or self.section in self._entries else "looking …")

    def _row(self, entry: Entry) -> Row:
        first, *rest = entry.cells
        sign = f"{_MARK} " if self._marked is not None and self._marked.key == entry.key else ""
        return Row((f"{sign}{first}", *rest), entry.key, bad=bool(entry.problem))

    def _label(self, counts: dict[str, int]) -> None:
        for section, label in SECTIONS.items():
            known = section in self._entries
            self.query_one(f"#sections #{section}", Tab).label = f"{label} {counts[section]}" if known else label

    @on(RowList.Highlighted)
    def _describe(self, event: RowList.Highlighted) -> None:
        entry = self._by_key.get(event.key)
        self.query_one("#about-text", Static).update(entry.about() if entry else "")
        self.query_one("#about").scroll_home(animate=False)
        self.offer()

    @on(Tabs.TabActivated)
    def _section_chosen(self) -> None:
        self.application.settings.section = self.section
        search = self.query_one("#search", Input)
        if search.value:
            rows = self.query_one(RowList)
            first = next((entry.key for entry in self._entries.get(self.section, ()) if entry.key in _keys(rows)), None)
            if first:
                rows.go_to(first)
        else:
            self._show()

    # --- actions ------------------------------------------------------------------------------------------------------------

    @on(RowList.Opened)
    def _open(self, event: RowList.Opened) -> None:
        entry = self._by_key.get(event.key)
        if entry is None:
            return
        if isinstance(entry.item, library.RecipeEntry):
            self.application.open_recipe(entry.item)
        elif entry.section == "runs":
            self.application.open_stored(entry.name)
        elif entry.section == "evaluations" and not entry.problem:
            self.application.open_comparison((_subject(entry),))
        else:
            self._show_details(entry)

    @work
    async def _show_details(self, entry: Entry) -> None:
        answers = [("pull", "Download")] if entry.to_download else []
        if await self.app.push_screen_wait(Details(entry.name, entry.about(), answers)) == "pull":
            await self.application.pull([entry.name])
            self.action_refresh()

    @property
    def _comparable(self) -> Entry | None:
        """The entry under the cursor, where it can be compared with another one."""
        entry = self._by_key.get(self.query_one(RowList).key)
        return entry if entry and entry.section in ("runs", "evaluations") and not entry.problem else None

    def action_mark(self) -> None:
        """Marks an entry, or takes the mark away."""
        entry = self._comparable
        if entry is None:
            return
        self._marked = None if self._marked and self._marked.key == entry.key else entry
        self._show()
        self.offer()
        if self._marked:
            self.notify("Marked. Go to another one: the keys below then offer to compare the two.")

    def action_compare(self) -> None:
        """Compares the marked entry with the one under the cursor."""
        if self._marked is not None and (entry := self._comparable) is not None:
            self.application.open_comparison((_subject(self._marked), _subject(entry)))

    def action_run_default(self) -> None:
        """Runs the demo's recipe."""
        self.application.run_default()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offers what can be done."""
        if action == "mark":
            return self._comparable is not None
        if action == "compare":
            entry, marked = self._comparable, self._marked
            return entry is not None and marked is not None and entry.section == marked.section and entry.key != marked.key
        if action == "clear_search":
            return bool(self.query_one("#search", Input).value) or self.focused is not self.query_one(RowList)
        return True

    def action_search(self) -> None:
        """Goes to the search field."""
        self.query_one("#search", Input).focus()

    def action_clear_search(self) -> None:
        """Shows everything again."""
        self.query_one("#search", Input).value = ""
        self.query_one(RowList).focus()

    def action_next_section(self) -> None:
        """Shows the next list."""
        self.query_one(Tabs).action_next_tab()

    def action_previous_section(self) -> None:
        """Shows the list before."""
        self.query_one(Tabs).action_previous_tab()

    # --- the search field ---------------------------------------------------------------------------------------------------

    @on(Input.Changed, "#search")
    def _searched(self) -> None:
        self._show()
        rows = self.query_one(RowList)
        rows.action_end(-1)  # the best
        self.refresh_bindings()

    @on(Input.Submitted, "#search")
    def _first_hit(self) -> None:
        self.query_one(RowList).action_open()

    @property
    def _bound(self) -> set[str]:
        """Keys with a meaning on this screen, whether they have one now or not."""
        return self.application.key_map.bound("app", "home", "list")

    def before_key(self, event: events.Key) -> None:
        """A letter typed on the list begins a search: the field gets the focus before the letter, so that it gets all in order."""
        typed = event.character and event.is_printable and event.key not in self._bound
        if typed and self.focused is self.query_one(RowList):
            search = self.query_one("#search", Input)
            search.cursor_position = len(search.value)
            self.set_focus(search)

    def on_key(self, event: events.Key) -> None:
        """Arrows typed in the search move the list's cursor."""
        rows = self.query_one(RowList)
        if self.focused is not self.query_one("#search", Input):
            return
        if event.key in ("down", "up"):
            rows.action_move(1 if event.key == "down" else -1)
        elif event.key in ("pagedown", "pageup"):
            rows.action_page(1 if event.key == "pagedown" else -1)
        else:
            return
        event.stop()


def _subject(entry: Entry) -> Subject:
    return entry.item.path if isinstance(entry.item, library.EvaluationEntry) else entry.name


def _keys(rows: RowList) -> set[str]:
    return {row.key for row in rows.rows}

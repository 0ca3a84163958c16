"""A recipe: its graph, its nodes as forms and as YAML, what it needs, and the prompt to run it on."""

from __future__ import annotations

import asyncio

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.timer import Timer
from textual.widgets import Static, TextArea

from counterpoint.errors import CounterpointError
from counterpoint.printable import plain
from counterpoint.recipe import recipe_files
from counterpoint_tui import keys
from counterpoint_tui.library import RecipeEntry
from counterpoint_tui.library import recipe_entry as find_recipe
from counterpoint_tui.plantext import plan_text
from counterpoint_tui.recipe_text import Checked, check, set_value
from counterpoint_tui.screens.base import CounterpointScreen
from counterpoint_tui.screens.dialogs import ErrorDialog, Question
from counterpoint_tui.screens.saving import SaveDialog
from counterpoint_tui.texts import one_line
from counterpoint_tui.widgets.asking import AskPane
from counterpoint_tui.widgets.editor import YamlEditor
from counterpoint_tui.widgets.form import RecipeForm
from counterpoint_tui.widgets.graph import GraphView
from counterpoint_tui.widgets.parts import PartTabs, as_part, part
from counterpoint_tui.worker.client import RunRequest
from counterpoint_tui.worker.protocol import Planned

PARTS = {"graph": "Graph", "plan": "Plan", "form": "Form", "yaml": "YAML", "ask": "Prompt"}
_PAUSE = 0.25
"""Seconds without a key after which a text is looked at."""
_PLAN_PAUSE = 0.4
"""Seconds after that before it is planned."""


class RecipeScreen(CounterpointScreen):
    """One recipe, to be looked at, changed and run. The text is what counts; the form reads and writes it."""

    HELP_TEXT = (
        "A recipe and everything about it: the graph of its nodes, a form and the text, which say the same, what it needs, and the "
        "prompt.\nThe form changes only its place in the text; where that cannot be done, the text is written anew and its comments "
        "are lost (ctrl+z in the text brings them back).\nNothing is kept until you save it, as a recipe of your own.\n"
    )
    BINDINGS = [*keys.bindings("recipe")]
    AUTO_FOCUS = ""

    def __init__(self, entry: RecipeEntry, prompt: str | None = None) -> None:
        super().__init__()
        self.entry = entry
        self._prompt = prompt
        self.checked = Checked(entry.text)
        self.plan: Planned | None = None
        self._saved = entry.text
        self._title_shown: Text | None = None
        self._check_timer: Timer | None = None
        self._plan_timer: Timer | None = None

    def parts(self) -> ComposeResult:
        yield Static(id="title")
        yield PartTabs(PARTS)
        with Container(id="recipe-parts"):
            yield part("graph", PARTS["graph"], GraphView(id="graph-view"))
            yield part("plan", PARTS["plan"], VerticalScroll(Static(id="plan-text"), id="plan-scroll"))
            yield part("form", PARTS["form"], RecipeForm(self.application.registry, id="recipe-form"))
            yield part("yaml", PARTS["yaml"], YamlEditor(self.entry.text, id="yaml-text"), Static(id="problem"))
            kept = self.application.settings.prompts.get(self.entry.name) if self._prompt is None else self._prompt
            yield as_part(AskPane(kept), "ask", PARTS["ask"])

    def on_mount(self) -> None:
        """Shows the part that was looked at last, and checks the text."""
        self._turn_to("yaml" if self.entry.problem else self.application.settings.recipe_part)
        self._say_plan("looking at models and memory …")
        self._title()
        self._check()

    # --- the text, checked ----------------------------------------------------------------------------------------------------

    @property
    def editor(self) -> YamlEditor:
        """The text."""
        return self.query_one(YamlEditor)

    @on(TextArea.Changed, "#yaml-text")
    def _text_changed(self) -> None:
        self._title()
        if self._check_timer is not None:
            self._check_timer.stop()
        self._check_timer = self.set_timer(_PAUSE, self._check)

    @work(exclusive=True, group="check")
    async def _check(self) -> None:
        checked = await asyncio.to_thread(check, self.editor.text, self.name_of_recipe, self.application.registry)
        if self.in_place:
            self._checked(checked)

    @property
    def name_of_recipe(self) -> str:
        """What the recipe is called where its text does not say so."""
        return self.entry.path.stem if self.entry.path else self.entry.name

    def _checked(self, checked: Checked) -> None:
        if checked.text != self.editor.text:
            return  # it has been changed meanwhile, and is looked at again
        self.checked = checked
        self.editor.mark({problem.line for problem in checked.problems if problem.line is not None})
        self._say_problems(checked)
        if checked.data is not None:
            self.query_one(RecipeForm).show(checked.data)
        if checked.graph is not None:
            self.query_one(GraphView).show(checked.graph)
        if checked.recipe is not None:
            self.query_one(AskPane).show(checked.recipe)
        if checked.recipe is not None and not checked.problems:
            if self._plan_timer is not None:
                self._plan_timer.stop()
            self._plan_timer = self.set_timer(_PLAN_PAUSE, self.action_plan)
        else:
            self.plan = None
            self._say_plan("there is a plan when the text is right")
        self._title()
        self.refresh_bindings()

    def _say_problems(self, checked: Checked) -> None:
        text = Text()
        for problem in checked.problems:
            where = f"line {problem.line + 1}: " if problem.line is not None else ""
            text.append(f"{where}{plain(problem.message)}\n")
        if checked.problems and checked.hint:
            text.append(f"hint: {plain(checked.hint)}", style="dim")
        note = self.query_one("#problem", Static)
        note.update(text)
        note.display = bool(checked.problems)
        self.query_one(PartTabs).label("yaml", f"{PARTS['yaml']} ✗" if checked.problems else PARTS["yaml"])

    def _title(self) -> None:
        recipe = self.checked.recipe
        title = Text(self.entry.name, style="bold")
        title.append(" (changed, not saved)" if self.editor.text != self._saved else "", style="italic not bold")
        title.append(f"  {one_line(recipe.description)}" if recipe else "", style="not bold")
        if title != self._title_shown:
            self._title_shown = title
            self.query_one("#title", Static).update(title)

    # --- the form -------------------------------------------------------------------------------------------------------------

    @on(RecipeForm.Edited)
    def _form_edited(self, event: RecipeForm.Edited) -> None:
        try:
            edited = set_value(self.editor.text, event.path, event.value)
        except ValueError as error:
            self.notify(f"the form cannot change this text: {error}", severity="warning")
            return
        self.editor.change(edited.text)
        if edited.rewritten:
            self.notify("The text was written anew, and its comments are lost. Ctrl+Z in the text brings them back.")

    @on(RecipeForm.Chosen)
    def _node_shown(self, event: RecipeForm.Chosen) -> None:
        self.query_one(GraphView).choose(event.name)

    @on(GraphView.Chosen)
    def _node_clicked(self, event: GraphView.Chosen) -> None:
        self.query_one(GraphView).choose(event.path)
        self.query_one(RecipeForm).choose(event.path)

    @on(YamlEditor.TooLong)
    def _too_long(self, event: YamlEditor.TooLong) -> None:
        self.notify(f"{event.characters:,} characters are more than a recipe can be; nothing was pasted.", severity="warning")

    # --- the plan -------------------------------------------------------------------------------------------------------------

    @work(exclusive=True, group="plan")
    async def action_plan(self) -> None:
        """Asks the worker what the recipe needs."""
        recipe = self.checked.recipe
        if recipe is None or self.checked.problems:
            return
        try:
            plan = await self.application.client.plan(recipe)
        except CounterpointError as error:
            self.plan = None
            if self.in_place:
                self._say_plan(f"{error.message}\n{error.hint}")
            return
        if not self.in_place:
            return
        self.plan = plan
        self._say_plan(plan_text(plan, recipe.sampling.max_tokens, self.application.styles_of_levels))
        self.refresh_bindings()

    def _say_plan(self, text: Text | str) -> None:
        self.query_one("#plan-text", Static).update(text if isinstance(text, Text) else Text(plain(text)))
        errors = bool(self.plan and self.plan.errors)
        self.query_one(PartTabs).label("plan", f"{PARTS['plan']} ✗" if errors else PARTS["plan"])

    @work
    async def action_pull(self) -> None:
        """Downloads what is missing."""
        if self.plan is not None and await self.application.pull(list(self.plan.missing)):
            self.action_plan()

    # --- the prompt, and a run ------------------------------------------------------------------------------------------------

    @work(exclusive=True, group="run")
    async def action_run(self) -> None:
        """Runs the recipe as it stands, on the prompt."""
        checked = check(self.editor.text, self.name_of_recipe, self.application.registry)
        self._checked(checked)
        if checked.recipe is None or checked.problems:
            self.action_go_to_problem()
            self.notify("This line is wrong, so that the recipe cannot run.", severity="warning")
            return
        ask = self.query_one(AskPane)
        if not ask.text.strip():
            self._turn_to("ask")
            self.notify("There is nothing to answer: write a prompt.", severity="warning")
            return
        try:
            settings = ask.settings(checked.recipe)
        except CounterpointError as error:
            await self.app.push_screen_wait(ErrorDialog.of(error))
            return
        prompt = ask.prompt(checked.recipe)
        self._keep_prompt()
        await self.application.start_run(RunRequest(checked.recipe, prompt, settings.sampling, settings.seed, settings.budget))

    def _keep_prompt(self) -> None:
        self.application.settings.keep_prompt(self.entry.name, self.query_one(AskPane).written)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offers what can be done."""
        if action == "pull":
            return bool(self.plan and self.plan.missing)
        if action == "go_to_problem":
            return bool(self.checked.problems)
        return True

    # --- parts ----------------------------------------------------------------------------------------------------------------

    def _turn_to(self, name: str) -> None:
        """Shows a part (where all are shown, goes to it)."""
        self.query_one(PartTabs).turn_to(name)

    def on_part_tabs_turned(self, event: PartTabs.Turned) -> None:
        """Another part is shown."""
        self.application.settings.recipe_part = event.name
        if event.focus:
            first = next((widget for widget in self.query_one(f"#part-{event.name}").query("*") if widget.focusable), None)
            self.call_after_refresh(self.set_focus, first)

    def action_go_to_problem(self) -> None:
        """Puts the cursor on the next line that is wrong."""
        lines = sorted(problem.line for problem in self.checked.problems if problem.line is not None)
        self._turn_to("yaml")
        if lines:
            here = self.editor.cursor_location[0]
            self.editor.move_cursor((next((line for line in lines if line > here), lines[0]), 0), center=True)

    # --- keeping it -----------------------------------------------------------------------------------------------------------

    @work
    async def action_save(self) -> None:
        """Keeps the text as a recipe of the user's own."""
        await self._save()

    async def _save(self) -> bool:
        own = self.entry.origin == "yours"
        suggestion = self.name_of_recipe if own else f"my-{self.name_of_recipe}"
        names = await asyncio.to_thread(recipe_files, self.application.registry)
        file = await self.app.push_screen_wait(SaveDialog(self.editor.text, suggestion, names))
        if file is None:
            return False
        text = file.read_text(encoding="utf-8")
        self.editor.change(text)
        self._saved = text
        self.entry = find_recipe(file.stem, self.application.registry)
        self._title()
        self.notify(f"Saved. `counterpoint run {file.stem}` runs it, too.")
        return True

    @work(exclusive=True, group="back")
    async def action_back(self) -> None:
        """Leaves, and asks first where something would be lost."""
        if self.editor.text != self._saved:
            answers = [("stay", "Stay"), ("save", "Save as …"), ("leave", "Leave without saving")]
            answer = await self.app.push_screen_wait(Question("Not saved", "This recipe was changed and not saved.", answers))
            if answer not in ("save", "leave") or (answer == "save" and not await self._save()):
                return
        self._keep_prompt()
        self.app.pop_screen()  # not awaited: it ends this worker, too

"""The application: what all screens share, and how they are reached."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import ActiveBinding
from textual.screen import Screen

from counterpoint.cli.console import bytes_text
from counterpoint.cli.demo import RECIPE as DEMO
from counterpoint.errors import CounterpointError, RecipeError
from counterpoint.recipe import load_recipe
from counterpoint.registry import Registry
from counterpoint_tui import keys
from counterpoint_tui.comparing import Subject, load
from counterpoint_tui.library import COMMANDS, RecipeEntry, does
from counterpoint_tui.panels import offending_panel
from counterpoint_tui.screens import screen_class
from counterpoint_tui.screens.base import MIN_HEIGHT, MIN_WIDTH, CounterpointScreen, Dialog
from counterpoint_tui.screens.dialogs import ErrorDialog, HelpDialog, Question
from counterpoint_tui.screens.pulling import PullDialog
from counterpoint_tui.settings import load_settings, save_settings
from counterpoint_tui.themes import DARK, LIGHT, THEMES
from counterpoint_tui.worker.client import RunRequest, WorkerClient

_TWICE = 2.0
"""Seconds within which Ctrl-C has to be pressed again."""
WIDE = 120
"""Columns from which all parts of a screen are shown side by side."""


class CounterpointApp(App[None], inherit_bindings=False):
    """The terminal application.

    Args:
        registry: the plugins.
        entry: a recipe to open at once.
        compared: what to compare at once.
        theme: ``dark`` or ``light``; by default as it was last.
        offline: never use the network.
        plugins: modules that are plugins besides the installed ones, for the worker (which has a registry of its own).
    """

    TITLE = "Counterpoint"
    CSS_PATH = "counterpoint.tcss"
    BINDINGS = [*keys.bindings("app")]
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (MIN_WIDTH, "-narrow"), (WIDE, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (MIN_HEIGHT, "-low"), (30, "-high")]

    def __init__(
        self,
        registry: Registry,
        *,
        entry: RecipeEntry | None = None,
        compared: Sequence[Subject] = (),
        theme: str | None = None,
        offline: bool = False,
        plugins: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.registry = registry
        self.client = WorkerClient(plugins=plugins, offline=offline)
        self.settings = load_settings()
        self.key_map = keys.load_keys()
        self.not_kept = ""
        """Why what is kept between starts could not be kept."""
        self.failure: Exception | None = None
        """What the application failed with."""
        self._entry = entry
        self._compared = compared
        self._interrupted = 0.0
        if "TEXTUAL_ANIMATIONS" not in os.environ:
            self.animation_level = "none"  # each frame costs what decoding could use
        for known in THEMES:
            self.register_theme(known)
        chosen = {"dark": DARK, "light": LIGHT}.get(theme or "", self.settings.theme)
        self.theme = chosen if chosen in self.available_themes else DARK

    @property
    def given(self) -> list[Path]:
        """The recipe files that were named when it was started."""
        return [self._entry.path] if self._entry is not None and self._entry.origin == "file" and self._entry.path else []

    @property
    def styles_of_levels(self) -> dict[str, str]:
        """Text styles of ``error``, ``warning``, ``info`` and ``good``."""
        theme = self.current_theme
        return {
            "error": theme.error or "",
            "warning": theme.warning or "",
            "info": theme.secondary or "",
            "good": theme.success or "",
        }

    def get_default_screen(self) -> Screen[None]:
        """Home."""
        return screen_class("home")()

    def on_mount(self) -> None:
        """Applies the user's keys, and opens what was asked for."""
        self.set_keymap(self.key_map.keys)
        if self._entry is not None:
            self.open_recipe(self._entry)
        if self._compared:
            self.open_comparison(self._compared)
        if self.key_map.problems:
            shown = "\n".join(self.key_map.problems)
            hint = f"the keys in {keys.key_file()} that are right are in force, for the others the defaults; F1 shows all keys"
            self.push_screen(ErrorDialog(f"{keys.key_file()}:\n{shown}", hint))

    async def on_event(self, event: events.Event) -> None:
        """Shows a key to the screen before it is on its way."""
        if isinstance(event, events.Key) and not event.is_forwarded and self.screen_stack:
            screen = self.screen_stack[-1]
            if isinstance(screen, CounterpointScreen):
                screen.before_key(event)
        await super().on_event(event)

    async def on_unmount(self) -> None:
        """Stores what runs, and what is kept between starts."""
        self.settings.theme = self.theme
        self.not_kept = save_settings(self.settings)
        await self.client.close()

    # --- screens ------------------------------------------------------------------------------------------------------------

    def open_recipe(self, entry: RecipeEntry, prompt: str | None = None) -> None:
        """Shows a recipe, to be asked what was asked before, or something (by default what was last written for it)."""
        self.push_screen(screen_class("recipe")(entry, prompt))

    def open_run(self, request: RunRequest, *, instead: bool = False) -> None:
        """Runs a recipe and shows the run live. Whether it can run is not looked at: see :meth:`start_run`.

        Args:
            request: what is run.
            instead: whether the run takes the place of the screen that is shown.
        """
        screen = screen_class("run")(request)
        if instead:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def open_stored(self, run: str) -> None:
        """Shows a stored run."""
        self.push_screen(screen_class("stored")(run))

    @work(exclusive=True, group="comparison")
    async def open_comparison(
        self, subjects: Sequence[Subject], scorer: str | None = None, instead_of: Screen[None] | None = None
    ) -> None:
        """Reads what is to be compared, and shows it; says why where it cannot be read, and then changes nothing.

        Args:
            subjects: two runs, one evaluation, or two.
            scorer: by which evaluations are compared.
            instead_of: the screen that showed them before.
        """
        try:
            content = await asyncio.to_thread(load, subjects, self.registry, scorer)
        except (CounterpointError, OSError) as error:
            await self.push_screen_wait(ErrorDialog.of(error))
            return
        self.settings.keep_evaluations(subject for subject in subjects if isinstance(subject, Path))
        screen = screen_class("compare")(subjects, content)
        if instead_of is None:
            await self.push_screen(screen)
        elif self.screen is instead_of:
            await self.switch_screen(screen)

    async def start_run(self, request: RunRequest, *, instead: bool = False) -> bool:
        """Runs a recipe after a look at what it needs: asks before something is downloaded, and says why it cannot run.

        To be awaited in a Textual worker. Returns whether the run was begun.
        """
        try:
            if (task := does(request.recipe)) != "answers":
                command = COMMANDS[task]
                raise RecipeError(
                    f"{request.recipe.name}: its output '{request.recipe.output}' {task} and gives no answer",
                    hint=f"`counterpoint {command} {request.recipe.name}` runs it",
                )
            plan = await self.client.plan(request.recipe, request.prompt)
        except CounterpointError as error:
            await self.push_screen_wait(ErrorDialog.of(error))
            return False
        if plan.errors:
            message = "\n".join(f"{finding.node}: {finding.message}" for finding in plan.errors)
            hints = "; ".join(dict.fromkeys(finding.hint for finding in plan.errors if finding.hint))
            await self.push_screen_wait(ErrorDialog(message, hints))
            return False
        if plan.missing and not await self.pull(list(plan.missing), sum(plan.missing.values())):
            return False
        self.open_run(request, instead=instead)
        return True

    async def pull(self, sources: Sequence[str], size: int = 0) -> bool:
        """Downloads models before the user's eyes, after asking where a size is given. To be awaited in a Textual worker."""
        if not sources:
            return True
        if size:
            text = f"{bytes_text(size)} have to be downloaded first, once:\n" + "\n".join(sources)
            answers = [("yes", "Download"), ("no", "Not now")]
            if await self.push_screen_wait(Question("Download models?", text, answers)) != "yes":
                return False
        result = await self.push_screen_wait(PullDialog(self.client, sources))
        if isinstance(result, CounterpointError):
            await self.push_screen_wait(ErrorDialog.of(result))
        return result is True

    @work(exclusive=True, group="run")
    async def run_default(self) -> None:
        """Runs the demo's recipe on its own prompt."""
        try:
            recipe = load_recipe(DEMO, registry=self.registry)
        except CounterpointError as error:
            await self.push_screen_wait(ErrorDialog.of(error))
            return
        await self.start_run(RunRequest(recipe))

    # --- actions ------------------------------------------------------------------------------------------------------------

    def active_now(self, screen: Screen[object] | None = None) -> list[ActiveBinding]:
        """What can be done by a key on a screen at the moment: the screen's own first, in the order of the table of keys."""
        found = list((screen or self.screen).active_bindings.values())
        order = {action.id: (action.scope == "app", place) for place, action in enumerate(keys.ACTIONS)}
        return sorted(found, key=lambda active: order.get(active.binding.id or "", (True, len(order))))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that can be done on a screen, for the command palette."""
        seen = set()
        for node, binding, enabled, _ in self.active_now(screen):
            if binding.id is None or binding.id in seen or not enabled or binding.action == "command_palette":
                continue
            seen.add(binding.id)
            key = self.get_key_display(binding)
            about = f"{binding.tooltip} ({key})" if binding.tooltip else key
            yield SystemCommand(binding.description, about, lambda action=binding.action, node=node: self._do(action, node))
        yield SystemCommand("Screenshot", "save this screen as SVG in the downloads folder", self.deliver_screenshot)

    async def _do(self, action: str, node: object) -> None:
        await self.run_action(action, node)  # type: ignore[arg-type]

    def action_help(self) -> None:
        """Says what the screen is for and which keys it has."""
        if isinstance(self.screen, HelpDialog):
            return
        text = str(getattr(self.screen, "HELP_TEXT", ""))
        self.push_screen(HelpDialog(text, self.active_now()))

    def action_switch_theme(self) -> None:
        """Dark or light."""
        self.theme = LIGHT if self.current_theme.dark else DARK

    def action_interrupt(self) -> None:
        """Quits when pressed twice."""
        now = time.monotonic()
        if now - self._interrupted < _TWICE:
            self.stop(0)
            return
        self._interrupted = now
        self.notify("Ctrl+C once more quits; a run under way is stored as cancelled.", timeout=_TWICE)

    async def action_quit(self) -> None:
        """Ends the application."""
        self.stop(0)

    def stop(self, status: int) -> None:
        """Ends the application with an exit status."""
        self.exit(return_code=status)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In a dialog there is only what belongs to it."""
        return not (isinstance(self.screen, Dialog) and action in ("switch_theme", "command_palette"))

    # --- failures -----------------------------------------------------------------------------------------------------------

    def _handle_exception(self, error: Exception) -> None:
        """A plugin's panel that fails is taken out; everything else ends the application, which says why in its own words.

        (Textual would print the traceback; ``counterpoint --debug`` does.)
        """
        if (panel := offending_panel()) is not None:
            panel.fail(error)
            return
        self.failure = self.failure or error
        super()._handle_exception(error)
        self._exit_renderables.clear()

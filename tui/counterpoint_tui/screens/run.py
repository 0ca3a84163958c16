"""A run, live, and what can be done with it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from textual import work

from counterpoint.prompt import Prompt
from counterpoint_tui import keys
from counterpoint_tui.library import recipe_of_run
from counterpoint_tui.runtext import asked, asked_instead, can_chat, chatted_on, prompt_of
from counterpoint_tui.screens.dialogs import Question
from counterpoint_tui.screens.following import FollowingScreen
from counterpoint_tui.screens.prompting import PromptDialog
from counterpoint_tui.state import answer_text


class RunScreen(FollowingScreen):
    """One run. It is stored by the process that makes it, however this screen is left."""

    HELP_TEXT = (
        "A run as it happens. Every token has the colour and text style of the node that proposed it, as the line above the answer "
        "says; a draft that waits for its verdict stands dim behind the answer, what was rejected of one is struck through.\n"
        "The run is stored as it goes; leaving this screen or the program cancels it, and keeps what there is.\n"
    )
    BINDINGS = [*keys.bindings("run")]
    AUTO_FOCUS = "AnswerView"

    def action_cancel(self) -> None:
        """Ends the run within one pass."""
        if self.live is not None and self.under_way:
            self.live.cancel()
            self._frame = 0
            self._draw()
            self.refresh_bindings()

    def action_another_seed(self) -> None:
        """Runs the same with the next seed."""
        if self.live is None:
            return
        recipe, given = self.request.recipe, self.request.sampling
        sampling = recipe.sampling if given is None else recipe.sampling.merged(given)
        if sampling.temperature == 0:
            self.notify("At temperature 0 every seed gives the same answer.")
        asked_for = recipe.seed if self.request.seed is None else self.request.seed
        seed = self.live.state.seed if self.live.state.recipe else asked_for
        self.application.open_run(replace(self.request, seed=(seed + 1) % 2**63), instead=True)

    @work(exclusive=True, group="ask")
    async def action_another_prompt(self) -> None:
        """Runs the same on another prompt."""
        if self.live is None:
            return
        prompt = prompt_of(self.live)
        text = await self.app.push_screen_wait(PromptDialog("Another prompt", text=asked(prompt)))
        if text is not None:
            await self._ask(asked_instead(prompt, text))

    @work(exclusive=True, group="ask")
    async def action_chat_on(self) -> None:
        """Goes on with the conversation."""
        if self.live is None:
            return
        text = await self.app.push_screen_wait(PromptDialog("Chat on", "The conversation so far, and this message:"))
        if text is not None:
            await self._ask(chatted_on(self.live.state, prompt_of(self.live), text))

    async def _ask(self, prompt: Prompt) -> None:
        """Runs on a prompt after a look at whether the recipe takes it, which may not be so for a conversation."""
        await self.application.start_run(replace(self.request, prompt=prompt), instead=True)

    def action_inspect(self) -> None:
        """Shows the stored run."""
        if self.live is not None and self.live.state.run_id:
            self.application.open_stored(self.live.state.run_id)

    @work
    async def action_open_recipe(self) -> None:
        """Shows the recipe as it was run."""
        prompt, text = self.request.prompt, self.request.recipe.to_yaml()
        entry = await asyncio.to_thread(recipe_of_run, text, self.application.registry, prompt)
        self.application.open_recipe(entry, asked(prompt) if prompt else None)

    def action_copy(self) -> None:
        """Copies the answer."""
        if self.live is not None:
            self.app.copy_to_clipboard(answer_text(self.live.state))
            self.notify("The answer is copied.")

    @work(exclusive=True, group="back")
    async def action_back(self) -> None:
        """Leaves, and asks first where that would end a run."""
        if self.under_way:
            text = "The run is under way. Leaving cancels it; what there is is stored."
            answer = await self.app.push_screen_wait(
                Question("Cancel the run?", text, [("stay", "Stay"), ("leave", "Cancel it and leave")])
            )
            if answer != "leave":
                return
        self.app.pop_screen()  # not awaited: it ends this worker, too

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offers what can be done."""
        live = self.live
        if action == "cancel":
            return live is not None and not live.over and not live.cancelled
        if action in ("another_seed", "another_prompt"):
            return live is not None and live.over
        if action == "chat_on":
            return live is not None and live.over and can_chat(live.state)
        if action == "copy":
            return live is not None and live.state.answer_tokens > 0
        if action == "inspect":
            return live is not None and live.over and bool(live.state.run_id)
        return True

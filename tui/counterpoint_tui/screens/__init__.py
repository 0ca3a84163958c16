"""The screens, each a module. What is not in the table cannot be opened, and nothing offers it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.screen import Screen

SCREENS: dict[str, str] = {
    "home": "counterpoint_tui.screens.home:HomeScreen",
    "recipe": "counterpoint_tui.screens.recipe:RecipeScreen",
    "run": "counterpoint_tui.screens.run:RunScreen",
    "stored": "counterpoint_tui.screens.stored:StoredScreen",
    "compare": "counterpoint_tui.screens.compare:CompareScreen",
}
"""``module:class`` of every screen, imported when first opened.

``run`` takes a :class:`~counterpoint_tui.worker.client.RunRequest` and follows its run live; ``stored`` takes the id of a stored run;
``compare`` takes what is compared and what was read of it (:mod:`counterpoint_tui.comparing`).
"""


def screen_class(name: str) -> Callable[..., Screen[None]]:
    """The class of a screen.

    Raises:
        LookupError: no screen is called so; nothing should have offered it.
    """
    if name not in SCREENS:
        raise LookupError(f"no screen is called '{name}'; there are: {', '.join(SCREENS)}")
    module, _, attribute = SCREENS[name].partition(":")
    found: Callable[..., Screen[None]] = getattr(importlib.import_module(module), attribute)
    return found

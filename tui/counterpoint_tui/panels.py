"""Panels that plugins bring for their own notes (hook ``counterpoint_panels``).

A panel is a Textual widget that is made without arguments and has a method ``show(notes)``, which gets all notes of its name so far.
A panel that raises, wherever it does, is replaced by a box that says so; the application goes on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.text import Text
from textual._context import active_message_pump
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.dom import DOMNode
from textual.widget import Widget
from textual.widgets import Static

from counterpoint.events import Note
from counterpoint.printable import plain
from counterpoint.registry import Registry


def panels(registry: Registry) -> dict[str, str]:
    """``module:Widget`` by note name, of all plugins; one that cannot say its panels is reported like one that cannot be loaded."""
    found: dict[str, str] = {}
    for implementation in registry.manager.hook.counterpoint_panels.get_hookimpls():
        try:
            brought: Any = implementation.function()
            for name, reference in brought.items():
                found.setdefault(str(name), str(reference))
        except Exception as error:  # noqa: BLE001 (a broken plugin is reported, the rest work)
            registry.failures[implementation.plugin_name] = f"its panels: {type(error).__name__}: {error}"
    return found


class PanelBox(Vertical):
    """Holds a plugin's panel, and what went wrong with it."""

    def __init__(self, note: str, reference: str, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self.note, self.reference = note, reference
        self.border_title = note
        self.problem = ""
        self._panel: Widget | None = None

    def compose(self) -> ComposeResult:
        """The panel, or why there is none."""
        try:
            module, _, attribute = self.reference.partition(":")
            panel = getattr(importlib.import_module(module), attribute)()
            if not isinstance(panel, Widget) or not callable(getattr(panel, "show", None)):
                raise TypeError(f"{self.reference} is no widget with a method `show`")
        except Exception as error:  # noqa: BLE001 (whatever the plugin does wrong)
            self.problem = f"{type(error).__name__}: {error}"
            yield self._said()
            return
        self._panel = panel
        self._guard(panel)
        yield panel

    def show(self, notes: Sequence[Note]) -> None:
        """Gives the panel its notes."""
        if self._panel is None or self.problem:
            return
        try:
            self._panel.show(notes)  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001
            self.fail(error)
        for widget in self._panel.walk_children(Widget):
            self._guard(widget)

    def fail(self, error: Exception) -> None:
        """Takes the panel out and says why."""
        if not self.problem:
            self.problem = f"{type(error).__name__}: {error}"
            self.call_later(self._replace)

    async def _replace(self) -> None:
        await self.remove_children()
        await self.mount(self._said())

    def _said(self) -> Static:
        return Static(Text(f"the panel {self.reference} failed: {plain(self.problem)}"), classes="bad")

    def _guard(self, widget: Widget) -> None:
        """What a widget raises while it is drawn would stop the screen that draws it: it is caught here."""
        for name in ("render", "render_line", "render_lines"):
            method = getattr(widget, name, None)
            if method is not None and not isinstance(method, partial):
                setattr(widget, name, partial(self._drawn, method, name))

    def _drawn(self, method: Callable[..., Any], name: str, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception as error:  # noqa: BLE001
            self.fail(error)
            from textual.strip import Strip

            return "" if name == "render" else Strip([]) if name == "render_line" else []


def offending_panel() -> PanelBox | None:
    """The panel in which an exception was raised that is being handled; None when it was somewhere else."""
    try:
        node = active_message_pump.get()
    except LookupError:
        return None
    above = node.ancestors_with_self if isinstance(node, DOMNode) else ()
    return next((one for one in above if isinstance(one, PanelBox)), None)

"""The parts of a screen: all in sight where there is room, else the one whose name is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Tab, Tabs

_WIDGET = TypeVar("_WIDGET", bound=Widget)


def as_part(widget: _WIDGET, name: str, title: str) -> _WIDGET:
    """Makes a widget a part of its screen."""
    widget.id = f"part-{name}"
    widget.add_class("part")
    widget.border_title = title
    return widget


def part(name: str, title: str, *widgets: Widget) -> Vertical:
    """A part that consists of some widgets, one below the other."""
    return as_part(Vertical(*widgets), name, title)


class PartTabs(Tabs):
    """The names of the parts. What a part's class ``-shown`` means is the style sheet's."""

    class Turned(Message):
        """A part is shown that was not; ``chosen``: by the user; ``focus``: it should get the focus."""

        def __init__(self, name: str, *, chosen: bool, focus: bool) -> None:
            super().__init__()
            self.name, self.chosen, self.focus = name, chosen, focus

    def __init__(self, labels: Mapping[str, str]) -> None:
        super().__init__(*(Tab(label, id=f"tab-{name}") for name, label in labels.items()), id="parts-tabs")
        self.labels = dict(labels)
        self.there = list(labels)
        """The parts in which there may be something to see."""
        self.shown = self.there[0]

    def label(self, name: str, text: str) -> None:
        """Names a part anew."""
        self.query_one(f"#tab-{name}", Tab).label = text

    def offer(self, *names: str) -> None:
        """These are the parts in which there may be something to see; the first of all is always one."""
        self.there = [name for name in self.labels if name in names or name == next(iter(self.labels))]
        for name in self.labels:
            self.query_one(f"#tab-{name}", Tab).display = name in self.there
        if self.shown not in self.there:
            self.turn_to(self.there[0], focus=False)

    def turn_to(self, name: str, *, chosen: bool = False, focus: bool = True) -> None:
        """Shows a part (the first where there is nothing to see of it)."""
        name = name if name in self.there else self.there[0]
        for other in self.labels:
            self.screen.query_one(f"#part-{other}").set_class(other == name, "-shown")
        self.shown = name
        self.active = f"tab-{name}"
        self.post_message(self.Turned(name, chosen=chosen, focus=focus))

    def step(self, step: int) -> None:
        """Shows the next part, or the one before."""
        self.turn_to(self.there[(self.there.index(self.shown) + step) % len(self.there)], chosen=True)

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        """A name was chosen."""
        event.stop()
        name = (event.tab.id or "").removeprefix("tab-")
        if event.tab.id == self.active and name != self.shown:  # otherwise another one has been chosen meanwhile
            self.turn_to(name, chosen=True, focus=False)

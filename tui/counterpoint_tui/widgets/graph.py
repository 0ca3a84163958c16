"""The model graph as a picture that scrolls; a click chooses a node."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import ScrollableContainer
from textual.message import Message
from textual.widgets import Static

from counterpoint.graph import Graph
from counterpoint_tui import graphs
from counterpoint_tui.drawing import Drawing, draw
from counterpoint_tui.themes import NodeMark, node_mark


class GraphView(ScrollableContainer, can_focus=True):
    """A graph; nodes in ``active`` are where work is."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"graph--wire", "graph--chosen", "graph--active"}

    class Chosen(Message):
        """A node was clicked."""

        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._drawing = Drawing((), {})
        self._marks: dict[str, NodeMark] = {}
        self._chosen = ""
        self._active: Collection[str] = ()
        self._paths: list[str] = []
        self._graph: Graph | None = None

    def compose(self) -> ComposeResult:
        """One text, which is as wide as the picture."""
        yield Static(id="picture")

    def show(self, graph: Graph) -> None:
        """Draws a graph."""
        self._graph = graph
        self._paths = graphs.paths(graph)
        letters = {path: node_mark(place).letter for place, path in enumerate(self._paths)}
        self._drawing = draw(graphs.boxes(graph, letters), graphs.arrows(graph))
        self._paint(layout=True)

    def choose(self, path: str) -> None:
        """Marks a node as the one that is looked at."""
        self._chosen = path
        self._paint()

    def activate(self, paths: Collection[str]) -> None:
        """Lights up the nodes where work is."""
        if set(paths) != set(self._active):
            self._active = paths
            self._paint()

    def on_mount(self) -> None:
        """Colours follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._paint())

    def _paint(self, *, layout: bool = False) -> None:
        drawing, dark = self._drawing, self.app.current_theme.dark
        text = Text("\n".join(drawing.lines), style=self.get_component_rich_style("graph--wire", partial=True), no_wrap=True)
        line = drawing.width + 1
        for number, path in enumerate(self._paths):
            place = drawing.places.get(path)
            if place is None:
                continue
            around = "graph--active" if path in self._active else "graph--chosen" if path == self._chosen else ""
            for row in range(place.height):
                start = (place.y + row) * line + place.x
                if around:
                    text.stylize(self.get_component_rich_style(around, partial=True), start, start + place.width)
                if row == 1:
                    lit = " reverse" if path in self._active else ""  # what is lit is seen without colour, too
                    text.stylize(node_mark(number, dark=dark).style + lit, start + 2, start + place.width - 2)
        self.query_one("#picture", Static).update(text, layout=layout)

    def on_click(self, event: events.Click) -> None:
        """Chooses the node under the mouse."""
        offset = event.get_content_offset(self.query_one("#picture"))
        if offset is None:
            return
        for path, place in self._drawing.places.items():
            if (offset.x, offset.y) in place:
                self.post_message(self.Chosen(path))
                return

"""Plugins' panels for their own notes, as of a place in a trace."""

from __future__ import annotations

from bisect import bisect_left
from typing import cast

from textual.containers import VerticalScroll

from counterpoint.events import Note
from counterpoint.registry import Registry
from counterpoint_tui.panels import PanelBox, panels
from counterpoint_tui.state import TraceView


class NotesPane(VerticalScroll):
    """A panel for each name of notes that a plugin has one for."""

    def __init__(self, registry: Registry, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._panels = panels(registry)
        self._boxes: dict[str, PanelBox] = {}
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[int]] = {}
        self._notes: dict[str, list[Note]] = {}

    def open(self, trace: TraceView) -> bool:
        """Makes the panels for a trace that has been read; whether there are any."""
        self._counts.clear()
        self._notes.clear()
        found = trace.last.notes
        self._places = {name: [note.event for note in found[name]] for name in self._panels if name in found}
        for name in self._places:
            if name not in self._boxes:
                self._boxes[name] = PanelBox(name, self._panels[name])
                self.mount(self._boxes[name])
        return bool(self._boxes)

    def follow(self, trace: TraceView) -> bool:
        """Shows what there is of a trace that grows; whether there are any panels."""
        found = trace.last.notes
        for name in (name for name in self._panels if name in found):
            notes = self._notes.setdefault(name, [])
            if len(notes) < len(found[name]):
                notes += [cast("Note", trace.event(note.event)) for note in found[name][len(notes) :]]
                if name not in self._boxes:
                    self._boxes[name] = PanelBox(name, self._panels[name])
                    self.mount(self._boxes[name])
                self._boxes[name].call_later(self._boxes[name].show, list(notes))
        return bool(self._boxes)

    def show(self, trace: TraceView, place: int) -> None:
        """Gives each panel the notes up to a place."""
        for name, places in self._places.items():
            count = bisect_left(places, place)
            if self._counts.get(name) == count:
                continue
            notes = self._notes.setdefault(name, [])
            notes += [cast("Note", trace.event(index)) for index in places[len(notes) : count]]
            self._counts[name] = count
            self._boxes[name].call_later(self._boxes[name].show, notes[:count])

"""One row of a form: a field's name, its input, and what is wrong with what stands in it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, HorizontalGroup, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Select, Switch
from textual.widgets.select import InvalidSelectValueError

from counterpoint_tui.fields import FormField, NotThat, read, shown
from counterpoint_tui.recipe_text import UNSET

_INLINE = "\N{HORIZONTAL ELLIPSIS}inline"
_LONGEST = 20_000


class FieldRow(Horizontal):
    """A field's name and its input."""

    class Edited(Message):
        """The input has another value."""

        def __init__(self, field: FormField, value: Any) -> None:
            super().__init__()
            self.field, self.value = field, value

    class Judged(Message):
        """Something is wrong with what stands in the input, or no longer."""

        def __init__(self, row: FieldRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, field: FormField, value: Any, offers: Sequence[str]) -> None:
        super().__init__()
        self.field, self.value, self._offers = field, value, offers
        self.problem = ""
        """Why what stands in the input is no value."""

    def compose(self) -> ComposeResult:
        """Label and input."""
        yield Label(self.field.label, classes="required" if self.field.required else "")
        yield from self._inputs()

    def _inputs(self) -> ComposeResult:
        field = self.field
        if field.takes == "switch":
            on_now = bool(field.default if self.value is None else self.value)
            with HorizontalGroup():
                yield Switch(on_now)
                yield Label(shown(on_now), classes="state")
        elif field.takes == "choice":
            yield _select(field.choices, shown(self.value), _placeholder(field))
        elif field.takes == "node":
            yield self._reference(self.value, _placeholder(field), blank=not field.required)
        elif field.takes == "nodes":
            with Vertical():
                for item in listed(self.value):
                    yield self._reference(item, "remove")
                yield self._reference(None, "add a node")
        else:
            yield Input(shown(self.value), placeholder=_placeholder(field), max_length=_LONGEST, compact=True)

    def _reference(self, value: Any, prompt: str, *, blank: bool = True) -> Widget:
        return _select(self._offers, _option(value) if isinstance(value, Mapping) else shown(value), prompt, blank=blank)

    def set_value(self, value: Any) -> None:
        """Shows another value, as it came from elsewhere."""
        if value == self.value:
            return
        self.value = value
        field = self.field
        with self.prevent(Input.Changed, Select.Changed, Switch.Changed):
            if field.takes == "switch":
                on_now = bool(field.default if value is None else value)
                self.query_one(Switch).value = on_now
                self.query_one(".state", Label).update(shown(on_now))
            elif field.takes in ("choice", "node", "nodes"):
                items = listed(value) if field.takes == "nodes" else [value]
                for select, item in zip(self.query(Select), items, strict=False):
                    _set(select, _option(item) if isinstance(item, Mapping) else shown(item))
            else:
                entry = self.query_one(Input)
                if _read_or_none(field, entry.value) != value:
                    entry.value = shown(value)
        self._wrong("")

    def enter(self) -> None:
        """Puts the focus on its (last) input."""
        inputs = [widget for widget in self.query("*") if widget.focusable]
        if inputs:
            inputs[-1].focus()

    def _wrong(self, message: str) -> None:
        if message != self.problem:
            self.problem = message
            self.set_class(bool(message), "-wrong")
            self.post_message(self.Judged(self))

    # --- edits --------------------------------------------------------------------------------------------------------------

    def _edited(self, value: Any) -> None:
        if value != (UNSET if self.value is None else self.value):
            self.value = None if value is UNSET else value
            self.post_message(self.Edited(self.field, value))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        try:
            value = read(self.field, event.value)
        except NotThat as problem:
            self._wrong(str(problem))
            return
        self._wrong("")
        self._edited(UNSET if value is None else value)

    @on(Switch.Changed)
    def _switched(self, event: Switch.Changed) -> None:
        event.stop()
        self.query_one(".state", Label).update(shown(event.value))
        self._edited(UNSET if event.value == self.field.default else event.value)

    @on(Select.Changed)
    def _selected(self, event: Select.Changed) -> None:
        event.stop()
        if self.field.takes == "nodes":
            self._edited(self._several() or UNSET)
        elif event.select.is_blank():
            self._edited(UNSET)
        elif not str(event.value).endswith(_INLINE):
            self._edited(read(self.field, str(event.value)))

    def _several(self) -> Any:
        """The nodes that the selects name; one alone stays a single one where it was."""
        before = listed(self.value)
        chosen = []
        for place, select in enumerate(self.query(Select)):
            if select.is_blank():
                continue
            inline = str(select.value).endswith(_INLINE)
            chosen.append(before[place] if inline and place < len(before) else str(select.value))
        single = not isinstance(self.value, list) and self.value is not None and len(chosen) == 1
        return chosen[0] if single else chosen


class GroupRow(Horizontal):
    """Stands for fields that are absent together, until they are wanted."""

    class Wanted(Message):
        """Its fields are to be shown."""

        def __init__(self, group: str) -> None:
            super().__init__()
            self.group = group

    def __init__(self, group: str, count: int) -> None:
        super().__init__()
        self.group, self._count = group, count

    def compose(self) -> ComposeResult:
        """Label and button."""
        yield Label(self.group)
        yield Button(f"show {self._count} more", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Asks for the fields."""
        event.stop()
        self.post_message(self.Wanted(self.group))


def not_offered(field: FormField, value: Any, offered: Sequence[str]) -> tuple[str, ...]:
    """Values that no option of the field's selects stands for."""
    if field.takes not in ("choice", "node", "nodes"):
        return ()
    found = (_option(item) if isinstance(item, Mapping) else shown(item) for item in listed(value))
    return tuple(text for text in found if text not in offered)


def _option(inline: Mapping[str, Any]) -> str:
    """What stands for a node that is written inside another."""
    return f"{inline.get('kind', '?')} {_INLINE}"


def listed(value: Any) -> list[Any]:
    """The items of a value that may be one or several."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _read_or_none(field: FormField, text: str) -> Any:
    try:
        return read(field, text)
    except NotThat:
        return None


def _placeholder(field: FormField) -> str:
    return "required" if field.required else shown(field.default) or "not set"


def _select(options: Sequence[str], value: str, prompt: str, *, blank: bool = True) -> Select[str]:
    found = [*options] if not value or value in options else [value, *options]
    chosen = value or Select.NULL
    return Select([(one, one) for one in found], prompt=prompt, value=chosen, allow_blank=blank or not value, compact=True)


def _set(select: Select[str], value: str) -> None:
    with contextlib.suppress(InvalidSelectValueError):  # then the text is wrong, and says so
        select.value = value or Select.NULL

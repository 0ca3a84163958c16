"""A form for the parts of a recipe, made from the schemas of their kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Select, Static

from counterpoint.registry import Registry
from counterpoint_tui.fields import fitting_nodes
from counterpoint_tui.formnodes import RECIPE, FormNode, form_fields, form_nodes, value_at
from counterpoint_tui.recipe_text import Path
from counterpoint_tui.widgets.field_row import FieldRow, GroupRow, listed, not_offered


class RecipeForm(Vertical):
    """The form of one part of a recipe at a time, and what the field with the focus means."""

    class Edited(Message):
        """A value was changed; :data:`~counterpoint_tui.recipe_text.UNSET` takes it out."""

        def __init__(self, path: Path, value: Any) -> None:
            super().__init__()
            self.path, self.value = path, value

    class Chosen(Message):
        """Another part is shown."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, registry: Registry, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._registry = registry
        self._data: Mapping[str, Any] = {}
        self._parts: list[FormNode] = []
        self._built: tuple[object, ...] = ()
        self._filling = False
        self._opened: set[tuple[str, str]] = set()
        """Groups of fields that are shown though they are absent, with their node."""

    def compose(self) -> ComposeResult:
        """A choice of the part, its fields, and a line of help."""
        yield Select[str]([], prompt="a node", allow_blank=True, id="node", compact=True)
        yield VerticalScroll(id="fields", can_focus=False)
        yield Static(id="field-help")

    # --- what is shown ------------------------------------------------------------------------------------------------------

    @property
    def chosen(self) -> FormNode | None:
        """The part that is shown."""
        value = self.query_one("#node", Select).value
        return next((node for node in self._parts if node.name == value), None)

    def show(self, data: Mapping[str, Any]) -> None:
        """Shows a recipe's data; the part that is looked at stays, where it is still there."""
        self._data = data
        nodes = form_nodes(data, self._registry)
        chooser = self.query_one("#node", Select)
        if nodes != self._parts:
            before = chooser.value
            self._parts = nodes
            names = [node.name for node in nodes]
            with self.prevent(Select.Changed):
                chooser.set_options([(_title(node), node.name) for node in nodes])
                chooser.value = before if before in names else self._first(names)
        self._fill_soon()

    def choose(self, name: str) -> None:
        """Shows another part."""
        if any(node.name == name for node in self._parts):
            self.query_one("#node", Select).value = name

    def _first(self, names: Sequence[str]) -> str:
        output = self._data.get("output")
        return output if isinstance(output, str) and output in names else names[0]

    @on(Select.Changed, "#node")
    def _node_chosen(self, event: Select.Changed) -> None:
        event.stop()
        self._fill_soon()
        if (node := self.chosen) is not None:
            self.post_message(self.Chosen(node.name))

    def _fill_soon(self) -> None:
        """Fills the form as a message of its own: nothing may break in while rows come and go."""
        if not self._filling:
            self._filling = self.call_later(self._fill)

    async def _fill(self) -> None:
        """Makes the rows of a part, or only puts other values into those that are there."""
        self._filling = False
        node = self.chosen
        if node is None or not self.is_attached:
            return
        given = form_fields(node, self._registry)
        hidden = {
            field.group: sum(one.group == field.group for one in given)
            for field in given
            if field.group
            and (node.name, field.group) not in self._opened
            and value_at(self._data, (*node.path, field.group)) is None
        }
        fields = [field for field in given if field.group not in hidden]
        values = {field.path: value_at(self._data, (*node.path, *field.path)) for field in fields}
        nodes = self._data.get("nodes")
        names = nodes if isinstance(nodes, Mapping) else {}
        here = str(node.path[1]) if len(node.path) == 2 else ""
        offers = {
            field.path: tuple(fitting_nodes(field.role, names, self._registry, here))
            for field in fields
            if field.role is not None
        }
        counts = tuple(len(listed(values[field.path])) for field in fields if field.takes == "nodes")
        strange = tuple(not_offered(field, values[field.path], offers.get(field.path, field.choices)) for field in fields)
        built = (node, tuple(offers.items()), counts, strange, tuple(hidden))
        scroll = self.query_one("#fields", VerticalScroll)
        rows = [FieldRow(field, values[field.path], offers.get(field.path, ())) for field in fields]
        if built == self._built:
            for row, new in zip(scroll.query(FieldRow), rows, strict=True):
                row.set_value(new.value)
            return
        self._built = ()
        at = next((row.field.path for row in scroll.query(FieldRow) if row.has_focus_within), None)
        async with self.batch():
            await scroll.remove_children()
            await scroll.mount_all([*rows, *(GroupRow(group, count) for group, count in hidden.items())])
        self._built = built
        again = next((row for row in rows if row.field.path == at), None)
        if again is not None:
            again.enter()
        self._help(again)

    # --- what the user does -------------------------------------------------------------------------------------------------

    def on_field_row_edited(self, event: FieldRow.Edited) -> None:
        """Tells which place of the recipe has another value."""
        event.stop()
        if (node := self.chosen) is not None:
            self.post_message(self.Edited((*node.path, *event.field.path), event.value))

    def on_group_row_wanted(self, event: GroupRow.Wanted) -> None:
        """Shows the fields of a group."""
        event.stop()
        if (node := self.chosen) is not None:
            self._opened.add((node.name, event.group))
            self._fill_soon()

    def on_field_row_judged(self, event: FieldRow.Judged) -> None:
        """Says what is wrong with a field."""
        event.stop()
        self._help(event.row)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Says what the field is for."""
        self._help(next((one for one in event.widget.ancestors_with_self if isinstance(one, FieldRow)), None))

    def _help(self, row: FieldRow | None) -> None:
        text = Text()
        node = self.chosen
        if row is None and node is not None and node.kind:
            text.append(node.kind, style="bold")
            text.append(f"  {self._registry.kind(node.kind).summary}")
        if row is not None:
            text.append(row.field.label, style="bold")
            text.append(f"  {row.problem or row.field.help}")
        for line in self.query("#field-help").results(Static):  # there is none while the screen is being left
            line.update(text)
            line.set_class(bool(row and row.problem), "bad")


def _title(node: FormNode) -> str:
    return "the recipe itself" if node.name == RECIPE else f"{node.name}: {node.kind}"

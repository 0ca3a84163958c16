"""Lines of stored traces as events, whatever has happened to them.

The run store refuses what it cannot read. A screen shows what it can: a line that a killed process was writing is left out, a field
of a newer format is passed over, and what is no event at all stands in the list as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import ValidationError

from counterpoint.events import SCHEMA, Event, EventBase, parse_event

_CLASSES: dict[str, type[EventBase]] = {cls.model_fields["type"].default: cls for cls in get_args(Event)}
_HEAD = 200


class Unreadable(EventBase):
    """A line that is no event of this version; it changes nothing but the count of events."""

    type: Literal["unreadable"] = "unreadable"
    name: str = ""
    """The type that the line names, if any."""
    reason: str = ""
    head: str = ""
    """Its beginning."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a trace, for its reader, and what can be done."""

    message: str
    hint: str = ""


def read_event(line: bytes | str) -> EventBase:
    """The event of a line: as it is, without what this version does not know, or :class:`Unreadable`."""
    try:
        return parse_event(line)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
    except RecursionError:
        reason = "nested too deeply"
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        return Unreadable(reason=reason, head=_head(line))
    return _without_unknown(data) or Unreadable(**_stamp(data), name=str(data.get("type", "")), reason=reason, head=_head(line))


def _without_unknown(data: Mapping[str, Any]) -> EventBase | None:
    """The event without fields that this version does not know; None where that does not help."""
    cls = _CLASSES.get(str(data.get("type")))
    if cls is None:
        return None
    try:
        return cls.model_validate_json(json.dumps({name: value for name, value in data.items() if name in cls.model_fields}))
    except (ValidationError, ValueError):
        return None


def _stamp(data: Mapping[str, Any]) -> dict[str, Any]:
    """Where and when an event was, as far as that can be read."""
    found: dict[str, Any] = {}
    for name, kinds in (("seq", int), ("t", (int, float)), ("span", int), ("parent", int), ("node", str)):
        if isinstance(value := data.get(name), kinds) and not isinstance(value, bool):
            found[name] = value
    return found


def _head(line: bytes | str) -> str:
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    return text if len(text) <= _HEAD else text[: _HEAD - 1] + "…"


def split_lines(data: bytes) -> tuple[list[bytes], Problem | None]:
    """The lines of a trace; and what is wrong with its end, where a process was killed while it wrote."""
    lines = data.split(b"\n")
    last = lines.pop()
    if last and not isinstance(read_event(last), Unreadable):
        lines.append(last)
    elif last:
        return lines, Problem(
            f"the last line was cut off while it was written: what came before it, {len(lines)} events, is shown"
        )
    return lines, None


def version_problem(version: int) -> Problem | None:
    """What to say of a trace's format; None where it is one that this version reads."""
    if version <= SCHEMA:
        return None
    return Problem(
        f"the trace has format {version}, and this Counterpoint reads formats up to {SCHEMA}: what can be read of it is shown",
        hint="read it with the newer Counterpoint that recorded it: pip install -U counterpoint",
    )


def strings(value: Any) -> Iterator[str]:
    """All texts in plain data, names of fields not."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings(item)

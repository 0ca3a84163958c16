"""The pages on the command line and on traces name what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from counterpoint.cli.app import build_app
from counterpoint.events import Event, EventBase
from counterpoint.registry import Registry
from counterpoint.tally import NodeSummary, Summary

DOCS = Path(__file__).parents[3] / "docs"


def test_every_command_is_described(registry: Registry) -> None:
    text = (DOCS / "cli.md").read_text()
    app = build_app(registry)
    names = {command.name for command in app.registered_commands} | {
        group.typer_instance.info.name for group in app.registered_groups
    }
    for name in names:
        assert f"`counterpoint {name}" in text, name
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:
            row = next(
                line for line in text.splitlines() if line.startswith(f"| `counterpoint {group.typer_instance.info.name} ")
            )
            assert str(command.name) in row


@pytest.mark.parametrize("event", get_args(Event), ids=lambda event: event.model_fields["type"].default)
def test_every_event_is_described(event: type[EventBase]) -> None:
    text = (DOCS / "traces.md").read_text()
    (row,) = (line for line in text.splitlines() if line.startswith(f"| `{event.model_fields['type'].default}` |"))
    own = [name for name in event.model_fields if name not in EventBase.model_fields and name != "type"]
    assert re.findall(r"`(\w+)`", row.rsplit("|", 2)[1]) == own


def test_every_number_is_described() -> None:
    text = (DOCS / "traces.md").read_text()
    numbers = {*NodeSummary.__dataclass_fields__, *Summary.__dataclass_fields__}
    for name in numbers - {"node", "kind", "role", "run_id", "finish_reason", "error", "nodes"}:
        assert f"`{name}`" in text, name

"""The terminal application, itself a plugin: it adds the command ``counterpoint tui``, and Textual is imported when that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint.plugin import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def counterpoint_commands(app: typer.Typer) -> None:
    """`counterpoint tui`."""
    from counterpoint_tui.command import tui

    app.command("tui")(tui)

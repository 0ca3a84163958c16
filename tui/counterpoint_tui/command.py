"""`counterpoint tui`. Textual is imported when the command runs, not before."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Literal

import typer

from counterpoint.cli.completion import complete_recipe
from counterpoint.cli.console import cli_of
from counterpoint.errors import CounterpointError


def tui(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe's name or YAML file to open at once.", autocompletion=complete_recipe),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare",
            metavar="RUN|FOLDER",
            help="Compare two stored runs, or look through one evaluation or two; name each with a --compare of its own.",
        ),
    ] = None,
    theme: Annotated[
        Literal["dark", "light"] | None, typer.Option("--theme", help="By default as it was last; dark at first.")
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="Use no colours, as with NO_COLOR.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Run and inspect model collaborations in the terminal.

    F1 helps on every screen, Ctrl-P lists what can be done, Ctrl-Q quits.
    """
    _need_terminal()
    cli = cli_of(context)
    if no_color:
        os.environ["NO_COLOR"] = "1"
    from counterpoint_tui.running import run_application

    status = run_application(cli.registry, recipe=recipe, compare=compare or (), theme=theme, offline=offline, warn=cli.warn)
    raise typer.Exit(status)


def _need_terminal() -> None:
    """Refuses where nothing can be drawn.

    Raises:
        CounterpointError: standard input, output or error is no terminal, or the terminal cannot place its cursor.
    """
    hint = "`counterpoint run` and `counterpoint replay` work without one"
    streams = {"input": sys.__stdin__, "output": sys.__stdout__, "error": sys.__stderr__}
    for name, stream in streams.items():
        if stream is None or not stream.isatty():
            raise CounterpointError(f"the terminal application needs a terminal, and standard {name} is none", hint=hint)
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        name = os.environ.get("TERM") or "not set"
        raise CounterpointError(
            f"this terminal (TERM={name}) cannot be drawn on", hint=f"{hint}; or set TERM, say to xterm-256color"
        )

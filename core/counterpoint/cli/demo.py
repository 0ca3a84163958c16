"""`counterpoint demo`: the shortest way to two models playing together."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from counterpoint.cli import CANCELLED
from counterpoint.cli.backend import BackendKind, with_backend
from counterpoint.cli.console import Cli, bytes_text, cli_of, say
from counterpoint.plan import Plan

RECIPE = "speculative"


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo(
    context: typer.Context,
    backend: BackendKind = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before downloading.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Watch a small and a large model play together.

    Runs the recipe `speculative` on its own prompt. The models are downloaded the first time, and said how much before.
    """
    from counterpoint.cli.driving import Interrupts, Show, drive
    from counterpoint.engine import Engine

    cli = cli_of(context)
    with Interrupts(cli) as interrupts, Engine(registry=cli.registry, offline=offline) as engine:
        recipe = with_backend(engine.recipe(RECIPE), backend, cli.registry)
        cli.err.print("looking at the models …", markup=False)
        plan = engine.plan(recipe)
        plan.check()
        if plan.download_bytes:
            announce(cli, plan)
            if not yes and sys.stdin.isatty() and cli.err.is_terminal and not typer.confirm("Go on?", default=True, err=True):
                raise typer.Exit(CANCELLED)
        assert recipe.prompt is not None, "the shipped recipe has a prompt"
        cli.err.print(f"[bold]{recipe.name}[/]: {recipe.description}", soft_wrap=True)
        prompt = recipe.prompt.text or recipe.prompt.messages[-1].content
        say(cli.err, "prompt", prompt.strip())
        cli.err.print()
        status = drive(cli, [engine.stream(recipe)], Show(), interrupts)
    if status == 0:
        cli.err.print(
            'next: `counterpoint replay last`, `counterpoint recipes list`, `counterpoint run RECIPE "a prompt"`', markup=False
        )
    raise typer.Exit(status)


def announce(cli: Cli, plan: Plan) -> None:
    """Says what will be downloaded, and where it will be."""
    from counterpoint import paths

    missing = {facts.source: facts.download_bytes for facts in plan.facts.values() if facts.download_bytes}
    cli.err.print(
        f"to download, once: {bytes_text(plan.download_bytes)}, kept in {paths.models()}", markup=False, soft_wrap=True
    )
    for source, size in missing.items():
        cli.err.print(f"  {source}: {bytes_text(size)}", markup=False, soft_wrap=True)

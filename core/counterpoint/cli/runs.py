"""`counterpoint runs`: what has been run."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from counterpoint.cli.completion import complete_run
from counterpoint.cli.console import Cli, cli_of, colours, seconds_text, table, write
from counterpoint.errors import RunError
from counterpoint.runstore import RunStore, StoredRun

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The start of a run's id, or last.", autocompletion=complete_run)]


def add(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(name="runs", help="Stored runs.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(list_runs)
    group.command("show")(show)
    group.command("export")(export)
    group.command("rm")(remove)
    app.add_typer(group)


def list_runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Most runs to show; 0 shows all.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List stored runs, newest first."""
    cli = cli_of(context)
    runs = RunStore().list()
    chosen = runs[:limit] if limit else runs
    if json:
        cli.json([asdict(run) for run in chosen])
        return
    if not runs:
        cli.err.print("no runs are stored; `counterpoint run RECIPE` stores one", markup=False)
        return
    shown = table("run", "recipe", "when", "status", "tokens", "time", "prompt", right="tokens,time")
    for run in chosen:
        head = run.prompt if run.status != "damaged" else run.problem
        shown.add_row(run.id, run.recipe, _when(run), run.status, str(run.tokens), seconds_text(run.seconds), head)
    cli.out.print(shown)
    if len(chosen) < len(runs):
        cli.err.print(f"{len(runs) - len(chosen)} more: --limit 0 shows all", markup=False)


def show(
    context: typer.Context, run: RunId = "last", json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show a run: its prompt, answer and costs."""
    from counterpoint.cli.console import say
    from counterpoint.cli.render import show_summary
    from counterpoint.trace import Summary

    cli = cli_of(context)
    store = RunStore()
    found = store.resolve(run)
    result = store.result(found)
    if json:
        cli.json(result)
        return
    described = store.describe(found)
    cli.out.print(f"[bold]{found}[/] · {described.recipe} · {_when(described)} · {described.status}\n", soft_wrap=True)
    palette = _show_text(cli, store, found)
    show_summary(cli.out, Summary.from_dict(result["summary"]), palette.get)
    if result["error"]:
        say(cli.out, "error", result["error"]["message"])
        if result["error"]["hint"]:
            say(cli.out, "hint", result["error"]["hint"])
    cli.out.print(f"stored in {store.path(found)}", markup=False, soft_wrap=True)


def _show_text(cli: Cli, store: RunStore, run: str) -> dict[str, str]:
    """The prompt, and the answer in its colours."""
    from counterpoint.trace import segments

    events = list(store.replay(run))
    palette: dict[str, str] = {}
    for event in events:
        if event.type == "run_started":
            palette = colours(event.recipe)
            for message in event.prompt.chat():
                cli.out.print(f"[bold]{message['role']}:[/]", end=" ")
                write(cli.out, message["content"].strip() + "\n")
    cli.out.print("[bold]answer:[/]", end=" ")
    for segment in segments(events):
        write(cli.out, segment.text, palette.get(segment.proposer))
    write(cli.out, "\n\n")
    return palette


def export(
    context: typer.Context,
    run: RunId = "last",
    format: Annotated[  # noqa: A002
        Literal["text", "json", "recipe", "svg"],
        typer.Option(
            "--format",
            "-f",
            help="text: the answer; json: all events and the summary; recipe: YAML to run again; svg: a picture.",
        ),
    ] = "text",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead of printing it.")] = None,
) -> None:
    """Print a run, as it is, for other programs."""
    cli = cli_of(context)
    if format == "svg":
        from counterpoint.cli.picture import picture

        text = picture(RunStore(), run)
    else:
        text = RunStore().export(run, format)
    if out is None:
        cli.out.file.write(text if format == "text" or text.endswith("\n") else text + "\n")
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror}", hint="choose a folder you may write to") from None
    cli.err.print(f"wrote {out}", markup=False, soft_wrap=True)


def remove(
    context: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Runs to delete.", autocompletion=complete_run)],
) -> None:
    """Delete stored runs; none is deleted when one of them is not there."""
    for run in RunStore().remove(runs):
        cli_of(context).out.print(f"deleted {run}", markup=False, soft_wrap=True)


def _when(run: StoredRun) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))

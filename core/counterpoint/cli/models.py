"""`counterpoint models`: what is on this machine, and what could be."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from counterpoint.cli import ERROR
from counterpoint.cli.completion import complete_model
from counterpoint.cli.console import bytes_text, cli_of, say, table
from counterpoint.cli.progress import ProgressDisplay

ModelSource = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A catalogue name, hf:ORG/NAME, path:FOLDER_OR_GGUF or artifact:NAME.",
        autocompletion=complete_model,
    ),
]
_STATES = {"absent": "not here", "gguf": "here", "converted": "here, converted"}


def add(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(name="models", help="Models on this machine.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(list_models)
    group.command("pull")(pull)
    group.command("path")(path)
    group.command("verify")(verify)
    group.command("rm")(remove)
    app.add_typer(group)


def list_models(context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the catalogue and what has been fetched or converted."""
    from counterpoint.store import ModelStore

    cli = cli_of(context)
    store = ModelStore()
    models = store.list()
    if json:
        cli.json([asdict(model) for model in models])
        return
    shown = table("model", "state", "on disk", "to download", "licence", "what it is", right="on disk,to download")
    for model in models:
        missing = (store.download_size(model.name) or 0) if model.state == "absent" else 0
        shown.add_row(
            model.name,
            _STATES[model.state],
            bytes_text(model.bytes) if model.bytes else "",
            bytes_text(missing) if missing else "",
            model.licence,
            model.description,
        )
    cli.out.print(shown)
    cli.out.print(f"kept in {store.root}", markup=False, soft_wrap=True)


def pull(
    context: typer.Context,
    source: ModelSource,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Get the GGUF file as it is; by default it is converted for transformers.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network; convert what is here.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Download a model, check it, and make it ready; what is here already stays, what is damaged is made anew."""
    from counterpoint.cli.driving import licence_notice
    from counterpoint.store import ModelStore

    cli = cli_of(context)
    store = ModelStore()
    missing = store.download_size(source)
    if missing and (notice := licence_notice({"source": source})):
        say(cli.err, "licence", notice)
    if missing and not quiet:
        cli.err.print(f"to download: {bytes_text(missing)}", markup=False)
    with ProgressDisplay(cli.err, quiet=quiet) as display:
        files = store.ensure(
            source, formats=("gguf",) if gguf else ("safetensors",), progress=display.add, offline=offline, repair=missing == 0
        )
    if missing and not licence_notice({"source": source}):
        say(cli.err, "licence", files.licence)
    cli.out.print(str(files.gguf if gguf else files.directory), markup=False, soft_wrap=True)


def path(context: typer.Context, source: ModelSource) -> None:
    """Print where a model's files are."""
    from counterpoint.store import ModelStore

    cli_of(context).out.print(str(ModelStore().path(source)), markup=False, soft_wrap=True)


def verify(
    context: typer.Context,
    source: ModelSource,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Read every file of a model and compare it with its checksum. Exit status: 1 when something is damaged."""
    from counterpoint.store import ModelStore

    cli = cli_of(context)
    with ProgressDisplay(cli.err, quiet=quiet) as display:
        problems = ModelStore().verify(source, display.add)
    for problem in problems:
        cli.out.print(str(problem), markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(ERROR)
    cli.out.print(f"{source}: every file is as it was recorded", markup=False, soft_wrap=True)


def remove(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Models to delete.", autocompletion=complete_model)],
) -> None:
    """Delete what the store holds of models; your own files are never touched."""
    from counterpoint.store import ModelStore

    cli = cli_of(context)
    store = ModelStore()
    for source in sources:
        cli.out.print(f"{source}: {bytes_text(store.remove(source))} freed", markup=False, soft_wrap=True)

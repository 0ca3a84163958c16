"""`counterpoint run` and `counterpoint replay`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from counterpoint.cli import OK, options
from counterpoint.cli.backend import BackendKind, with_backend
from counterpoint.cli.completion import complete_recipe, complete_run
from counterpoint.cli.console import cli_of, say
from counterpoint.errors import RecipeError
from counterpoint.events import Event, Failed, Progress
from counterpoint.node import Trainer, Verifier
from counterpoint.recipe import Recipe

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NODE.FIELD=VALUE", help="Change a setting of the recipe, as in large.dtype=float32 or seed=7."
    ),
]
PromptText = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="The prompt; - reads standard input.")]
PromptFile = Annotated[Path | None, typer.Option("--prompt-file", metavar="FILE", help="A text file with the prompt.")]
Messages = Annotated[
    Path | None,
    typer.Option("--messages", metavar="FILE", help='A JSON file with chat messages: [{"role": "user", "content": …}, …].'),
]
Prefix = Annotated[str, typer.Option("--prefix", metavar="TEXT", help="The start of the answer; the models go on from it.")]
Fields = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="NAME=VALUE", help="A field of the prompt for verifiers; NAME=@FILE reads a file."),
]
RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe's name or YAML file.", autocompletion=complete_recipe)
]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]


def add(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("run")(run)
    app.command("replay")(replay)


def run(
    context: typer.Context,
    recipe: RecipeName,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="What to answer; - reads standard input. By default what is piped in, or the recipe's own."
        ),
    ] = None,
    text: PromptText = None,
    file: PromptFile = None,
    messages: Messages = None,
    prefix: Prefix = "",
    field: Fields = None,
    setting: Settings = None,
    backend: BackendKind = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all draws.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="LIMITS", help="What the run may cost: flops=1e12,seconds=30,tokens=200, or some of them."
        ),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, max=1024, help="How many answers; they run together.")] = 1,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Most tokens of the answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0.0, max=100.0, help="0 is greedy; 1 samples the model as it is.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object (one a line with --samples) instead of text.")
    ] = False,
    no_store: Annotated[bool, typer.Option("--no-store", help="Do not store the run.")] = False,
    offline: Offline = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer, warnings and errors only.")] = False,
) -> None:
    """Run a recipe and stream its answer.

    The answer goes to standard output, on a terminal in a colour for each node that proposed it; progress and costs go to
    standard error. Ctrl-C ends the run and keeps what there is.

    Exit status: 0 done, 1 error, 2 wrong usage, 3 a budget ended the answer early, 130 cancelled.
    """
    from counterpoint.cli.driving import Interrupts, Show, drive
    from counterpoint.engine import Engine
    from counterpoint.inputs import parse_budget

    cli = cli_of(context)
    chosen = options.sampling(max_tokens=max_tokens, temperature=temperature)
    limits = parse_budget(budget) if budget is not None else None
    with Interrupts(cli) as interrupts, Engine(registry=cli.registry, offline=offline) as engine:
        loaded = engine.recipe(recipe, options.settings(setting or []))
        loaded = with_backend(loaded, backend, cli.registry, lambda line: say(cli.err, "note", line))
        _refuse_other_outputs(loaded, recipe)  # before a prompt is waited for
        given = options.prompt(
            prompt,
            text,
            file,
            messages,
            prefix=prefix,
            extra=options.fields(field or []),
            own=loaded.prompt,
            say=lambda line: say(cli.err, "note", line),
        )
        if given is None:
            raise typer.BadParameter(f"recipe '{loaded.name}' has no prompt of its own: give one")
        streams = [engine.stream(loaded, given, seed=seed, row=row, budget=limits, sampling=chosen) for row in range(samples)]
        status = drive(cli, streams, Show(json=json, quiet=quiet, store=not no_store), interrupts)
    raise typer.Exit(status)


def _refuse_other_outputs(recipe: Recipe, given: str) -> None:
    """Names the command for recipes that give no answer."""
    node = recipe.nodes.get(recipe.output)
    if isinstance(node, Trainer):
        raise RecipeError(
            f"{recipe.name}: its output '{recipe.output}' trains a model and gives no answer",
            hint=f"`counterpoint train {given}`",
        )
    if isinstance(node, Verifier):
        raise RecipeError(
            f"{recipe.name}: its output '{recipe.output}' scores answers and gives none",
            hint=f"`counterpoint score {given} --data FILE` scores those in a file",
        )


def replay(
    context: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The start of a run's id, or last.", autocompletion=complete_run)
    ] = "last",
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed", min=0.0, help="How many times as fast as it was; 0 is at once. By default 1, and 0 when piped."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer only.")] = False,
) -> None:
    """Show a stored run as it was when it happened; no model is loaded."""
    from counterpoint.cli.render import Renderer
    from counterpoint.runstore import RunStore
    from counterpoint.trace import Summary

    cli = cli_of(context)
    store = RunStore()
    found = store.resolve(run)
    pace = speed if speed is not None else float(cli.out.is_terminal)
    renderer = Renderer(cli, quiet=quiet, live=False)
    failed: Failed | None = None
    recorded: dict[str, Any] = {}
    try:
        for event in paced(store.replay(found), pace):
            renderer.add(event)
            recorded = event.recipe if event.type == "run_started" else recorded
            failed = event if isinstance(event, Failed) else failed
    finally:
        renderer.close()
    # A recording of the summary alone keeps the sums of passes, not their number: what was counted then is shown.
    known = store.result(found)["summary"] if recorded.get("record") == "summary" else None
    renderer.finish(Summary.from_dict(known) if known else None)
    if failed is not None:
        say(cli.err, "error", failed.message)
        if failed.hint:
            say(cli.err, "hint", failed.hint)
    raise typer.Exit(OK)


def paced(events: Iterable[Event], speed: float) -> Iterator[Event]:
    """Events at the pace at which they happened, times ``speed``; no time passes for getting models ready."""
    last: float | None = None
    for event in events:
        if speed > 0 and last is not None and not isinstance(event, Progress):
            time.sleep(max(0.0, event.t - last) / speed)
        last = event.t
        yield event

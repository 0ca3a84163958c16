"""`counterpoint calibrate`: from which score a strategy should accept answers, and how far to trust its verifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterpoint.cli import CANCELLED, OK, options
from counterpoint.cli.backend import BackendKind
from counterpoint.cli.calibrated import plain, present
from counterpoint.cli.completion import complete_recipe
from counterpoint.cli.console import cli_of, say
from counterpoint.cli.dataset_options import (
    Data,
    InFlight,
    Json,
    Limit,
    MaxTokens,
    Prefix,
    Quiet,
    References,
    Seed,
    Source,
    TaskName,
    Temperature,
    Template,
    announce,
    given_data,
    the_recipe,
    words,
)
from counterpoint.cli.evaluating import Counting, Stop
from counterpoint.cli.run import Offline, Settings

if TYPE_CHECKING:
    from counterpoint.evaluation.accepting import Goal

_STAKES = "of `best_of_n`: "
_GOAL = "of `cascade`: "


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("calibrate")(calibrate)


def calibrate(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's name or YAML file.", autocompletion=complete_recipe)
    ],
    data: Data = None,
    source: Source = None,
    references: References = None,
    task: TaskName = None,
    limit: Limit = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NAME", help="The strategy; by default the recipe's output.")
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth", metavar="KIND", help="The scorer that is right, or a node in YAML; by default the task type's."
        ),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            "--quality", metavar="Q", help=f"{_GOAL}least quality, as 0.65, or as 95% of the last stage's. By default 100%."
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option("--cost", metavar="FLOPS", help=f"{_GOAL}most cost of an answer, as 1e12, or as 50% of the last stage's."),
    ] = None,
    right: Annotated[float, typer.Option("--right", help=f"{_STAKES}value of a right answer.")] = 1.0,
    wrong: Annotated[
        float, typer.Option("--wrong", help=f"{_STAKES}value of a wrong answer that is accepted, at most 0.")
    ] = 0.0,
    price: Annotated[float, typer.Option("--price", help=f"{_STAKES}price of a sample.")] = 0.0,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    setting: Settings = None,
    backend: BackendKind = None,
    template: Template = None,
    prefix: Prefix = None,
    in_flight: InFlight = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Where candidates are kept. By default a folder named by what is calibrated."
        ),
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write the recipe with what was found into a YAML file.")
    ] = None,
    json: Json = False,
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Find from which score a best_of_n or a cascade should accept answers, and how far its verifier is to be trusted.

    The strategy runs on a data set with nothing ended early; a scorer that knows what is right judges every candidate. Candidates
    are kept as they come: after Ctrl-C, or a kill, the same command goes on where it was, and other goals cost nothing.

    Exit status: 0 done, 1 an error, 2 wrong usage, 130 cancelled.
    """
    from counterpoint import paths
    from counterpoint.engine import Engine
    from counterpoint.evaluation.accepting import Goal
    from counterpoint.evaluation.calibrating import Stakes, calibration_job
    from counterpoint.evaluation.calibrating import calibrate as calibrated
    from counterpoint.evaluation.comparing import folder_name
    from counterpoint.evaluation.dataset import load_dataset

    cli = cli_of(context)
    if write is not None and write.exists():
        raise typer.BadParameter(f"{write} is there already; name another file")
    if write is not None and not write.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {write.parent} to write {write.name} into")
    goal = _goal(quality, cost)
    stakes = Stakes(right=right, wrong=wrong, price=price)
    chosen: dict[str, Any] = {
        "scorers": [truth] if truth else None,
        "seed": seed,
        "sampling": options.sampling(max_tokens=max_tokens, temperature=temperature),
        "words": words(template, prefix),
        "in_flight": in_flight,
    }
    with Engine(registry=cli.registry, offline=offline) as engine:
        loaded = the_recipe(cli, engine, recipe, setting, backend)
        dataset = load_dataset(
            given_data(data, source, references), registry=cli.registry, task=task, references=references or ()
        ).first(limit)
        job, strategy, name = calibration_job(engine, loaded, dataset, node, None, None, dict(chosen))
        if strategy.in_stages and stakes != Stakes():
            raise typer.BadParameter(f"--right, --wrong and --price are for samples, and '{name}' has stages")
        if not strategy.in_stages and goal != Goal():
            raise typer.BadParameter(f"--quality and --cost are for stages, and '{name}' has samples")
        folder = out or paths.evaluations() / f"calibration-{folder_name(job)}"
        announce(cli, engine, loaded, folder, quiet)
        with Stop(cli) as stop, Counting(cli, loaded.name, quiet=quiet or json) as counting:
            found = calibrated(
                loaded,
                dataset,
                engine=engine,
                node=name,
                goal=goal,
                stakes=stakes,
                out=folder,
                progress=counting,
                cancelled=stop.event,
                **chosen,
            )
    if found is None:
        say(cli.err, "note", "what is complete is kept; the same command goes on")
        raise typer.Exit(CANCELLED)
    if json:
        cli.json(plain(found))
    else:
        present(cli, found)
    if write is not None:
        text = found.calibrated(cli.registry).to_yaml()
        write.write_text(text, encoding="utf-8")
        say(cli.err, "note", f"the recipe with these settings is in {write}")
    raise typer.Exit(OK)


def _goal(quality: str | None, cost: str | None) -> Goal:
    from counterpoint.evaluation.accepting import Goal

    def number(name: str, text: str) -> tuple[float, bool]:
        share = text.strip().endswith("%")
        try:
            value = float(text.strip().removesuffix("%"))
        except ValueError:
            raise typer.BadParameter(f"--{name} {text}: it is a number, or a percentage as in 95%") from None
        return (value / 100, True) if share else (value, False)

    if quality is not None and cost is not None:
        raise typer.BadParameter("--quality and --cost: state one; the other is then made as good as can be")
    if quality is not None:
        value, relative = number("quality", quality)
        return Goal(quality=value, relative=relative)
    if cost is not None:
        value, relative = number("cost", cost)
        return Goal(cost=value, relative=relative)
    return Goal()

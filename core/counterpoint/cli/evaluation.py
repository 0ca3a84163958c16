"""`counterpoint eval`: recipes on data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from counterpoint.cli import CANCELLED, ERROR, OK, options
from counterpoint.cli.backend import BackendKind
from counterpoint.cli.completion import complete_recipe
from counterpoint.cli.console import Cli, cli_of, say
from counterpoint.cli.dataset_options import (
    Data,
    InFlight,
    Json,
    Limit,
    MaxTokens,
    Prefix,
    Quiet,
    References,
    RetryFailed,
    Samples,
    Scorers,
    Seed,
    Skip,
    Source,
    TaskName,
    Temperature,
    Template,
    announce,
    given_data,
    the_recipe,
    words,
)
from counterpoint.cli.evaluating import Counting, Stop, evaluation_table, parse_shard
from counterpoint.cli.run import Offline, Settings
from counterpoint.printable import plain

if TYPE_CHECKING:
    from counterpoint.evaluation.result import EvaluationResult


class _EvalGroup(TyperGroup):
    """``eval RECIPE`` is ``eval run RECIPE``; a recipe called as a command is to be given as ``eval run NAME``."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        first = next((one for one in args if not one.startswith("-")), None)
        if first is not None and first not in self.commands:
            args = ["run", *args]
        return super().parse_args(context, args)


def add(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        name="eval",
        cls=_EvalGroup,
        help="Recipes on data sets: `counterpoint eval RECIPE --data FILE`; options: `counterpoint eval run --help`.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("run")(run)
    group.command("show")(show)
    group.command("score")(score)
    group.command("merge")(merge)
    app.add_typer(group)


def run(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's name or YAML file.", autocompletion=complete_recipe)
    ],
    data: Data = None,
    source: Source = None,
    references: References = None,
    task: TaskName = None,
    skip: Skip = 0,
    limit: Limit = None,
    scorer: Scorers = None,
    no_score: Annotated[bool, typer.Option("--no-score", help="Only answer; `eval score` scores later.")] = False,
    samples: Samples = 1,
    seed: Seed = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="LIMITS", help="What one answer may cost: flops=1e12,seconds=30,tokens=200."),
    ] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    setting: Settings = None,
    backend: BackendKind = None,
    template: Template = None,
    prefix: Prefix = None,
    in_flight: InFlight = None,
    shard: Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Only part I of N, for several machines.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where answers are kept. By default a folder named by what is evaluated."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What the recipe is called in reports.")] = "",
    retry_failed: RetryFailed = False,
    json: Json = False,
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Answer every example of a data set by a recipe, and score the answers.

    Answers are kept as they come. After Ctrl-C, or a kill at any point, the same command goes on where it was.

    Exit status: 0 done, 1 an error or answers that failed, 2 wrong usage, 130 cancelled.
    """
    from counterpoint import paths
    from counterpoint.engine import Engine
    from counterpoint.evaluation.comparing import folder_name
    from counterpoint.evaluation.dataset import load_dataset
    from counterpoint.evaluation.evaluating import EvaluationOptions, make_job, refuse_unmet_budget, run_job
    from counterpoint.inputs import parse_budget

    cli = cli_of(context)
    chosen = EvaluationOptions(
        scorers=[] if no_score else scorer or None,
        samples=samples,
        seed=seed,
        budget=parse_budget(budget) if budget is not None else None,
        sampling=options.sampling(max_tokens=max_tokens, temperature=temperature),
        words=words(template, prefix),
        shard=parse_shard(shard) if shard else None,
        in_flight=in_flight,
        retry_failed=retry_failed,
    )
    with Engine(registry=cli.registry, offline=offline) as engine:
        loaded = the_recipe(cli, engine, recipe, setting, backend)
        dataset = load_dataset(
            given_data(data, source, references), registry=cli.registry, task=task, references=references or ()
        )
        dataset = dataset.after(skip).first(limit)
        job = make_job(engine, loaded, dataset, chosen, name)
        folder = out or paths.evaluations() / folder_name(job)
        announce(cli, engine, loaded, folder, quiet)
        with Stop(cli) as stop, Counting(cli, job.label, quiet=quiet or json) as counting:
            result = run_job(engine, job, chosen, folder, counting, stop.event)
    if stop.event.is_set() and not result.complete:
        say(cli.err, "note", f"{result.examples} of {result.configuration.wanted} examples are kept; the same command goes on")
        raise typer.Exit(CANCELLED)
    refuse_unmet_budget([result])
    raise typer.Exit(_present(cli, result, json))


def show(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of an evaluation.")],
    example: Annotated[str | None, typer.Option("--example", metavar="ID", help="Show the answers to one example.")] = None,
    json: Json = False,
) -> None:
    """Show the figures of a stored evaluation, or the answers to one of its examples; no model is loaded."""
    from counterpoint.errors import EvaluationError
    from counterpoint.evaluation.evaluating import load_evaluation

    cli = cli_of(context)
    result = load_evaluation(folder, registry=cli.registry)
    if example is None:
        raise typer.Exit(_present(cli, result, json))
    records = [record for record in result.records if record.id == example]
    if not records:
        known = ", ".join(dict.fromkeys(record.id for record in result.records[:3]))
        raise EvaluationError(f"{folder}: has no answer to '{example}'", hint=f"ids look like {known}")
    for record in records:
        if json:
            cli.json(record.model_dump(mode="json"), line=True)
            continue
        scores = ", ".join(
            f"{name} {'–' if score.value is None else format(score.value, '.4g')}{f' ({score.detail})' if score.detail else ''}"
            for name, score in record.scores.items()
        )
        cli.out.print(Text(f"{record.id} sample {record.sample}", "bold"), end="  ")
        cli.out.print(plain(record.problem or scores or record.finish_reason), markup=False, soft_wrap=True)
        cli.out.print(plain(record.text), markup=False, soft_wrap=True)
    raise typer.Exit(OK)


def score(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of an evaluation.")],
    data: Data = None,
    source: Source = None,
    references: References = None,
    scorer: Scorers = None,
    json: Json = False,
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Score the answers of a stored evaluation anew, or for the first time; nothing is answered again.

    (`counterpoint score` is something else: it scores the answers in a file of JSON lines, and keeps the best.)
    """
    from counterpoint.engine import Engine
    from counterpoint.evaluation.dataset import load_dataset
    from counterpoint.evaluation.evaluating import load_evaluation, score_again

    cli = cli_of(context)
    known = load_evaluation(folder, registry=cli.registry).configuration
    with Engine(registry=cli.registry, offline=offline) as engine:
        dataset = load_dataset(
            given_data(data, source, references), registry=cli.registry, task=known.task, references=references or ()
        )
        with Stop(cli) as stop, Counting(cli, known.name, quiet=quiet or json) as counting:
            result = score_again(
                folder, dataset, engine=engine, scorers=scorer or None, progress=counting, cancelled=stop.event
            )
    if stop.event.is_set():
        say(cli.err, "note", "the scores are those from before")
        raise typer.Exit(CANCELLED)
    raise typer.Exit(_present(cli, result, json))


def merge(
    context: typer.Context,
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER…", help="The folders of all shards.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the whole goes.")],
    json: Json = False,
) -> None:
    """Put the shards of one evaluation together (made with --shard I/N)."""
    from counterpoint.evaluation.merging import merge as merged

    cli = cli_of(context)
    raise typer.Exit(_present(cli, merged(folders, out, registry=cli.registry), json))


def _present(cli: Cli, result: EvaluationResult, json: bool) -> int:
    """Prints the figures, and returns the exit status."""
    if json:
        cli.json(result.summary())
    else:
        evaluation_table(cli, result)
    if result.failed:
        first = next(record for record in result.records if record.failed)
        cli.warn(f"{result.failed} of {len(result.records)} answers failed; the first, {first.id}: {first.problem}")
    if not result.complete:
        cli.warn(f"{result.examples} of {result.configuration.wanted} examples are answered so far")
    return ERROR if result.failed else OK

"""`counterpoint compare`: recipes on the same examples, under the same budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from counterpoint.cli import CANCELLED, ERROR, OK, options
from counterpoint.cli.backend import BackendKind
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
    RetryFailed,
    Samples,
    Scorers,
    Seed,
    Skip,
    Source,
    TaskName,
    Temperature,
    Template,
    given_data,
    the_recipe,
    words,
)
from counterpoint.cli.evaluating import Counting, Stop
from counterpoint.cli.run import Offline, Settings


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare")(compare)


def compare(
    context: typer.Context,
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE…",
            help="Recipes, or folders of finished evaluations, which are taken as they are.",
            autocompletion=complete_recipe,
        ),
    ],
    data: Data = None,
    source: Source = None,
    references: References = None,
    task: TaskName = None,
    skip: Skip = 0,
    limit: Limit = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="LIMITS",
            help="What one answer may cost: flops=…, seconds=… or tokens=…; a recipe's name in place of a number (flops=large) "
            "stands for the mean cost of its answers. Without it, each answers at the cost it takes.",
        ),
    ] = None,
    scorer: Scorers = None,
    samples: Samples = 1,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    setting: Settings = None,
    backend: BackendKind = None,
    template: Template = None,
    prefix: Prefix = None,
    in_flight: InFlight = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="What a recipe is called; once for each, in their order.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="NAME", help="Compare the others with this one only.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where answers are kept, each recipe's in a folder of its own."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write the report: one HTML file, complete in itself.")
    ] = None,
    questions: Annotated[
        bool, typer.Option("--questions", help="Show the data set's questions in the report, not only their ids.")
    ] = False,
    retry_failed: RetryFailed = False,
    json: Json = False,
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Compare recipes on the same examples under the same budget: figures, costs, and whether a difference is shown.

    Evaluations are kept and found again: what was answered before, by `eval` too, is not answered again.

    Exit status: 0 done, 1 an error or answers that failed, 2 wrong usage, 130 cancelled.
    """
    from counterpoint import paths
    from counterpoint.cli.comparing import show_comparison
    from counterpoint.engine import Engine
    from counterpoint.errors import EvaluationError
    from counterpoint.evaluation.comparing import comparison_of, evaluate_all
    from counterpoint.evaluation.dataset import load_dataset
    from counterpoint.evaluation.driver import Progress
    from counterpoint.evaluation.folder import CONFIG
    from counterpoint.evaluation.report import write_report

    cli = cli_of(context)
    if report is not None and report.is_dir():
        raise EvaluationError(f"--report {report}: is a folder", hint="name a file: --report comparison.html")
    if len(recipes) < 2:
        raise typer.BadParameter("compare takes two recipes or more; `counterpoint eval` takes one")
    in_folders = [(Path(one) / CONFIG).is_file() for one in recipes]
    folder = out or paths.evaluations()
    asked: dict[str, str] = {}
    with Engine(registry=cli.registry, offline=offline) as engine, Stop(cli) as stop:
        contestants = [
            one if stored else the_recipe(cli, engine, one, setting, backend)
            for one, stored in zip(recipes, in_folders, strict=True)
        ]
        dataset = None
        if not all(in_folders) or questions:
            file = given_data(data, source, references)
            dataset = load_dataset(file, registry=cli.registry, task=task, references=references or ())
            dataset = dataset.after(skip).first(limit)
            asked = dataset.questions() if questions else {}
        counters: dict[str, Counting] = {}

        def heard(label: str, state: Progress) -> None:
            if label not in counters:
                for counter in counters.values():
                    counter.close()
                counters[label] = Counting(cli, label, quiet=quiet or json)
            counters[label](state)

        if dataset is not None and not all(in_folders) and not quiet:
            say(cli.err, "note", f"answers are kept in folders of {folder}")
        try:
            results = evaluate_all(
                contestants,
                dataset,
                budget=budget,
                engine=engine,
                out=folder,
                names=name or (),
                progress=heard,
                cancelled=stop.event,
                scorers=scorer or None,
                samples=samples,
                seed=seed,
                sampling=options.sampling(max_tokens=max_tokens, temperature=temperature),
                words=words(template, prefix),
                in_flight=in_flight,
                retry_failed=retry_failed,
            )
        finally:
            for counter in counters.values():
                counter.close()
    if stop.event.is_set() and not (len(results) == len(recipes) and all(result.complete for result in results)):
        say(cli.err, "note", "what is complete is kept; the same command goes on")
        raise typer.Exit(CANCELLED)
    comparison = comparison_of(results, baseline=baseline)
    if json:
        cli.json(comparison.as_dict())
    else:
        show_comparison(cli.out, comparison, every=True)
    if report is not None:
        write_report(report, comparison, questions=asked or None)
        if not quiet:
            say(cli.err, "note", f"the report is {report}")
    failed = sum(result.failed for result in results)
    if failed:
        cli.warn(f"{failed} answers failed")
    raise typer.Exit(ERROR if failed else OK)

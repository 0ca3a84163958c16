"""`counterpoint score`: the answers of a file, scored by a verifier, and the best of them kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterpoint.cli import CANCELLED, ERROR, OK, options
from counterpoint.cli.backend import BackendKind
from counterpoint.cli.console import Cli, cli_of, say
from counterpoint.cli.dataset_options import Quiet, the_recipe
from counterpoint.cli.evaluating import Counting, Stop
from counterpoint.cli.run import Offline, RecipeName, Settings

if TYPE_CHECKING:
    from counterpoint.selection.scoring import Scored


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("score")(score)


def score(
    context: typer.Context,
    recipe: RecipeName,
    data: Annotated[
        Path,
        typer.Option("--data", metavar="FILE", help="JSON lines with prompts and answers; also by name in COUNTERPOINT_DATA."),
    ],
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="COLUMN", help="The column of the prompt; by default prompt.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option("--template", metavar="JINJA", help="The prompt, over the columns, instead; @FILE reads a file."),
    ] = None,
    answer: Annotated[
        list[str] | None,
        typer.Option(
            "--answer",
            metavar="COLUMN",
            help="A column of answers, by default response; repeated, several answers to each prompt. A list is several, too.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Where the lines go; scores are kept as they come. By default standard output."
        ),
    ] = None,
    keep_below: Annotated[
        float | None, typer.Option("--keep-below", metavar="X", help="Keep answers with a score below X.")
    ] = None,
    keep_above: Annotated[
        float | None, typer.Option("--keep-above", metavar="X", help="Keep answers with a score above X.")
    ] = None,
    top: Annotated[
        str | None,
        typer.Option("--top", metavar="N|SHARE", help="Of what is left, keep the best N lines, or a share of all: 500, 10%."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The column of the score; by default the verifier's kind.")] = "",
    into: Annotated[
        str, typer.Option("--into", metavar="COLUMN", help="Where a line has several answers: the column of the selected one.")
    ] = "answer",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many lines.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all draws.")] = None,
    setting: Settings = None,
    backend: BackendKind = None,
    in_flight: Annotated[int, typer.Option("--in-flight", min=1, help="Lines at once; they share passes.")] = 8,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON; the lines need --out.")] = False,
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Score the answers in a file by a recipe whose output is a verifier, and keep the best lines.

    Every line of the file is kept with its columns and the score, or those lines only that the options say. (`eval score` is
    something else: it scores the answers of a stored evaluation anew.)

    With --out, scores are kept as they come: after Ctrl-C, or a kill at any point, the same command goes on where it was.

    Exit status: 0 done, 1 an error or lines on which the verifier failed, 2 wrong usage, 130 cancelled.
    """
    from counterpoint.cli.console import bytes_text
    from counterpoint.engine import Engine
    from counterpoint.selection.job import ScoreOptions, make_score_job
    from counterpoint.selection.scoring import run_score

    cli = cli_of(context)
    if prompt is not None and template is not None:
        raise typer.BadParameter("--prompt and --template both give the prompt: use one of them")
    if json and out is None:
        raise typer.BadParameter("--json prints the summary where the lines would go: name a file for these, --out FILE")
    if template is not None and template.startswith("@"):
        template = options.read(Path(template[1:]), "--template")
    chosen = ScoreOptions(
        prompt=prompt or "prompt",
        template=template,
        answers=answer or "response",
        name=name,
        into=into,
        keep_below=keep_below,
        keep_above=keep_above,
        top=top,
        limit=limit,
        seed=seed,
        in_flight=in_flight,
    )
    with Engine(registry=cli.registry, offline=offline) as engine:
        job = make_score_job(engine, the_recipe(cli, engine, recipe, setting, backend), data, chosen, out)
        if not quiet and (download := engine.plan(job.recipe).download_bytes):
            say(cli.err, "note", f"{bytes_text(download)} of models are fetched first")
        with Stop(cli) as stop, Counting(cli, job.recipe.name, quiet=quiet or json) as counting:
            scored = run_score(engine, job, out, counting, stop.event)
    if not scored.complete:
        rest = "the same command goes on" if out is not None else "with --out FILE the same command would go on"
        say(cli.err, "note", f"{len(scored.scores)} of {len(job.lines)} lines are scored; {rest}")
        raise typer.Exit(CANCELLED)
    raise typer.Exit(_present(cli, scored, out, json=json, quiet=quiet))


def _present(cli: Cli, scored: Scored, out: Path | None, *, json: bool, quiet: bool) -> int:
    """Prints the lines or what has become of them, and returns the exit status."""
    from counterpoint.selection.scoring import json_line

    if out is None:
        cli.out.file.writelines(map(json_line, scored.rows()))
    if json:
        cli.json(scored.summary() | {"out": str(out)})
    elif out is not None:
        cli.out.print(summary_line(scored), markup=False, soft_wrap=True)
    elif not quiet:
        say(cli.err, "note", summary_line(scored))
    if (silent := scored.without(failed=False)) and not quiet:
        line, problem = silent[0]
        say(cli.err, "note", f"{_lines(len(silent))} with answers that have no score; the first, {line.place}: {problem}")
    if failed := scored.without(failed=True):
        line, problem = failed[0]
        cli.warn(f"the verifier failed on {_lines(len(failed))}; the first, {line.place}: {problem}")
    if not scored.kept:
        cli.warn("no line is kept: no score is what --keep-below, --keep-above and --top ask for")
    return ERROR if failed else OK


def summary_line(scored: Scored) -> str:
    """``20 lines: 19 scored, 1 abstained, 2 kept; instruction_difficulty 0.31 to 1.2, quartiles 0.55 0.72 0.86``."""
    counts = scored.summary()
    text = f"{_lines(counts['lines'])}: {counts['scored']} scored, {counts['abstained']} abstained, {counts['kept']} kept"
    if found := {percent: format(value, ".4g") for percent, value in counts["quantiles"].items()}:
        text += f"; {counts['name']} {found['0']} to {found['100']}, quartiles {found['25']} {found['50']} {found['75']}"
    return text


def _lines(number: int) -> str:
    return "1 line" if number == 1 else f"{number} lines"

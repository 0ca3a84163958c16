"""`counterpoint calibrate`: from which score a strategy should accept answers, and how far to trust its verifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterpoint.cli import CANCELLED, OK, options
from counterpoint.cli.backend import BackendKind
from counterpoint.cli.completion import complete_recipe
from counterpoint.cli.console import Cli, cli_of, flops_text, say, table
from counterpoint.cli.evaluating import Counting, Stop
from counterpoint.cli.evaluation import (
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
from counterpoint.cli.run import Offline, Settings

if TYPE_CHECKING:
    from counterpoint.evaluation.accepting import Goal, Thresholds, Trust
    from counterpoint.evaluation.calibrating import Calibration
    from counterpoint.evaluation.statistics import Estimate

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
    from counterpoint.engine import Engine
    from counterpoint.evaluation.calibrating import Stakes, calibration_job
    from counterpoint.evaluation.calibrating import calibrate as calibrated
    from counterpoint.evaluation.comparing import folder_name
    from counterpoint.evaluation.dataset import load_dataset

    cli = cli_of(context)
    if write is not None and write.exists():
        raise typer.BadParameter(f"{write} is there already; name another file")
    goal = _goal(quality, cost)
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
        job, _, name = calibration_job(engine, loaded, dataset, node, None, None, dict(chosen))
        folder = out or _home() / f"calibration-{folder_name(job)}"
        announce(cli, engine, loaded, folder, quiet)
        stakes = Stakes(right=right, wrong=wrong, price=price)
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
        cli.json(_plain(found))
    else:
        _present(cli, found)
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


def _home() -> Path:
    from counterpoint import paths

    return paths.evaluations()


def _plain(found: Calibration) -> dict[str, Any]:
    data: dict[str, Any] = {
        "recipe": found.recipe.name,
        "node": found.node,
        "data": found.data,
        "truth": found.truth,
        "examples": found.examples,
        "candidates": found.candidates,
        "settings": found.settings,
    }
    if (trust := found.trust) is not None:
        data |= {
            "completeness": trust.completeness.as_dict(),
            "soundness": trust.soundness.as_dict(),
            "right": trust.right.as_dict(),
            "difficulty": list(trust.difficulty),
            "ceiling": trust.ceiling,
            "predicted": [vars(outcome) for outcome in trust.predicted],
            "measured": list(trust.measured),
            "pays": found.pays,
        }
    if (stages := found.thresholds) is not None:
        data |= {
            "quality": stages.quality.as_dict(),
            "cost": stages.cost.as_dict(),
            "reached": stages.reached,
            "answered_by": list(stages.answered_by),
            "alone": [{"quality": quality, "cost": cost} for quality, cost in stages.alone],
        }
    return data


def _present(cli: Cli, found: Calibration) -> None:
    head = f"{found.recipe.name}, {found.node}, on {found.data}: {found.examples} examples, {found.candidates} candidates"
    cli.out.print(f"{head}; the truth is {found.truth}", markup=False, soft_wrap=True)
    if found.trust is not None:
        _present_trust(cli, found, found.trust)
    if found.thresholds is not None:
        _present_thresholds(cli, found.thresholds)
    import yaml

    cli.out.print("settings:", markup=False)
    text = yaml.safe_dump(found.settings, sort_keys=False, default_flow_style=None, width=120)
    cli.out.print("".join(f"  {line}\n" for line in text.splitlines()).rstrip(), markup=False, soft_wrap=True)


def _present_trust(cli: Cli, found: Calibration, trust: Trust) -> None:
    shown = table("", "share", "95 % interval", right="share,95 % interval")
    for name, estimate in (
        ("right answers accepted (completeness)", trust.completeness),
        ("wrong answers rejected (soundness)", trust.soundness),
        ("samples that are right", trust.right),
    ):
        shown.add_row(name, f"{estimate.value:.3f}", _interval(estimate))
    cli.out.print(shown)
    a, b = trust.difficulty
    cli.out.print(
        f"accepted from a score of {trust.accept:.4g}; difficulty is spread as Beta({a:.3g}, {b:.3g}); of accepted answers at most "
        f"{trust.ceiling:.1%} are right, however many samples",
        markup=False,
        soft_wrap=True,
    )
    rows = table(
        "samples", "right, predicted", "right, measured", "wrong and accepted", "drawn", right="samples,right,wrong,drawn"
    )
    for outcome, measured in zip(trust.predicted, trust.measured, strict=True):
        rows.add_row(
            str(outcome.samples),
            f"{outcome.right_if_kept:.3f}",
            f"{measured:.3f}",
            f"{outcome.wrong:.3f}",
            f"{outcome.drawn:.2f}",
        )
    cli.out.print(rows)
    stakes = found.stakes
    worth = (
        f"with {stakes.right:g} for a right answer, {stakes.wrong:g} for a wrong one and a price of {stakes.price:g} a sample"
    )
    most = 2 * (found.candidates // found.examples)
    pays = "not even one sample pays: abstain" if not found.pays else f"{found.pays} samples pay"
    more = " or more" if found.pays == most else ""
    cli.out.print(f"{worth}, {pays}{more}", markup=False, soft_wrap=True)


def _present_thresholds(cli: Cli, found: Thresholds) -> None:
    columns = ("quality alone", "cost alone", "answers", "accepted from")
    shown = table("stage", *columns, right=",".join(columns))
    for number, (alone, price) in enumerate(found.alone):
        last = number == len(found.alone) - 1
        accepted = "always" if last else f"{found.thresholds[number]:.4g}"
        shown.add_row(str(number + 1), f"{alone:.3f}", flops_text(price), f"{found.answered_by[number]:.0%}", accepted)
    cli.out.print(shown)
    quality, cost = found.quality, found.cost
    cli.out.print(
        f"on examples that did not choose the thresholds: quality {quality.value:.3f} ({_interval(quality)}), an answer costs "
        f"{flops_text(cost.value)}, {cost.value / found.alone[-1][1]:.0%} of the last stage alone",
        markup=False,
        soft_wrap=True,
    )
    if not found.reached:
        cli.warn("no thresholds reach the goal; these come closest")


def _interval(estimate: Estimate) -> str:
    return f"{estimate.low:.3f} – {estimate.high:.3f}"

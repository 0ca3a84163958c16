"""`counterpoint train`: recipes whose output is a trainer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from counterpoint.cli import CANCELLED, ERROR, OK, options
from counterpoint.cli.console import Cli, cli_of, say, seconds_text, show_error
from counterpoint.cli.progress import ProgressDisplay
from counterpoint.cli.run import Offline, RecipeName, Settings

if TYPE_CHECKING:
    from counterpoint.events import Event
    from counterpoint.streaming import RunStream

_EVERY = 30.0  # seconds between two lines where there is no terminal


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("train")(train)


def train(
    context: typer.Context,
    recipe: RecipeName,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What the artifact is called, instead of the recipe's name for it."),
    ] = None,
    setting: Settings = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of the order of examples and of random weights.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the artifact's card as JSON.")] = False,
    offline: Offline = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result, warnings and errors only.")] = False,
) -> None:
    """Train what a recipe's trainer makes, and keep it as an artifact that other recipes load.

    Checkpoints are kept on the way. Ctrl-C ends the training after the step under way; then, or after a kill at any point, the
    same command goes on where it was.

    Exit status: 0 done, 1 error, 2 wrong usage, 130 cancelled.
    """
    from counterpoint.cli.driving import Interrupts
    from counterpoint.engine import Engine

    cli = cli_of(context)
    with Interrupts(cli) as interrupts, Engine(registry=cli.registry, offline=offline) as engine:
        changes = list(options.settings(setting or []))
        if name is not None:
            changes.append((f"{engine.recipe(recipe).output}.artifact", name))
        stream = engine.train(engine.recipe(recipe, changes), seed=seed)
        interrupts.watch([stream])
        with TrainingDisplay(cli, quiet=quiet) as display:
            interrupts.closing = display.close
            _follow(cli, stream, display)
        result = stream.wait()
    if result.error is not None:
        show_error(cli.err, result.error, debug=cli.debug)
        raise typer.Exit(ERROR)
    if result.finish_reason == "cancelled":
        where = f"stopped at step {display.step} of {display.steps}" if display.steps else "stopped before the first step"
        say(cli.err, "note", f"{where}; what was reached is kept, and the same command goes on")
        raise typer.Exit(CANCELLED)
    _present(cli, result.text, json)
    raise typer.Exit(OK)


def _follow(cli: Cli, stream: RunStream, display: TrainingDisplay) -> None:
    warned = 0
    for event in stream:
        display.add(event)
        for warning in stream.warnings[warned:]:
            cli.warn(warning)
        warned = len(stream.warnings)


def _present(cli: Cli, source: str, json: bool) -> None:
    """Says where the artifact is and what to do with it."""
    from counterpoint import paths
    from counterpoint.training import read_card

    name = source.removeprefix("artifact:")
    card = read_card(name) or {}
    if json:
        cli.json({"artifact": source, "folder": str(paths.artifacts() / name), **card})
        return
    cli.out.print(f"{source} is in {paths.artifacts() / name}", markup=False, soft_wrap=True)
    loss, held = card.get("loss"), card.get("held_out_loss")
    if loss:
        line = (
            f"{card['steps']} steps in {seconds_text(card['seconds'])}; loss {loss['first']:.4g} first, {loss['last']:.4g} last"
        )
        if held:
            line += f"; held out {held['untrained']:.4g} before, {held['best']:.4g} at step {held['best_step']}"
        cli.out.print(line, markup=False, soft_wrap=True)
    use = card.get("use") or f"{{kind: huggingface, source: {source}}}"
    cli.out.print(f"a recipe loads it as {use}", markup=False, soft_wrap=True)


class TrainingDisplay:
    """A bar with loss, speed and time left on a terminal, a line now and then elsewhere. A context manager."""

    def __init__(self, cli: Cli, *, quiet: bool = False) -> None:
        self._console = cli.err
        self._quiet = quiet
        self._getting = ProgressDisplay(cli.err, quiet=quiet)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = 0.0
        self._held_out = ""
        self._item = "training"
        self.step = 0
        self.steps = 0

    def __enter__(self) -> TrainingDisplay:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the terminal back."""
        self._getting.close()
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def add(self, event: Event) -> None:
        """Takes the next event of the run."""
        if event.type == "progress" and event.phase != "train":
            self._getting.add(event)
        elif event.type == "progress":
            self._getting.close()
            self._item, self.step, self.steps = event.item, int(event.done), int(event.total or 0)
        elif event.type == "note" and event.name == "training":
            self._take(event.data)

    def _take(self, data: dict[str, Any]) -> None:
        if "held_out" in data:
            self._held_out = f"  held out {data['held_out']:.4g}"
        if "loss" not in data or self._quiet:
            return
        left = data["seconds_left"]
        note = f"loss {data['loss']:.4g}{self._held_out}  {data['tokens_per_second']:.3g} tokens/s"
        if left:
            note += f"  about {seconds_text(left)} left"
        if self._console.is_terminal:
            self._draw(note)
        elif self.step == self.steps or time.monotonic() - self._said >= _EVERY:
            self._said = time.monotonic()
            line = f"training {self._item}: {self.step} of {self.steps} steps  {note}"
            self._console.print(line, markup=False, soft_wrap=True)

    def _draw(self, note: str) -> None:
        if self._bar is None:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(f"training {self._item}", total=self.steps, completed=self.step, note=note)
        assert self._task is not None
        self._bar.update(self._task, completed=self.step, note=note)

"""What the commands that work through data sets share: their options, and what these mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterpoint.cli import options
from counterpoint.cli.backend import with_backend
from counterpoint.cli.console import Cli, say

if TYPE_CHECKING:
    from counterpoint.engine import Engine
    from counterpoint.recipe import Recipe

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="FILE", help="The data set: JSON lines, or a card in YAML; also by name in COUNTERPOINT_DATA."
    ),
]
Source = Annotated[
    Path | None, typer.Option("--source", metavar="FILE", help="Instead of --data: a text file with a source a line (rewrite).")
]
References = Annotated[
    list[Path] | None, typer.Option("--references", metavar="FILE", help="A text file parallel to --source; may be repeated.")
]
TaskName = Annotated[
    str | None, typer.Option("--task", metavar="TYPE", help="The task type; by default the one whose columns fit.")
]
Skip = Annotated[int, typer.Option("--skip", min=0, help="Leave out the first so many examples.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many examples (after --skip).")]
Scorers = Annotated[
    list[str] | None,
    typer.Option(
        "--scorer",
        metavar="KIND",
        help="A verifier that scores answers, or a node in YAML: '{kind: KIND, FIELD: VALUE}'; may be repeated. By default the "
        "task type's.",
    ),
]
Samples = Annotated[int, typer.Option("--samples", min=1, max=4096, help="Answers to each example, for pass@k.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all draws.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", min=1, help="Most tokens of an answer.")]
Temperature = Annotated[
    float | None, typer.Option("--temperature", min=0.0, max=100.0, help="0 is greedy; 1 samples the model as it is.")
]
Template = Annotated[
    str | None, typer.Option("--template", metavar="JINJA", help="The prompt, over the columns; @FILE reads a file.")
]
Prefix = Annotated[
    str | None, typer.Option("--prefix", metavar="JINJA", help="The start of every answer, which models go on from.")
]
InFlight = Annotated[
    int | None,
    typer.Option("--in-flight", min=1, help="Examples at once: 8 by default. With 1, seconds are measured; more is quicker."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result, warnings and errors only.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Answer again what failed at an earlier start.")]


def the_recipe(cli: Cli, engine: Engine, recipe: str, setting: Sequence[str] | None, backend: str | None) -> Recipe:
    """A recipe with the settings of the command line."""
    loaded = engine.recipe(recipe, options.settings(setting or []))
    return with_backend(loaded, backend, cli.registry, lambda line: say(cli.err, "note", line))


def given_data(data: Path | None, source: Path | None, references: Sequence[Path] | None) -> Path:
    """The file that the options name."""
    if (data is None) == (source is None):
        raise typer.BadParameter("name a data set: --data FILE, or --source FILE with --references FILE")
    if (source is None) != (not references):
        raise typer.BadParameter("--source and --references go together")
    found = data or source
    assert found is not None
    return found


def words(template: str | None, prefix: str | None) -> Any:
    """How examples are asked, where the command line says it."""
    from counterpoint.tasks import Words

    if template is None and prefix is None:
        return None
    if template is not None and template.startswith("@"):
        template = options.read(Path(template[1:]), "--template")
    return Words(template=template, prefix=prefix)


def announce(cli: Cli, engine: Engine, recipe: Recipe, folder: Path, quiet: bool) -> None:
    """Says what is fetched first, and where answers go."""
    from counterpoint.cli.console import bytes_text

    if quiet:
        return
    if download := engine.plan(recipe).download_bytes:
        say(cli.err, "note", f"{bytes_text(download)} of models are fetched first")
    say(cli.err, "note", f"answers are kept in {folder}")

"""`counterpoint recipes` and `counterpoint schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from counterpoint import paths
from counterpoint.cli.completion import complete_recipe
from counterpoint.cli.console import cli_of, table
from counterpoint.errors import CounterpointError, RecipeError
from counterpoint.recipe import parse_recipe, read_recipe, recipe_files, recipe_schema

_NEW = """\
# {name}: made from the recipe `{source}`. Change it, then:
#
#   counterpoint plan {path}     checks it and says what it needs
#   counterpoint run {path}      runs it
#
# `counterpoint nodes list` shows what a node can be, `counterpoint nodes show KIND` its fields. An editor completes this file
# with the schema that `counterpoint schema` prints. What the original says of itself follows.

"""


def add(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        name="recipes", help="Recipes: list, show, and start new ones.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("list")(list_recipes)
    group.command("show")(show)
    group.command("new")(new)
    app.add_typer(group)
    app.command("schema")(schema)


def list_recipes(context: typer.Context, json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the recipes that have a name: those that came with plugins, and your own."""
    cli = cli_of(context)
    rows = []
    for name, text in sorted(recipe_files(cli.registry).items()):
        own = (paths.recipes() / f"{name}.yaml").is_file()
        try:
            description = parse_recipe(text, name, registry=cli.registry).description
        except CounterpointError as error:
            description = f"cannot be read: {error.message.splitlines()[0]}"
        rows.append({"name": name, "description": description, "own": own})
    if json_:
        cli.json(rows)
        return
    shown = table("recipe", "what it shows")
    for row in rows:
        shown.add_row(f"{row['name']} (yours)" if row["own"] else str(row["name"]), str(row["description"]))
    cli.out.print(shown)


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name or file.", autocompletion=complete_recipe)],
) -> None:
    """Print a recipe as it is written."""
    cli = cli_of(context)
    text, _ = read_recipe(name, cli.registry)
    cli.out.file.write(text if text.endswith("\n") else text + "\n")


def new(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write, NAME.yaml.")],
    source: Annotated[
        str, typer.Option("--from", metavar="NAME", help="The recipe to start from.", autocompletion=complete_recipe)
    ] = "speculative",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Start a recipe of your own from one that works."""
    cli = cli_of(context)
    if path.suffix not in (".yaml", ".yml"):
        raise typer.BadParameter(f"'{path}' is no YAML file: end its name in .yaml")
    text, _ = read_recipe(source, cli.registry)
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("name:")]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(_NEW.format(name=path.stem, source=source, path=path) + "".join(lines))
    except FileExistsError:
        raise RecipeError(f"{path} exists already", hint="choose another name, or overwrite it with --force") from None
    except OSError as error:
        raise RecipeError(f"cannot write {path}: {error.strerror}", hint="choose a folder you may write to") from None
    cli.err.print(f"wrote {path}; next: counterpoint plan {path}", markup=False, soft_wrap=True)


def schema(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead of printing it.")] = None,
) -> None:
    """Print the JSON schema of recipes, for editors that complete YAML.

    With the YAML language server, write it to a file and begin a recipe with:
    # yaml-language-server: $schema=FILE
    """
    cli = cli_of(context)
    text = json.dumps(recipe_schema(cli.registry), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        cli.out.file.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot write {out}: {error.strerror}", hint="choose a folder you may write to") from None
    cli.err.print(f"wrote {out}", markup=False, soft_wrap=True)

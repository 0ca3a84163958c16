"""The application: global options, the built-in commands, and those of plugins."""

from __future__ import annotations

from typing import Annotated

import typer

from counterpoint.cli.console import Cli
from counterpoint.registry import Registry, load_plugins

_HELP = """Small and large language models that work together.

Start with `counterpoint demo`; then `counterpoint recipes list` and `counterpoint run RECIPE "a prompt"`.
"""


def build_app(registry: Registry | None = None) -> typer.Typer:
    """The application with the commands of core and of every plugin."""
    from counterpoint.cli import calibrate, compare, demo, evaluation, models, nodes, plan, recipes, run, runs, score, train

    cli = Cli(registry or load_plugins())
    app = typer.Typer(
        name="counterpoint",
        help=_HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )

    @app.callback()
    def options(
        context: typer.Context,
        debug: Annotated[bool, typer.Option("--debug", envvar="COUNTERPOINT_DEBUG", help="Show tracebacks of errors.")] = False,
        version: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
        ] = False,
    ) -> None:
        context.obj = cli
        cli.debug = debug
        for plugin, reason in cli.registry.failures.items():
            cli.warn(f"plugin '{plugin}' is left out: {reason}")

    for module in (demo, run, plan, train, evaluation, compare, calibrate, score, recipes, nodes, models, runs):
        module.add(app)
    _add_plugin_commands(app, cli.registry)
    return app


def _add_plugin_commands(app: typer.Typer, registry: Registry) -> None:
    """Lets every plugin add its commands; one that fails does not take the others with it."""
    for implementation in registry.manager.hook.counterpoint_commands.get_hookimpls():
        try:
            implementation.function(**({"app": app} if "app" in implementation.argnames else {}))
        except Exception as error:  # noqa: BLE001 — a plugin's failure is its own
            registry.failures[implementation.plugin_name] = f"its commands: {type(error).__name__}: {error}"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"counterpoint {version('counterpoint')}")
        raise typer.Exit

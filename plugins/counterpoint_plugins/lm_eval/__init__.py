"""Recipes as models of EleutherAI's lm-evaluation-harness: the command ``counterpoint lm-eval``.

The model class is in :mod:`counterpoint_plugins.lm_eval.model` and needs the extra ``lm-eval``; nothing here imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from counterpoint.plugin import PluginError, hookimpl

NAME = "counterpoint"
"""What the model is called in the harness: ``--model counterpoint``."""
_COMMANDS = ("run", "ls", "validate")
_OWN_MODEL = ("--model", "-M", "--config", "-C")


def register() -> None:
    """Makes the harness know the model ``counterpoint``; a second call changes nothing.

    Release 0.4.13 does not read the entry points ``lm_eval.models`` yet, under which this package declares it. The class is
    imported when the harness makes a model of it.

    Raises:
        PluginError: the harness is not installed.
    """
    try:
        import lm_eval.models  # noqa: F401 (its own models come first)
        from lm_eval.api.registry import model_registry
    except ImportError as error:
        raise PluginError(
            f"the lm-evaluation-harness cannot be imported: {error}",
            hint="install it with: pip install 'counterpoint[lm-eval]'",
        ) from None
    if NAME not in model_registry:
        model_registry.register(NAME, target="counterpoint_plugins.lm_eval.model:CounterpointLM")


def harness_arguments(given: Sequence[str]) -> list[str]:
    """The harness's arguments: ``run`` is the default command, and ``counterpoint`` its default model."""
    arguments = list(given)
    if not arguments or arguments[0] not in _COMMANDS:
        arguments.insert(0, "run")
    names = {argument.partition("=")[0] for argument in arguments}
    if arguments[0] == "run" and len(arguments) > 1 and not names.intersection((*_OWN_MODEL, "--help", "-h")):
        arguments[1:1] = ["--model", NAME]
    return arguments


@hookimpl
def counterpoint_commands(app: typer.Typer) -> None:
    """`counterpoint lm-eval`."""

    @app.command(
        "lm-eval",
        no_args_is_help=True,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    def lm_eval(context: typer.Context) -> None:
        """Run EleutherAI's lm-evaluation-harness, in which recipes are models.

        Everything after `lm-eval` goes to the harness's own command line; its default model is `counterpoint`, whose model
        arguments are recipe=NAME, backend=KIND, num_concurrent=N, and settings such as large.dtype=float32.

        counterpoint lm-eval --model_args recipe=sample --tasks gsm8k --limit 10

        `counterpoint lm-eval run --help` shows the harness's options, `counterpoint lm-eval ls tasks` its tasks.
        """
        register()
        from lm_eval.__main__ import cli_evaluate

        before = sys.argv
        sys.argv = ["lm-eval", *harness_arguments(context.args)]  # the harness reads its arguments from there only
        try:
            cli_evaluate()
        finally:
            sys.argv = before

"""The `counterpoint` command: a thin skin over the engine, the stores and the registry.

Exit status: 0 done; 1 an error; 2 wrong usage; 3 a budget ended the answer early (what there was is printed);
130 cancelled. Importing this loads neither torch nor transformers; commands import what they need.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from counterpoint.registry import Registry

OK, ERROR, USAGE, BUDGET, CANCELLED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None, *, registry: Registry | None = None) -> int:
    """Runs the command line and returns the exit status.

    Args:
        arguments: what to run; by default what the process was started with.
        registry: the plugins; by default all installed ones.
    """
    from counterpoint.cli.app import build_app
    from counterpoint.cli.console import make_console, say, show_error
    from counterpoint.cli.logfile import log_file

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where it is not UTF-8, a model's text must not end the run
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Looked for here as well, since an error may come before the options are read.
    debug = "--debug" in given or os.environ.get("COUNTERPOINT_DEBUG", "") not in ("", "0")
    try:
        try:
            with log_file(everything=debug):
                status = build_app(registry)(args=given, prog_name="counterpoint", standalone_mode=False)
        finally:
            sys.stdout.flush()
        return status if isinstance(status, int) else OK
    except KeyboardInterrupt:
        return CANCELLED
    except BrokenPipeError:
        # Whoever read the output has had enough; nothing can be written at exit any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Exception as error:  # noqa: BLE001 — a user sees a message, not a traceback
        # typer brings click along in some versions and depends on it in others: its errors are known by their methods.
        err = make_console(sys.stderr)
        if type(error).__name__ == "Abort":
            return CANCELLED
        if not hasattr(error, "format_message"):
            show_error(err, error, debug=debug)
            return ERROR
        message = str(error.format_message())
        if type(error).__name__ == "NoArgsIsHelpError":
            err.file.write(message.rstrip() + "\n")
            return USAGE
        context = getattr(error, "ctx", None)
        say(err, "error", message[:1].lower() + message[1:].rstrip("."))
        say(err, "hint", f"`{context.command_path if context else 'counterpoint'} --help` shows what it takes")
        return USAGE


def entry() -> None:
    """The entry point of ``python -m counterpoint``."""
    sys.exit(main())

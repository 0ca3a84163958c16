"""``python -m counterpoint_tui.worker``: see :mod:`counterpoint_tui.worker`."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from types import FrameType

from counterpoint.cli.logfile import log_file
from counterpoint.registry import load_plugins
from counterpoint_tui.worker.serving import Server


class _Ended(Exception):
    """The process was asked to end by a signal."""


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended


def main() -> None:
    """Serves until standard input ends, ``quit`` comes, or the process is terminated."""
    parser = argparse.ArgumentParser(prog="counterpoint_tui.worker")
    parser.add_argument("--plugin", action="append", default=[], help="A module that is a plugin, besides the installed ones.")
    parser.add_argument("--offline", action="store_true", help="Never use the network.")
    given = parser.parse_args()
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)  # the terminal's; the application says when to end
    signal.signal(signal.SIGTERM, _end)
    # Replies go where standard output went; what libraries print does not get among them.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with log_file(everything=os.environ.get("COUNTERPOINT_DEBUG", "") not in ("", "0")):
        registry = load_plugins([importlib.import_module(name) for name in given.plugin])
        server = Server(registry, replies, offline=given.offline)
        try:
            server.serve(sys.stdin.buffer)
        except _Ended:
            pass
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending
            server.close()


if __name__ == "__main__":
    main()

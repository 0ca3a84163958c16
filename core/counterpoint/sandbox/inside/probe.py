"""Looks around from inside a sandbox and reports what it could do, so that a sandbox is used only where it holds."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from . import wire


def main(fds: dict[str, int]) -> None:
    """Reads from standard input (JSON) ``paths`` it must not see, a ``pid`` and a ``port`` of the local host it must not reach, and
    the number of ``processes`` it may have; writes the list of what does not hold."""
    job = json.loads(wire.read_all(0))
    problems = [f"sees {path}" for path in job["paths"] if os.path.exists(path)]
    problems += [text for text, holds in _claims(job) if not holds]
    os.write(fds["out"], json.dumps(problems).encode())


def _claims(job: dict[str, Any]) -> list[tuple[str, bool]]:
    return [
        ("its /tmp cannot be written", _possible(lambda: _touch("/tmp/probe"))),
        ("its root can be written", not _possible(lambda: _touch("/probe"))),
        ("it reaches a process outside", not _possible(lambda: os.kill(job["pid"], 0))),
        ("it reaches a port of this machine", not _possible(lambda: _connect("127.0.0.1", job["port"]))),
        ("it has a network", not _possible(lambda: _connect("192.0.2.1", 9))),
        ("the number of processes is not limited", _forks(job["processes"] + 4) == job["processes"] - 1),
    ]


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def _connect(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if port == 9 else socket.SOCK_STREAM) as one:
        one.connect((host, port))  # for datagrams nothing is sent: it asks for a route


def _possible(action: Callable[[], None]) -> bool:
    try:
        action()
    except OSError:
        return False
    return True


def _forks(wanted: int) -> int:
    """How many children can be had at once, of so many."""
    children = []
    for _ in range(wanted):
        try:
            pid = os.fork()
        except OSError:
            break
        if not pid:
            time.sleep(60)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(children)

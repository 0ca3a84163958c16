"""Where every sandboxed process starts: builds or completes the sandbox, says "ready", and becomes what it is there to be."""

from __future__ import annotations

import binascii
import importlib
import json
import os
import signal
import sys
from typing import Any

from . import namespaces, sealing

SETUP_FAILED = 71


def main() -> None:
    """Runs what the first argument (JSON) describes."""
    config = json.loads(sys.argv[1])
    fds: dict[str, int] = config["fds"]
    last = max(fds.values())
    ready, info = fds.pop("ready"), fds.pop("info", -1)
    try:
        # Before the sandbox is built: afterwards these files may be out of sight.
        role = importlib.import_module(f".{config['role']}", __package__)
        _set_up(config, info, last)
    except BaseException as error:  # noqa: BLE001 - whatever it is, our process has to hear of it
        os.write(ready, f"{type(error).__name__}: {error}".encode()[:500])
        os._exit(SETUP_FAILED)
    os.write(ready, b"ready")
    os.close(ready)
    sys.argv = [""]
    status = 1
    try:
        role.main(fds)
        status = 0
    finally:
        os._exit(status)  # no `atexit`, and no waiting for threads


def _set_up(config: dict[str, Any], info: int, last: int) -> None:
    if config["isolation"] == "none":
        os.close(info)
        sealing.limit(config["limits"], isolated=False)
        return
    if config["isolation"] == "namespaces":
        _isolate(config, info, last)
    sealing.seal(config["limits"], binascii.a2b_base64(config["seccomp"]), config.get("devices", []))


def _isolate(config: dict[str, Any], info: int, last: int) -> None:
    """Returns in a process inside new namespaces. Outside waits one that ends as that one ends."""
    namespaces.die_with_parent()
    root = os.geteuid() == 0
    namespaces.enter(root=root)
    init = os.fork()
    if init:
        os.write(info, json.dumps({"child-pid": init}).encode())
        os.closerange(0, last + 1)
        _end_like(os.waitpid(init, 0)[1])
    os.close(info)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # so that nothing from inside can interrupt the namespace's init
    namespaces.build_root(config["layout"], config["limits"]["tmp_bytes"])
    if root:
        sealing.become_nobody()
    namespaces.die_with_parent()
    inner = os.fork()
    if inner:
        os.closerange(0, last + 1)
        while True:  # init: reaps whatever is orphaned in here; when it ends, the kernel kills all that is left
            pid, status = os.wait()
            if pid == inner:
                _end_like(status)


def _end_like(status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)

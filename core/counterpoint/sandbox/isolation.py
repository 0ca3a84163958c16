"""Ways of isolating a process, and which of them works on this machine.

Another one (a container, say) is another :class:`Isolation`: it says how a command line starts a program of ``inside`` in it.
"""

from __future__ import annotations

import base64
import compileall
import json
import os
import shutil
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

from counterpoint.errors import Unsupported
from counterpoint.sandbox.filtering import program
from counterpoint.sandbox.layout import DEVICES, INSIDE, MOUNTED, layout
from counterpoint.sandbox.limits import Limits

IsolationKind = Literal["auto", "bubblewrap", "namespaces", "none"]

_MINIMUM_KERNEL = (5, 14)  # from here on processes are counted per user namespace
_HINT = (
    "install bubblewrap, or allow user namespaces (Linux 5.14 or newer; in a container, a less strict seccomp profile); "
    "docs/sandbox.md says what running without isolation risks"
)


class Isolation(ABC):
    """A way to run one of the programs in ``inside`` apart from everything else."""

    kind: ClassVar[str]
    separate: ClassVar[bool] = True
    """Whether processes started in it have their own PID namespace, so that ending its init ends them all."""

    def missing(self) -> str:
        """What it lacks on this machine at first sight; empty when it is worth a try."""
        if not sys.platform.startswith("linux"):
            return f"it needs Linux, and this is {sys.platform}"
        release = os.uname().release
        version = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
        if version < _MINIMUM_KERNEL:
            return f"it needs Linux 5.14, and this is {release}"
        return ""

    @abstractmethod
    def command(self, role: str, fds: dict[str, int], limits: Limits) -> list[str]:
        """The command line of a program.

        Args:
            role: which program of ``inside`` runs.
            fds: file descriptors it inherits, by name. ``ready`` is told when it is set up, ``info`` the PID of the namespace's
                init as ``{"child-pid": …}``.
            limits: what it may use.
        """

    def _start(self, python: str, folder: str, config: dict[str, object]) -> list[str]:
        begin = f"import sys; sys.path.insert(0, {folder!r}); from inside import starting; starting.main()"
        # As -I, but for -E: the environment is ours, and it fixes the hash seed.
        return [python, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", begin, json.dumps(config)]

    def _config(self, role: str, fds: dict[str, int], limits: Limits) -> dict[str, object]:
        config: dict[str, object] = {"isolation": self.kind, "role": role, "fds": fds, "limits": limits.plain()}
        if self.separate:
            config["seccomp"] = base64.b64encode(program()).decode()
        return config


class Namespaces(Isolation):
    """User, mount, PID, network, IPC, UTS and cgroup namespaces, set up by ourselves."""

    kind = "namespaces"

    def command(self, role: str, fds: dict[str, int], limits: Limits) -> list[str]:
        config = self._config(role, fds, limits)
        config["layout"] = layout().plain()
        return self._start(layout().python, str(INSIDE.parent), config)


class Bubblewrap(Isolation):
    """The same namespaces, set up by bubblewrap (``bwrap``)."""

    kind = "bubblewrap"

    def missing(self) -> str:
        return super().missing() or ("" if shutil.which("bwrap") else "bwrap is not on the PATH")

    def command(self, role: str, fds: dict[str, int], limits: Limits) -> list[str]:
        made = layout()
        arguments = [shutil.which("bwrap") or "bwrap"]
        if os.geteuid() == 0:  # inside it becomes nobody, whose processes are counted
            arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            arguments += ["--unshare-user"]
        arguments += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        arguments += ["--hostname", "sandbox", "--die-with-parent", "--new-session", "--info-fd", str(fds["info"])]
        for folder in made.folders():  # bubblewrap would make them for root only
            arguments += ["--dir", folder]
        for link, target in made.symlinks:
            arguments += ["--symlink", target, link]
        for source, target in made.binds:
            arguments += ["--ro-bind", source, target]
        for device in DEVICES:
            arguments += ["--dev-bind", device, device]
        arguments += ["--perms", "1777", "--size", str(limits.tmp_mb * 2**20), "--tmpfs", "/tmp", "--remount-ro", "/"]
        inherited = {name: fd for name, fd in fds.items() if name != "info"}
        config = self._config(role, inherited, limits) | {"devices": DEVICES}
        return [*arguments, "--chdir", "/tmp", "--", *self._start(made.python, str(Path(MOUNTED).parent), config)]


class NoIsolation(Isolation):
    """A process with resource limits and a clean environment, which can do whatever its user can."""

    kind = "none"
    separate = False

    def missing(self) -> str:
        return "" if os.name == "posix" else "it needs a POSIX system"

    def command(self, role: str, fds: dict[str, int], limits: Limits) -> list[str]:
        config = self._config(role, fds, limits)
        return self._start(layout().python, str(INSIDE.parent), config)


_KINDS: tuple[Isolation, ...] = (Bubblewrap(), Namespaces(), NoIsolation())
_probed: dict[str, str] = {}
_probing = threading.Lock()


def choose(kind: IsolationKind = "auto", *, unsafe_run_without_isolation: bool = False) -> Isolation:
    """The isolation to use; the first call of a process tries it out (a tenth of a second).

    Args:
        kind: ``auto`` takes bubblewrap where it works, else namespaces.
        unsafe_run_without_isolation: allows ``none``. It never makes ``auto`` choose it.

    Raises:
        Unsupported: it does not work on this machine, nothing does, or ``none`` was not allowed.
    """
    if kind == "none" and not unsafe_run_without_isolation:
        raise Unsupported(
            "isolation 'none' runs model-written code with all rights of this user, and was not allowed",
            hint="choose isolation 'auto', or set unsafe_run_without_isolation inside a container or machine you can lose",
        )
    reasons = {}
    for isolation in _KINDS:
        if kind == isolation.kind or (kind == "auto" and isolation.separate):
            if not (reason := problem(isolation)):
                return isolation
            reasons[isolation.kind] = reason
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise Unsupported(f"model-written code cannot be isolated on this machine ({listed})", hint=_HINT)


def problem(isolation: Isolation) -> str:
    """Why an isolation does not work here, found by trying it, once per process; empty when it works."""
    with _probing:
        if isolation.kind not in _probed:
            compileall.compile_dir(INSIDE, quiet=2)  # every sandbox imports it and none can write the result down
            _probed[isolation.kind] = isolation.missing() or (_try(isolation) if isolation.separate else "")
        return _probed[isolation.kind]


def _try(isolation: Isolation) -> str:
    """Starts the probe in a sandbox; it says what it could reach."""
    from counterpoint.sandbox.spawning import Spawned, drain

    limits = Limits(wall_seconds=10, cpu_seconds=5, processes=4)
    with socket.create_server(("127.0.0.1", 0)) as server:
        job = {
            "paths": [path for folder in (Path("~").expanduser(), Path.cwd()) for path in _private(folder)],
            "pid": os.getpid(),
            "port": server.getsockname()[1],
            "processes": limits.processes,
        }
        receiving, sending = os.pipe()
        try:
            with Spawned(isolation, "probe", {"out": sending}, json.dumps(job).encode(), limits) as probe:
                os.close(sending)
                sending = -1
                answer, _ = drain([probe], receiving, time.monotonic() + limits.wall_seconds)
            if probe.problem:
                return probe.problem
            found = json.loads(answer or b'["it gave no answer"]')
            return "; ".join(map(str, found))
        except OSError as error:
            return str(error)
        finally:
            os.close(receiving)
            if sending >= 0:
                os.close(sending)


def _private(folder: Path) -> list[str]:
    """Some of what lies in a folder and has no business in a sandbox."""
    needed = layout().folders()
    try:
        return [str(path) for path in folder.iterdir() if str(path) not in needed][:50]
    except OSError:
        return []

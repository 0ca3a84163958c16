"""Sandboxed processes as seen from outside: started, fed, awaited, ended with all they have started."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from types import TracebackType

from counterpoint.sandbox.isolation import Isolation
from counterpoint.sandbox.limits import Limits

_MOST = 2**16
"""Most bytes that are read from any of their pipes."""
_DYING = 2.0
"""Seconds that the kernel may take to end a namespace."""
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",  # else every thread reserves 64 MB of the address space that is limited
    "PYTHONHASHSEED": "0",  # sets in the same order every time: a verdict should not depend on chance
    "TMPDIR": "/tmp",
    "TZ": "UTC",
    "USER": "nobody",
}


class Spawned:
    """A program of ``inside`` in a sandbox. A context manager: on leaving, it and whatever it started has ended.

    Args:
        isolation: the sandbox.
        role: which program.
        fds: file descriptors it inherits besides, by name; they stay the caller's to close.
        feed: what its standard input will be.
        limits: what it may use.

    Raises:
        OSError: the program that makes the sandbox cannot be started.
    """

    def __init__(self, isolation: Isolation, role: str, fds: dict[str, int], feed: bytes, limits: Limits) -> None:
        self.problem = ""
        """Why the sandbox could not be set up; known when ``drain`` returns."""
        self.feed = memoryview(feed)
        self.said: dict[int, bytearray] = {}
        self._isolation = isolation
        self._folder = "" if isolation.separate else tempfile.mkdtemp(prefix="counterpoint-")
        self._init = -1
        child_ends = dict(fds)
        self.ready, child_ends["ready"] = os.pipe()
        self.info, child_ends["info"] = os.pipe()
        try:
            self.process = subprocess.Popen(
                isolation.command(role, child_ends, limits),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT | ({"HOME": self._folder, "TMPDIR": self._folder} if self._folder else {}),
                cwd=self._folder or "/",
                pass_fds=tuple(child_ends.values()),
                start_new_session=True,
            )
        except BaseException:
            os.close(self.ready)
            os.close(self.info)
            self._forget_folder()
            raise
        finally:
            os.close(child_ends["ready"])
            os.close(child_ends["info"])
        assert self.process.stdin is not None
        self.stdin = self.process.stdin.fileno()
        os.set_blocking(self.stdin, False)

    def learn_init(self, said: bytes) -> None:
        """Notes the namespace's init, which is the last of its processes to end."""
        if self._init >= 0:
            return
        with contextlib.suppress(ValueError, KeyError, OSError):  # ValueError: it has not said all of it yet
            self._init = os.pidfd_open(int(json.loads(said)["child-pid"]))

    def learn_ready(self, said: bytes) -> None:
        """Notes whether the sandbox could be set up."""
        self.problem = ""
        if said != b"ready":
            self.problem = said.decode(errors="replace") or "it ended while it was being set up"

    def close_stdin(self) -> None:
        """Tells it that its input ends."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def __enter__(self) -> Spawned:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close_stdin()
        if not self._isolation.separate:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # the namespace's init dies with its parent, and the kernel ends the namespace with its init
        self.process.wait()
        if self._init >= 0:
            with selectors.DefaultSelector() as selector:
                selector.register(self._init, selectors.EVENT_READ)
                selector.select(_DYING)
            os.close(self._init)
        os.close(self.ready)
        os.close(self.info)
        self._forget_folder()

    def _forget_folder(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def drain(processes: Sequence[Spawned], answer: int, seconds: float) -> bytes | None:
    """Feeds processes and reads from the pipe ``answer`` until it ends; None when that takes longer than ``seconds``.

    Raises nothing for what the processes do; what they say beyond some length is left unread.
    """
    deadline = time.monotonic() + seconds
    read = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(answer, selectors.EVENT_READ)
        for each in processes:
            each.said = {each.ready: bytearray(), each.info: bytearray()}
            selector.register(each.ready, selectors.EVENT_READ, each)
            selector.register(each.info, selectors.EVENT_READ, each)
            selector.register(each.stdin, selectors.EVENT_WRITE, each)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            # The answer last: when it has ended, what the processes had said before is known, too.
            for key, _ in sorted(selector.select(left), key=lambda event: event[0].fd == answer):
                if key.fd == answer:
                    chunk = os.read(answer, _MOST)
                    read += chunk
                    if not chunk or len(read) > _MOST:
                        return bytes(read)
                elif _attend(key.data, key.fd):
                    selector.unregister(key.fd)
                    if key.fd == key.data.stdin:
                        key.data.close_stdin()


def _attend(process: Spawned, fd: int) -> bool:
    """Writes to or reads from one of a process's own pipes; True when it is done with."""
    if fd == process.stdin:
        try:
            process.feed = process.feed[os.write(fd, process.feed[:_MOST]) :] if process.feed else process.feed
        except BlockingIOError:
            return False
        except OSError:
            return True
        return not process.feed
    chunk = os.read(fd, 4096)
    process.said[fd] += chunk
    # At once, and not only when the pipe ends: the answer may end before that is seen.
    learn = process.learn_ready if fd == process.ready else process.learn_init
    learn(bytes(process.said[fd]))
    return not chunk or len(process.said[fd]) > _MOST

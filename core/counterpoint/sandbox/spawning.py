"""Sandboxed processes as seen from outside: started, fed, awaited, ended with all they have started."""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
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
        OSError: the program that makes the sandbox cannot be started, or there are no file descriptors left.
    """

    def __init__(self, isolation: Isolation, role: str, fds: dict[str, int], feed: bytes, limits: Limits) -> None:
        self.problem = ""
        """Why the sandbox could not be set up; known when ``drain`` returns."""
        self.feed = memoryview(feed)
        self._isolation = isolation
        self._init = -1
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ending:
            folder = None
            if not isolation.separate:
                folder = ending.enter_context(tempfile.TemporaryDirectory(prefix="counterpoint-", ignore_cleanup_errors=True))
            child_ends = dict(fds)
            self.ready, child_ends["ready"] = _pipe(ending, theirs)
            self.info, child_ends["info"] = _pipe(ending, theirs)
            self.said = {self.ready: bytearray(), self.info: bytearray()}
            self.process = subprocess.Popen(
                isolation.command(role, child_ends, limits),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT | ({"HOME": folder, "TMPDIR": folder} if folder else {}),
                cwd=folder or "/",
                pass_fds=tuple(child_ends.values()),
                start_new_session=True,
            )
            ending.callback(self._end)
            _volunteer_for_the_oom_killer(self.process.pid)
            assert self.process.stdin is not None
            self.stdin = self.process.stdin.fileno()
            os.set_blocking(self.stdin, False)
            self._ending = ending.pop_all()

    def learn_init(self, said: bytes) -> None:
        """Notes the namespace's init, which is the last of its processes to end."""
        if self._init >= 0:
            return
        with contextlib.suppress(ValueError, KeyError, OSError):  # ValueError: it has not said all of it yet
            pid = int(json.loads(said)["child-pid"])
            self._init = os.pidfd_open(pid)
            _volunteer_for_the_oom_killer(pid)  # it, and what it has made, may be older than its parent's word

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
        self._ending.close()

    def _end(self) -> None:
        self.close_stdin()
        # All of its session. While it is being set up, init is still in there and does not yet die with its parent. Later,
        # bubblewrap has given it a session of its own, and by then it does. In between, only its PID finds it.
        if self.process.returncode is None or not self._isolation.separate:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if self._init >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        if self._init >= 0:  # the kernel ends the namespace with its init
            waiting = select.poll()
            waiting.register(self._init, select.POLLIN)
            waiting.poll(_DYING * 1000)
            os.close(self._init)


def _pipe(*closing: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe, and who closes its ends."""
    ends = os.pipe()
    for stack, fd in zip(closing, ends, strict=True):
        stack.callback(os.close, fd)
    return ends


def _volunteer_for_the_oom_killer(pid: int) -> None:
    """Has the kernel end this process and its children first when memory is short. From outside: a sandbox sees no /proc.

    First the process, then those that it had made before: any that it makes later inherits it.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            _volunteer_for_the_oom_killer(int(child))


def drain(processes: Sequence[Spawned], answer: int, deadline: float) -> tuple[bytes, bool]:
    """Feeds processes and reads from the pipe ``answer``: what came, and whether it ended before ``deadline`` (monotonic).

    Raises nothing for what the processes do; what they say beyond some length is left unread.
    """
    read = bytearray()
    with selectors.PollSelector() as selector:  # unlike others it needs no file descriptor
        selector.register(answer, selectors.EVENT_READ)
        for each in processes:
            selector.register(each.ready, selectors.EVENT_READ, each)
            selector.register(each.info, selectors.EVENT_READ, each)
            selector.register(each.stdin, selectors.EVENT_WRITE, each)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return bytes(read), False
            # The answer last: when it has ended, what the processes had said before is known, too.
            for key, _ in sorted(selector.select(left), key=lambda event: event[0].fd == answer):
                if key.fd == answer:
                    chunk = os.read(answer, _MOST)
                    read += chunk
                    if not chunk or len(read) > _MOST:
                        return bytes(read), True
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

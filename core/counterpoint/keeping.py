"""What nodes keep on disk from run to run, for plugin authors: JSON lines found by a key, under a header that says what they are.

Several processes may read and append at once. A line that a killed process was writing is left out, and cut off by whoever
appends next.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from counterpoint import paths
from counterpoint.errors import RunError
from counterpoint.printable import whole

SCHEMA: Final = 1
"""Version of the file format."""


def canonical(data: Any) -> str:
    """Plain data as the one JSON text that equal data have."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def key_of(data: Any) -> str:
    """The SHA-256 of plain data, in hexadecimal."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()


def candidates_file(header: Mapping[str, Any]) -> Path:
    """Where what belongs under a header is kept when no file is named: in ``candidates`` under ``COUNTERPOINT_HOME``."""
    return paths.candidates() / f"{key_of(header)[:20]}.jsonl"


class KeptLines:
    """One file. Its first line is the header; every further one is an object with a ``key``. Methods block: call them by
    ``run.thread``.

    Args:
        path: the file; it need not exist.
        header: what the lines are of, plain JSON; a file with another header is refused.
        node: path of the node that keeps it, for errors.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], node: str) -> None:
        self.path = path
        self._header = json.loads(canonical(header))
        self._node = node
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self._reading = threading.Lock()
        self._places: dict[str, int] = {}  # where each key's line begins
        self._read = 0  # bytes that have been looked at
        self._inode = -1

    def find(self, key: str) -> dict[str, Any] | None:
        """The line with a key, those of other processes included; None when there is none.

        Raises:
            RunError: the file holds something else, or cannot be read.
        """
        with self._reading, _on_disk(self._node, self.path):
            return self._current(key)

    def _current(self, key: str) -> dict[str, Any] | None:
        """The line with a key, after a look at what has come."""
        self._look()
        found = self._at(key)
        if found is None and key in self._places:
            self._begin_again()
            found = self._at(key)
        return found

    def _at(self, key: str) -> dict[str, Any] | None:
        """The line that stands where a key's stood when it was looked at, if it is still that one."""
        if key not in self._places:
            return None
        with self.path.open("rb") as file:
            file.seek(self._places[key])
            try:
                line = self._parsed(file.readline())
            except RunError:  # the middle of another line
                return None
        return line if line.get("key") == key else None

    def add(self, key: str, line: Mapping[str, Any]) -> None:
        """Keeps a line, unless there is one with this key: the first one stands.

        Raises:
            RunError: the file holds something else, or cannot be written; what was there before is whole.
        """
        with self._reading, _on_disk(self._node, self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                self._look()  # before anything is cut off, whether it is ours
                self._cut_torn_line()
                if self._current(key) is not None:
                    return
                begin = "" if self._read else self._first_line
                self._append((begin + json.dumps(whole({"key": key, **line}), ensure_ascii=False) + "\n").encode())

    def check(self) -> None:
        """Looks at what is there.

        Raises:
            RunError: the file holds something else, or cannot be read.
        """
        with self._reading, _on_disk(self._node, self.path):
            self._look()

    @property
    def _first_line(self) -> str:
        return canonical({"counterpoint": "kept lines", "schema": SCHEMA, "of": self._header}) + "\n"

    def _append(self, content: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            had = os.fstat(descriptor).st_size
            try:
                while content:
                    content = content[os.write(descriptor, content) :]
            except OSError:
                os.ftruncate(descriptor, had)
                raise
        finally:
            os.close(descriptor)

    def _cut_torn_line(self) -> None:
        """Removes what a killed process was writing; nobody else writes while the lock is held."""
        if not self.path.exists():
            return
        with self.path.open("rb+") as file:
            end = at = file.seek(0, os.SEEK_END)
            while at:
                start = max(0, at - 65536)
                file.seek(start)
                found = file.read(at - start).rfind(b"\n")
                if found >= 0:
                    at = start + found + 1
                    break
                at = start
            if at < end:
                file.truncate(at)

    def _look(self) -> None:
        """Takes in the whole lines that have come since the last look; all of them where others have moved lines meanwhile."""
        read, inode = self._read, self._inode
        try:
            self._take_in()
        except RunError:
            if not read or inode != self._inode:
                raise
            self._begin_again()

    def _begin_again(self) -> None:
        """Forgets where lines are, and looks at all of them."""
        self._places, self._read = {}, 0
        self._take_in()

    def _take_in(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._places, self._read, self._inode = {}, 0, -1
            return
        if status.st_ino != self._inode or status.st_size < self._read:  # another file, or cut
            self._places, self._read, self._inode = {}, 0, status.st_ino
        if status.st_size == self._read:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    if not self._read and not self._first_line.encode().startswith(line):
                        raise self._another_kind()
                    break
                if not self._read and not line.startswith(b'{"counterpoint":'):
                    raise self._another_kind()
                data = self._parsed(line)
                if not self._read:
                    self._compare(data)
                elif not isinstance(key := data.get("key"), str):
                    raise self._damaged(line)
                else:
                    self._places.setdefault(key, self._read)
                self._read += len(line)

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            raise self._damaged(line) from None
        if not isinstance(data, dict):
            raise self._damaged(line)
        return data

    def damaged(self, line: Mapping[str, Any]) -> RunError:
        """The error for a line with a key that does not hold what its node keeps."""
        return self._damaged(json.dumps(line).encode())

    def _another_kind(self) -> RunError:
        return RunError(
            f"{self._node}: {self.path} is a file of another kind: its first line is no header",
            hint="name another file; this one is left as it is",
        )

    def _damaged(self, line: bytes) -> RunError:
        shown = line[:60].decode(errors="replace").strip()
        return RunError(
            f"{self._node}: {self.path} has a line that is none of what it keeps: {shown!r}",
            hint="remove that line, and what it was is made again; or name another file",
        )

    def _compare(self, first: Mapping[str, Any]) -> None:
        if first.get("schema") != SCHEMA:
            raise RunError(
                f"{self._node}: the format of {self.path} is {first.get('schema')}, and this Counterpoint reads {SCHEMA}",
                hint="name another file, or use the Counterpoint that wrote it",
            )
        if different := list(_differences(first.get("of"), self._header, "")):
            more = f" and {len(different) - 3} more" if len(different) > 3 else ""
            raise RunError(
                f"{self._node}: {self.path} holds what another recipe made; it differs in {'; '.join(different[:3])}{more}",
                hint="name another file, or none, and the right one is found; this one is left as it is",
            )


def _differences(there: Any, here: Any, place: str) -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for name in sorted({*there, *here}):
            yield from _differences(there.get(name), here.get(name), f"{place}.{name}" if place else name)
    elif there != here:
        yield f"{place}: {there!r} there, {here!r} here"


@contextmanager
def _on_disk(node: str, path: Path) -> Iterator[None]:
    """What the disk refuses, as an error that names the file."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{node}: {path} cannot be read or written: {error.strerror or error}",
            hint="make room, or name a file elsewhere; what was kept before is whole",
        ) from error

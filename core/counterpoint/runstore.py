"""Stored runs: recorded while they happen, replayed with no model loaded.

A run is a folder under ``COUNTERPOINT_HOME/runs`` named by its id:

- ``recipe.yaml``: the recipe as resolved, so that the run can be made again;
- ``events.jsonl``: one event a line, each flushed as it comes, so that a killed process leaves a readable run;
- ``result.json``: the summary, written in one step when the run has ended.
"""

from __future__ import annotations

import builtins
import contextlib
import difflib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import ValidationError

from counterpoint import paths
from counterpoint.errors import RunError
from counterpoint.events import SCHEMA, Emitted, Event, RunStarted, dump_event, parse_event
from counterpoint.recording import EVENTS, RECIPE, RESULT, Recorder, result_of
from counterpoint.trace import ROOT_SPAN

Status = Literal["finished", "interrupted", "failed", "cancelled", "damaged"]
ExportFormat = Literal["text", "json", "recipe"]


@dataclass(frozen=True)
class StoredRun:
    """One line of the list of runs."""

    id: str
    recipe: str = ""
    prompt: str = ""
    """The beginning of the prompt, on one line."""
    started: float = 0.0
    """Seconds since the epoch."""
    status: Status = "damaged"
    tokens: int = 0
    """Tokens of the answer."""
    seconds: float = 0.0
    problem: str = ""
    """What is wrong with a damaged one."""


class RunStore:
    """Records runs and gives them back.

        store = cp.RunStore()
        for event in store.record(cp.stream("speculative")):
            ...
        events = list(store.replay("last"))

    Args:
        root: the folder of all runs; by default the user's.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or paths.runs()
        self.problems: list[str] = []
        """Why a run could not be recorded in full (a full disk, say); the run itself went on."""

    # --- recording --------------------------------------------------------------------------------------------------

    def record(self, events: Iterable[Event]) -> Iterator[Event]:
        """Passes events through while storing them; whoever stops early keeps what came.

        With ``record: summary`` in the recipe, the passes of a node between two ends of calls are stored as one event
        with their sums, and log-probabilities and alternatives are left out.
        """
        recorder: Recorder | None = None
        try:
            for event in events:
                if recorder is None:
                    recorder = Recorder(self.root, self.problems, event)
                recorder.write(event)
                yield event
        finally:
            if recorder is not None:
                recorder.close()

    # --- reading ----------------------------------------------------------------------------------------------------

    def replay(self, run: str) -> Iterator[Event]:
        """The events of a stored run, of the same types as when it happened; an interrupted one ends where it was cut.

        Raises:
            RunError: no such run, or it cannot be read.
        """
        return self._read(self.resolve(run))

    def list(self) -> builtins.list[StoredRun]:
        """All stored runs, newest first; damaged ones say what is wrong."""
        return sorted((self._describe(run) for run in self._ids()), key=lambda run: (run.started, run.id), reverse=True)

    def describe(self, run: str) -> StoredRun:
        """One stored run.

        Raises:
            RunError: there is none.
        """
        return self._describe(self.resolve(run))

    def resolve(self, prefix: str) -> str:
        """The id of the run that starts with ``prefix``, or of the latest for ``last``.

        Raises:
            RunError: none does, or several do.
        """
        ids = self._ids()
        if prefix == "last" and ids:
            return max(ids, key=lambda run: (_modified(self.root / run / RECIPE), run))
        if prefix in ids:
            return prefix
        found = sorted(run for run in ids if prefix and run.startswith(prefix))
        if len(found) == 1:
            return found[0]
        if found:
            shown = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
            raise RunError(f"{len(found)} runs start with '{prefix}': {shown}", hint="give more letters of the id")
        if not ids:
            raise RunError(
                f"there is no stored run '{prefix}': {self.root} has none", hint="`counterpoint run RECIPE` stores one"
            )
        close = difflib.get_close_matches(prefix, ids, n=3, cutoff=0.5)
        raise RunError(
            f"there is no stored run '{prefix}'",
            hint=(f"did you mean {' or '.join(close)}? " if close else "") + "`counterpoint runs list` shows all of them",
        )

    def result(self, run: str) -> dict[str, Any]:
        """What ``result.json`` says of a run, or what its events say when it was interrupted.

        Raises:
            RunError: no such run, or it cannot be read.
        """
        run = self.resolve(run)
        return self._result(run)

    def path(self, run: str) -> Path:
        """The folder of a run."""
        return self.root / self.resolve(run)

    def export(self, run: str, format: ExportFormat = "text") -> str:  # noqa: A002
        """A run as text (the answer), ``json`` (events and summary) or ``recipe`` (YAML, to run again).

        Raises:
            RunError: no such run, or it cannot be read.
        """
        run = self.resolve(run)
        if format == "recipe":
            try:
                return (self.root / run / RECIPE).read_text(encoding="utf-8")
            except OSError as error:
                raise RunError(f"run {run}: cannot read its recipe: {error}", hint=_REMOVE.format(run)) from None
        events = list(self._read(run))
        if format == "text":
            return "".join(event.text for event in events if isinstance(event, Emitted) and event.span == ROOT_SPAN)
        data = {"result": self._result(run), "events": [json.loads(dump_event(e)) for e in events]}
        return json.dumps(data, ensure_ascii=False, indent=1)

    def remove(self, runs: Sequence[str]) -> Sequence[str]:
        """Deletes runs and returns their ids; none is deleted when one of them is not there.

        Raises:
            RunError: there is no such run, or it cannot be deleted.
        """
        ids = list(dict.fromkeys(self.resolve(run) for run in runs))
        for run in ids:
            try:
                shutil.rmtree(self.root / run)
            except OSError as error:
                raise RunError(f"cannot delete run {run}: {error}", hint="check the permissions of its folder") from None
        return ids

    def _ids(self) -> Sequence[str]:
        try:
            return [entry.name for entry in os.scandir(self.root) if entry.is_dir() and not entry.name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"cannot read the stored runs in {self.root}: {error}", hint="check its permissions") from None

    def _read(self, run: str) -> Iterator[Event]:
        try:
            file = (self.root / run / EVENTS).open("rb")
        except OSError as error:
            raise RunError(f"run {run} cannot be read: {error.strerror}: {EVENTS}", hint=_REMOVE.format(run)) from None
        return _events(run, file)

    def _result(self, run: str) -> dict[str, Any]:
        try:
            data = json.loads((self.root / run / RESULT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            data = None  # interrupted: the events say what there is to say
        if isinstance(data, dict):
            return data
        return result_of(run, [*self._read(run)], started=_modified(self.root / run / RECIPE))

    def _describe(self, run: str) -> StoredRun:
        try:
            data = self._result(run)
            return StoredRun(run, *(data[name] for name in ("recipe", "prompt", "started", "status", "tokens", "seconds")))
        except (RunError, KeyError) as error:
            problem = error.message if isinstance(error, RunError) else f"{RESULT} lacks {error}"
            return StoredRun(run, started=_modified(self.root / run), problem=problem)


_REMOVE = "`counterpoint runs rm {}` deletes it"


def _events(run: str, file: BinaryIO) -> Iterator[Event]:
    with file:
        for number, line in enumerate(file):
            try:
                event = parse_event(line)
            except ValidationError as error:
                if not line.endswith(b"\n"):
                    return  # the line a killed process was writing
                raise RunError(
                    f"run {run}: line {number + 1} of {EVENTS} is no event: {_newer(line) or error.errors()[0]['msg']}",
                    hint="a newer Counterpoint wrote it: upgrade" if _newer(line) else _REMOVE.format(run),
                ) from None
            if isinstance(event, RunStarted) and event.schema_version > SCHEMA:
                raise RunError(
                    f"run {run} has trace format {event.schema_version}, and this Counterpoint reads formats up to {SCHEMA}",
                    hint="read it with the newer Counterpoint that recorded it: pip install -U counterpoint",
                )
            yield event


def _newer(line: bytes) -> str:
    """Why a first line cannot be read when it is of a newer format; empty when that is not why."""
    with contextlib.suppress(ValueError):
        data = json.loads(line)
        version = data.get("schema_version", SCHEMA) if isinstance(data, dict) else SCHEMA
        if isinstance(version, int) and version > SCHEMA:
            return f"it has trace format {version}, and this Counterpoint reads formats up to {SCHEMA}"
    return ""


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0

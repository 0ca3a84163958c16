"""The folder that an evaluation is kept in, and that survives kills.

It holds ``config.json`` (what was evaluated, so that nothing else is mixed in), ``examples.jsonl`` (a line per answer, appended as
it comes) and, at the end, ``summary.json``.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
from pydantic import ValidationError

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.records import SCHEMA, Configuration, Record
from counterpoint.printable import as_json
from counterpoint.store.files import write_json

CONFIG, EXAMPLES, SUMMARY = "config.json", "examples.jsonl", "summary.json"


class EvaluationFolder:
    """A folder of one evaluation, locked while it is open for writing.

        with EvaluationFolder(path).writing(configuration) as folder:
            folder.append(record)

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = filelock.FileLock(str(path / ".lock"))
        self._file: int | None = None

    # --- writing ----------------------------------------------------------------------------------------------------

    def writing(self, configuration: Configuration) -> EvaluationFolder:
        """Opens it for the answers of ``configuration``, new or where it was left.

        Raises:
            EvaluationError: it holds another evaluation or other files, is open in another process, or cannot be written.
        """
        self._refuse_other_files()  # before a lock is left in somebody's folder
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise EvaluationError(
                f"{self.path}: another process is evaluating into this folder", hint="wait for it, or name another folder"
            ) from None
        except OSError as error:
            raise EvaluationError(f"{self.path}: cannot be written: {error.strerror}", hint="name another folder") from None
        try:
            self._claim(configuration)
            self._unpack()
            self._cut_torn_line()
            self._file = os.open(self.path / EXAMPLES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except BaseException:
            self._lock.release()
            raise
        return self

    def _claim(self, configuration: Configuration) -> None:
        if (self.path / CONFIG).exists():
            there = self.configuration()
            if differences := there.differences(configuration):
                raise EvaluationError(
                    f"{self.path}: holds another evaluation, of '{there.name}': it differs in {', '.join(differences)}",
                    hint="name another folder; this one is left as it is",
                )
            return
        write_json(self.path / CONFIG, configuration.model_dump(mode="json"), sort_keys=False)  # scorers have an order

    def _refuse_other_files(self) -> None:
        if self.path.is_dir() and not (self.path / CONFIG).exists():
            others = sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))
            if others:
                raise EvaluationError(
                    f"{self.path}: holds files that are no evaluation ({', '.join(others[:3])})", hint="name another folder"
                )

    def _cut_torn_line(self) -> None:
        """Removes the line that a killed process was writing."""
        path = self.path / EXAMPLES
        if not path.exists():
            return
        with path.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)

    def append(self, *records: Record) -> None:
        """Adds answers, in one write."""
        assert self._file is not None, "the folder is open for writing"
        content = "".join(as_json(record) + "\n" for record in records).encode()
        had = os.fstat(self._file).st_size
        try:
            while content:
                content = content[os.write(self._file, content) :]
        except OSError as error:
            os.truncate(self.path / EXAMPLES, had)
            raise EvaluationError(
                f"{self.path}: cannot be written: {error.strerror}",
                hint="what was answered before is kept; make room and go on",
            ) from None

    def replace(self, records: Sequence[Record], configuration: Configuration | None = None) -> None:
        """Puts other answers in place of all there are, in one step, and another configuration (when they are scored anew)."""
        temporary = self.path / f".{EXAMPLES}.{os.getpid()}"
        text = "".join(as_json(record) + "\n" for record in records)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.path / EXAMPLES)
        if configuration is not None:
            write_json(self.path / CONFIG, configuration.model_dump(mode="json"), sort_keys=False)  # scorers have an order
        if self._file is not None:
            os.close(self._file)
            self._file = os.open(self.path / EXAMPLES, os.O_WRONLY | os.O_APPEND)

    def pack(self) -> None:
        """Compresses the answers, for keeping; equal answers make equal files. Writing goes on as if nothing were packed."""
        plain, packed = self.path / EXAMPLES, self.path / f"{EXAMPLES}.gz"
        if plain.exists():
            temporary = self.path / f".{EXAMPLES}.{os.getpid()}"
            temporary.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
            temporary.replace(packed)
            plain.unlink()

    def _unpack(self) -> None:
        plain, packed = self.path / EXAMPLES, self.path / f"{EXAMPLES}.gz"
        if not packed.exists():
            return
        known = plain.read_bytes() if plain.exists() else b""
        lines = dict.fromkeys(line for line in (gzip.decompress(packed.read_bytes()) + known).splitlines(keepends=True))
        temporary = self.path / f".{EXAMPLES}.{os.getpid()}"
        temporary.write_bytes(b"".join(line for line in lines if line.endswith(b"\n")))
        temporary.replace(plain)
        packed.unlink()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes the summary."""
        write_json(self.path / SUMMARY, dict(summary), sort_keys=False)

    def close(self) -> None:
        """Lets others write."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._lock.release()

    def __enter__(self) -> EvaluationFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- reading ----------------------------------------------------------------------------------------------------

    def configuration(self) -> Configuration:
        """What was evaluated.

        Raises:
            EvaluationError: the folder holds no evaluation, or one of a newer Counterpoint.
        """
        try:
            data = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
            if isinstance(data, dict) and data.get("schema_version", 0) > SCHEMA:
                raise EvaluationError(
                    f"{self.path}: its format is {data['schema_version']}, and this Counterpoint reads formats up to {SCHEMA}",
                    hint="upgrade: pip install -U counterpoint",
                )
            return Configuration.model_validate(data)
        except FileNotFoundError:
            raise EvaluationError(
                f"{self.path}: holds no evaluation (there is no {CONFIG})",
                hint="`counterpoint eval RECIPE --data FILE --out FOLDER` makes one",
            ) from None
        except (OSError, ValueError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise EvaluationError(f"{self.path / CONFIG}: cannot be read: {reason}", hint="evaluate anew") from None

    def records(self) -> Iterator[Record]:
        """The answers in the order they came; a line that a killed process was writing is left out.

        A compressed ``examples.jsonl.gz`` is read where there is no other.

        Raises:
            EvaluationError: a line is no answer.
        """
        path = self.path / EXAMPLES
        packed = self.path / f"{EXAMPLES}.gz"
        if not path.exists() and not packed.exists():
            return
        with path.open("rb") if path.exists() else gzip.open(packed, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    record = Record.model_validate_json(line)
                except ValidationError as error:
                    raise EvaluationError(
                        f"{path}, line {number}: is no answer of an evaluation: {error.errors()[0]['msg']}",
                        hint="remove that line, and it is answered again",
                    ) from None
                yield record

"""Folders of evaluations: nothing is lost or mixed, whatever stops the process."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.folder import EvaluationFolder
from counterpoint.evaluation.records import Configuration, Cost, DataDescription, Record, ScoreRecord


def configuration(**changes: Any) -> Configuration:
    data = DataDescription(name="d", sha256="0", examples=3)
    return Configuration(**{"name": "r", "recipe": {"output": "m"}, "task": "math", "data": data, "scorers": {}, **changes})


RECORDS = [
    Record(id="a", text="x\ny é", scores={"s": ScoreRecord(value=0.5, detail="d", data=[1, 2])}, cost=Cost(flops=1e12)),
    Record(id="b", sample=1, error="it broke", finish_reason="failed"),
    Record(id="c", scores={"s": ScoreRecord(value=None)}, cost=Cost(seconds=0.25)),
]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with EvaluationFolder(tmp_path / "e").writing(configuration()) as folder:
        folder.append(*RECORDS[:2])
        folder.append(RECORDS[2])
        assert list(folder.records()) == RECORDS
    assert EvaluationFolder(tmp_path / "e").configuration() == configuration()


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_line_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "e"
    with EvaluationFolder(path).writing(configuration()) as folder:
        folder.append(*RECORDS)
    file = path / "examples.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert list(EvaluationFolder(path).records()) == RECORDS[:2]
    with EvaluationFolder(path).writing(configuration()) as folder:
        folder.append(RECORDS[2])
        assert list(folder.records()) == RECORDS


def test_a_line_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "e"
    with EvaluationFolder(path).writing(configuration()) as folder:
        folder.append(RECORDS[0])
    (path / "examples.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"examples\.jsonl, line 1: is no answer"):
        list(EvaluationFolder(path).records())


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"samples": 2}, {"task": "qa"}, {"template": "x"}, {"budget": {"flops": 1.0}}, {"shard": (1, 2)}]
)
def test_another_evaluation_is_refused_and_nothing_is_changed(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "e"
    with EvaluationFolder(path).writing(configuration()) as folder:
        folder.append(RECORDS[0])
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(EvaluationError, match=f"differs in {next(iter(change))}"):
        EvaluationFolder(path).writing(configuration(**change))
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert configuration(**change).fingerprint != configuration().fingerprint


def test_what_may_differ_between_two_starts(tmp_path: Path) -> None:
    path = tmp_path / "e"
    with EvaluationFolder(path).writing(configuration()):
        pass
    other = configuration(in_flight=3, started="now", versions={"python": "4"}, name="other")
    with EvaluationFolder(path).writing(other):
        pass
    assert other.fingerprint == configuration().fingerprint


def test_evaluations_that_skip_nothing_are_found_again() -> None:
    plain = configuration()
    assert "skipped" not in plain.model_dump_json(), "their fingerprint is that from before anything could be skipped"
    skipping = configuration(data=plain.data.model_copy(update={"skipped": 3}))
    assert skipping.fingerprint != plain.fingerprint
    assert Configuration.model_validate_json(skipping.model_dump_json()) == skipping


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(EvaluationError, match=r"no evaluation \(letters\.txt\)"):
        EvaluationFolder(tmp_path).writing(configuration())
    assert (tmp_path / "letters.txt").read_text() == "dear"
    with pytest.raises(EvaluationError, match=r"there is no config\.json"):
        EvaluationFolder(tmp_path).configuration()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        EvaluationFolder(tmp_path / "e").writing(configuration()),
        pytest.raises(EvaluationError, match="another process is evaluating"),
    ):
        EvaluationFolder(tmp_path / "e").writing(configuration())
    with EvaluationFolder(tmp_path / "e").writing(configuration()):
        pass


def test_a_newer_format(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"schema_version": 99}')
    with pytest.raises(EvaluationError, match="its format is 99") as error:
        EvaluationFolder(tmp_path).configuration()
    assert "upgrade" in error.value.hint


def test_compressed_answers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "e"
    with EvaluationFolder(path).writing(configuration()) as folder:
        folder.append(*RECORDS)
    plain = (path / "examples.jsonl").read_bytes()
    EvaluationFolder(path).pack()
    assert sorted(file.name for file in path.iterdir() if file.name != ".lock") == ["config.json", "examples.jsonl.gz"]
    assert gzip.decompress((path / "examples.jsonl.gz").read_bytes()) == plain
    assert list(EvaluationFolder(path).records()) == RECORDS
    with EvaluationFolder(path).writing(configuration()) as folder:
        folder.append(Record(id="d"))
        assert list(folder.records()) == [*RECORDS, Record(id="d")]
    assert not (path / "examples.jsonl.gz").exists()


def test_packed_and_plain_answers_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "e"
    with EvaluationFolder(path).writing(configuration()) as folder:
        folder.append(*RECORDS)
    EvaluationFolder(path).pack()
    (path / "examples.jsonl").write_text(RECORDS[0].model_dump_json(exclude_defaults=True) + "\n")
    with EvaluationFolder(path).writing(configuration()) as folder:
        assert list(folder.records()) == RECORDS


def test_what_a_killed_process_left_beside_is_no_other_file(tmp_path: Path) -> None:
    (tmp_path / ".config.json.123").write_text("{")
    with EvaluationFolder(tmp_path).writing(configuration()):
        pass


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EvaluationFolder(tmp_path).writing(configuration()) as folder:
        folder.append(RECORDS[0])
        write, calls = os.write, []

        def full(file: int, content: bytes) -> int:
            calls.append(content)
            if len(calls) == 1:
                return write(file, content[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(EvaluationError, match="No space left"):
            folder.append(RECORDS[1])
        monkeypatch.undo()
        assert list(folder.records()) == RECORDS[:1]
        folder.append(RECORDS[2])
        assert list(folder.records()) == [RECORDS[0], RECORDS[2]]

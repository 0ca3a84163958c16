"""Files written in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from counterpoint.writing import write_whole


def test_there_is_the_old_file_or_the_new_one_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "made" / "recipe.yaml"
    write_whole(file, "one", replace=False)
    with pytest.raises(FileExistsError):
        write_whole(file, "two", replace=False)
    assert file.read_text() == "one"
    write_whole(file, b"two\xff")
    assert file.read_bytes() == b"two\xff"
    assert [path.name for path in file.parent.iterdir()] == ["recipe.yaml"]


def test_what_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state.json"
    write_whole(file, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, "new")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "half a character: \ud83d")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_others_may_read_it_as_any_file(tmp_path: Path) -> None:
    usual, whole = tmp_path / "usual", tmp_path / "whole"
    usual.write_text("")
    write_whole(whole, "half a character: \ud83d", errors="replace")
    assert whole.stat().st_mode == usual.stat().st_mode
    assert whole.read_text() == "half a character: ?"

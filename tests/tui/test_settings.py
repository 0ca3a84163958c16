"""What is kept between starts, and files that are written in one step."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint_tui.settings import Settings, load_settings, save_settings


def test_what_is_kept_comes_back(home: Path) -> None:
    assert load_settings() == Settings()
    kept = Settings(theme="counterpoint-light", section="runs")
    kept.keep_prompt("speculative", "héllo")
    assert save_settings(kept) == ""
    assert load_settings() == kept
    assert [path.name for path in (home / "tui").iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"theme": 3}', b"\xff", b"[]"])
def test_a_file_that_cannot_be_read_is_as_none(content: bytes, home: Path) -> None:
    (home / "tui").mkdir(parents=True)
    (home / "tui" / "state.json").write_bytes(content)
    assert load_settings() == Settings()


def test_what_a_newer_version_wrote_is_left_out(home: Path) -> None:
    (home / "tui").mkdir(parents=True)
    (home / "tui" / "state.json").write_text('{"theme": "x", "hologram": true}')
    assert load_settings().theme == "x"


def test_a_folder_that_cannot_be_written_is_said(home: Path) -> None:
    home.write_text("a file where the folder should be")
    assert "cannot write" in save_settings(Settings())


def test_prompts_that_are_kept() -> None:
    settings = Settings()
    settings.keep_prompt("a", "x" * 100_000)
    assert settings.prompts == {}
    for number in range(60):
        settings.keep_prompt(str(number), "text")
    assert list(settings.prompts) == [str(number) for number in range(10, 60)]
    settings.keep_prompt("10", "other")
    settings.keep_prompt("11", None)
    assert list(settings.prompts)[-1] == "10"
    assert "11" not in settings.prompts


def test_evaluations_from_elsewhere_are_remembered_the_latest_last(home: Path) -> None:
    settings = Settings()
    settings.keep_evaluations([Path("/a/one"), home / "evaluations" / "usual", Path("/a/two"), Path("/a/one")])
    assert settings.evaluations == ["/a/two", "/a/one"]
    settings.keep_evaluations(Path(f"/b/{number}") for number in range(100))
    assert len(settings.evaluations) == 20
    assert settings.evaluations[-1] == "/b/99"

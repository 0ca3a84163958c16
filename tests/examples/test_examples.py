"""Every example runs as it is written; quickly on fakes, and with `-m slow` on the real models of the recipe it names."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def example(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("fakes")
def test_an_example_runs(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert example(path, monkeypatch, capsys).strip()


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_on_real_models(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example(path, monkeypatch, capsys).strip()


@pytest.mark.usefixtures("fakes")
def test_the_library_example_shows_the_budget_and_the_costs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = example(next(path for path in EXAMPLES if path.stem == "use_as_library"), monkeypatch, capsys)
    assert "with a budget of 10 tokens (budget)" in shown
    assert "FLOPs" in shown


@pytest.mark.usefixtures("fakes")
def test_the_asynchronous_example_stops_when_it_has_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = example(next(path for path in EXAMPLES if path.stem == "async_stream"), monkeypatch, capsys)
    assert "cancelled" in shown or "stop" in shown

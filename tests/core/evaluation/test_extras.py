"""Libraries that are not always installed."""

from __future__ import annotations

import importlib

import pytest

from counterpoint.errors import EvaluationError
from counterpoint.evaluation import extras


@pytest.mark.parametrize(
    ("module", "hint"), [("scipy.stats", "pip install 'counterpoint[eval]'"), ("pandas", "pip install pandas")]
)
def test_a_library_that_is_missing_is_named_with_what_to_do(module: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name.partition(".")[0])

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(EvaluationError) as caught:
        extras.require(module, "intervals")
    assert caught.value.message == f"intervals need {module.partition('.')[0]}, which is not installed"
    assert caught.value.hint == hint


def test_a_library_that_is_broken_speaks_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="other"):
        extras.require("scipy", "intervals")

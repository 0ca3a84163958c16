"""Lets an example run unchanged and in no time: recipes keep their names, and their models are fakes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

import counterpoint as cp
from counterpoint import api, paths
from counterpoint.node import LeafModel
from counterpoint.recipe import recipe_files


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fake model, installed like any plugin; and as the user's own, every shipped recipe with fakes for its models."""
    package = tmp_path / "site" / "fake_for_tests-0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-for-tests\nVersion: 0\n")
    (package / "entry_points.txt").write_text("[counterpoint]\nfake = counterpoint.testing.fake\n")
    monkeypatch.syspath_prepend(package.parent)
    registry = cp.load_plugins()
    models = {entry.kind for entry in registry.kinds() if issubclass(entry.node, LeafModel)}
    recipes = {name: yaml.safe_load(text) for name, text in recipe_files(registry).items()}
    paths.recipes().mkdir(parents=True)
    for name, recipe in recipes.items():
        text = yaml.safe_dump(_on_fakes(recipe, models, count()))
        (paths.recipes() / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(api, "_engine", None)
    yield
    if api._engine is not None:
        api._engine.close()


def _on_fakes(value: Any, models: set[str], numbers: Iterator[int]) -> Any:
    """A recipe's data with a fake for every model, each a little different from the one before it."""
    if isinstance(value, dict) and value.get("kind") in models:
        return {"kind": "fake", "blur": next(numbers) / 2}
    if isinstance(value, dict):
        return {key: _on_fakes(item, models, numbers) for key, item in value.items()}
    if isinstance(value, list):
        return [_on_fakes(item, models, numbers) for item in value]
    return value

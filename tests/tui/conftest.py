"""Recipes on the fake model, the application with them, and workers that really are processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from counterpoint.recipe import Recipe, load_recipe
from counterpoint.registry import Registry, load_plugins
from counterpoint.testing import fake

FAKE = "counterpoint.testing.fake"
PAIR = """\
# Two fakes that agree most of the time.
description: A fake pair.
nodes:
  large: {kind: fake, seed: 1, cost: 10, end_bias: -50}  # the better one
  small: {kind: fake, seed: 1, blur: 2}
  spec: {kind: speculative, target: large, draft: [small], adaptive: false, max_draft: 3}
output: spec
sampling: {max_tokens: 24}
prompt: hello there
"""


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_plugins([fake])


@pytest.fixture(scope="session")
def pair_text() -> str:
    return PAIR


@pytest.fixture(scope="session")
def pair(registry: Registry) -> Recipe:
    return load_recipe({**yaml.safe_load(PAIR), "name": "pair"}, registry=registry)


@pytest.fixture(scope="session")
def endless(registry: Registry) -> Recipe:
    """A run that goes on until it is stopped."""
    data = {
        "name": "endless",
        "nodes": {"m": {"kind": "fake", "end_bias": -50, "context": 1_000_000}},
        "output": "m",
        "sampling": {"max_tokens": 900_000},
        "record": "summary",
        "prompt": "go on",
    }
    return load_recipe(data, registry=registry)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the test's models, runs and settings are."""
    return tmp_path / "counterpoint-home"


@pytest.fixture
def own_recipe(home: Path) -> Callable[[str, str], Path]:
    """Keeps a recipe among the user's own."""

    def keep(name: str, text: str) -> Path:
        path = home / "recipes" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return keep


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits until something holds; what makes no sense yet (a widget that is not there) does not hold."""

    async def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
        from textual.css.query import NoMatches

        async with asyncio.timeout(seconds):
            while True:
                try:
                    if condition():
                        return
                except NoMatches:
                    pass
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def make_app(registry: Registry) -> Callable[..., Any]:
    """The application, and a recipe to open at once by name or file."""

    def make(recipe: str | None = None, **options: Any) -> Any:
        from counterpoint_tui.app import CounterpointApp
        from counterpoint_tui.library import recipe_entry

        entry = recipe_entry(recipe, registry) if recipe else None
        return CounterpointApp(registry, entry=entry, plugins=[FAKE], **options)

    return make

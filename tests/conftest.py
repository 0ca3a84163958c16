"""What every test has in common."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import hypothesis
import pytest

SLOW_TIMEOUT_S = 1800

# A first call may import torch, so an example has no deadline; CI draws the same examples every time.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshots", action="store_true", help="Keep what the terminal application's screens look like now."
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))


def pytest_collection_finish() -> None:
    _keep_what_is_there()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is not None and nextitem.path != item.path:
        _keep_what_is_there()


def _keep_what_is_there() -> None:
    """Imported libraries stay: without this, each engine that closes looks through all of them for garbage (0.1 to 0.4 s)."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Quick tests see an empty store, and never the user's; slow ones share the real one and what it has fetched."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setenv("COUNTERPOINT_HOME", str(tmp_path / "counterpoint-home"))


class Stage:
    """Lets a test be a node: a plugin with a generator, a verifier, a drafter and a language model that run its functions.

        @stage.action
        async def both(node, run, prompt): ...

    A recipe then names it: ``{"kind": "script", "action": "both", "model": "m"}``.
    """

    def __init__(self) -> None:
        self.actions: dict[str, Callable[..., Any]] = {}
        self.plugin = _script_plugin(self.actions)

    def action(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.actions[function.__name__] = function
        return function


def _script_plugin(actions: dict[str, Callable[..., Any]]) -> object:
    from pydantic import Field

    from counterpoint.plugin import Completion, Drafter, Generator, LanguageModel, Node, Prompt, Ref, Run, Verifier, hookimpl

    class Script(Generator):
        """Runs a function of the test."""

        kind: Literal["script"] = "script"
        action: str
        model: Ref[LanguageModel] | None = None
        models: tuple[Ref[LanguageModel], ...] = ()
        child: Ref[Generator] | None = None
        children: dict[str, Ref[Generator]] = Field(default_factory=dict)
        drafter: Ref[Drafter] | None = None
        verifier: Ref[Verifier] | None = None
        value: int = 0

        async def generate(self, prompt: Prompt, run: Run) -> Completion:
            made = await actions[self.action](self, run, prompt)
            return made if isinstance(made, Completion) else run.completion("stop")

    class ScriptVerifier(Verifier):
        """Scores with a function of the test."""

        kind: Literal["script_verifier"] = "script_verifier"
        requires: ClassVar[tuple[str, ...]] = ("answer",)
        action: str

        async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
            return await actions[self.action](self, run, prompt, completions)

    class ScriptDrafter(Drafter):
        """Drafts with a function of the test."""

        kind: Literal["script_drafter"] = "script_drafter"
        action: str

        async def draft(self, prompt: Prompt, target: Any, run: Run) -> Any:
            return await actions[self.action](self, run, prompt, target)

    class ScriptModel(LanguageModel):
        """A composed language model whose sessions a function of the test opens."""

        kind: Literal["script_model"] = "script_model"
        action: str
        models: tuple[Ref[LanguageModel], ...] = ()

        async def open(self, prompt: Prompt, run: Run) -> Any:
            return await actions[self.action](self, run, prompt)

    class Plugin:
        __name__ = "script_plugin"

        @hookimpl
        def counterpoint_nodes(self) -> list[type[Node]]:
            return [Script, ScriptVerifier, ScriptDrafter, ScriptModel]

    return Plugin()


@pytest.fixture(scope="session")
def stage_type() -> type[Stage]:
    return Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def engine(stage: Stage) -> Iterator[Any]:
    """An engine with the installed plugins, the fake model and the stage; nothing may stay open in it."""
    from counterpoint.testing import make_engine

    with make_engine([stage.plugin]) as made:
        yield made
        for host in made.hosts():
            assert host.slots == 0, "a session was left open"
            assert host.pending == 0, "a request was left behind"

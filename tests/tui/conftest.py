"""Recipes on the fake model, the application with them, and workers that really are processes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import counterpoint as cp
from counterpoint.events import Event
from counterpoint.recipe import Recipe, load_recipe
from counterpoint.registry import Registry, load_plugins
from counterpoint.runstore import RunStore
from counterpoint.testing import fake, make_engine

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

_MODELS: dict[str, Any] = {
    "large": {"kind": "fake", "cost": 4},
    "small": {"kind": "fake", "blur": 1.0},
    "other": {"kind": "fake", "seed": 3},
}
_DRAFTED = {"kind": "speculative", "target": "large", "draft": "small", "adaptive": False, "max_draft": 4}
_LIKELY = {"kind": "likelihood", "model": "large", "cut": "score"}
_BEST = {"kind": "best_of_n", "generators": ["answer", "other"], "n": 2, "verifiers": _LIKELY, "select": "score"}
FAKE_RUNS: dict[str, dict[str, Any]] = {
    "drafted": {"nodes": {"answer": _DRAFTED}, "output": "answer"},
    "full": {"nodes": {}, "output": "large", "record": "full"},
    "brief": {"nodes": {}, "output": "large", "record": "summary"},
    "best": {"nodes": {"answer": _DRAFTED, "best": _BEST}, "output": "best"},
    "stages": {
        "nodes": {
            "answer": _DRAFTED,
            "best": _BEST,
            "stages": {"kind": "cascade", "stages": ["best", "answer"], "verifiers": _LIKELY, "thresholds": 100.0},
        },
        "output": "stages",
    },
    "handed": {
        "nodes": {
            "handed": {
                "kind": "weak_to_strong",
                "draft": "small",
                "target": "large",
                "draft_tokens": 12,
                "criterion": {"kind": "window_confidence", "gamma": 0.12, "window": 2},
            }
        },
        "output": "handed",
    },
    "failed": {"nodes": {"broken": {"kind": "fake", "fails_after": 9}}, "output": "broken"},
}
"""Recipes by the name of what is recorded of them: each shows something in a stored run."""


@pytest.fixture(scope="session")
def fake_runs() -> dict[str, tuple[Event, ...]]:
    """The events of a run of each of these."""
    found = {}
    with make_engine() as engine:
        for name, recipe in FAKE_RUNS.items():
            whole = {**recipe, "name": name, "nodes": {**_MODELS, **recipe["nodes"]}}
            stream = engine.stream({**whole, "sampling": {"temperature": 0.8, "max_tokens": 20}}, "hello there")
            found[name] = stream.wait().trace
    return found


@pytest.fixture
def keep_run(fake_runs: dict[str, tuple[Event, ...]], home: Path) -> Callable[[str], Path]:
    """Stores one of them where the user's runs are, and gives its folder."""

    def keep(name: str) -> Path:
        store = RunStore(home / "runs")
        for _ in store.record(fake_runs[name]):
            pass
        assert not store.problems
        return store.path(fake_runs[name][0].run_id)  # type: ignore[union-attr]

    return keep


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


@pytest.fixture(scope="session")
def compared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, and evaluations of two recipes on it: ``one`` wins q1 and q4, ``other`` q2; q3 and q5 are ties."""
    folder = tmp_path_factory.mktemp("compared")
    file = folder / "letters.jsonl"

    def evaluated(engine: Any, name: str, seed: int, out: Path | None) -> dict[str, str]:
        recipe = {"name": name, "nodes": {"m": {"kind": "fake", "seed": seed}}, "output": "m", "sampling": {"max_tokens": 8}}
        made = cp.evaluate(recipe, file, engine=engine, out=out, name=name, scorers=["rouge_l"])
        return {record.id: record.text for record in made.records}

    def write(answers: dict[str, list[str]]) -> None:
        rows = [{"id": name, "prompt": f"question {name}", "references": known} for name, known in answers.items()]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    with make_engine() as engine:
        write({f"q{number}": ["0"] for number in range(1, 6)})
        one, other = evaluated(engine, "one", 0, None), evaluated(engine, "other", 3, None)
        known = {"q1": [one["q1"]], "q2": [other["q2"]], "q3": [one["q3"], other["q3"]], "q4": [one["q4"]], "q5": ["0"]}
        write(known)
        for name, seed in (("one", 0), ("other", 3)):
            evaluated(engine, name, seed, folder / "evaluations" / name)
    return folder


@pytest.fixture
def evaluations(compared_data: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The two evaluations, among the test's own; their data set is where data sets are."""
    monkeypatch.setenv("COUNTERPOINT_DATA", str(compared_data))
    shutil.copytree(compared_data / "evaluations", home / "evaluations")
    return home / "evaluations" / "one", home / "evaluations" / "other"


@pytest.fixture
def two_runs(pair_text: str) -> tuple[str, str]:
    """Stored runs of the pair, which differ by their seed."""
    data = {**yaml.safe_load(pair_text), "name": "pair"}
    data["sampling"] = {"max_tokens": 40, "temperature": 1.0}
    store = RunStore()
    with make_engine() as engine:
        events = [list(store.record(engine.stream(data, seed=seed))) for seed in (1, 2)]
    return tuple(one[0].run_id for one in events)  # type: ignore[return-value, union-attr]

"""The two doors: what they offer, and that nothing heavy comes in through them."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import counterpoint
from counterpoint import plugin

HEAVY = ("torch", "transformers", "textual", "accelerate", "peft", "safetensors", "tokenizers")


def loaded_after(statement: str) -> tuple[set[str], float]:
    """Top-level modules after a statement in a fresh interpreter, and the seconds it took."""
    code = f"import sys, time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *modules = done.stdout.split()
    return {name.partition(".")[0] for name in modules}, float(seconds)


def test_importing_counterpoint_is_light_and_quick() -> None:
    modules, seconds = min((loaded_after("import counterpoint") for _ in range(3)), key=lambda found: found[1])
    assert not modules & set(HEAVY)
    assert seconds < 2.0


@pytest.mark.parametrize(
    "statement",
    [
        "import counterpoint.plugin",
        "import counterpoint as cp; cp.Engine; cp.Recipe; cp.RunStore; cp.load_recipe; cp.run; cp.RunResult; cp.Plan",
        "import counterpoint as cp; cp.load_recipe({'nodes': {'m': {'kind': 'huggingface', 'source': 'x'}}, 'output': 'm'})",
        "import counterpoint.events, counterpoint.errors, counterpoint.recipe, counterpoint.runstore, counterpoint.trace",
    ],
)
def test_nothing_heavy_comes_in(statement: str) -> None:
    modules, _ = loaded_after(statement)
    assert not modules & set(HEAVY)


def test_no_plugin_brings_anything_heavy_in() -> None:
    points = sorted(entry_points(group="counterpoint"))
    assert len(points) > 20
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n importlib.import_module(name)\n print(name, *sys.modules)"
    command = [sys.executable, "-c", code, *(point.module for point in points)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():  # one after the other: the first that fails is to blame
        name, *modules = line.split()
        assert not {module.partition(".")[0] for module in modules} & set(HEAVY), name


def test_the_door_for_applications_offers_what_it_says() -> None:
    assert counterpoint.__all__ == sorted(counterpoint.__all__)
    homes = [name for names in counterpoint._HOMES.values() for name in names]
    assert sorted(homes) == counterpoint.__all__
    for name in counterpoint.__all__:
        assert getattr(counterpoint, name).__module__.startswith("counterpoint") or name == "Event"
    assert dir(counterpoint) == counterpoint.__all__
    with pytest.raises(AttributeError, match="has no attribute 'engines'"):
        counterpoint.engines  # noqa: B018
    # what type checkers are told is what is there
    source = Path(counterpoint.__file__).read_text()
    told = set(
        re.findall(
            r"\b\w+\b", " ".join(re.findall(r"^    from counterpoint\.[\w.]+ import (\([^)]*\)|.*)$", source, re.MULTILINE))
        )
    )
    assert told == set(counterpoint.__all__)


def test_the_door_for_plugins_offers_what_it_says() -> None:
    assert len(set(plugin.__all__)) == len(plugin.__all__)
    for name in plugin.__all__:
        assert getattr(plugin, name) is not None
    public = {name for name in vars(plugin) if not name.startswith("_")}
    assert public == set(plugin.__all__)


def test_plugins_use_no_other_door() -> None:
    import counterpoint_plugins

    authors = {
        "counterpoint.plugin",
        "counterpoint.answers",
        "counterpoint.asking",
        "counterpoint.tensors",
        "counterpoint.composition",
        "counterpoint.keeping",
        "counterpoint.sandbox",
        "counterpoint.imperfect",
        "counterpoint.verification",
        "counterpoint.training",
        "counterpoint.training.learner",
        "counterpoint.training.loop",
    }
    applications = {"counterpoint", "counterpoint.cli.backend"}  # the harness's model runs recipes, as an application does
    for path in Path(counterpoint_plugins.__path__[0]).rglob("*.py"):
        allowed = authors | (applications if path.parent.name == "lm_eval" else set())
        used = set(re.findall(r"^\s*(?:from|import) (counterpoint[\w.]*)", path.read_text(), re.MULTILINE))
        assert {name for name in used if not name.startswith("counterpoint_plugins")} <= allowed, path


@pytest.mark.parametrize(
    "name",
    ["answers", "api", "asking", "engine", "errors", "keeping", "testing", "tensors", "composition", "training", "trace"],
)
def test_public_modules_say_what_they_are_for(name: str) -> None:
    assert importlib.import_module(f"counterpoint.{name}").__doc__

"""A stranger's package, built and installed as it would be, comes in by the door of the built-ins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import counterpoint as cp
from counterpoint.plugin import hookimpl
from counterpoint.recipe import recipe_files

SOURCE = Path(__file__).parents[2] / "examples" / "third_party_plugin"

SHOW = """
import json
import counterpoint as cp
from counterpoint.recipe import recipe_files
from counterpoint.testing import make_engine

registry = cp.load_plugins()
with make_engine() as engine:
    shipped = engine.recipe("example_vote").to_dict()
    shipped["nodes"]["model"] = {"kind": "fake"}
    shipped["nodes"]["answer"]["adaptive"] = False  # whether drafting pays is the clock's to say
    result = engine.run(shipped, sampling=cp.Sampling(max_tokens=12))
print(json.dumps({
    "plugins": {entry.kind: entry.plugin for entry in registry.kinds()},
    "failures": registry.failures,
    "recipes": sorted(recipe_files(registry)),
    "text": result.text,
    "events": sorted({event.type for event in result.trace}),
    "drafters": sorted({event.proposer for event in result.trace if event.type == "drafted"}),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder pip has installed the package into, from a wheel that hatchling has built; nothing is fetched."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    run([*pip, "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target), str(SOURCE)])
    return target


def run(command: list[str], **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def with_plugin(installed: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_package_holds_its_recipes_and_its_entry_point(installed: Path) -> None:
    assert (installed / "counterpoint_example" / "recipes" / "example_vote.yaml").is_file()
    (points,) = installed.glob("counterpoint_example-*.dist-info/entry_points.txt")
    assert points.read_text().split() == ["[counterpoint]", "example", "=", "counterpoint_example.plugin"]


def test_its_nodes_and_its_recipe_are_there_and_run(installed: Path, tmp_path: Path) -> None:
    shown = json.loads(run([sys.executable, "-c", SHOW], env=with_plugin(installed), cwd=tmp_path))
    assert shown["failures"] == {}
    assert shown["plugins"]["bigram"] == shown["plugins"]["vote"] == "counterpoint-example:example"
    assert shown["plugins"]["sample"] == "counterpoint:sample"
    assert "example_vote" in shown["recipes"]
    assert shown["text"]
    assert {"candidate_finished", "candidate_selected", "drafted", "emitted"} <= set(shown["events"])
    assert shown["drafters"] == ["answer.draft"]


def test_its_own_tests_pass_from_the_outside(installed: Path, tmp_path: Path) -> None:
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(SOURCE)]
    run([sys.executable, "-m", "pytest", *arguments], env=with_plugin(installed), cwd=SOURCE)


def test_importing_it_loads_no_tensors(installed: Path, tmp_path: Path) -> None:
    code = "import sys, counterpoint_example.plugin; print(sorted({'torch', 'transformers', 'textual'} & set(sys.modules)))"
    assert run([sys.executable, "-c", code], env=with_plugin(installed), cwd=tmp_path).strip() == "[]"


def test_a_plugin_whose_recipes_are_missing_leaves_the_others() -> None:
    class Broken:
        __name__ = "broken"

        @hookimpl
        def counterpoint_recipes(self) -> str:
            return "a_package_that_is_not_there"

    registry = cp.load_plugins([Broken()])
    assert "speculative" in recipe_files(registry)
    assert "its recipes: ModuleNotFoundError" in registry.failures["broken"]


def test_a_plugin_that_is_installed_may_be_named_again() -> None:
    import counterpoint_plugins.sample

    assert cp.load_plugins([counterpoint_plugins.sample]).kind("sample").plugin == "counterpoint:sample"

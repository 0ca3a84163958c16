"""What there is on this machine, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from counterpoint.engine import Engine
from counterpoint.errors import RecipeError
from counterpoint.plugin import Node, hookimpl
from counterpoint.recipe import Recipe, load_recipe
from counterpoint.registry import Registry, load_plugins
from counterpoint.runstore import RunStore, StoredRun
from counterpoint.store import ModelStore
from counterpoint.testing import fake
from counterpoint_tui import entries, library


def test_recipes(registry: Registry, own_recipe: Callable[[str, str], Path], pair_text: str, tmp_path: Path) -> None:
    own_recipe("mine", pair_text)
    own_recipe("broken", "nodes: {")
    (tmp_path / "given.yaml").write_text(pair_text)
    found = library.recipes(registry, [tmp_path / "given.yaml"])
    first = [(entry.origin, Path(entry.name).stem) for entry in found[:3]]
    assert first == [("file", "given"), ("yours", "broken"), ("yours", "mine")]
    by_name = {entry.name: entry for entry in found}
    assert by_name["mine"].description == "A fake pair."
    assert by_name["mine"].path == own_recipe("mine", pair_text)
    assert by_name["broken"].problem.startswith("broken, line 1: ")
    assert by_name["speculative"].missing == ("qwen2.5-coder-1.5b-instruct", "qwen2.5-coder-0.5b-instruct")
    assert by_name["train-verifier"].does == "trains"
    assert by_name["agreement"].does == "scores"
    shipped = [entry.does for entry in found if entry.origin == "shipped"]
    assert shipped.index("scores") > shipped.index("answers")


def test_a_recipe_by_name_or_file(registry: Registry, own_recipe: Callable[[str, str], Path], pair_text: str) -> None:
    file = own_recipe("mine", pair_text)
    assert library.recipe_entry("mine", registry).origin == "yours"
    assert library.recipe_entry(str(file), registry).origin == "file"
    assert library.recipe_entry("sample", registry).path is None
    with pytest.raises(RecipeError, match="no recipe named 'sampel'"):
        library.recipe_entry("sampel", registry)


def test_which_models_are_here(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "here.gguf").touch()
    drafter = {"kind": "model_drafter", "model": {"kind": "huggingface", "source": "artifact:x"}}
    nodes = {
        "a": {"kind": "huggingface", "source": f"path:{tmp_path / 'here.gguf'}"},
        "b": {"kind": "huggingface", "source": f"path:{tmp_path / 'absent'}"},
        "c": {"kind": "speculative", "target": "a", "draft": drafter},
        "d": {"kind": "huggingface", "source": "no such source"},
    }
    recipe = load_recipe({"nodes": nodes, "output": "c"}, registry=registry)
    assert library.sources(recipe) == [
        f"path:{tmp_path / 'here.gguf'}",
        f"path:{tmp_path / 'absent'}",
        "artifact:x",
        "no such source",
    ]
    store = ModelStore()
    assert [library._is_here(source, store) for source in library.sources(recipe)] == [True, False, False, False]


def test_models(home: Path) -> None:
    found = {entry.model.name: entry for entry in library.models()}
    assert found["smollm2-135m-instruct"].download_bytes > 50e6
    line = entries.model_entry(found["smollm2-135m-instruct"])
    assert line.cells[1].endswith("to download")
    assert "licence Apache-2.0" in line.about().plain


def test_plugins_that_work_and_that_do_not() -> None:
    class Twin:
        __name__ = "twin"

        @hookimpl
        def counterpoint_nodes(self) -> Sequence[type[Node]]:
            return [fake.FakeModel]

    registry = load_plugins([fake, Twin()])
    registry.failures["stranger:plugin"] = "ImportError: no module named 'x'"
    found = library.plugins(registry)
    assert [entry.name for entry in found[:3]] == ["counterpoint.testing.fake", "stranger:plugin", "twin"]
    assert "kind 'fake' cannot be used" in found[0].failure
    assert entries.plugin_entry(found[1]).cells == ("stranger:plugin", "failed", "ImportError: no module named 'x'")
    works = next(entry for entry in found if entry.name == "counterpoint:speculative")
    assert entries.plugin_entry(works).cells == ("counterpoint:speculative", "works", "speculative")


def test_runs_whole_cut_off_and_broken(pair: Recipe, registry: Registry, home: Path) -> None:
    store = RunStore()
    with Engine(registry=registry) as engine:
        run = engine.run(pair)
    list(store.record(run.trace))
    cut = home / "runs" / "20200101-000000-cut"
    cut.mkdir()
    whole = (store.path(run.run_id) / "events.jsonl").read_bytes()
    (cut / "events.jsonl").write_bytes(whole[: len(whole) // 2])
    broken = home / "runs" / "20200101-000000-broken"
    broken.mkdir()
    (broken / "events.jsonl").write_text('{"type": "hologram"}\n')
    newer = home / "runs" / "20200101-000000-newer"
    newer.mkdir()
    (newer / "events.jsonl").write_text(json.dumps({"type": "run_started", "schema_version": 99}) + "\n")
    lines = {run.id.rpartition("-")[2]: entries.run_entry(run) for run in library.runs()}
    assert lines[run.run_id.rpartition("-")[2]].cells[:2] == ("pair", "finished")
    assert lines["cut"].cells[:2] == ("pair", "interrupted")
    assert lines["broken"].problem
    assert "cannot be read" in lines["broken"].about().plain
    assert "trace format 99" in lines["newer"].cells[-1]


def test_what_is_said_of_a_run() -> None:
    entry = entries.run_entry(StoredRun("id", "pair", "say\x1b[31m hello", 1e9, "finished", 24, 1.5))
    assert entry.cells == ("pair", "finished", "2001-09-09", "say�[31m hello")
    assert "24 tokens, 1.5 s" in entry.about().plain
    assert entry.key == "runs/id"


def test_evaluations_and_how_far_they_are(evaluations: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = evaluations
    (other / "summary.json").unlink()
    lines = (other / "examples.jsonl").read_bytes().splitlines(keepends=True)
    (other / "examples.jsonl").write_bytes(b"".join(lines[:3]))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("[]")
    found = {entry.path: entry for entry in library.evaluations([str(damaged), str(one), str(tmp_path / "gone")])}
    assert set(found) == {one, other, damaged}
    assert (found[one].answers, list(found[one].scores)) == (5, ["rouge_l"])
    assert (found[other].answers, dict(found[other].scores)) == (3, {})
    assert "config.json: cannot be read" in found[damaged].problem
    lines_of = {path: entries.evaluation_entry(entry) for path, entry in found.items()}
    assert lines_of[one].cells[:2] == ("one", "letters")
    assert lines_of[one].cells[3].startswith("rouge_l 0.")
    assert lines_of[other].cells[3] == "3 of 5 answers"
    assert "3 of 5 answers so far" in str(lines_of[other].about())
    assert lines_of[damaged].problem

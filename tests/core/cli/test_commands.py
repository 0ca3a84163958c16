"""The commands that run nothing: plan, recipes, nodes, plugins, models, runs, demo's preparations."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from xml.etree import ElementTree

import pytest
import yaml

from counterpoint import paths
from counterpoint.calibration import calibrate
from counterpoint.cli.backend import with_backend
from counterpoint.cli.console import seconds_text
from counterpoint.errors import RecipeError
from counterpoint.hooks import hookimpl
from counterpoint.recipe import load_recipe
from counterpoint.registry import Registry, load_plugins
from counterpoint.runstore import RunStore
from counterpoint.testing import FakeModel, fake
from counterpoint.testing.fake import FakeBackend


def test_a_plan(invoke: Any, recipe: Path) -> None:
    outcome = invoke("plan", recipe)
    assert outcome.status == 0
    for words in (
        "answered by spec",
        "target: large, draft[0]: small (as model_drafter)",
        "nothing stands in the way",
        "18 tokens",
    ):
        assert words in outcome.out
    assert RunStore().list() == []


def test_a_plan_with_errors(invoke: Any, recipe: Path) -> None:
    outcome = invoke("plan", recipe, "--set", "small.alphabet=XYZ")
    assert outcome.status == 1
    assert "no token in common" in outcome.out
    assert "hint: " in outcome.out
    assert "nothing stands in the way" not in outcome.out


def test_a_plan_as_json(invoke: Any, recipe: Path) -> None:
    data = json.loads(invoke("plan", recipe, "a longer prompt than that", "--json").out)
    assert {node["node"] for node in data["nodes"]} == {"large", "small", "spec", "small:model_drafter"}
    large = data["models"][0]
    assert (large["node"], large["context"], large["vocabulary"], large["download_bytes"]) == ("large", 2048, 31, 0)
    assert large["prompt_tokens"] > 25
    assert large["flops_per_token"] > 0
    assert large["seconds_per_pass"] is None
    assert data["memory"]["cache"] == 2 * 16 * (24 + large["prompt_tokens"])
    assert data["findings"] == []


def test_a_plan_knows_what_was_measured(invoke: Any, recipe: Path) -> None:
    large = load_recipe(recipe, registry=load_plugins([fake])).nodes["large"]
    assert isinstance(large, FakeModel)
    facts = large.inspect(SimpleNamespace())  # type: ignore[arg-type]
    costs = calibrate(FakeBackend(large), facts.key)
    (model, _) = json.loads(invoke("plan", recipe, "--json").out)["models"]
    assert model["seconds_per_pass"] == costs.at(1)
    assert seconds_text(costs.at(1)) in invoke("plan", recipe).out


def test_the_plan_of_models_that_are_not_here(invoke: Any) -> None:
    outcome = invoke("plan", "speculative", "--offline")
    assert outcome.status == 1
    assert "the network may not be used" in outcome.out
    outcome = invoke("plan", "speculative")
    assert outcome.status == 0
    assert "1.1 GB to download" in outcome.out
    assert "memory: weights not known yet, cache not known yet" in outcome.out


def test_a_graph_that_does_not_hold_together(invoke: Any, recipe: Path) -> None:
    outcome = invoke("plan", recipe, "--set", "spec.target=lage")
    assert outcome.status == 1
    assert "no node is called 'lage'" in outcome.err
    assert "did you mean 'large'" in outcome.err


# --- recipes ------------------------------------------------------------------------------------------------------------


def test_recipes_are_listed(invoke: Any) -> None:
    outcome = invoke("recipes", "list")
    for name in ("sample", "speculative", "gemma"):
        assert name in outcome.out
    rows = {row["name"]: row for row in json.loads(invoke("recipes", "list", "--json").out)}
    assert rows["small"]["own"] is False
    assert all(row["description"] and "cannot be read" not in row["description"] for row in rows.values())


def test_own_recipes_are_listed_even_when_broken(invoke: Any, recipe: Path) -> None:
    paths.recipes().mkdir(parents=True)
    (paths.recipes() / "mine.yaml").write_text(recipe.read_text())
    (paths.recipes() / "broken.yaml").write_text("nodes: [")
    out = invoke("recipes", "list").out
    assert "mine (yours)" in out
    assert "cannot be read: broken, line" in out
    assert invoke("run", "mine", "-q").status == 0


def test_a_recipe_is_shown_as_it_is_written(invoke: Any) -> None:
    out = invoke("recipes", "show", "speculative").out
    assert out.startswith("# Speculative decoding")
    assert yaml.safe_load(out)["output"] == "speculative"
    assert "did you mean 'speculative'" in invoke("recipes", "show", "speclative").err


def test_a_new_recipe(invoke: Any, tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "deep" / "mine.yaml"
    outcome = invoke("recipes", "new", path, "--from", "lookup")
    assert outcome.status == 0
    assert f"wrote {path}" in outcome.err
    text = path.read_text()
    assert text.startswith("# mine: made from the recipe `lookup`")
    assert "# Speculative decoding without a second model" in text
    made = load_recipe(path, registry=registry)
    assert made.name == "mine"
    assert made.nodes == load_recipe("lookup", registry=registry).nodes


def test_nothing_is_overwritten(invoke: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    outcome = invoke("recipes", "new", path)
    assert outcome.status == 1
    assert "exists already" in outcome.err
    assert "--force" in outcome.err
    assert path.read_text() == "precious"
    assert invoke("recipes", "new", path, "--force").status == 0
    assert path.read_text() != "precious"


def test_a_new_recipe_is_yaml(invoke: Any, tmp_path: Path) -> None:
    assert invoke("recipes", "new", tmp_path / "mine").status == 2
    assert invoke("recipes", "new", tmp_path / "mine.yaml", "--from", "nope").status == 1


def test_the_schema(invoke: Any, tmp_path: Path) -> None:
    schema = json.loads(invoke("schema").out)
    assert "node_speculative" in schema["$defs"]
    assert invoke("schema", "--out", tmp_path / "s.json").out == ""
    assert json.loads((tmp_path / "s.json").read_text()) == schema
    assert invoke("schema", "--out", tmp_path / "no" / "s.json").status == 1


# --- nodes and plugins --------------------------------------------------------------------------------------------------


def test_nodes_are_listed(invoke: Any) -> None:
    out = invoke("nodes", "list").out
    assert "prompt_lookup" in out
    assert "counterpoint:prompt_lookup" in out
    drafters = {row["kind"] for row in json.loads(invoke("nodes", "list", "--role", "drafter", "--json").out)}
    assert drafters >= {"prompt_lookup", "model_drafter"}
    assert "sample" not in drafters
    assert "roles: LanguageModel, Drafter" in invoke("nodes", "list", "--role", "singer").err


def test_a_node_is_shown(invoke: Any) -> None:
    out = invoke("nodes", "show", "speculative").out
    for words in ("Leviathan", "invariant | rejection", "(required)", "≥ 1, ≤ 64", "a Drafter | list of Drafter"):
        assert words in out
    fields = json.loads(invoke("nodes", "show", "speculative", "--json").out)["fields"]
    assert fields["max_draft"] == {
        "type": "whole number",
        "required": False,
        "default": 32,
        "bounds": "≥ 1, ≤ 64",
        "description": "Most tokens drafted before the target verifies.",
    }
    assert "did you mean 'speculative'" in invoke("nodes", "show", "speculativ").err


class Twin(fake.FakeModel):
    """Claims a kind that is taken."""

    kind: Literal["sample"] = "sample"  # type: ignore[assignment]


def _plugin(name: str, **functions: Any) -> Any:
    return SimpleNamespace(__name__=name, **{hook: hookimpl(function) for hook, function in functions.items()})


def test_plugins_and_what_is_wrong_with_them(invoke: Any) -> None:
    registry = load_plugins([_plugin("twin", counterpoint_nodes=lambda: [Twin])])
    registry.failures["broken"] = "ModuleNotFoundError: no module named 'x'"
    outcome = invoke("plugins", "list", plugins=registry)
    assert outcome.status == 0
    assert "failed: broken: ModuleNotFoundError: no module named 'x'" in outcome.out
    assert "kind 'sample' cannot be used: counterpoint:sample and twin claim it" in outcome.out
    assert "warning: plugin 'broken' is left out" in outcome.err
    data = json.loads(invoke("plugins", "list", "--json", plugins=registry).out)
    assert data["conflicts"] == {"sample": ["counterpoint:sample", "twin"]}
    assert data["plugins"]["counterpoint:recipes"] == {"kinds": [], "hooks": ["recipes"]}


def test_plugins_add_commands_and_may_fail(invoke: Any) -> None:
    def good(app: Any) -> None:
        @app.command("hum")
        def hum() -> None:
            """Hum."""
            print("mmm")

    def bad(app: Any) -> None:
        raise RuntimeError("out of tune")

    registry = load_plugins([_plugin("bad", counterpoint_commands=bad), _plugin("good", counterpoint_commands=good)])
    outcome = invoke("hum", plugins=registry)
    assert (outcome.status, outcome.out) == (0, "mmm\n")
    assert "warning: plugin 'bad' is left out: its commands: RuntimeError: out of tune" in outcome.err


# --- models -------------------------------------------------------------------------------------------------------------


def test_models_are_listed(invoke: Any) -> None:
    out = invoke("models", "list").out
    assert "smollm2-135m-instruct" in out
    assert "not here" in out
    assert "93 MB" in out
    assert str(paths.models()) in out
    assert {row["state"] for row in json.loads(invoke("models", "list", "--json").out)} == {"absent"}


@pytest.mark.parametrize("command", ["path", "verify", "rm"])
def test_models_that_are_not_here(invoke: Any, command: str) -> None:
    outcome = invoke("models", command, "smollm2-135m-instruct")
    assert outcome.status == 1
    assert "error: " in outcome.err
    outcome = invoke("models", command, "smollm2-135m")
    assert outcome.status == 1
    assert "smollm2-135m-instruct" in outcome.err


def test_a_pull_says_the_licence_and_the_size_first(invoke: Any) -> None:
    outcome = invoke("models", "pull", "gemma-3-270m", "--offline")
    assert outcome.status == 1
    assert "licence: Gemma is provided under" in outcome.err
    assert "to download: 238 MB" in outcome.err
    assert "not on this machine" in outcome.err


def test_a_pull_of_what_is_here_prints_its_place(invoke: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from counterpoint.store import ModelFiles, ModelStore, Progress

    asked = {}

    def ensure(self: ModelStore, source: str, **options: Any) -> ModelFiles:
        asked.update(options)
        options["progress"](Progress("verify", "x", 1, 2, "steps"))
        return ModelFiles(tmp_path / "transformers", tmp_path / "m.gguf", "MIT", "key")

    monkeypatch.setattr(ModelStore, "download_size", lambda self, source: 0)
    monkeypatch.setattr(ModelStore, "ensure", ensure)
    outcome = invoke("models", "pull", "smollm2-135m-instruct")
    assert outcome.out == f"{tmp_path / 'transformers'}\n"
    assert asked["repair"] is True
    assert "licence" not in outcome.err
    assert "verifying x: 1 of 2 steps" in outcome.err
    assert invoke("models", "pull", "smollm2-135m-instruct", "--gguf", "-q").out == f"{tmp_path / 'm.gguf'}\n"
    assert asked["formats"] == ("gguf",)


# --- runs ---------------------------------------------------------------------------------------------------------------


def test_runs(invoke: Any, recipe: Path, tmp_path: Path) -> None:
    assert "no runs are stored" in invoke("runs", "list").err
    for prompt in ("first", "second", "third"):
        invoke("run", recipe, prompt)
    first, second, third = sorted((run.id for run in RunStore().list()), key=lambda run: RunStore().describe(run).prompt)
    out = invoke("runs", "list", "-n", "2").out
    assert first not in out
    assert third in out
    assert "1 more" in invoke("runs", "list", "-n", "2").err
    assert len(json.loads(invoke("runs", "list", "--json").out)) == 3

    shown = invoke("runs", "show", second).out
    for words in ("user: second", "answer: ", "reached its longest length", "drafted", str(RunStore().path(second))):
        assert words in shown
    assert json.loads(invoke("runs", "show", second, "--json").out)["run_id"] == second

    assert len(invoke("runs", "export", second).out) == 24
    assert json.loads(invoke("runs", "export", second, "-f", "json").out)["events"][0]["type"] == "run_started"
    again = tmp_path / "again.yaml"
    assert invoke("runs", "export", second, "-f", "recipe", "--out", again).out == ""
    assert invoke("run", again, "second", "-q").out.strip() == invoke("runs", "export", second).out.strip()
    assert invoke("runs", "export", second, "-f", "pdf").status == 2
    drawn = ElementTree.fromstring(invoke("runs", "export", second, "-f", "svg").out)
    written = "".join(drawn.itertext()).replace("\xa0", " ")
    for piece in ("counterpoint run", "user: second", "passes"):
        assert piece in written
    assert "http" not in written, "a picture reaches for nothing"

    assert "deleted" in invoke("runs", "rm", first, second).out
    assert invoke("runs", "rm", first).status == 1


def test_an_interrupted_run_is_shown(invoke: Any, recipe: Path) -> None:
    invoke("run", recipe)
    folder = RunStore().path("last")
    (folder / "result.json").unlink()
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    (folder / "events.jsonl").write_text("".join(lines[:-4]) + lines[-4][:20])
    assert "interrupted" in invoke("runs", "list").out
    assert "interrupted" in invoke("runs", "show").out
    assert "interrupted" in invoke("replay").err


# --- demo ---------------------------------------------------------------------------------------------------------------


class OtherBackend(fake.FakeModel):
    """Runs models from a source, or says so."""

    kind: Literal["other"] = "other"  # type: ignore[assignment]
    source: str = ""


def _with_other() -> Registry:
    return load_plugins([fake, _plugin("other", counterpoint_nodes=lambda: [OtherBackend])])


def test_a_demo_runs_from_nothing(invoke: Any) -> None:
    outcome = invoke("demo", "--backend", "other", plugins=_with_other())
    assert outcome.status == 0, outcome.err
    assert outcome.out.strip()
    assert "to download" not in outcome.err
    assert "prompt: Write a Python class" in outcome.err
    assert "counterpoint replay last" in outcome.err
    assert RunStore().list()[0].recipe == "speculative"


def test_a_demo_says_what_it_will_download(invoke: Any) -> None:
    outcome = invoke("demo", "--offline")
    assert outcome.status == 1
    assert "error: " in outcome.err
    assert "'qwen2.5-coder-1.5b-instruct' (1.1 GB) is not here" in outcome.err


def test_backends() -> None:
    registry = _with_other()
    recipe = load_recipe("speculative", registry=registry)
    assert with_backend(recipe, None, registry) is recipe
    other = with_backend(recipe, "other", registry)
    assert {node.kind for node in other.nodes.values()} == {"other", "prompt_lookup", "speculative"}
    assert other.nodes["small"].source == "qwen2.5-coder-0.5b-instruct"  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match="no backend is called 'steam'") as error:
        with_backend(recipe, "steam", registry)
    assert "huggingface" in error.value.hint


def test_a_backend_for_models_inside_other_nodes_too() -> None:
    registry = _with_other()
    inner = {"kind": "huggingface", "source": "smollm2-135m-instruct", "dtype": "float32"}
    nodes = {
        "a": {"kind": "huggingface", "source": "smollm2-135m-instruct", "stop": ["x"]},
        "s": {"kind": "speculative", "target": "a", "draft": [{"kind": "prompt_lookup"}, inner]},
    }
    recipe = load_recipe({"nodes": nodes, "output": "s"}, registry=registry)
    said: list[str] = []
    other = with_backend(recipe, "other", registry, said.append)
    assert other.nodes["a"].stop == ("x",)  # type: ignore[attr-defined]
    assert other.nodes["s"].draft[1].kind == "other"  # type: ignore[attr-defined]
    assert said == ["other has no such settings, they are left out: s.draft[1].dtype"]


def test_a_run_with_another_backend(invoke: Any) -> None:
    outcome = invoke("run", "speculative", "hello", "--backend", "other", plugins=_with_other())
    assert outcome.status == 0, outcome.err
    assert outcome.out.strip()
    outcome = invoke("plan", "speculative", "--backend", "steam", plugins=_with_other())
    assert outcome.status == 1
    assert "no backend is called 'steam'" in outcome.err


# --- the log --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True])
def test_what_libraries_say_goes_to_a_file(invoke: Any, monkeypatch: pytest.MonkeyPatch, debug: bool) -> None:
    logger = logging.getLogger("counterpoint.some_library")

    class Loud(fake.FakeModel):
        """Says things while it is looked at."""

        kind: Literal["loud"] = "loud"  # type: ignore[assignment]

        def inspect(self, resources: Any) -> Any:
            logger.debug("a detail")
            logger.error("something is odd")
            return super().inspect(resources)

    plugins = load_plugins([fake, _plugin("loud", counterpoint_nodes=lambda: [Loud])])
    recipe = paths.home() / "loud.yaml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text("nodes: {m: {kind: loud}}\noutput: m\n")
    outcome = invoke(*(["--debug"] if debug else []), "plan", str(recipe), plugins=plugins)
    assert outcome.status == 0, outcome.err
    assert "odd" not in outcome.out + outcome.err
    text = paths.log().read_text(encoding="utf-8")
    assert "ERROR counterpoint.some_library: something is odd" in text
    assert ("a detail" in text) is debug


def test_nothing_said_makes_no_log(invoke: Any) -> None:
    invoke("plugins")
    assert not paths.log().exists()

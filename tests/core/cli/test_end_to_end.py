"""The command line with a real backend on tiny models of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from counterpoint.registry import load_plugins


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from counterpoint.testing.tiny import save_tiny_model

    folder = tmp_path_factory.mktemp("models")
    for name in ("large", "small"):  # twins, so that drafts are accepted
        save_tiny_model(folder / name)
    return folder


@pytest.fixture
def pair(models: Path, tmp_path: Path) -> Path:
    recipe = tmp_path / "pair.yaml"
    recipe.write_text(f"""
nodes:
  large: {{kind: huggingface, source: "path:{models / "large"}", dtype: float32, device: cpu}}
  small: {{kind: huggingface, source: "path:{models / "small"}", dtype: float32, device: cpu}}
  lookup: {{kind: prompt_lookup}}
  speculative: {{kind: speculative, target: large, draft: [lookup, small], adaptive: false, max_draft: 4}}
output: speculative
sampling: {{max_tokens: 32, ignore_stop: true}}
prompt: a b a b a b
""")
    return recipe


def test_a_run_and_all_that_follows(invoke: Any, pair: Path) -> None:
    installed = load_plugins()
    planned = invoke("plan", pair, plugins=installed)
    assert planned.status == 0, planned.err
    assert "512" in planned.out  # the context
    live = invoke("run", pair, plugins=installed)
    assert live.status == 0, live.err
    assert live.out
    assert "loading path:" in live.err
    assert "accepted" in live.err
    alone = json.loads(invoke("run", pair, "--set", "output=large", "--json", "-q", plugins=installed).out)
    data = json.loads(invoke("run", pair, "--json", "-q", plugins=installed).out)
    assert data["ids"] == alone["ids"]
    assert len(data["ids"]) == 32
    nodes = {node["node"]: node for node in data["summary"]["nodes"]}
    assert nodes["large"]["passes"] < 32
    assert nodes["small"]["accepted"] > 0
    assert data["summary"]["flops"] > alone["summary"]["flops"] > 0
    replayed = invoke("replay", data["run_id"], plugins=installed)
    assert replayed.out.rstrip("\n") == data["text"].rstrip("\n")


def test_its_files_are_verified(invoke: Any, models: Path) -> None:
    source = f"path:{models / 'large'}"
    assert invoke("models", "path", source).out.strip() == str(models / "large")
    assert invoke("models", "verify", source, "-q").status == 0


def test_a_folder_without_a_model(invoke: Any, pair: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = invoke("run", pair, "--set", f"large.source=path:{tmp_path / 'empty'}")
    assert outcome.status == 1
    assert "error: " in outcome.err
    assert "hint: " in outcome.err
    assert "Traceback" not in outcome.err


def test_samples_share_passes(invoke: Any, pair: Path) -> None:
    arguments = ["--samples", 4, "--temperature", 1, "--json", "-q", "--set", "output=large"]
    rows = [json.loads(line) for line in invoke("run", pair, *arguments).out.splitlines()]
    assert len({row["text"] for row in rows}) == 4
    for row in rows:
        (large,) = (node for node in row["summary"]["nodes"] if node["node"] == "large")
        assert large["share"] < large["seconds"]

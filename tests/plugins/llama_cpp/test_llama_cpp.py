"""The `llama_cpp` backend on tiny real GGUF files: the laws, mixed graphs, small caches, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import counterpoint as cp
from counterpoint import CounterpointError
from counterpoint.errors import RecipeError
from counterpoint.store import ModelStore
from counterpoint.testing import (
    assert_drafter_laws,
    assert_generator_laws,
    assert_session_laws,
    make_engine,
    save_tiny_gguf,
)

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (pip install 'counterpoint[llama-cpp]')")

IDS = [7 * i % 251 + 4 for i in range(24)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("gguf")
    return {
        "target": save_tiny_gguf(root / "target.gguf", spread=0.3),
        "draft": save_tiny_gguf(root / "draft.gguf", spread=0.3, seed=1),
    }


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cp.Engine]:
    with make_engine(store=ModelStore(tmp_path_factory.mktemp("store"))) as made:
        yield made


def node(file: Path, kind: str = "llama_cpp", **fields: Any) -> dict[str, Any]:
    # One thread: the threads of two test processes would wait for one another.
    exact = {"kv_type": "f32", "threads": 1} if kind == "llama_cpp" else {"dtype": "float32", "device": "cpu"}
    return {"kind": kind, "source": f"path:{file}", **exact, **fields}


def speculative(target: dict[str, Any], draft: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "nodes": {
            "m": target,
            "d": draft,
            "l": {"kind": "prompt_lookup"},
            "s": {"kind": "speculative", "target": "m", "draft": ["l", "d"], "adaptive": False, "max_draft": 4, **fields},
        },
        "output": "s",
    }


def test_session_laws(engine: cp.Engine, files: dict[str, Path]) -> None:
    recipe = {"nodes": {"m": node(files["target"])}, "output": "m"}
    assert_session_laws(recipe, IDS, prompt="a prompt of some length", engine=engine, tolerance=1e-3)


@pytest.mark.parametrize("kv_type", ["f16", "bf16", "q8_0"])
def test_smaller_caches_are_near(engine: cp.Engine, files: dict[str, Path], kv_type: str) -> None:
    recipe = {"nodes": {"m": node(files["target"], kv_type=kv_type)}, "output": "m"}
    assert_session_laws(recipe, IDS, engine=engine, tolerance=0.3)


def test_generator_laws(engine: cp.Engine, files: dict[str, Path]) -> None:
    assert_generator_laws({"nodes": {"m": node(files["target"])}, "output": "m"}, engine=engine)


@pytest.mark.parametrize("rule", ["invariant", "rejection"])
def test_generator_laws_of_speculative(engine: cp.Engine, files: dict[str, Path], rule: str) -> None:
    assert_generator_laws(speculative(node(files["target"]), node(files["draft"]), rule=rule), engine=engine)


def test_drafter_laws(engine: cp.Engine, files: dict[str, Path]) -> None:
    recipe = {"nodes": {"m": node(files["target"]), "d": node(files["draft"])}, "output": "d"}
    assert_drafter_laws(recipe, "m", engine=engine)


@pytest.mark.parametrize("kinds", [("llama_cpp", "llama_cpp"), ("huggingface", "llama_cpp"), ("llama_cpp", "huggingface")])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_graph_may_mix_backends(
    engine: cp.Engine, files: dict[str, Path], kinds: tuple[str, str], temperature: float
) -> None:
    recipe = speculative(node(files["target"], kinds[0]), node(files["draft"], kinds[1]))
    sampling = cp.Sampling(temperature=temperature, max_tokens=40)
    prompts = ["one two one two", "def f(x):\n    return", "¿qué tal? 😀"]
    plain = engine.run_many({**recipe, "output": "m"}, prompts, sampling=sampling, seed=3)
    drafted = engine.run_many(recipe, prompts, sampling=sampling, seed=3)
    assert [result.completion for result in plain] == [result.completion for result in drafted]
    assert any(event.type == "verified" for event in drafted[0].trace)


def test_the_backends_agree(engine: cp.Engine, files: dict[str, Path]) -> None:
    """The same weights, tokens and cost, whichever runs them (bfloat16 conversion: near, not equal)."""
    results = {}
    for kind in ("llama_cpp", "huggingface"):
        recipe = {"nodes": {"m": node(files["target"], kind)}, "output": "m"}
        results[kind] = engine.run(recipe, "hello there", sampling=cp.Sampling(max_tokens=1))
    one, other = (result.trace for result in results.values())
    tokens = [[event.tokens for event in trace if event.type == "forward"] for trace in (one, other)]
    assert tokens[0] == tokens[1], "the prompt is rendered and encoded alike"
    flops = [sum(event.flops for event in trace if event.type == "forward") for trace in (one, other)]
    assert flops[0] == pytest.approx(flops[1], rel=1e-3)
    left, right = (next(event for event in trace if event.type == "emitted") for trace in (one, other))
    assert left.ids == right.ids
    assert left.logprobs["m"][0] == pytest.approx(right.logprobs["m"][0], abs=0.05)
    facts = engine.plan(speculative(node(files["target"]), node(files["draft"], "huggingface"))).facts
    assert len({known.tokenizer.fingerprint for known in facts.values() if known.tokenizer}) == 1


def test_more_rows_than_the_cache_holds(engine: cp.Engine, files: dict[str, Path]) -> None:
    sampling = cp.Sampling(temperature=0.8, max_tokens=30)
    prompts = [f"prompt number {number}" for number in range(6)]
    results = {}
    for context in (4096, 128):
        recipe = {"nodes": {"m": node(files["target"], context=context)}, "output": "m"}
        results[context] = engine.run_many(recipe, prompts, samples=3, sampling=sampling)
        assert [result.error for result in results[context]] == [None] * 18
    assert [r.completion for r in results[128]] == [r.completion for r in results[4096]]


def test_memory_is_predicted(engine: cp.Engine, files: dict[str, Path]) -> None:
    plan = engine.plan({"nodes": {"m": node(files["target"], context=100)}, "output": "m"})
    assert plan.facts["m"].weight_bytes == files["target"].stat().st_size
    assert plan.facts["m"].cache_bytes == 100 * 2 * 2 * 64 * 4
    assert plan.facts["m"].context == 100


def refused(engine: cp.Engine, file: Path, **fields: Any) -> Any:
    with pytest.raises(CounterpointError) as caught:
        engine.run({"nodes": {"m": node(file, **fields)}, "output": "m"}, "hello")
    return caught.value


def test_an_unknown_architecture(engine: cp.Engine, tmp_path: Path) -> None:
    error = refused(engine, save_tiny_gguf(tmp_path / "strange.gguf", architecture="strange"))
    assert "strange" in error.message
    assert "newer llama-cpp-python" in error.hint


def test_a_cut_file(engine: cp.Engine, files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["target"].read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    error = refused(engine, tmp_path / "cut.gguf")
    assert "cut" in error.message
    assert error.hint


def test_no_vocabulary(engine: cp.Engine, tmp_path: Path) -> None:
    error = refused(engine, save_tiny_gguf(tmp_path / "mute.gguf", vocabulary=False))
    assert "no vocabulary" in error.message
    assert error.hint


def test_a_context_larger_than_memory(engine: cp.Engine, files: dict[str, Path]) -> None:
    error = refused(engine, files["target"], context=2**31 - 256)
    assert "context" in error.message
    assert "lower the node's `context`" in error.hint


def test_a_folder_is_refused(engine: cp.Engine, tmp_path: Path) -> None:
    from counterpoint.testing import save_tiny_model

    error = refused(engine, save_tiny_model(tmp_path / "folder"))
    assert "no GGUF file" in error.message
    assert "kind huggingface" in error.hint


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]) -> None:
    for name in [name for name in sys.modules if name.startswith("counterpoint_plugins.llama_cpp.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("counterpoint_plugins.llama_cpp.loading", raising=False)
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with make_engine(store=ModelStore(files["target"].parent)) as engine, pytest.raises(CounterpointError) as caught:
        engine.plan({"nodes": {"m": node(files["target"])}, "output": "m"}).check()
    assert "llama-cpp-python" in caught.value.message
    assert "counterpoint[llama-cpp]" in caught.value.hint


def test_nothing_is_printed(files: dict[str, Path], tmp_path: Path) -> None:
    recipe = tmp_path / "one.yaml"
    recipe.write_text(f"nodes: {{m: {{kind: llama_cpp, source: 'path:{files['target']}'}}}}\noutput: m\n")
    command = [sys.executable, "-m", "counterpoint", "run", str(recipe), "--quiet", "--no-store", "--max-tokens", "4", "hello"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_an_artifact_is_refused_before_anything_loads() -> None:
    """Where nothing has been trained: it is not for want of the artifact that llama.cpp cannot run it."""
    recipe = {"nodes": {"m": {"kind": "llama_cpp", "source": "artifact:mine"}}, "output": "m"}
    with make_engine(store=ModelStore()) as engine, pytest.raises(RecipeError, match="what a trainer makes") as caught:
        engine.plan(recipe).check()
    assert "huggingface" in caught.value.hint

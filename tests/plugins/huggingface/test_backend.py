"""The `huggingface` backend on real (tiny, random) models: exactness of slots, laws, capabilities, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

import counterpoint as cp
from counterpoint.planning import Resources
from counterpoint.session import Step
from counterpoint.store import ModelStore
from counterpoint.testing import (
    assert_drafter_laws,
    assert_generator_laws,
    assert_session_laws,
    make_engine,
    save_tiny_model,
)
from counterpoint_plugins.huggingface import HuggingFaceModel
from counterpoint_plugins.huggingface.backend import HuggingFaceBackend

ARCHITECTURES = ("full", "grouped", "sliding")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    made = {name: save_tiny_model(root / name, name) for name in ARCHITECTURES}  # type: ignore[arg-type]
    made["draft"] = save_tiny_model(root / "draft", "grouped", seed=1)
    return made


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cp.Engine]:
    with make_engine(store=ModelStore(tmp_path_factory.mktemp("store"))) as made:
        yield made


def node(folder: Path, **fields: Any) -> dict[str, Any]:
    return {"kind": "huggingface", "source": f"path:{folder}", "dtype": "float32", "device": "cpu", **fields}


def load(folder: Path, **fields: Any) -> HuggingFaceBackend:
    made = HuggingFaceModel.model_validate(node(folder, **fields))
    backend = made.load(Resources(ModelStore(folder.parent / "store")))
    assert isinstance(backend, HuggingFaceBackend)
    return backend


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_session_laws(engine: cp.Engine, folders: dict[str, Path], architecture: str, kernel: str) -> None:
    recipe = {"nodes": {"m": node(folders[architecture], attention=kernel)}, "output": "m"}
    # longer than the sliding window, so that rolling back crosses it
    assert_session_laws(recipe, [7 * i % 251 for i in range(24)], prompt="a prompt of some length", engine=engine)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generator_laws_of_sample(engine: cp.Engine, folders: dict[str, Path], architecture: str) -> None:
    assert_generator_laws({"nodes": {"m": node(folders[architecture])}, "output": "m"}, engine=engine)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("rule", ["invariant", "rejection"])
def test_generator_laws_of_speculative(engine: cp.Engine, folders: dict[str, Path], architecture: str, rule: str) -> None:
    assert_generator_laws(speculative(folders, architecture, rule=rule), engine=engine)


def speculative(folders: dict[str, Path], architecture: str, **fields: Any) -> dict[str, Any]:
    return {
        "nodes": {
            "m": node(folders[architecture]),
            "d": node(folders["draft"]),
            "l": {"kind": "prompt_lookup"},
            "s": {"kind": "speculative", "target": "m", "draft": ["l", "d"], **fields},
        },
        "output": "s",
    }


def test_drafter_laws(engine: cp.Engine, folders: dict[str, Path]) -> None:
    recipe = {"nodes": {"m": node(folders["full"]), "d": node(folders["draft"])}, "output": "d"}
    assert_drafter_laws(recipe, "m", engine=engine)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("adaptive", [True, False])
def test_speculative_gives_the_tokens_of_sample(
    engine: cp.Engine, folders: dict[str, Path], architecture: str, temperature: float, adaptive: bool
) -> None:
    recipe = speculative(folders, architecture, adaptive=adaptive)
    sampling = cp.Sampling(temperature=temperature, max_tokens=40)
    prompts = ["one two one two", "def f(x):\n    return", "¿qué tal? 😀"]
    plain = engine.run_many({**recipe, "output": "m"}, prompts, sampling=sampling, seed=3)
    drafted = engine.run_many(recipe, prompts, sampling=sampling, seed=3)
    assert [r.completion for r in plain] == [r.completion for r in drafted]
    if not adaptive:  # otherwise it depends on what passes cost whether drafting pays
        assert any(event.type == "verified" for event in drafted[0].trace)


class Model:
    """What a backend should hold and answer, by plain passes of transformers over whole sequences."""

    def __init__(self, folder: Path) -> None:
        self.plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def states(self, ids: list[int], count: int) -> torch.Tensor:
        return self.plain(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, len(ids) - count :]

    @torch.inference_mode()
    def rows(self, ids: list[int], count: int) -> torch.Tensor:
        return self.plain(torch.tensor([ids])).logits[0, len(ids) - count :]


@pytest.fixture(scope="module")
def plain(folders: dict[str, Path]) -> dict[str, Model]:
    return {name: Model(folders[name]) for name in ARCHITECTURES}


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["new", "copy", "truncate", "free", "forward", "forward", "forward"]),
        st.integers(0, 2**31),
    ),
    min_size=5,
    max_size=25,
)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(operations=OPERATIONS)
@settings(max_examples=15)
def test_any_history_of_slots_agrees_with_plain_passes(
    folders: dict[str, Path], plain: dict[str, Model], architecture: str, operations: list[tuple[str, int]]
) -> None:
    """Ragged passes of any slots in any order, after any copying, truncating and freeing."""
    import random

    backend = load(folders[architecture])
    known = backend.tokenizer.size
    slots: dict[int, list[int]] = {}
    for what, seed in operations:
        rng = random.Random(seed)
        if what == "new" or not slots:
            slots[backend.new_slot()] = []
            continue
        chosen = rng.choice(sorted(slots))
        length = rng.randint(0, len(slots[chosen]))
        if what == "copy":
            slots[backend.copy(chosen, length)] = slots[chosen][:length]
        elif what == "truncate":
            backend.truncate(chosen, length)
            del slots[chosen][length:]
        elif what == "free":
            backend.free(chosen)
            del slots[chosen]
        else:
            steps = []
            for slot in rng.sample(sorted(slots), rng.randint(1, len(slots))):
                ids = [rng.randrange(known) for _ in range(rng.choice([1, 1, 2, 5, 40]))]
                score = rng.random() < 0.2
                hidden = not score and rng.random() < 0.2
                steps.append(Step(slot, ids, 1 if score else rng.randint(0, len(ids)), score, hidden))
            for step, result in zip(steps, backend.forward(steps), strict=True):
                slots[step.slot] += list(step.ids)
                if step.hidden:
                    states = plain[architecture].states(slots[step.slot], step.rows)
                    torch.testing.assert_close(result.rows, states, atol=2e-5, rtol=1e-4)
                    continue
                expected = plain[architecture].rows(slots[step.slot], len(step.ids))[:, :known]
                wanted = expected[len(step.ids) - step.rows :]
                torch.testing.assert_close(result.rows, wanted, atol=2e-5, rtol=1e-4)
                if step.score:
                    table = torch.log_softmax(expected, -1)[:-1]
                    scores = table[torch.arange(len(step.ids) - 1), torch.tensor(step.ids[1:], dtype=torch.long)]
                    assert result.logprobs is not None
                    # the padding ids beyond the tokenizer take no probability here
                    torch.testing.assert_close(result.logprobs, scores, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes(engine: cp.Engine, folders: dict[str, Path], dtype: str) -> None:
    result = engine.run(
        {"nodes": {"m": node(folders["grouped"], dtype=dtype)}, "output": "m"}, "hi", sampling=cp.Sampling(max_tokens=5)
    )
    assert len(result.completion.ids) == 5
    assert engine.hosts()[-1].backend.model.dtype == getattr(torch, dtype)  # type: ignore[attr-defined]


def test_models_loaded_at_the_same_time_are_whole(folders: dict[str, Path]) -> None:
    """transformers builds models in a context of the process: of two at once, one lost weights."""
    names = list(ARCHITECTURES) * 4
    with ThreadPoolExecutor(6) as threads:
        for backend in threads.map(lambda name: load(folders[name]), names):
            (result,) = backend.forward([Step(backend.new_slot(), [1, 2, 3], 1)])
            assert result.rows[:, : backend.tokenizer.size].isfinite().all()


def test_padding_ids_are_impossible(engine: cp.Engine, folders: dict[str, Path]) -> None:
    backend = load(folders["grouped"])
    slot = backend.new_slot()
    (result,) = backend.forward([Step(slot, [1, 2], 1)])
    assert backend.model.config.vocab_size > backend.tokenizer.size == result.rows.shape[-1]


def test_only_wanted_rows_are_computed(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load(folders["grouped"])
    head = backend.model.get_output_embeddings()
    seen: list[int] = []
    head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    slots = [backend.new_slot() for _ in range(3)]
    backend.forward([Step(slots[0], list(range(50)), 1), Step(slots[1], [1, 2, 3], 0), Step(slots[2], [5, 6, 7], 2)])
    backend.forward([Step(slots[0], [4, 5], 2, hidden=True), Step(slots[1], [1, 2], 1), Step(slots[2], [5], 1, hidden=True)])
    backend.forward([Step(slots[0], [4], 1, hidden=True)])
    assert seen == [3, 1, 0], "hidden states cost no logits"


def test_long_prompt_is_processed_in_chunks(engine: cp.Engine, folders: dict[str, Path]) -> None:
    recipe = {"nodes": {"m": node(folders["sliding"])}, "output": "m"}
    result = engine.run(recipe, "x" * 400, sampling=cp.Sampling(max_tokens=3))
    passes = [event for event in result.trace if event.type == "forward" and event.prefill]
    assert len(passes) == 2
    assert max(event.tokens for event in passes) == 256


def test_prompt_longer_than_the_context(engine: cp.Engine, folders: dict[str, Path]) -> None:
    with pytest.raises(cp.ModelError, match=r"the prompt has \d+ tokens, and the context .* holds 512") as caught:
        engine.run({"nodes": {"m": node(folders["full"])}, "output": "m"}, "x" * 600)
    assert "shorten the prompt" in caught.value.hint


def test_response_stops_where_the_context_ends(engine: cp.Engine, folders: dict[str, Path]) -> None:
    recipe = {"nodes": {"m": node(folders["full"])}, "output": "m"}
    result = engine.run(recipe, "x" * 480, sampling=cp.Sampling(max_tokens=100, ignore_stop=True))
    assert result.finish_reason == "length"
    prompt = sum(event.tokens for event in result.trace if event.type == "forward" and event.prefill)
    assert prompt + len(result.completion.ids) == 512


def test_stop_strings_and_ids(engine: cp.Engine, folders: dict[str, Path]) -> None:
    recipe = {"nodes": {"m": node(folders["grouped"])}, "output": "m"}
    free = engine.run(recipe, "hello", seed=1, sampling=cp.Sampling(temperature=1.5, max_tokens=60))
    middle = free.text[10:13]
    cut = engine.run(
        {**recipe, "nodes": {"m": node(folders["grouped"], stop=[middle])}},
        "hello",
        seed=1,
        sampling=cp.Sampling(temperature=1.5, max_tokens=60),
    )
    assert cut.text == free.text[: free.text.index(middle)]
    assert cut.finish_reason == "stop"


def test_weights_are_shared_by_nodes_and_runs(engine: cp.Engine, folders: dict[str, Path]) -> None:
    before = len(engine.hosts())
    recipe = {
        "nodes": {"a": node(folders["full"], prompt_format="raw"), "s": {"kind": "sample", "model": node(folders["full"])}},
        "output": "s",
    }
    engine.run(recipe, "hi", sampling=cp.Sampling(max_tokens=2))
    engine.run({**recipe, "output": "a"}, "hi", sampling=cp.Sampling(max_tokens=2))
    assert len(engine.hosts()) - before <= 1


def test_chat_roles_raw_and_jinja_formats(engine: cp.Engine, folders: dict[str, Path]) -> None:
    def prefill(prompt: Any, fmt: str | None) -> int:
        recipe = {"nodes": {"m": node(folders["grouped"], prompt_format=fmt)}, "output": "m"}
        with make_engine(store=engine.pool._store) as fresh:
            result = fresh.run(recipe, prompt, sampling=cp.Sampling(max_tokens=1))
        return sum(event.tokens for event in result.trace if event.type == "forward")

    assert prefill("hi", "raw") == len("hi")
    assert prefill("hi", None) == len("<user>hi\n<assistant>")
    assert prefill([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "roles") == len(
        "\n\n[System]\ns\n\n[User]\nu\n\n[Assistant]\n"
    )
    assert prefill("hi", "Q: {{ text }}") == len("Q: hi")


def test_a_model_without_template_refuses_messages(engine: cp.Engine, folders: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folders["full"], bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    settings_path = bare / "tokenizer_config.json"
    config = json.loads(settings_path.read_text())
    config.pop("chat_template", None)
    settings_path.write_text(json.dumps(config))
    recipe = {"nodes": {"m": node(bare)}, "output": "m"}
    with pytest.raises(cp.RecipeError, match="no chat template") as caught:
        engine.run(recipe, [{"role": "user", "content": "hi"}])
    assert "prompt_format" in caught.value.hint
    assert engine.run(recipe, "hi", sampling=cp.Sampling(max_tokens=2)).finish_reason == "length"


def test_linear_attention_models_are_refused(engine: cp.Engine, folders: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(folders["sliding"], odd)
    path = odd / "config.json"
    config = json.loads(path.read_text())
    config["layer_types"] = ["linear_attention"] * len(config["layer_types"])
    path.write_text(json.dumps(config))
    with pytest.raises(cp.RecipeError, match="linear_attention") as caught:
        engine.run({"nodes": {"m": node(odd)}, "output": "m"}, "hi")
    assert "full or sliding-window attention" in caught.value.hint


def test_cuda_without_a_gpu(engine: cp.Engine, folders: dict[str, Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(cp.RecipeError, match="no CUDA GPU"):
        engine.run({"nodes": {"m": node(folders["full"], device="cuda")}, "output": "m"}, "hi")


def test_unknown_quantization_method(engine: cp.Engine, folders: dict[str, Path]) -> None:
    recipe = {"nodes": {"m": node(folders["full"], quantization={"method": "nonsense"})}, "output": "m"}
    with pytest.raises(cp.ModelError, match="no quantization method 'nonsense'") as caught:
        engine.run(recipe, "hi")
    assert "bitsandbytes" in caught.value.hint


def test_adapter(engine: cp.Engine, folders: dict[str, Path], tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="adapters need the peft package")
    base = AutoModelForCausalLM.from_pretrained(folders["grouped"])
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "lora")
    sampling = cp.Sampling(max_tokens=12)
    recipe = {"nodes": {"m": node(folders["grouped"])}, "output": "m"}
    changed = {"nodes": {"m": node(folders["grouped"], adapter=str(tmp_path / "lora"))}, "output": "m"}
    assert engine.run(recipe, "hello", sampling=sampling).text != engine.run(changed, "hello", sampling=sampling).text
    with pytest.raises(cp.ModelError, match="no peft adapter"):
        engine.run({"nodes": {"m": node(folders["grouped"], adapter=str(tmp_path))}, "output": "m"}, "hi")

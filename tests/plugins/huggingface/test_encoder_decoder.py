"""Models with an encoder and a decoder (tiny, random): exactness of slots and readings, laws, what passes cost, what is refused."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSeq2SeqLM

import counterpoint as cp
from counterpoint.events import Forward
from counterpoint.planning import Resources
from counterpoint.session import Step
from counterpoint.store import ModelStore
from counterpoint.testing import (
    assert_drafter_laws,
    assert_generator_laws,
    assert_session_laws,
    make_engine,
    save_tiny_encoder_decoder,
    save_tiny_model,
)
from counterpoint_plugins.huggingface import HuggingFaceModel
from counterpoint_plugins.huggingface.encoder_decoder import EncoderDecoderBackend

ARCHITECTURES = ("t5", "gated", "mt5", "umt5", "bart")
IDS = [7 * i % 251 for i in range(24)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    made = {name: save_tiny_encoder_decoder(root / name, name) for name in ARCHITECTURES}  # type: ignore[arg-type]
    made["draft"] = save_tiny_encoder_decoder(root / "draft", "gated", seed=1)
    made["short"] = save_tiny_encoder_decoder(root / "short", "bart", context=48)
    made["causal"] = save_tiny_model(root / "causal")
    return made


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cp.Engine]:
    with make_engine(store=ModelStore(tmp_path_factory.mktemp("store"))) as made:
        yield made


def node(folder: Path, **fields: Any) -> dict[str, Any]:
    return {"kind": "huggingface", "source": f"path:{folder}", "dtype": "float32", "device": "cpu", **fields}


def one(folder: Path, **fields: Any) -> dict[str, Any]:
    return {"nodes": {"m": node(folder, **fields)}, "output": "m"}


def load(folder: Path, **fields: Any) -> EncoderDecoderBackend:
    made = HuggingFaceModel.model_validate(node(folder, **fields))
    backend = made.load(Resources(ModelStore(folder.parent / "store")))
    assert isinstance(backend, EncoderDecoderBackend)
    return backend


# --- against transformers ----------------------------------------------------------------------------------------------------------


class Plain:
    """What a backend should answer, by plain passes of transformers over whole sequences."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def rows(self, prompt: list[int], ids: list[int], count: int) -> torch.Tensor:
        given = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": torch.tensor([ids])}
        return self.model(**given).logits[0, len(ids) - count :]

    @torch.inference_mode()
    def states(self, prompt: list[int], ids: list[int], count: int) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        hook = self.model.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        self.rows(prompt, ids, count)
        hook.remove()
        return seen[0][0, len(ids) - count :]

    @torch.inference_mode()
    def greedy(self, prompt: list[int], tokens: int, known: int) -> list[int]:
        beyond = list(range(known, self.model.config.vocab_size))  # padding of the weights
        options = {"do_sample": False, "num_beams": 1, "max_new_tokens": tokens, "suppress_tokens": beyond}
        return list(self.model.generate(torch.tensor([prompt]), **options)[0].tolist())


@pytest.fixture(scope="module")
def plain(folders: dict[str, Path]) -> dict[str, Plain]:
    return {name: Plain(folders[name]) for name in ARCHITECTURES}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_decoding_is_that_of_generate(
    engine: cp.Engine, folders: dict[str, Path], plain: dict[str, Plain], architecture: str
) -> None:
    """Token by token, prompts of different lengths in flight together."""
    backend = load(folders[architecture])
    prompts = ["hi", "a prompt of some length", "¿qué tal? 😀", "one two one two " * 20]
    results = engine.run_many(one(folders[architecture]), prompts, sampling=cp.Sampling(temperature=0, max_tokens=24))
    for prompt, result in zip(prompts, results, strict=True):
        ids = backend.tokenizer.encode(prompt, add_special=True)
        assert ids[-1] == backend.tokenizer.eos_id, "the encoder reads the end of the prompt"
        start, *theirs = plain[architecture].greedy(ids, 24, backend.tokenizer.size)
        assert (start,) == backend.start_ids
        assert result.text == backend.tokenizer.decode(theirs)
        assert list(result.completion.ids) == theirs
    assert len({result.text for result in results}) == len(prompts), "what is read matters"


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["new", "copy", "truncate", "free", "forward", "forward", "forward"]), st.integers(0, 2**31)),
    min_size=5,
    max_size=20,
)


@pytest.mark.parametrize(("architecture", "kernel"), [*((name, "sdpa") for name in ARCHITECTURES), ("t5", "eager")])
@given(operations=OPERATIONS)
@settings(max_examples=6)
def test_any_history_of_slots_agrees_with_plain_passes(
    folders: dict[str, Path], plain: dict[str, Plain], architecture: str, kernel: str, operations: list[tuple[str, int]]
) -> None:
    """Ragged passes of any slots in any order, of equal and other prompts, after any copying, truncating and freeing."""
    backend = load(folders[architecture], attention=kernel)
    known, reference = backend.tokenizer.size, plain[architecture]
    slots: dict[int, list[int]] = {}
    prompts: dict[int, list[int]] = {}
    read: set[int] = set()
    for what, seed in operations:
        rng = random.Random(seed)
        if what == "new" or not slots:
            new = backend.new_slot()
            slots[new], prompts[new] = [], [rng.randrange(known) for _ in range(rng.choice([1, 3, 30]))]
            continue
        chosen = rng.choice(sorted(slots))
        length = rng.randint(0, len(slots[chosen]))
        if what == "copy":
            new = backend.copy(chosen, length)
            slots[new], prompts[new] = slots[chosen][:length], prompts[chosen]
            read |= {new} if chosen in read else set()
        elif what == "truncate":
            backend.truncate(chosen, length)
            del slots[chosen][length:]
        elif what == "free":
            backend.free(chosen)
            del slots[chosen], prompts[chosen]
            read.discard(chosen)
        else:
            steps = []
            for slot in rng.sample(sorted(slots), rng.randint(1, len(slots))):
                ids = [rng.randrange(known) for _ in range(rng.choice([1, 1, 2, 5, 40]))]
                score = rng.random() < 0.2
                hidden = not score and rng.random() < 0.2
                rows = 1 if score else rng.randint(0, len(ids))
                steps.append(Step(slot, ids, rows, score, hidden, () if slot in read else prompts[slot]))
                read.add(slot)
            for step, result in zip(steps, backend.forward(steps), strict=True):
                held, prompt = slots[step.slot], prompts[step.slot]
                held += list(step.ids)
                if step.hidden:
                    torch.testing.assert_close(result.rows, reference.states(prompt, held, step.rows), atol=5e-4, rtol=1e-3)
                    continue
                expected = reference.rows(prompt, held, len(step.ids))[:, :known]
                torch.testing.assert_close(result.rows, expected[len(step.ids) - step.rows :], atol=5e-4, rtol=1e-3)
                if step.score:
                    table = torch.log_softmax(expected, -1)[:-1]
                    scores = table[torch.arange(len(step.ids) - 1), torch.tensor(step.ids[1:], dtype=torch.long)]
                    assert result.logprobs is not None
                    torch.testing.assert_close(result.logprobs, scores, atol=2e-4, rtol=1e-3)


# --- laws --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("architecture", "kernel"), [("t5", "sdpa"), ("umt5", "sdpa"), ("bart", "eager")])
def test_session_laws(engine: cp.Engine, folders: dict[str, Path], architecture: str, kernel: str) -> None:
    recipe = one(folders[architecture], attention=kernel)
    assert_session_laws(recipe, IDS, prompt="a prompt of some length", engine=engine)
    assert_session_laws(recipe, IDS, prompt={"text": "a prompt", "prefix": "a beginning"}, engine=engine)


def test_generator_laws(engine: cp.Engine, folders: dict[str, Path]) -> None:
    assert_generator_laws(one(folders["bart"]), engine=engine)
    assert_generator_laws(speculative(folders, "gated", "draft"), engine=engine, max_tokens=12)


def test_drafter_laws(engine: cp.Engine, folders: dict[str, Path]) -> None:
    recipe = {"nodes": {"m": node(folders["t5"]), "d": node(folders["draft"])}, "output": "d"}
    assert_drafter_laws(recipe, "m", engine=engine)


def speculative(folders: dict[str, Path], target: str, draft: str) -> dict[str, Any]:
    nodes = {"m": node(folders[target]), "d": node(folders[draft]), "l": {"kind": "prompt_lookup"}}
    nodes["s"] = {"kind": "speculative", "target": "m", "draft": ["l", "d"], "adaptive": False}
    return {"nodes": nodes, "output": "s"}


@pytest.mark.parametrize(
    ("target", "draft", "temperature"),
    [("t5", "draft", 0.0), ("t5", "draft", 0.8), ("bart", "t5", 0.8), ("t5", "causal", 0.8), ("causal", "t5", 0.8)],
)
def test_drafting_changes_no_token(
    engine: cp.Engine, folders: dict[str, Path], target: str, draft: str, temperature: float
) -> None:
    """A model of the same vocabulary drafts, whatever its architecture; a causal one has another vocabulary here."""
    recipe = speculative(folders, target, draft)
    sampling = cp.Sampling(temperature=temperature, max_tokens=16)
    prompts = ["one two one two", "¿qué tal? 😀"]
    plain = engine.run_many({**recipe, "output": "m"}, prompts, sampling=sampling, seed=3)
    drafted = engine.run_many(recipe, prompts, sampling=sampling, seed=3)
    assert [r.completion for r in plain] == [r.completion for r in drafted]
    assert any(event.type == "verified" for event in drafted[0].trace)


def test_compositions(engine: cp.Engine, folders: dict[str, Path]) -> None:
    nodes = {name: node(folders[name]) for name in ("t5", "draft", "causal")}
    mixed = {"nodes": {**nodes, "e": {"kind": "ensemble", "base": "t5", "others": ["draft"]}}, "output": "e"}
    assert_session_laws(mixed, IDS, engine=engine)
    twins = {"nodes": {**nodes, "e": {"kind": "ensemble", "base": "t5", "others": ["t5"]}}, "output": "e"}
    sampling = cp.Sampling(max_tokens=12)
    assert (
        engine.run(twins, "hi", sampling=sampling).text == engine.run({**twins, "output": "t5"}, "hi", sampling=sampling).text
    )
    held = {"kind": "constrained", "model": "t5", "constraints": {"kind": "grammar", "regex": "[0-9]{3} [a-z]{2}"}}
    digits = engine.run({"nodes": {**nodes, "g": held}, "output": "g"}, "hi", sampling=sampling).text
    assert re.fullmatch("[0-9]{3} [a-z]{2}", digits)
    across = {"nodes": {**nodes, "c": {"kind": "contrastive", "expert": "t5", "amateur": "causal"}}, "output": "c"}
    assert_session_laws(across, IDS, engine=engine)


# --- what is read, and how often ---------------------------------------------------------------------------------------------------


def forwards(result: cp.RunResult) -> list[Forward]:
    return [event for event in result.trace if isinstance(event, Forward)]


def test_a_prompt_is_read_once(engine: cp.Engine, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, ...]] = []
    own = EncoderDecoderBackend._read
    monkeypatch.setattr(EncoderDecoderBackend, "_read", lambda self, ids: (read.append(tuple(ids)), own(self, ids))[1])
    recipe = one(folders["mt5"])
    sampling = cp.Sampling(temperature=1.0, max_tokens=6, ignore_stop=True)
    results = engine.run_many(recipe, ["a prompt"] * 2, samples=4, sampling=sampling)
    assert len(read) == 1
    *others, first = sorted(sum(event.tokens for event in forwards(result) if event.prefill) for result in results)
    assert first == len("a prompt") + 1 + 1, "the prompt with its end, and what the decoder begins with"
    assert set(others) <= {0, 1}, "those that begin in the same pass as the first begin with the same token again"
    engine.run(recipe, "a prompt", sampling=sampling)
    continued = {"text": "a prompt", "prefix": results[0].text[:3]}
    engine.run(recipe, continued, sampling=sampling)
    assert len(read) == 1, "what a closed session has read serves the next, whatever its answer begins with"
    alike = engine.run(recipe, "a prompt of", sampling=sampling)
    assert len(read) == 2, "a prompt that only begins alike does not"
    with make_engine(store=engine.pool._store) as fresh:
        assert fresh.run(recipe, "a prompt of", sampling=sampling).completion == alike.completion


@pytest.mark.parametrize("architecture", ["t5", "gated", "bart"])
def test_what_passes_cost(engine: cp.Engine, folders: dict[str, Path], architecture: str) -> None:
    """The FLOPs that are accounted for are those that torch counts; the first pass reads the prompt."""
    prompt = "how much is it"
    result = engine.run(one(folders[architecture]), prompt, sampling=cp.Sampling(max_tokens=9, ignore_stop=True))
    first, *others = forwards(result)
    read = len(prompt) + 1
    assert (first.tokens, first.context, first.logits_rows, first.prefill) == (read + 1, read**2 + read + 1, 1, True)
    assert [(event.tokens, event.context, event.prefill) for event in others] == [(1, read + n, False) for n in range(2, 10)]

    backend = load(folders[architecture], attention="eager")  # in plain products, which torch counts
    slot = backend.new_slot()
    for event in (first, *others):
        with FlopCounterMode(display=False) as counter:
            backend.forward([Step(slot, [1], 1, prompt=list(range(read)) if event is first else ())])
        assert event.flops == counter.get_total_flops() > 0


def test_a_budget_admits_no_prompt_that_it_cannot_pay(engine: cp.Engine, folders: dict[str, Path]) -> None:
    result = engine.run(one(folders["t5"]), "x" * 200, budget="flops=1000000")
    assert (result.finish_reason, forwards(result)) == ("budget", [])


# --- before weights load -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["t5", "gated", "bart"])
def test_what_plan_knows(engine: cp.Engine, folders: dict[str, Path], architecture: str) -> None:
    facts = engine.plan(one(folders[architecture])).facts["m"]
    backend = load(folders[architecture])
    assert facts.shape == backend.shape
    assert facts.weight_bytes == sum(weight.nbytes for weight in backend.model.parameters())
    assert facts.has_chat_template is False
    assert facts.context == backend.context
    slot = backend.new_slot()
    backend.forward([Step(slot, [1, 2], 1, prompt=[1, 2, 3])])
    kept = sum(tensor.nbytes for pair in backend._readings[slot].layers.values() for tensor in pair)
    assert kept == 3 * facts.shape.kv_bytes, "cross-attention keeps as much of a token as self-attention"


def test_prompts_are_raw_by_default(engine: cp.Engine, folders: dict[str, Path]) -> None:
    with pytest.raises(cp.RecipeError, match="has no chat template to render messages with"):
        engine.run(one(folders["t5"]), [{"role": "user", "content": "hi"}])
    worded = engine.run(one(folders["t5"], prompt_format="fix: {{ text }}"), "hi", sampling=cp.Sampling(max_tokens=3))
    assert forwards(worded)[0].tokens == len("fix: hi") + 2


def test_contexts(engine: cp.Engine, folders: dict[str, Path]) -> None:
    """The encoder's, and the decoder's own."""
    recipe = one(folders["short"])
    endless = cp.Sampling(max_tokens=100, ignore_stop=True)
    result = engine.run(recipe, "x" * 47, sampling=endless)
    assert (result.finish_reason, len(result.completion.ids)) == ("length", 47)
    with pytest.raises(cp.ModelError, match=r"the prompt has 49 tokens, and the encoder of .* reads at most 48") as caught:
        engine.run(recipe, "x" * 48)
    assert "shorten the prompt" in caught.value.hint
    with pytest.raises(cp.ModelError, match=r"the answer begins with 47 tokens, and the decoder of .* holds 48"):
        engine.run(recipe, {"text": "x", "prefix": "y" * 47})
    assert len(engine.run(recipe, {"text": "x", "prefix": "y" * 46}, sampling=endless).completion.ids) == 1
    long = engine.run(one(folders["t5"]), "x" * 1500, sampling=cp.Sampling(max_tokens=2))
    assert forwards(long)[0].tokens == 1502, "relative positions have no end, and an encoder reads a prompt as a whole"


def change(folder: Path, to: Path, file: str = "config.json", **fields: Any) -> Path:
    """A copy with other settings; None takes one out."""
    shutil.copytree(folder, to)
    settings = json.loads((to / file).read_text()) | fields
    (to / file).write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))
    return to


def test_stop_tokens_and_strings(engine: cp.Engine, folders: dict[str, Path], tmp_path: Path) -> None:
    sampling = cp.Sampling(temperature=0.9, max_tokens=40, ignore_stop=True)
    free = engine.run(one(folders["t5"]), "hello", seed=1, sampling=sampling)
    ids = free.completion.ids
    middle = free.text[5:8]
    cut = engine.run(one(folders["t5"], stop=[middle]), "hello", seed=1, sampling=cp.Sampling(temperature=0.9, max_tokens=40))
    assert (cut.text, cut.finish_reason) == (free.text[: free.text.index(middle)], "stop")
    ending = change(folders["t5"], tmp_path / "ending", "generation_config.json", eos_token_id=[256, ids[7]])
    ended = engine.run(one(ending), "hello", seed=1, sampling=cp.Sampling(temperature=0.9, max_tokens=40))
    assert (ended.completion.ids, ended.finish_reason) == (ids[: ids.index(ids[7]) + 1], "stop")


def test_a_first_token_that_is_forced(engine: cp.Engine, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = change(folders["bart"], tmp_path / "forced", "generation_config.json", forced_bos_token_id=65)
    backend = load(folder)
    assert backend.start_ids == (257, 65)
    ids = backend.tokenizer.encode("hello", add_special=True)
    theirs = Plain(folder).greedy(ids, 20, backend.tokenizer.size)
    result = engine.run(one(folder), "hello", sampling=cp.Sampling(max_tokens=19))
    assert tuple(theirs[:2]) == backend.start_ids
    assert list(result.completion.ids)[: len(theirs) - 2] == theirs[2:]


def test_what_is_refused(engine: cp.Engine, folders: dict[str, Path], tmp_path: Path) -> None:
    other = change(folders["bart"], tmp_path / "other", model_type="pegasus")
    with pytest.raises(cp.RecipeError, match="this backend runs t5, mt5, umt5, bart, and this one is 'pegasus'") as caught:
        engine.run(one(other), "hi")
    assert "FLAN-T5" in caught.value.hint
    silent = change(folders["t5"], tmp_path / "silent", decoder_start_token_id=None)
    (silent / "generation_config.json").unlink()
    with pytest.raises(cp.RecipeError, match="does not say what the decoder begins with"):
        engine.run(one(silent), "hi")


# --- text and types ----------------------------------------------------------------------------------------------------------------


def test_a_vocabulary_of_pieces(engine: cp.Engine, folders: dict[str, Path], tmp_path: Path) -> None:
    """T5's own kind of tokenizer: what comes piece by piece is the text of the whole."""
    from transformers import T5Tokenizer

    folder = change(folders["t5"], tmp_path / "pieces", pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (folder / name).unlink()
    words = ["▁", "▁the", "▁cat", "s", "▁sat", ".", "▁<", "a", "é"]
    vocabulary = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", -9.0),
        *((word, -1.0 - index / 9) for index, word in enumerate(words)),
    ]
    T5Tokenizer(vocab=vocabulary, extra_ids=2).save_pretrained(folder)
    backend = load(folder)
    assert backend.tokenizer.encode("the cats sat.", add_special=True)[-1] == backend.tokenizer.eos_id == 1
    results = engine.run_many(
        one(folder), ["the cats sat.", "a cat"], samples=3, sampling=cp.Sampling(temperature=1, max_tokens=20)
    )
    for result in results:
        assert result.error is None
        assert result.text == backend.tokenizer.decode(result.completion.ids)
        assert result.text.strip()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtypes(engine: cp.Engine, folders: dict[str, Path], dtype: str) -> None:
    result = engine.run(one(folders["bart"], dtype=dtype), "hi", sampling=cp.Sampling(max_tokens=5, ignore_stop=True))
    assert len(result.completion.ids) == 5
    assert engine.run(one(folders["t5"], dtype=dtype), "hi", sampling=cp.Sampling(max_tokens=5)).finish_reason in (
        "length",
        "stop",
    )


def test_likelihoods_of_the_harness_are_refused(engine: cp.Engine, folders: dict[str, Path]) -> None:
    from counterpoint_plugins.lm_eval.likelihood import Likelihood

    recipe = {"nodes": {"m": node(folders["t5"]), "v": Likelihood(model="m")}, "output": "v"}
    result = engine.verify(recipe, "hello", [" there"]).wait()
    assert isinstance(result.error, cp.Unsupported)
    assert "ends every text" in result.error.message


def test_hidden_states_and_module_share_the_weights(folders: dict[str, Path]) -> None:
    backend = load(folders["t5"])
    module = backend.module()
    assert {id(weight) for weight in module.parameters()} == {id(weight) for weight in backend.model.parameters()}
    given = {"input_ids": torch.tensor([[1, 2, 3]]), "decoder_input_ids": torch.tensor([[257, 4]])}
    with torch.inference_mode():
        theirs = module(**given).logits[0, :, : backend.tokenizer.size]
    (ours,) = backend.forward([Step(backend.new_slot(), [257, 4], 2, prompt=[1, 2, 3])])
    torch.testing.assert_close(ours.rows, theirs, atol=1e-4, rtol=1e-3)

"""Instruction difficulty, beside the perplexities that the model's own float64 gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import counterpoint as cp
from counterpoint.plugin import Prompt, Run, Score, Session
from counterpoint.store import ModelStore
from counterpoint.testing import assert_verifier_laws, make_engine, save_tiny_model
from counterpoint.testing.fake import FakeBackend, FakeModel

QUESTION = "What is the key of the fugue?\n"
ANSWERS = ["It is in G minor, as the canon is.", "G", "Naïve: “g-Moll”\n\tso it is"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"), "grouped", seed=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cp.Engine]:
    with make_engine(store=ModelStore(tmp_path_factory.mktemp("store"))) as made:
        yield made


def on_tiny(folder: Path, **fields: Any) -> dict[str, Any]:
    model = {"kind": "huggingface", "source": f"path:{folder}", "dtype": "float32", "device": "cpu", "prompt_format": "raw"}
    return {"nodes": {"m": model, "v": {"kind": "instruction_difficulty", "model": "m", **fields}}, "output": "v"}


def mean_log_probability(folder: Path, before: str, answer: str) -> tuple[float, int]:
    """Of the answer's tokens, by the plain transformers model in float64; and how many these are."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).double().eval()
    context, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (before, answer))
    with torch.no_grad():
        rows = model(torch.tensor([context + ids])).logits[0, :, : len(tokenizer)].log_softmax(-1)  # the rest is padding
    found = [rows[len(context) - 1 + at, token].item() for at, token in enumerate(ids)]
    return math.fsum(found) / len(found), len(found)


@pytest.mark.parametrize("instead", ["\n", "Say something: "])
def test_it_is_the_quotient_of_two_perplexities(tiny: cp.Engine, folder: Path, instead: str) -> None:
    scores = tiny.verify(on_tiny(folder, instead=instead), QUESTION, ANSWERS).result().scores
    for answer, score in zip(ANSWERS, scores, strict=True):
        given, tokens = mean_log_probability(folder, QUESTION, answer)
        alone, _ = mean_log_probability(folder, instead, answer)
        assert score == pytest.approx(math.exp(-given) / math.exp(-alone), rel=1e-4)
        assert score.data == {
            "given": pytest.approx(given, rel=1e-5),
            "alone": pytest.approx(alone, rel=1e-5),
            "tokens": tokens,
        }
        expected = f"perplexity {math.exp(-score.data['given']):.4g} after the instruction, "
        assert score.detail.startswith(expected)
    assert max(scores) / min(scores) > 1.05, "the answers differ in what is measured"


def test_an_instruction_that_is_like_none_leaves_all_as_it_is(tiny: cp.Engine, folder: Path) -> None:
    assert tiny.verify(on_tiny(folder, instead=QUESTION), QUESTION, ANSWERS).result().scores == pytest.approx([1, 1, 1])


def test_the_prefix_is_part_of_the_answer(tiny: cp.Engine, folder: Path) -> None:
    whole, short, _ = ANSWERS
    prompt = {"text": QUESTION, "prefix": whole[:5]}
    begun = tiny.verify(on_tiny(folder), prompt, [whole[5:], short]).result().scores
    plain = tiny.verify(on_tiny(folder), QUESTION, [whole, whole[:5] + short]).result().scores
    assert begun == pytest.approx(plain, rel=1e-5)


# --- on the fake model, whose every row is known --------------------------------------------------------------------------


def run(answers: list[str], *, prompt: Any = "what is wine", node: dict[str, Any] | None = None, **model: Any) -> Any:
    """The scores, and the backend of the model that made them."""
    with make_engine() as engine:
        verifier = {"kind": "instruction_difficulty", "model": "m", **(node or {})}
        recipe = {"nodes": {"m": {"kind": "fake", **model}, "v": verifier}, "output": "v"}
        scores: list[Score] = engine.verify(recipe, prompt, answers).result().scores
        for host in engine.hosts():
            assert host.slots == 0, "no session stays open"
        return scores, next((host.backend for host in engine.hosts()), None)


def mean(before: str, text: str, **model: Any) -> float:
    backend = FakeBackend(FakeModel(**model))
    ids, total = backend.tokenizer.encode(before), []
    for token in backend.tokenizer.encode(text):
        total.append(torch.log_softmax(backend._row(ids).double(), dim=-1)[token].item())
        ids.append(token)
    return math.fsum(total) / len(total)


@pytest.mark.parametrize("model", [{}, {"seed": 3, "sharpness": 20.0}, {"rows": 2}, {"cache": 120}])
def test_by_hand_on_the_chat_template(model: dict[str, Any]) -> None:
    (score,), _ = run(["red, and wet"], **model)
    expected = math.exp(mean("user. \n\n", "red, and wet", **model) - mean("user. what is wine\n", "red, and wet", **model))
    assert score == pytest.approx(expected, rel=1e-4)


def test_chat_messages_are_an_instruction_too() -> None:
    messages = [
        {"role": "user", "content": "what is wine"},
        {"role": "assistant", "content": "ah"},
        {"role": "user", "content": "so"},
    ]
    (score,), _ = run(["red"], prompt={"messages": messages})
    before = "user. what is wine\nassistant. ah\nuser. so\n"
    assert score == pytest.approx(math.exp(mean("user. \n\n", "red") - mean(before, "red")), rel=1e-4)


def test_answers_share_both_contexts_and_passes() -> None:
    answers = ["red", "white", "neither of these", "red"]
    scores, backend = run(answers)
    assert scores[0] == scores[3]
    contexts = len("user. what is wine\n") + len("user. \n\n")
    assert backend.fed <= contexts + 2 * sum(map(len, set(answers))), (
        "each context is processed once, and equal answers as well"
    )
    assert backend.passes <= 3


def test_what_is_empty_abstains_and_loads_nothing() -> None:
    scores, backend = run(["", " \n"])
    assert all(math.isnan(score) and score.detail == "the answer is empty" for score in scores)
    assert backend is None
    mixed, _ = run(["", "red"])
    assert math.isnan(mixed[0])
    assert mixed[1] == pytest.approx(run(["red"])[0][0])


def test_what_does_not_fit_abstains() -> None:
    """A context of 40: the long answer does not fit it with the instruction (19 tokens), nor does the longer one alone (8)."""
    fits, tight, long = run(["a" * 21, "a" * 22, "a" * 40], context=40)[0]
    assert fits > 0
    assert math.isnan(tight)
    assert tight.detail == "the answer has 22 tokens, and the context of m has room for 21"
    assert math.isnan(long)
    (asked,), _ = run(["red"], prompt="what is wine " * 9, context=40)
    assert math.isnan(asked)
    assert "the prompt has 124 tokens" in asked.detail
    assert "holds 40" in asked.detail


async def without_e(node: Any, run: Run, prompt: Prompt) -> Session:
    """A session on a model that never says e; where nothing is asked, nor u."""
    from counterpoint.composition import Component, ComposedSession

    part = await Component.open(node.models[0], prompt, run)
    letters = "e" if (prompt.text or "").strip() else "eu"
    banned = [part.session.tokenizer.mapping()[letter] for letter in letters]

    def combine(rows: Any, first: int) -> torch.Tensor:
        kept: torch.Tensor = rows[0].clone()
        kept[:, banned] = float("-inf")
        return kept

    return ComposedSession(run.path, [part], run, combine=combine)


def test_an_impossible_answer_abstains(stage: Any, engine: cp.Engine) -> None:
    stage.action(without_e)
    nodes = {"m": {"kind": "fake"}, "quiet": {"kind": "script_model", "action": "without_e", "models": ["m"]}}
    recipe = {"nodes": {**nodes, "v": {"kind": "instruction_difficulty", "model": "quiet"}}, "output": "v"}
    possible, impossible, alone = engine.verify(recipe, "what is wine", ["an ant", "a bee", "a bug"]).result().scores
    assert possible > 0
    assert math.isnan(impossible)
    assert impossible.detail == "the answer is impossible after the instruction"
    assert math.isnan(alone)
    assert alone.detail == "the answer is impossible alone"


def test_a_model_that_fails_is_no_abstention() -> None:
    with make_engine() as engine:
        nodes = {"m": {"kind": "fake", "fails_after": 1}, "v": {"kind": "instruction_difficulty", "model": "m"}}
        with pytest.raises(cp.CounterpointError, match="told to fail"):
            engine.verify({"nodes": nodes, "output": "v"}, "hello there", ["a b c"]).result()


def test_the_laws_hold() -> None:
    nodes: dict[str, Any] = {"m": {"kind": "fake"}, "v": {"kind": "instruction_difficulty", "model": "m"}}
    assert_verifier_laws({"nodes": nodes, "output": "v"}, ["a b", "", "c", "a b"])


def test_a_composition_measures_too() -> None:
    """An ensemble of a model with itself is that model."""
    nodes: dict[str, Any] = {"m": {"kind": "fake"}, "twin": {"kind": "ensemble", "base": "m", "others": [{"kind": "fake"}]}}
    with make_engine() as engine:
        recipe = {"nodes": {**nodes, "v": {"kind": "instruction_difficulty", "model": "twin"}}, "output": "v"}
        found = engine.verify(recipe, "what is wine", ["red", "white"]).result().scores
    assert found == pytest.approx(run(["red", "white"])[0], rel=1e-4)


def test_an_answer_without_a_token_is_left_out_and_the_others_are_measured(stage: Any, engine: Any) -> None:
    class Deaf:
        """A tokenizer whose normaliser leaves nothing of an answer."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def encode(self, text: str, **options: Any) -> list[int]:
            return [] if text.strip("\N{ZERO WIDTH SPACE} ") == "" else list(self._inner.encode(text, **options))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    graph = {"nodes": {"m": {"kind": "fake"}, "v": {"kind": "instruction_difficulty", "model": "m"}}, "output": "v"}
    engine.load({"nodes": graph["nodes"], "output": "m"})
    (host,) = engine.hosts()
    host.backend.tokenizer = Deaf(host.backend.tokenizer)
    empty, good = engine.verify(graph, "why", ["\N{ZERO WIDTH SPACE}", "because"]).result().scores
    assert math.isnan(empty)
    assert "no token" in empty.detail
    assert not math.isnan(good)

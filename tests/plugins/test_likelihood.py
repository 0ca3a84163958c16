"""Likelihood, MC2 and bits per byte, computed by hand in float64: from the rows of the fake model, and by transformers."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.plugin import Completion, Prompt, Run, Score
from counterpoint.store import ModelStore
from counterpoint.testing import assert_verifier_laws, make_engine, save_tiny_gguf, save_tiny_model
from counterpoint.testing.fake import FakeBackend, FakeModel
from counterpoint_plugins.likelihood import BitsPerByte

RIGHT = ["no, water stays water", "it can not", "no"]
WRONG = ["yes, it can", "it turns into wine"]


def run(node: dict[str, Any], prompt: dict[str, Any], answers: int = 1, **model: Any) -> tuple[list[Score], Any]:
    """The scores, and the backend of the model that made them."""
    with make_engine() as engine:
        recipe = {"nodes": {"m": {"kind": "fake", **model}, "v": {**node, "model": "m"}}, "output": "v"}
        scores = list(engine.verify(recipe, prompt, [f"answer {i}" for i in range(answers)]).result().scores)
        (host,) = engine.hosts()
        assert host.slots == 0, "no session stays open"
        return scores, host.backend


def log_probability(before: str, text: str, **model: Any) -> float:
    """Natural log of the probability of ``text`` after ``before``, token by token."""
    backend = FakeBackend(FakeModel(**model))
    ids, total = backend.tokenizer.encode(before), 0.0
    for token in backend.tokenizer.encode(text):
        total += torch.log_softmax(backend._row(ids).double(), dim=-1)[token].item()
        ids.append(token)
    return total


def mc2(before: str, right: list[str], wrong: list[str], join: str = "", **model: Any) -> float:
    good, bad = (sum(math.exp(log_probability(before, join + text, **model)) for text in side) for side in (right, wrong))
    return good / (good + bad)


def question(right: Any = RIGHT, wrong: Any = WRONG, **more: Any) -> dict[str, Any]:
    return {"text": "can water be wine", "fields": {"correct_answers": right, "incorrect_answers": wrong}, **more}


CHAT = "user. can water be wine\n"


@pytest.mark.parametrize("model", [{}, {"seed": 3, "sharpness": 20.0}, {"rows": 2}, {"cache": 200}])
def test_mc2_by_hand(model: dict[str, Any]) -> None:
    (found,), _ = run({"kind": "mc2"}, question(), **model)
    assert found == pytest.approx(mc2(CHAT, RIGHT, WRONG, **model), abs=1e-5)
    (swapped,), _ = run({"kind": "mc2"}, question(WRONG, RIGHT), **model)
    assert found + swapped == pytest.approx(1)


def test_mc2_says_what_is_most_probable() -> None:
    (found,), _ = run({"kind": "mc2"}, question())
    best = max(RIGHT + WRONG, key=lambda text: log_probability(CHAT, text))
    bits = -log_probability(CHAT, best) / math.log(2)
    assert found.detail == f"most probable: right answer {RIGHT.index(best) + 1} of 3 (log₂ p = {-bits:.1f})"


def test_answers_count_once_and_in_any_order() -> None:
    (found,), _ = run({"kind": "mc2"}, question())
    (again,), _ = run({"kind": "mc2"}, question([*reversed(RIGHT), RIGHT[0], " "], [*WRONG, WRONG[0]]))
    assert again == pytest.approx(found, abs=1e-6)


def test_an_answer_is_joined_to_a_raw_prompt_by_a_space() -> None:
    raw = {"prompt_format": "raw"}
    (found,), _ = run({"kind": "mc2"}, question(text="q. wine.\na."), **raw)
    assert found == pytest.approx(mc2("q. wine.\na.", RIGHT, WRONG, join=" "), abs=1e-5)
    for text in ("q. wine.\n", "q. wine "):
        (found,), _ = run({"kind": "mc2"}, question(text=text), **raw)
        assert found == pytest.approx(mc2(text, RIGHT, WRONG), abs=1e-5)


def test_the_prefix_comes_before_an_answer() -> None:
    (found,), _ = run({"kind": "mc2"}, question(prefix="well,"))
    assert found == pytest.approx(mc2(f"{CHAT}well,", RIGHT, WRONG, join=" "), abs=1e-5)


def test_all_answers_share_the_prompt_and_passes() -> None:
    _, backend = run({"kind": "mc2"}, question())
    answers = sum(map(len, RIGHT + WRONG))
    assert backend.fed <= len(CHAT) + answers, "the prompt is processed once"
    assert backend.passes <= 3


def test_answers_given_are_not_read() -> None:
    three, _ = run({"kind": "mc2"}, question(), answers=3)
    assert len(set(three)) == 1
    assert len(three) == 3


@pytest.mark.parametrize(("right", "wrong", "missing"), [([], WRONG, "right"), (RIGHT, None, "wrong"), ([" "], [], "right")])
def test_mc2_abstains_without_answers_to_compare(right: Any, wrong: Any, missing: str) -> None:
    with make_engine() as engine:
        recipe = {"nodes": {"v": {"kind": "mc2", "model": {"kind": "fake"}}}, "output": "v"}
        (found,) = engine.verify(recipe, question(right, wrong), ["x"]).result().scores
        assert math.isnan(found)
        assert found.detail == f"there is no {missing} answer"
        assert not engine.hosts(), "and loads no model"


def test_bits_per_byte_by_hand() -> None:
    texts = ["water is wet, and stays so", "no"]
    scores = []
    for text in texts:
        prompt = {"text": "can water be wine", "prefix": "well, ", "fields": {"references": [text, "another"]}}
        (found,), _ = run({"kind": "bits_per_byte"}, prompt)
        bits = -log_probability(f"{CHAT}well, ", text) / math.log(2)
        assert found == pytest.approx(bits / len(text), abs=1e-5)
        assert found.data == {"bits": pytest.approx(bits, abs=1e-3), "bytes": len(text)}
        assert found.detail == f"{found.data['bits']:.1f} bits, {len(text)} bytes"
        scores.append(found)
    total = sum(score.data["bits"] for score in scores) / sum(map(len, texts))
    assert BitsPerByte(model="m").overall(scores, ["", ""]) == pytest.approx(total)
    assert total != pytest.approx(sum(scores) / 2, abs=1e-3), "long texts count for more"


def test_bytes_are_those_of_utf_8() -> None:
    (found,), _ = run({"kind": "bits_per_byte"}, {"text": "hello", "fields": {"references": "naïve"}}, alphabet="naïve ")
    assert found.data["bytes"] == 6


@pytest.mark.parametrize("references", [[], None, [""]])
def test_bits_per_byte_abstains_without_a_reference(references: Any) -> None:
    with make_engine() as engine:
        recipe = {"nodes": {"v": {"kind": "bits_per_byte", "model": {"kind": "fake"}}}, "output": "v"}
        (found,) = engine.verify(recipe, {"text": "hello", "fields": {"references": references}}, ["x"]).result().scores
        assert math.isnan(found)
        assert found.detail == "there is no reference"


# --- likelihood -------------------------------------------------------------------------------------------------------------


def likelihood(*answers: str | Completion, prompt: Any = "can water be wine", **node: Any) -> tuple[list[Score], Any]:
    """The scores, and the backend of the model that made them."""
    model = node.pop("model", {})
    with make_engine() as engine:
        nodes = {"m": {"kind": "fake", **model}, "v": {"kind": "likelihood", "model": "m", **node}}
        scores = list(engine.verify({"nodes": nodes, "output": "v"}, prompt, answers).result().scores)
        if not engine.hosts():
            return scores, None
        (host,) = engine.hosts()
        assert host.slots == 0, "no session stays open"
        return scores, host.backend


ANSWERS = ["no, water stays water", "yes", "it can not be"]


@pytest.mark.parametrize(
    ("model", "prefix"),
    [({}, ""), ({"seed": 3, "sharpness": 20.0}, "well, "), ({"rows": 2}, "well, "), ({"cache": 200}, "")],
)
def test_likelihood_by_hand(model: dict[str, Any], prefix: str) -> None:
    scores, _ = likelihood(*ANSWERS, prompt={"text": "can water be wine", "prefix": prefix}, model=model)
    for text, score in zip(ANSWERS, scores, strict=True):
        total = log_probability(CHAT + prefix, text, **model)
        assert score == pytest.approx(total / len(text), abs=1e-5)
        assert score.detail == f"log p = {total:.2f}, {len(text)} tokens"


def test_what_a_likelihood_is_divided_by() -> None:
    text, words = "naïve wine", ["wine"]
    model = {"alphabet": "naïve wter.\nuscb", "words": words}
    total = log_probability(CHAT, text, **model)
    by = {kind: likelihood(text, normalize=kind, model=model)[0][0] for kind in ("tokens", "bytes", "none")}
    assert by["none"] == pytest.approx(total, abs=1e-4)
    assert by["tokens"] == pytest.approx(total / 7, abs=1e-5)
    assert by["bytes"] == pytest.approx(total / 11, abs=1e-5)


def test_all_candidates_share_the_prompt_and_passes() -> None:
    _, backend = likelihood(*ANSWERS, *ANSWERS)
    assert backend.fed <= len(CHAT) + sum(map(len, ANSWERS)), "the prompt is processed once, and equal answers once"
    assert backend.passes <= 3


def test_what_was_cut_short_abstains() -> None:
    answers = [Completion(text="yes", finish_reason=reason) for reason in ("stop", "length", "budget")]
    (whole, long, spent), _ = likelihood(*answers)
    assert not math.isnan(whole)
    assert math.isnan(long)
    assert math.isnan(spent)
    assert (long.detail, spent.detail) == ("cut short (length)", "cut short (budget)")
    scores, _ = likelihood(*answers, cut="score")
    assert scores == [whole] * 3


def test_what_cannot_be_scored_abstains() -> None:
    (empty,), backend = likelihood("")
    assert math.isnan(empty)
    assert empty.detail == "empty"
    assert backend is None, "and no model is loaded"
    (fits, long), _ = likelihood("no", "no" * 30, model={"context": len(CHAT) + 10})
    assert not math.isnan(fits)
    assert math.isnan(long)
    assert long.detail == "its 60 tokens do not fit the model's context"


def direct(stage: Any, nodes: dict[str, Any], prompt: dict[str, Any], texts: list[str], **engine_options: Any) -> list[float]:
    """Mean log-probabilities of texts under node `m`, from its rows in float64."""
    found: list[float] = []

    @stage.action
    async def look(node: Any, run: Run, asked: Prompt) -> None:
        for text in texts:
            session = await run.open("m", asked)
            ids = session.tokenizer.encode(text)
            rows = torch.cat([(await session.logits())[None], await session.extend(ids, rows="all")])[:-1].double()
            found.append(torch.log_softmax(rows, -1)[torch.arange(len(ids)), torch.tensor(ids)].mean().item())

    with make_engine([stage.plugin], **engine_options) as engine:
        engine.run({"nodes": {**nodes, "look": {"kind": "script", "action": "look", "model": "m"}}, "output": "look"}, prompt)
    return found


def test_a_composition_ranks_and_what_it_forbids_comes_last(stage: Any) -> None:
    nodes: dict[str, Any] = {
        "m": {"kind": "contrastive", "expert": "e", "amateur": "a", "alpha": 1e-3},
        "e": {"kind": "fake", "sharpness": 12.0},
        "a": {"kind": "fake", "seed": 1},
        "v": {"kind": "likelihood", "model": "m"},
    }
    prompt = {"text": "can water be wine", "prefix": "well, "}
    texts = ["e", "no", "it can", "q", "z", "wine wine"]
    with make_engine() as engine:
        result = engine.verify({"nodes": nodes, "output": "v"}, prompt, texts).result()
        assert all(host.slots == 0 for host in engine.hosts())
    del nodes["v"]
    wanted = direct(stage, nodes, prompt, texts)
    assert list(result.scores) == pytest.approx(wanted, abs=1e-5)
    impossible = [score for score in result.scores if math.isinf(score)]
    assert 0 < len(impossible) < len(texts)
    assert {score.detail for score in impossible} == {"impossible under the model"}
    # a trace holds it, and gives it back
    events = [event for event in result.trace if event.type == "candidate_scored"]
    again = [type(event).model_validate_json(event.model_dump_json()) for event in events]
    assert [event.score for event in again] == list(result.scores)


def test_by_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = save_tiny_model(tmp_path / "tiny", seed=4)
    nodes = {
        "m": {"kind": "huggingface", "source": f"path:{folder}", "dtype": "float32", "device": "cpu"},
        "v": {"kind": "likelihood", "model": "m"},
    }
    prompt = {"text": "can water be wine", "prefix": "well, "}
    texts = ["No, it cannot.", "yes", "naïve"]
    with make_engine(store=ModelStore(tmp_path)) as engine:
        scores = engine.verify({"nodes": nodes, "output": "v"}, prompt, texts).result().scores
        (host,) = engine.hosts()
        tokenizer = host.backend.tokenizer
    model = AutoModelForCausalLM.from_pretrained(folder).double()
    before = tokenizer.encode("<user>can water be wine\n<assistant>well, ")
    for text, score in zip(texts, scores, strict=True):
        ids = tokenizer.encode(text)
        with torch.no_grad():
            logits = model(torch.tensor([before + ids])).logits[0, len(before) - 1 : -1, : tokenizer.size]
        wanted = torch.log_softmax(logits, -1)[torch.arange(len(ids)), torch.tensor(ids)].mean().item()
        assert score == pytest.approx(wanted, abs=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
def test_by_llama_cpp(tmp_path: Path, stage: Any) -> None:
    source = f"path:{save_tiny_gguf(tmp_path / 'tiny.gguf', seed=4, spread=0.3)}"
    nodes: dict[str, Any] = {"m": {"kind": "llama_cpp", "source": source}}
    texts = ["No, it cannot.", "yes"]
    with make_engine(store=ModelStore(tmp_path)) as engine:
        recipe = {"nodes": {**nodes, "v": {"kind": "likelihood", "model": "m"}}, "output": "v"}
        scores = engine.verify(recipe, "can water be wine", texts).result().scores
    assert list(scores) == pytest.approx(
        direct(stage, nodes, {"text": "can water be wine"}, texts, store=ModelStore(tmp_path)), abs=1e-3
    )


def test_the_laws_hold_for_likelihood() -> None:
    for model in ({"kind": "fake"}, {"kind": "ensemble", "base": {"kind": "fake"}, "others": [{"kind": "fake", "seed": 1}]}):
        nodes = {"v": {"kind": "likelihood", "model": model}}
        assert_verifier_laws({"nodes": nodes, "output": "v"}, ["a b", "", "c", "a b"], prompt={"text": "hello", "prefix": "x"})


def test_the_laws_hold() -> None:
    nodes: dict[str, Any] = {"m": {"kind": "fake"}}
    for kind, prompt in (("mc2", question()), ("bits_per_byte", {"text": "hello", "fields": {"references": ["a b"]}})):
        recipe = {"nodes": {**nodes, "v": {"kind": kind, "model": "m"}}, "output": "v"}
        assert_verifier_laws(recipe, ["a b", "", "c"], prompt=prompt)

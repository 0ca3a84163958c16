"""MC2 and bits per byte, computed by hand from the rows of the fake model in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from counterpoint.plugin import Score
from counterpoint.testing import assert_verifier_laws, make_engine
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


def test_the_laws_hold() -> None:
    nodes: dict[str, Any] = {"m": {"kind": "fake"}}
    for kind, prompt in (("mc2", question()), ("bits_per_byte", {"text": "hello", "fields": {"references": ["a b"]}})):
        recipe = {"nodes": {**nodes, "v": {"kind": kind, "model": "m"}}, "output": "v"}
        assert_verifier_laws(recipe, ["a b", "", "c"], prompt=prompt)

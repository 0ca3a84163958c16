"""Plain sampling, against a reference that draws by hand."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint import Engine, Sampling, tensors
from counterpoint.draws import draw_key
from counterpoint.events import Emitted, Forward
from counterpoint.session import Step
from counterpoint.testing import FakeModel, assert_generator_laws
from counterpoint.testing.fake import END, FakeBackend

MODEL: dict[str, Any] = {"kind": "fake", "prompt_format": "raw"}
PROMPT = "a prompt of some length"


def by_hand(sampling: Sampling, seed: int = 0, row: int = 0, path: tuple[int, ...] = (), **fields: Any) -> list[int]:
    """The tokens, drawn one after another from whole rows."""
    backend = FakeBackend(FakeModel.model_validate({**MODEL, **fields}))
    prompt = backend.tokenizer.encode(PROMPT)
    ids: list[int] = []
    while len(ids) < sampling.max_tokens and (END not in ids or sampling.ignore_stop):
        slot = backend.new_slot()
        logits = backend.forward([Step(slot, [*prompt, *ids], 1)])[0].rows
        logits = tensors.penalize(logits, [[*prompt, *ids]], sampling.repetition_penalty)
        if sampling.ignore_stop or len(ids) < sampling.min_tokens:
            logits[:, END] = -float("inf")
        key = draw_key(seed, path, row, len(ids), "sample")
        drawn = logits.argmax(-1) if sampling.greedy else tensors.draw(tensors.process(logits, sampling), [key])
        ids.append(int(drawn))
    return ids


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.8),
        Sampling(temperature=1.5, top_k=5),
        Sampling(temperature=1.2, top_p=0.8, min_p=0.05),
        Sampling(temperature=0.9, repetition_penalty=1.6),
        Sampling(repetition_penalty=3.0),
        Sampling(temperature=1.0, min_tokens=12),
        Sampling(temperature=1.0, ignore_stop=True),
    ],
)
def test_tokens_are_those_drawn_by_hand(engine: Engine, sampling: Sampling) -> None:
    sampling = sampling.model_copy(update={"max_tokens": 25})
    for seed, row in ((0, 0), (3, 0), (3, 2)):
        result = engine.run({"nodes": {"m": MODEL}, "output": "m"}, PROMPT, seed=seed, row=row, sampling=sampling)
        assert list(result.completion.ids) == by_hand(sampling, seed, row)


def test_the_laws_hold() -> None:
    assert_generator_laws({"nodes": {"m": {"kind": "fake"}, "s": {"kind": "sample", "model": "m"}}, "output": "s"})
    assert_generator_laws({"nodes": {"s": {"kind": "sample", "model": {"kind": "fake", "end_bias": 4.0}}}, "output": "s"})


def test_a_bare_model_is_sampled_just_so(engine: Engine) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=20)
    bare = engine.run({"nodes": {"m": MODEL}, "output": "m"}, PROMPT, sampling=sampling)
    named = engine.run({"nodes": {"m": MODEL, "s": {"kind": "sample", "model": "m"}}, "output": "s"}, PROMPT, sampling=sampling)
    inline = engine.run({"nodes": {"s": {"kind": "sample", "model": MODEL}}, "output": "s"}, PROMPT, sampling=sampling)
    assert bare.completion == named.completion == inline.completion


def test_every_token_is_told_as_it_comes(engine: Engine) -> None:
    result = engine.run({"nodes": {"m": {**MODEL, "end_bias": -99}}, "output": "m", "sampling": {"max_tokens": 9}}, PROMPT)
    emitted = [event for event in result.trace if isinstance(event, Emitted)]
    assert [event.ids for event in emitted] == [(token,) for token in result.completion.ids]
    for event in emitted:
        assert event.proposer == event.decider == "m"
        assert len(event.logprobs["m"]) == 1
        assert event.logprobs["m"][0] <= 0
    order = [event.type for event in result.trace if isinstance(event, (Emitted, Forward))]
    assert order == ["forward", "emitted"] * 9


def test_the_last_token_is_not_fed(engine: Engine) -> None:
    result = engine.run({"nodes": {"m": {**MODEL, "end_bias": -99}}, "output": "m", "sampling": {"max_tokens": 1}}, PROMPT)
    assert sum(isinstance(event, Forward) for event in result.trace) == 1


def test_the_end_of_turn_is_no_text(engine: Engine) -> None:
    result = engine.run({"nodes": {"m": {**MODEL, "end_bias": 50.0}}, "output": "m"}, PROMPT)
    assert result.completion.ids == (END,)
    assert result.text == ""
    assert result.finish_reason == "stop"

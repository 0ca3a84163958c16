"""The rejection rule on a vocabulary small enough to enumerate: what comes out is distributed as the target alone would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

import counterpoint as cp
from counterpoint import tensors
from counterpoint.composition import Component, ComposedSession
from counterpoint.plugin import Completion, Generator, LanguageModel, Node, Prompt, Ref, Run, Session, hookimpl
from counterpoint.rendering import render
from counterpoint.session import Step
from counterpoint.testing import FakeModel, make_engine
from counterpoint.testing.fake import FakeBackend

DRAWS = 20_000
FEW = 2_000
LENGTH = 3
ALPHABET = "abc"
PROMPT = "abcabca"
FAKE: dict[str, Any] = {"kind": "fake", "alphabet": ALPHABET, "sharpness": 3.0, "end_bias": -1.0, "memory": 2}
TARGET: dict[str, Any] = {**FAKE, "cost": 200}
"""So dear that drafting pays, and adaptive drafts happen."""
DRAFT: dict[str, Any] = {**FAKE, "blur": 3.0}
ACROSS: dict[str, Any] = {**FAKE, "alphabet": "cbx", "words": ["ab", "ca"]}
"""No token for a lone a, and two of several characters."""
OTHER: dict[str, Any] = {**FAKE, "seed": 4, "alphabet": "cab"}
SETTINGS = {
    "temperature": {"temperature": 0.9},
    "top-k": {"temperature": 1.1, "top_k": 2},
    "top-p": {"temperature": 1.3, "top_p": 0.8},
    "min-p": {"temperature": 0.8, "min_p": 0.15},
}


class Many(Generator):
    """Many completions of one prompt by one node, each with draws of its own."""

    kind: Literal["many"] = "many"
    child: Ref[Generator]
    count: int
    found: list[tuple[int, ...]] = []  # noqa: RUF012 (pydantic copies it; the test reads it back)

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        for start in range(0, self.count, 1000):
            calls = (run.generate(self.child, prompt) for _ in range(min(1000, self.count - start)))
            self.found.extend(completion.ids for completion in await run.gather(*calls))
        return run.completion("stop")


class _Sum(ComposedSession):
    def combine(self, rows: Sequence[Tensor], first: int) -> Tensor:
        return rows[0] + self.components[1].onto(rows[1])


class Sum(LanguageModel):
    """The logits of two models of different vocabularies, added."""

    kind: Literal["sum"] = "sum"
    one: Ref[LanguageModel]
    other: Ref[LanguageModel]

    async def open(self, prompt: Prompt, run: Run) -> Session:
        one = await Component.open(self.one, prompt, run)
        return _Sum(run.path, [one, await Component.open(self.other, prompt, run, like=one.session)], run)


class Plugin:
    @hookimpl
    def counterpoint_nodes(self) -> list[type[Node]]:
        return [Many, Sum]


@pytest.fixture(scope="module")
def engine() -> Iterator[cp.Engine]:
    with make_engine([Plugin()]) as made:
        yield made


Rows = Callable[[tuple[int, ...]], Tensor]


def rows_of(model: dict[str, Any]) -> Rows:
    """The row of a fake after a response of the target, ``[1, vocabulary]``; its own tokens for the response's characters."""
    backend = FakeBackend(FakeModel.model_validate(model))
    ids, _ = render(Prompt(text=PROMPT), None, backend.tokenizer, "m")

    def row(response: tuple[int, ...]) -> Tensor:
        own = backend.tokenizer.encode("".join(ALPHABET[token] for token in response))
        (result,) = backend.forward([Step(slot := backend.new_slot(), [*ids, *own], 1)])
        backend.free(slot)
        return result.rows

    return row


_TARGET_ROWS, _OTHER_ROWS = rows_of(TARGET), rows_of(OTHER)


def target_rows(response: tuple[int, ...]) -> Tensor:
    return _TARGET_ROWS(response)


def sum_rows(response: tuple[int, ...]) -> Tensor:
    order = [OTHER["alphabet"].index(char) for char in ALPHABET] + [len(ALPHABET)]
    return _TARGET_ROWS(response) + _OTHER_ROWS(response)[:, order]


def exact(sampling: cp.Sampling, rows: Rows = target_rows) -> dict[tuple[int, ...], float]:
    """The probability of every response, from the target's rows alone."""
    found: dict[tuple[int, ...], float] = {}

    def grow(response: tuple[int, ...], probability: float) -> None:
        if len(response) == LENGTH or (response and response[-1] == len(ALPHABET)):
            found[response] = probability
            return
        for token, value in enumerate(tensors.process(rows(response).double(), sampling)[0].double().exp().tolist()):
            if value > 0:
                grow((*response, token), probability * value)

    grow((), 1.0)
    return found


def draws(engine: cp.Engine, speculative: dict[str, Any], sampling: cp.Sampling, count: int) -> tuple[Counter[Any], float]:
    """How often each response came, and the share of drafted tokens that stood."""
    nodes = {
        "m": TARGET,
        "d": DRAFT,
        "l": {"kind": "prompt_lookup", "min_ngram": 1},
        "across": ACROSS,
        "token": {"kind": "model_drafter", "model": "across", "level": "token"},
        "string": {"kind": "model_drafter", "model": "across", "level": "string"},
        "other": OTHER,
        "sum": {"kind": "sum", "one": "m", "other": "other"},
        "s": {"kind": "speculative", **speculative},
    }
    recipe = engine.recipe({"nodes": {**nodes, "many": {"kind": "many", "child": "s", "count": count}}, "output": "many"})
    result = engine.run(recipe, PROMPT, sampling=sampling, seed=17)
    verified = [event for event in result.trace if event.type == "verified"]
    many = recipe.nodes["many"]
    assert isinstance(many, Many)
    share = sum(event.accepted for event in verified) / max(1, sum(event.proposed for event in verified))
    return Counter(many.found), share


def p_value(counts: Counter[Any], expected: dict[tuple[int, ...], float]) -> float:
    """Of a chi-square test, rare responses taken together."""
    total = sum(counts.values())
    assert set(counts) <= set(expected), "a response that the target cannot give"
    common = [response for response, probability in expected.items() if probability * total >= 10]
    rare = [response for response in expected if response not in set(common)]
    seen = [counts[response] for response in common]
    wanted = [expected[response] * total for response in common]
    if rare:
        seen.append(sum(counts[response] for response in rare))
        wanted.append(sum(expected[response] for response in rare) * total)
    scale = total / sum(wanted)
    return float(chisquare(seen, [value * scale for value in wanted]).pvalue)


def check(
    engine: cp.Engine, draft: str, settings: str, rule: str, adaptive: bool = False, target: str = "m", count: int = DRAWS
) -> None:
    sampling = cp.Sampling(max_tokens=LENGTH, **SETTINGS[settings])
    node = {"target": target, "draft": draft, "rule": rule, "adaptive": adaptive, "max_draft": 3}
    counts, share = draws(engine, node, sampling, count)
    assert sum(counts.values()) == count
    assert 0.05 < share < 0.98, f"the draft is neither always right nor always wrong ({share:.2f} stood)"
    assert p_value(counts, exact(sampling, sum_rows if target == "sum" else target_rows)) > 1e-4


@pytest.mark.parametrize("draft", ["d", "l"], ids=["model draft", "point-mass draft"])
def test_rejection_sampling_is_lossless(engine: cp.Engine, draft: str) -> None:
    check(engine, draft, "temperature", "rejection", count=FEW)


@pytest.mark.parametrize("draft", ["token", "string"])
def test_drafts_of_another_vocabulary_are_lossless(engine: cp.Engine, draft: str) -> None:
    check(engine, draft, "temperature", "rejection", count=FEW)


@pytest.mark.parametrize("draft", ["d", "token"])
def test_a_composed_target_is_sampled_without_loss(engine: cp.Engine, draft: str) -> None:
    check(engine, draft, "temperature", "rejection", target="sum", count=FEW)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["m", "sum"])
@pytest.mark.parametrize("settings", list(SETTINGS))
@pytest.mark.parametrize("draft", ["d", "l", "token", "string"])
def test_it_is_lossless_with_any_target_draft_and_truncation(engine: cp.Engine, draft: str, settings: str, target: str) -> None:
    check(engine, draft, settings, "rejection", target=target)


def test_adaptive_drafts_are_lossless(engine: cp.Engine) -> None:
    """How long a draft gets may depend on the tokens that stay in it, and on no other."""
    check(engine, "d", "temperature", "rejection", adaptive=True, count=FEW)


@pytest.mark.slow
@pytest.mark.parametrize("draft", ["d", "l", "token", "string"])
@pytest.mark.parametrize("rule", ["rejection", "invariant"])
def test_all_adaptive_drafts_are_lossless(engine: cp.Engine, rule: str, draft: str) -> None:
    check(engine, draft, "temperature", rule, adaptive=True)


def test_the_test_can_tell(engine: cp.Engine) -> None:
    """Sampling the draft model instead is noticed, with a tenth of the draws."""
    sampling = cp.Sampling(max_tokens=LENGTH, temperature=0.9)
    node = {"target": "d", "draft": "d", "rule": "rejection", "adaptive": False}
    counts, _ = draws(engine, node, sampling, DRAWS // 10)
    assert p_value(counts, exact(sampling)) < 1e-6
    assert p_value(counts, exact(sampling, sum_rows)) < 1e-6
    assert torch.tensor(list(exact(sampling).values())).sum().item() == pytest.approx(1.0)

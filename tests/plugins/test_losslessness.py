"""The rejection rule on a vocabulary small enough to enumerate: what comes out is distributed as the target alone would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from scipy.stats import chisquare

import counterpoint as cp
from counterpoint import tensors
from counterpoint.plugin import Completion, Generator, Node, Prompt, Ref, Run, hookimpl
from counterpoint.rendering import render
from counterpoint.session import Step
from counterpoint.testing import FakeModel, make_engine
from counterpoint.testing.fake import FakeBackend

DRAWS = 20_000
LENGTH = 3
ALPHABET = "abc"
PROMPT = "abcabca"
TARGET: dict[str, Any] = {"kind": "fake", "alphabet": ALPHABET, "sharpness": 3.0, "end_bias": -1.0, "memory": 2}
DRAFT: dict[str, Any] = {**TARGET, "blur": 3.0}
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


class Plugin:
    @hookimpl
    def counterpoint_nodes(self) -> list[type[Node]]:
        return [Many]


@pytest.fixture(scope="module")
def engine() -> Iterator[cp.Engine]:
    with make_engine([Plugin()]) as made:
        yield made


def exact(sampling: cp.Sampling) -> dict[tuple[int, ...], float]:
    """The probability of every response, from the target's rows alone."""
    backend = FakeBackend(FakeModel.model_validate(TARGET))
    ids, _ = render(Prompt(text=PROMPT), None, backend.tokenizer, "m")
    found: dict[tuple[int, ...], float] = {}

    def grow(response: tuple[int, ...], probability: float) -> None:
        if len(response) == LENGTH or (response and response[-1] in backend.stop_ids):
            found[response] = probability
            return
        (result,) = backend.forward([Step(slot := backend.new_slot(), [*ids, *response], 1)])
        backend.free(slot)
        for token, value in enumerate(tensors.process(result.rows.double(), sampling)[0].double().exp().tolist()):
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


def check(engine: cp.Engine, draft: str, settings: str, rule: str, adaptive: bool = False) -> None:
    sampling = cp.Sampling(max_tokens=LENGTH, **SETTINGS[settings])
    node = {"target": "m", "draft": draft, "rule": rule, "adaptive": adaptive, "max_draft": 3}
    counts, share = draws(engine, node, sampling, DRAWS)
    assert sum(counts.values()) == DRAWS
    assert adaptive or 0.05 < share < 0.98, f"the draft is neither always right nor always wrong ({share:.2f} stood)"
    assert p_value(counts, exact(sampling)) > 1e-4


@pytest.mark.parametrize("draft", ["d", "l"], ids=["model draft", "point-mass draft"])
def test_rejection_sampling_is_lossless(engine: cp.Engine, draft: str) -> None:
    check(engine, draft, "temperature", "rejection")


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["top-k", "top-p", "min-p"])
@pytest.mark.parametrize("draft", ["d", "l"], ids=["model draft", "point-mass draft"])
def test_rejection_sampling_is_lossless_with_truncation(engine: cp.Engine, draft: str, settings: str) -> None:
    check(engine, draft, settings, "rejection")


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["rejection", "invariant"])
def test_adaptive_drafts_are_lossless(engine: cp.Engine, rule: str) -> None:
    check(engine, "d", "temperature", rule, adaptive=True)


def test_the_test_can_tell(engine: cp.Engine) -> None:
    """Sampling the draft model instead is noticed, with a tenth of the draws."""
    sampling = cp.Sampling(max_tokens=LENGTH, temperature=0.9)
    node = {"target": "d", "draft": "d", "rule": "rejection", "adaptive": False}
    counts, _ = draws(engine, node, sampling, DRAWS // 10)
    assert p_value(counts, exact(sampling)) < 1e-6
    assert torch.tensor(list(exact(sampling).values())).sum().item() == pytest.approx(1.0)

"""Every kind inside every other: a pair runs and obeys the laws of its role, or the plan refuses it with a sentence."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from counterpoint.engine import Engine
from counterpoint.errors import RecipeError, RunError
from counterpoint.events import Switched, Verified
from counterpoint.node import Drafter, Generator, LanguageModel, LeafModel, Node, Trainer, Verifier, wanted_role
from counterpoint.registry import load_plugins
from counterpoint.settings import Sampling
from counterpoint.store import ModelStore
from counterpoint.testing import (
    assert_drafter_laws,
    assert_generator_laws,
    assert_session_laws,
    make_engine,
    save_tiny_gguf,
    save_tiny_model,
)
from counterpoint.testing.fake import ALPHABET

OTHER = "zyxwvutsrqponmlkjihgfedcba \n.0123"
LEAVES: dict[str, dict[str, Any]] = {
    "one": {"kind": "fake"},
    "two": {"kind": "fake", "seed": 2, "blur": 1.0},
    "other": {"kind": "fake", "seed": 3, "alphabet": OTHER},
}
IDS = [3, 1, 26, 8, 27, 28, 5]

KINDS: dict[str, dict[str, Any]] = {
    "logit_mixture": {"base": "one", "others": ["two"], "weights": [0.7, 0.3]},
    "contrastive": {"expert": "one", "amateur": "two"},
    "proxy_tuning": {"base": "one", "expert": "two", "anti_expert": "other"},
    "ensemble": {"base": "one", "others": ["two", "other"]},
    "cross_model_control": {"base": "one", "delta": "two"},
    "constrained": {"model": "one", "constraints": [{"kind": "grammar", "regex": "[a-z .,\\n]*"}]},
    "sample": {"model": "one"},
    "speculative": {"target": "one", "draft": "two", "max_draft": 4, "adaptive": False},
    "weak_to_strong": {
        "draft": "two",
        "target": "one",
        "draft_tokens": 12,
        "block": 4,
        "criterion": {"kind": "token_confidence", "gamma": 0.3},
    },
    "best_of_n": {"generators": ["one", "two"], "n": 2, "verifiers": {"kind": "distinct_n"}},
    "cascade": {"stages": ["two", "one"], "thresholds": 0.3},
    "cached": {"generator": "one"},
    "recorded": {"file": "answers.jsonl", "answers": "answers"},
    "lm_corrector": {"corrector": "one", "candidates": ["two"], "n": 2},
    "fusion": {"model": "one", "candidates": ["two"], "n": 2},
    "model_drafter": {"model": "two"},
    "prompt_lookup": {},
}
"""Each kind as it is when nothing is nested in it."""
SEQUENCE_LEVEL = {"best_of_n", "cascade", "cached", "recorded", "lm_corrector", "fusion"}
SPEAKERS = {"speculative", "best_of_n"}
"""What stands in quick tests for all that may stand inside the kinds above, which take whatever answers for the same."""


def built_in() -> list[type[Node]]:
    """The kinds that compose: no backends, verifiers or trainers."""
    kinds = [entry.node for entry in load_plugins([]).kinds()]
    return [kind for kind in kinds if issubclass(kind, (LanguageModel, Generator, Drafter)) and not issubclass(kind, LeafModel)]


def kind_of(node: type[Node]) -> str:
    return str(node.model_fields["kind"].default)


def slots() -> list[tuple[str, str, type[Node], type[Node]]]:
    """Every field of every kind that refers to a model, a drafter or a generator: kind, field, the role it wants, the kind's class."""
    return [
        (kind_of(node), name, role, node)
        for node in built_in()
        for name, field in node.model_fields.items()
        if (role := wanted_role(field)) is not None and issubclass(role, (LanguageModel, Generator, Drafter))
    ]


ASKS_SOMETHING_ELSE = {("fusion", "model", "recorded"), ("lm_corrector", "corrector", "recorded")}
"""Who is asked about candidates there, and nobody has recorded that."""


@pytest.fixture(autouse=True)
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `recorded` finds."""
    rows = [{"prompt": prompt, "answers": ["a fugue", "no canon"]} for prompt in ("hello there", "a")]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))


def quick(pair: tuple[str, str, str]) -> Any:
    """A pair as a parameter; slow where others stand for it."""
    outer, _, inner = pair
    stood_for = (outer in SEQUENCE_LEVEL or inner in SEQUENCE_LEVEL) and inner not in SPEAKERS
    return pytest.param(*pair, marks=[pytest.mark.slow] if stood_for else [], id="-".join(pair))


PAIRS = [
    (outer, field, kind_of(inner))
    for (outer, field, role, _), inner in itertools.product(slots(), built_in())
    if issubclass(inner, role) or (issubclass(inner, LanguageModel) and role in (Generator, Drafter))
]


def nested(outer: str, field: str, inner: str) -> dict[str, Any]:
    """A recipe in which ``inner`` stands in a field of ``outer``."""
    node = {"kind": outer, **KINDS[outer]}
    plural = isinstance(node.get(field), list)
    node[field] = ["inner", *node[field][1:]] if plural else "inner"
    return {"nodes": {**LEAVES, "inner": {"kind": inner, **KINDS[inner]}, "outer": node}, "output": "outer"}


def used(recipe: dict[str, Any], kind: str) -> dict[str, Any]:
    """The recipe as a run would use it: a drafter drafts for somebody."""
    if kind not in ("model_drafter", "prompt_lookup"):
        return recipe
    nodes = {**recipe["nodes"], "user": {"kind": "speculative", "target": "one", "draft": "outer"}}
    return {"nodes": nodes, "output": "user"}


def refusal(engine: Engine, recipe: dict[str, Any]) -> RecipeError | None:
    """Why the plan refuses a recipe that can be read; None if it does not."""
    built = engine.recipe(recipe)
    try:
        engine.plan(built, "hello there").check()
    except RecipeError as error:
        return error
    return None


def obeys(recipe: dict[str, Any], kind: str, engine: Engine | None = None, tolerance: float = 1e-4) -> None:
    """The laws of the role that the output plays."""
    role = next(node for node in built_in() if kind_of(node) == kind)
    if issubclass(role, LanguageModel):
        assert_session_laws(recipe, IDS, engine=engine, tolerance=tolerance)
    elif issubclass(role, Generator):
        assert_generator_laws(recipe, prompts=("hello there", "a"), max_tokens=14, engine=engine)
    else:
        assert_drafter_laws(recipe, "one", rounds=3, engine=engine)


def test_what_is_refused() -> None:
    with make_engine() as engine:
        refused = {pair for pair in PAIRS if refusal(engine, used(nested(*pair), pair[0]))}
    assert refused == {("constrained", "model", "constrained")}


def test_every_kind_is_in_the_table() -> None:
    assert {kind_of(node) for node in built_in()} == set(KINDS)
    assert len(PAIRS) > 100
    assert not any(issubclass(node, (Verifier, Trainer)) for node in built_in())


@pytest.mark.parametrize(("outer", "field", "inner"), [quick(pair) for pair in PAIRS])
def test_a_pair_obeys_the_laws_or_is_refused(outer: str, field: str, inner: str) -> None:
    recipe = nested(outer, field, inner)
    with make_engine() as engine:
        refused = refusal(engine, used(recipe, outer))
    if (outer, field, inner) in ASKS_SOMETHING_ELSE:
        with pytest.raises(RunError, match="has no answer to"):
            obeys(recipe, outer)
    elif refused is None:
        obeys(recipe, outer)
    else:
        assert refused.hint
        assert len(refused.message.split()) > 5


@pytest.mark.parametrize(
    "composition", ["contrastive", "cross_model_control", "logit_mixture", "ensemble", "constrained", "proxy_tuning"]
)
@pytest.mark.parametrize("draft", ["two", "other", "inner"])
def test_drafting_for_a_composition_changes_no_token(composition: str, draft: str) -> None:
    """Whoever drafts: another model, one of another vocabulary, or the composition for itself."""
    recipe = nested("speculative", "target", composition)
    recipe["nodes"]["outer"]["draft"] = draft
    with make_engine() as engine:
        for temperature, seed in ((0.0, 1), (0.9, 2)):
            sampling = {"sampling": {"temperature": temperature, "max_tokens": 20}}
            drafted = engine.run({**recipe, **sampling}, "hello there", seed=seed)
            plain = engine.run({**recipe, **sampling, "output": "inner"}, "hello there", seed=seed)
            assert drafted.completion == plain.completion
            assert sum(event.proposed for event in drafted.trace if isinstance(event, Verified)) > 0


@pytest.mark.parametrize("continue_with", [None, "more"])
def test_a_constraint_holds_for_what_is_taken_over(continue_with: str | None) -> None:
    """A token that the target finds impossible ends the draft, and a draft may not end where the answer must go on."""
    nodes = {
        **LEAVES,
        "limited": {"kind": "constrained", "model": "one", "constraints": {"kind": "grammar", "regex": "[a-m]{9}[a-z ]*"}},
        "more": {"kind": "sample", "model": "limited"},
        "answer": {"kind": "weak_to_strong", "draft": "two", "target": "limited", "continue_with": continue_with},
    }
    sampling = Sampling(temperature=1.0, max_tokens=20)
    reasons = set()
    with make_engine() as engine:
        for seed in range(12):
            result = engine.run({"nodes": nodes, "output": "answer"}, "hello there", seed=seed, sampling=sampling)
            assert re.fullmatch("[a-m]{9}[a-z ]*", result.text)
            reasons |= {event.reason for event in result.trace if isinstance(event, Switched)}
    assert "the target finds the next token of the draft impossible" in reasons


@pytest.mark.parametrize("target", ["limited", "contrast"])
def test_a_constraint_that_nobody_would_look_at_is_refused(target: str) -> None:
    nodes = {
        **LEAVES,
        "limited": {"kind": "constrained", "model": "one", "constraints": {"kind": "grammar", "regex": "[a-m]*"}},
        "contrast": {"kind": "contrastive", "expert": "limited", "amateur": "two"},
        "answer": {"kind": "weak_to_strong", "draft": "two", "target": target, "criterion": {"kind": "never"}},
    }
    with make_engine() as engine:
        error = refusal(engine, {"nodes": nodes, "output": "answer"})
    assert error is not None
    assert "what 'limited' forbids would stand in it" in error.message


def test_three_levels() -> None:
    """weak_to_strong(draft = speculative, target = constrained contrast, continue_with = speculative)."""
    always = {"adaptive": False, "max_draft": 3}  # on models that cost alike, an adaptive draft is never worth verifying
    nodes = {
        **LEAVES,
        "contrast": {"kind": "contrastive", "expert": "one", "amateur": "other"},
        "limited": {"kind": "constrained", "model": "contrast", "constraints": [{"kind": "grammar", "regex": "[a-t .\\n]*"}]},
        "quick": {"kind": "speculative", "target": "limited", "draft": ["other", {"kind": "prompt_lookup"}], **always},
        "draft": {"kind": "speculative", "target": "two", "draft": "other", **always},
        "answer": {
            "kind": "weak_to_strong",
            "draft": "draft",
            "target": "limited",
            "continue_with": "quick",
            "draft_tokens": 10,
            "criterion": {"kind": "token_confidence", "gamma": 0.2},
        },
    }
    recipe = {"nodes": nodes, "output": "answer"}
    assert_generator_laws(recipe, max_tokens=24)
    with make_engine() as engine:
        sampling = Sampling(temperature=0.8, max_tokens=24)
        traces = [engine.run(recipe, "hello there", seed=seed, sampling=sampling).trace for seed in range(4)]
    assert any(isinstance(event, Switched) for trace in traces for event in trace)
    verifiers = {event.node for trace in traces for event in trace if isinstance(event, Verified)}
    assert verifiers == {"draft", "quick"}
    assert set("abcdefghijklmnopqrst .\n") < set(ALPHABET)


@pytest.mark.parametrize("output", ["mixed", "drafted", "taken"])
def test_an_answer_ends_where_a_part_of_its_model_is_full(output: str) -> None:
    """The part spells every word in characters, so that nobody can count ahead how many tokens fit its context."""
    words = ["the", "her", "ing", "ab", "ba", "ed", "on"]
    nodes = {
        "one": {"kind": "fake", "words": words, "end_bias": -99},
        "two": {"kind": "fake", "alphabet": OTHER, "context": 48},
        "mixed": {"kind": "logit_mixture", "base": "one", "others": ["two"], "weights": [1.0, 0.1]},
        "drafted": {"kind": "speculative", "target": "mixed", "draft": "one", "max_draft": 4, "adaptive": False},
        "taken": {"kind": "weak_to_strong", "draft": "one", "target": "mixed", "draft_tokens": 8},
    }
    with make_engine() as engine:
        for seed in range(3):
            sampling = Sampling(temperature=1.0, max_tokens=60)
            result = engine.run({"nodes": nodes, "output": output}, "say", seed=seed, sampling=sampling)
            assert result.completion.finish_reason == "length"
            assert 20 < len(result.text) < 48
            assert result.text == "".join(event.text for event in result.trace if event.type == "emitted" and event.span == 1)


@pytest.fixture(scope="module")
def real_leaves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Tiny random models on both backends, in float32; those of one backend have one vocabulary, and the other's another."""
    root = tmp_path_factory.mktemp("models")
    return {
        **{
            f"transformers-{seed}": {
                "kind": "huggingface",
                "source": f"path:{save_tiny_model(root / f'model-{seed}', seed=seed)}",
                "dtype": "float32",
                "device": "cpu",
            }
            for seed in (1, 2)
        },
        **{
            f"llama.cpp-{seed}": {
                "kind": "llama_cpp",
                "source": f"path:{save_tiny_gguf(root / f'{seed}.gguf', seed=seed, spread=0.3, context=512)}",
                "kv_type": "f32",
                "threads": 1,
            }
            for seed in (1, 2)
        },
    }


@pytest.fixture(scope="module")
def real_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with make_engine(store=ModelStore(tmp_path_factory.mktemp("store"))) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["transformers", "llama.cpp"])
@pytest.mark.parametrize(("outer", "field", "inner"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_pairs_on_both_backends(
    real_leaves: dict[str, dict[str, Any]], real_engine: Engine, backend: str, outer: str, field: str, inner: str
) -> None:
    """Real architectures: the models of one backend, beside one of another vocabulary on the other backend."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (pip install 'counterpoint[llama-cpp]')")
    beside = {"transformers": "llama.cpp", "llama.cpp": "transformers"}[backend]
    leaves = {"one": real_leaves[f"{backend}-1"], "two": real_leaves[f"{backend}-2"], "other": real_leaves[f"{beside}-1"]}
    recipe = nested(outer, field, inner)
    recipe["nodes"].update(leaves)
    if (outer, field, inner) in ASKS_SOMETHING_ELSE:
        pytest.skip("who is asked about candidates has not been recorded")
    if refusal(real_engine, used(recipe, outer)) is None:
        obeys(recipe, outer, real_engine, tolerance=2e-2)  # llama.cpp rounds by the size of its batches; contrasts double it
    else:
        assert (outer, inner) == ("constrained", "constrained")

"""Cross-model control: the shift against a direct computation, δ's cache, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import torch

from counterpoint import Engine, RecipeError, Sampling, paths
from counterpoint.events import Forward
from counterpoint.plugin import Node, hookimpl
from counterpoint.testing import CharTokenizer, FakeModel, assert_generator_laws, assert_session_laws, make_engine
from counterpoint_plugins import cross_model_control

OTHER = "zyxwvutsrqponmlkjihgfedcba \n.0123"
LEAVES: dict[str, Any] = {
    "base": {"kind": "fake", "words": ["th", "he s", "  "]},
    "twin": {"kind": "fake", "words": ["th", "he s", "  "], "seed": 2},
    "delta": {"kind": "fake", "seed": 3, "alphabet": OTHER, "words": ["the", "she sun"], "end_bias": 3.0},
}
IDS = [19, 4, 30, 28, 18, 31, 32, 20, 13, 27]  # "te", "th", ",", "s", "he s", "  un."
CASES: dict[str, dict[str, Any]] = {
    "one vocabulary": {"delta": "twin"},
    "one vocabulary, normalized": {"delta": "twin", "combine": "normalized", "alpha": -0.5},
    "two": {},
    "two, stronger": {"alpha": 2.5, "unmapped": "mean"},
    "two, turned round": {"alpha": -0.7},
    "two, summed": {"combine": "sum"},
    "two, normalized": {"combine": "normalized"},
    "two, normalized, mean": {"combine": "normalized", "unmapped": "mean"},
    "two, shared tokens": {"mapping": "shared"},
    "two, shared tokens, mean": {"mapping": "shared", "unmapped": "mean"},
}


class Artifact(FakeModel):
    """A fake that says where it comes from."""

    kind: Literal["fake_artifact"] = "fake_artifact"  # type: ignore[assignment]
    source: str


class Plugin:
    @staticmethod
    @hookimpl
    def counterpoint_nodes() -> list[type[Node]]:
        return [Artifact]


def recipe(case: dict[str, Any], **leaves: Any) -> dict[str, Any]:
    out = {"kind": "cross_model_control", "base": "base", "delta": "delta", **case}
    nodes = {name: node for name, node in {**LEAVES, **leaves}.items() if name in (out["base"], out["delta"])}
    return {"name": "r", "nodes": {**nodes, "out": out}, "output": "out"}


@pytest.fixture(scope="module")
def shared(stage_type: Any) -> Iterator[tuple[Engine, Any]]:
    """One engine for all of this file, and its stage; nothing stays open in it."""
    stage = stage_type()
    with make_engine([stage.plugin, Plugin, cross_model_control]) as engine:
        yield engine, stage
        assert all(host.slots == 0 and host.pending == 0 for host in engine.hosts())


def probing(case: dict[str, Any], action: str) -> dict[str, Any]:
    nodes = recipe(case)["nodes"]
    models = [name for name in nodes if name != "out"]
    return {"nodes": {**nodes, "probe": {"kind": "script", "action": action, "models": ["out", *models]}}, "output": "probe"}


# --- the formula, by hand -------------------------------------------------------------------------------------------------

Array = np.ndarray[Any, np.dtype[np.float64]]


def normal(row: Any) -> Array:
    row = np.asarray(row, dtype=np.float64)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def mined(text: str, tokens: dict[str, int]) -> int | None:
    """PM-MinED by its definition, over all tokens: equal, else the nearest of those of which one begins with the other."""
    if text in tokens:
        return tokens[text]
    related = [t for t in tokens if (text.startswith(t) or t.startswith(text)) and (t != " " or not text.strip(" "))]
    return min(((abs(len(t) - len(text)), tokens[t]) for t in related), default=(0, None))[1]


def by_hand(case: dict[str, Any], base: Any, delta: Any, lead: Array, shift: Array) -> tuple[Array, int]:
    """The distribution, and how many tokens have no image."""
    if case.get("combine") == "normalized":
        shift = normal(shift)
    tokens = {t: i for t, i in delta.mapping().items() if i not in delta.special_ids}
    own = [lead.max() - lead.max()] * base.size
    known = [True] * base.size
    for token, index in base.mapping().items():
        if index in base.special_ids:
            own[index] = shift[delta.size - 1]  # an end of turn is one by its role
            continue
        image = tokens.get(token) if case.get("mapping") == "shared" else mined(token, tokens)
        known[index] = image is not None
        own[index] = 0.0 if image is None else shift[image]
    if case.get("unmapped") == "mean":
        share = np.where(known, np.exp(normal(lead)), 0.0)
        own = np.where(known, own, (share * own).sum() / share.sum())
    return normal(normal(lead) + case.get("alpha", 1.0) * np.asarray(own)), known.count(False)


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_rows_are_those_of_the_formula(name: str, shared: Any) -> None:
    engine, stage = shared
    case = CASES[name]

    @stage.action
    async def computes(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open("out", prompt)
        found = [await session.logits(), *(await session.extend(IDS, rows="all"))]
        base, delta = [await run.open(model, prompt) for model in node.models[1:]]
        ours, theirs = base.tokenizer, delta.tokenizer
        assert session.tokenizer is ours
        here: list[int] = []
        for count, row in enumerate(found):
            for model, ids in ((base, IDS[:count]), (delta, here)):
                model.rollback(0)
                await model.extend(ids, rows="none")
            lead = np.asarray(await base.logits(), dtype=np.float64)
            wanted, lost = by_hand(case, ours, theirs, lead, np.asarray(await delta.logits(), dtype=np.float64))
            assert np.abs(normal(row) - wanted).max() < 2e-5
            assert lost == (0 if "one" in name else 4 if "shared" in case.get("mapping", "") else 1)
            if count < len(IDS):
                equal = theirs.mapping().get(ours.token(IDS[count]))
                here = [*here, equal] if equal is not None else theirs.encode(ours.decode(IDS[: count + 1]))

    engine.run(probing(case, "computes"), "the sun")


def test_at_strength_0_the_base_is_itself_and_delta_is_not_run(shared: Any) -> None:
    engine, stage = shared

    @stage.action
    async def compares(node: Any, run: Any, prompt: Any) -> None:
        mixed, base = await run.open("out", prompt), await run.open("base", prompt)
        assert torch.equal(await mixed.logits(), await base.logits())
        assert torch.equal(await mixed.extend(IDS, rows="all"), await base.extend(IDS, rows="all"))

    result = engine.run(probing({"alpha": 0}, "compares"), "hello")
    assert {event.node for event in result.trace if isinstance(event, Forward)} == {"base"}
    sampling = Sampling(temperature=0.9, max_tokens=30)
    plain = {"nodes": {"base": LEAVES["base"]}, "output": "base"}
    assert (
        engine.run(recipe({"alpha": 0}), "hello", sampling=sampling).completion
        == engine.run(plain, "hello", sampling=sampling).completion
    )


def test_the_shift_is_felt_and_the_cached_rows_are_not(shared: Any) -> None:
    engine, stage = shared

    @stage.action
    async def compares(node: Any, run: Any, prompt: Any) -> None:
        base, twin = await run.open("base", prompt), await run.open("twin", prompt)
        rows = [(await base.logits()).clone(), (await twin.logits()).clone()]
        row = await (await run.open("out", prompt)).logits()
        assert not torch.allclose(torch.softmax(row, -1), torch.softmax(rows[0], -1), atol=0.01)
        again = [await (await run.open(name, prompt)).logits() for name in ("base", "twin")]
        assert all(torch.equal(now, then) for now, then in zip(again, rows, strict=True))

    for combine in ("paper", "normalized"):
        engine.run(probing({"delta": "twin", "combine": combine}, "compares"), "hello")


# --- laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "so. the"])
@pytest.mark.parametrize("name", ["one vocabulary", "two", "two, shared tokens, mean", "two, normalized"])
def test_the_session_laws_hold(name: str, prefix: str) -> None:
    prompt = {"text": "hello there", "prefix": prefix}
    assert_session_laws(recipe(CASES[name]), IDS, plugins=[cross_model_control], prompt=prompt)


@pytest.mark.parametrize("name", ["one vocabulary", "two", "two, stronger"])
def test_the_generator_laws_hold(name: str) -> None:
    assert_generator_laws(recipe(CASES[name]), plugins=[cross_model_control])


def test_one_control_upon_another() -> None:
    inner = {"kind": "cross_model_control", "base": "base", "delta": "delta", "alpha": 0.5}
    nested = {"kind": "cross_model_control", "base": inner, "delta": "twin", "alpha": 0.5}
    given = {"nodes": {**LEAVES, "out": nested}, "output": "out"}
    assert_session_laws(given, IDS, plugins=[cross_model_control])


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_it_verifies_drafts(temperature: float, shared: Any) -> None:
    """Speculative decoding of a controlled model gives the tokens of sampling from it."""
    engine, _ = shared
    nodes = {
        **recipe({})["nodes"],
        "s": {"kind": "speculative", "target": "out", "draft": "base", "adaptive": False, "max_draft": 5},
    }
    sampling = Sampling(temperature=temperature, max_tokens=30, ignore_stop=True)
    for prompt in ("hello there", "a"):
        wanted = engine.run(recipe({}), prompt, sampling=sampling, seed=3).completion
        assert engine.run({"nodes": nodes, "output": "s"}, prompt, sampling=sampling, seed=3).completion.ids == wanted.ids


# --- δ's cache ------------------------------------------------------------------------------------------------------------


def test_deltas_cache_survives_a_new_cut_up_to_the_common_prefix(shared: Any) -> None:
    """Where the text is cut anew for δ, only what is different from then on is fed again."""
    engine, stage = shared

    @stage.action
    async def feeds(node: Any, run: Any, prompt: Any) -> None:
        session = await run.open("out", prompt)
        await session.logits()
        for token in session.tokenizer.encode("a sunny day and a moon "):
            await session.extend([token])
        for token in (19, 7, 4, 31):  # "t", "h", "e" and "he s", which δ does not have: its text is encoded again
            await session.extend([token])

    result = engine.run(probing({}, "feeds"), "hello")
    fed = [event.tokens for event in result.trace if isinstance(event, Forward) and event.node == "delta" and not event.prefill]
    assert len(fed) == 23 + 4
    assert fed[:-1] == [1] * 26
    assert fed[-1] == 5, "'the' in place of 't', 'h', 'e', and the four of 'he s'; not the 23 tokens before them"


# --- what is refused ------------------------------------------------------------------------------------------------------


def test_a_strength_that_is_no_number_is_refused(shared: Any) -> None:
    for alpha in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(RecipeError, match=r"out\.alpha: Input should be a finite number"):
            shared[0].plan(recipe({"alpha": alpha}))


def findings(engine: Engine, given: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(f.level, f.message, f.hint) for f in engine.plan(given).findings if f.node == "out"]


def test_vocabularies_are_looked_at_before_anything_loads(shared: Any) -> None:
    engine, _ = shared
    assert findings(engine, recipe({"delta": "twin"})) == []
    ((level, message, _),) = findings(engine, recipe({}))
    assert level == "info"
    assert message == ("'delta' and 'base' have different vocabularies: 97% of 33 tokens have an image (88% an equal one)"), (
        "PM-MinED is what it uses by itself"
    )
    ((level, message, hint),) = findings(engine, recipe({"mapping": "same"}))
    assert level == "error"
    assert "'delta' and 'base': the vocabularies differ" in message
    assert "pm_mined" in hint
    ((level, message, _),) = findings(engine, recipe({}, delta={"kind": "fake", "alphabet": "ABC"}))
    assert level == "error"
    assert "no token in common" in message
    ((level, message, hint),) = findings(engine, recipe({"delta": "base"}))
    assert level == "warning"
    assert message == "'base' shifts its own logits, which only sharpens them"
    assert hint


def test_a_delta_whose_tokenizer_is_not_that_of_its_training_is_refused(shared: Any) -> None:
    engine, _ = shared
    given = recipe({}, delta={"kind": "fake_artifact", "source": "artifact:shift", "alphabet": OTHER})
    card = paths.artifacts() / "shift" / "counterpoint.json"
    trained = CharTokenizer(OTHER).fingerprint

    def errors() -> list[tuple[str, str]]:
        return [(message, hint) for level, message, hint in findings(engine, given) if level == "error"]

    assert errors() == [], "no card, nothing to compare with"
    card.parent.mkdir(parents=True)
    card.write_text(json.dumps({"tokenizer": trained}))
    assert errors() == []
    card.write_text(json.dumps({"tokenizer": "0123456789abcdef"}))
    ((message, hint),) = errors()
    assert message == (
        "'delta' (artifact:shift) was trained with another tokenizer than it has now: 0123456789abcdef by its card, "
        f"{trained} by its files"
    )
    assert "counterpoint models rm artifact:shift" in hint


def test_a_delta_that_counts_otherwise_than_in_its_training_is_told(shared: Any) -> None:
    engine, _ = shared
    given = recipe({}, delta={"kind": "fake_artifact", "source": "artifact:counted", "alphabet": OTHER})
    card = paths.artifacts() / "counted" / "counterpoint.json"
    card.parent.mkdir(parents=True)
    for alpha, told in ((1.0, []), (3.0, ["'delta' (artifact:counted) was trained with alpha 3, and its logits count 1 here"])):
        card.write_text(json.dumps({"tokenizer": CharTokenizer(OTHER).fingerprint, "alpha": alpha}))
        assert [message for level, message, _ in findings(engine, given) if level == "warning"] == told

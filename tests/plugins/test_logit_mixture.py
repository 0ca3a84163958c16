"""Mixtures of models: each formula against a direct computation in float64, the laws, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from counterpoint import Engine, RecipeError, RunError, Sampling
from counterpoint.events import Forward
from counterpoint.plugin import Backend, LanguageModel, Node, Resources, hookimpl
from counterpoint.testing import FakeModel, assert_generator_laws, assert_session_laws, make_engine, save_tiny_model
from counterpoint.testing.fake import ALPHABET, FakeBackend
from counterpoint_plugins import logit_mixture
from counterpoint_plugins.logit_mixture import Contrastive, Ensemble, LogitMixture, ProxyTuning
from counterpoint_plugins.logit_mixture.mixing import average, weighted

OTHER = "zyxwvutsrqponmlkjihgfedcba \n.0123"
LEAVES: dict[str, Any] = {
    "one": {"kind": "fake", "words": ["th", "he s"]},
    "same": {"kind": "fake", "words": ["th", "he s"], "seed": 2},
    "kin": {"kind": "fake", "words": ["th", "he s"], "seed": 7},
    "other": {"kind": "fake", "seed": 3, "alphabet": OTHER, "memory": 2},
    "third": {"kind": "fake", "seed": 4, "alphabet": OTHER, "memory": 2},
    "coarse": {"kind": "fake", "seed": 5, "alphabet": OTHER, "words": ["the", "sun"]},
    "ends": {"kind": "two_ends", "words": ["th", "he s"], "seed": 6, "end_bias": 4.0},
}
IDS = [19, 4, 30, 28, 18, 31, 20, 13, 27]  # "te", "th", ",", "s", "he s", "un.": some that OTHER has not


class TwoEnds(FakeModel):
    """A fake with two end-of-turn tokens: its last one, and the line break."""

    kind: Literal["two_ends"] = "two_ends"  # type: ignore[assignment]

    def load(self, resources: Resources) -> Backend:
        backend = FakeBackend(self)
        backend.stop_ids = frozenset({ALPHABET.index("\n"), backend.tokenizer.size - 1})
        return backend


class Plugin:
    @staticmethod
    @hookimpl
    def counterpoint_nodes() -> list[type[Node]]:
        return [TwoEnds]


PLUGINS = [Plugin, logit_mixture]

FORMS: dict[str, dict[str, Any]] = {
    "mixture of one vocabulary": {
        "kind": "logit_mixture",
        "base": "one",
        "others": ["same", "kin"],
        "weights": [0.7, 0.6, -0.4],
    },
    "mixture of several": {
        "kind": "logit_mixture",
        "base": "one",
        "others": ["other", "kin", "coarse"],
        "weights": [1, 0.5, -0.3, 0.4],
    },
    "mixture among plausible tokens": {
        "kind": "logit_mixture",
        "base": "one",
        "others": ["coarse", "same"],
        "weights": [1, -0.5, 0.5],
        "alpha": 0.05,
        "mapping": "pm_mined",
    },
    "mixture of what all have": {
        "kind": "logit_mixture",
        "base": "one",
        "others": ["other", "coarse"],
        "weights": [1, 0.5, -0.5],
        "alpha": 0.02,
        "unmapped": "impossible",
    },
    "mixture of models with more ends": {
        "kind": "logit_mixture",
        "base": "ends",
        "others": ["one", "other"],
        "weights": [1, 0.5, 1],
    },
    "base of weight 0": {"kind": "logit_mixture", "base": "one", "others": ["other"], "weights": [0, 1]},
    "contrastive": {"kind": "contrastive", "expert": "one", "amateur": "same"},
    "contrastive ratio": {"kind": "contrastive", "expert": "one", "amateur": "other", "form": "log_ratio", "alpha": 0.2},
    "contrastive, everything plausible": {"kind": "contrastive", "expert": "ends", "amateur": "other", "beta": 1.0, "alpha": 0},
    "proxy tuning": {"kind": "proxy_tuning", "base": "one", "expert": "other", "anti_expert": "third", "alpha": 0.8},
    "ensemble": {"kind": "ensemble", "base": "one", "others": ["same", "kin"]},
    "ensemble of several vocabularies": {
        "kind": "ensemble",
        "base": "one",
        "others": ["other", "coarse"],
        "weights": [2, 1, 1],
    },
    "ensemble with more ends": {"kind": "ensemble", "base": "ends", "others": ["one", "other"]},
    "ensemble with fewer ends": {"kind": "ensemble", "base": "one", "others": ["ends", "other"]},
    "ensemble of what all have": {"kind": "ensemble", "base": "one", "others": ["other"], "unmapped": "impossible"},
    "ensemble of logits": {"kind": "ensemble", "base": "one", "others": ["other", "same"], "average": "logits"},
    "ensemble with a gate": {"kind": "ensemble", "base": "one", "others": ["other", "same"], "gate": 0.2},
    "ensemble of logits with a gate": {
        "kind": "ensemble",
        "base": "one",
        "others": ["coarse"],
        "gate": 0.2,
        "average": "logits",
    },
}


def recipe(out: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A recipe with the fakes that a composition names, and others that these name."""
    nodes = {**{name: node for name, node in LEAVES.items() if name in str([out, more])}, **more, "out": out}
    return {"name": "r", "nodes": nodes, "output": "out"}


@pytest.fixture(scope="module")
def shared(stage_type: Any) -> Iterator[tuple[Engine, Any]]:
    """One engine for all of this file, and its stage; nothing stays open in it."""
    stage = stage_type()
    with make_engine([stage.plugin, *PLUGINS]) as engine:
        yield engine, stage
        assert all(host.slots == 0 and host.pending == 0 for host in engine.hosts())


# --- the formulas, by hand ------------------------------------------------------------------------------------------------

Array = np.ndarray[Any, np.dtype[np.float64]]


def logsumexp(row: Array) -> float:
    best = row.max()
    return float(best + np.log(np.exp(row - best).sum())) if np.isfinite(best) else -np.inf


def normal(row: Any) -> Array:
    row = np.asarray(row, dtype=np.float64)
    return row - logsumexp(row)


def nearest(text: str, tokens: dict[str, int]) -> int | None:
    """PM-MinED by its definition, over all tokens."""
    if text in tokens:
        return tokens[text]
    found = [(abs(len(text) - len(t)), i) for t, i in tokens.items() if text.startswith(t) or t.startswith(text)]
    return min(found)[1] if (found := [pair for pair in found if pair[1] != tokens.get(" ")]) else None


def brought(session: Any, row: Array, base: Any, lead: Array, mapping: str, unmapped: str) -> Array:
    """A model's log-probabilities over the base's tokens, token by token."""
    row, ends, inner_ends = normal(row), sorted(base.stop_ids), sorted(session.stop_ids)
    tokens = {t: i for t, i in session.tokenizer.mapping().items() if i not in session.tokenizer.special_ids}
    same = session.tokenizer.fingerprint == base.tokenizer.fingerprint
    if same and ends == inner_ends:
        return row
    found: Array = np.full(base.tokenizer.size, np.nan)
    for token, outer in base.tokenizer.mapping().items():
        image = outer if same else nearest(token, tokens) if mapping == "pm_mined" else tokens.get(token)
        if outer not in ends and image is not None and image not in inner_ends:
            found[outer] = row[image]
    share = normal(lead[ends])
    for index, end in enumerate(ends):
        found[end] = logsumexp(row[inner_ends]) + share[index]
    known = ~np.isnan(found)
    found = np.where(known, found, -np.inf)
    if unmapped == "impossible":
        return normal(found)
    return np.where(known, normal(found) + logsumexp(np.where(known, lead, -np.inf)), lead)


def summed(rows: Sequence[Array], weights: Sequence[float], alpha: float = 0.0) -> Array:
    with np.errstate(invalid="ignore"):
        scores = sum(weight * row for weight, row in zip(weights, rows, strict=True))
    assert isinstance(scores, np.ndarray)
    scores[~np.isfinite(scores)] = -np.inf
    lead = np.where(np.isfinite(scores), rows[0], -np.inf)
    if alpha:
        scores[np.exp(lead) < alpha * np.exp(lead.max())] = -np.inf
    return normal(scores)


def by_hand(node: Any, rows: Sequence[Array]) -> Array:
    """The distribution that a node's formula gives, from log-probabilities over the base's tokens."""
    if isinstance(node, LogitMixture):
        return summed(rows, node.weights, node.alpha)
    if isinstance(node, Contrastive):
        weights = (1 + node.beta, -node.beta) if node.form == "logits" else (1, -1)
        return summed(rows, weights, node.alpha)
    if isinstance(node, ProxyTuning):
        return summed(rows, (1, node.alpha, -node.alpha))
    assert isinstance(node, Ensemble)
    if node.gate is not None and np.exp(rows[0].max()) >= node.gate:
        return rows[0]
    shares = np.array(node.weights or [1] * len(rows), dtype=np.float64)
    shares /= shares.sum()
    if node.average == "logits":
        return summed(rows, list(shares))
    total: Array = sum(share * np.exp(row) for share, row in zip(shares, rows, strict=True))  # type: ignore[assignment]
    assert total.sum() == pytest.approx(1)
    with np.errstate(divide="ignore"):
        return np.log(total)


def compare(found: Any, expected: Array, tolerance: float = 2e-5) -> None:
    given = normal(found)
    assert np.array_equal(np.isneginf(given), np.isneginf(expected)), "different tokens are impossible"
    possible = np.isfinite(expected)
    assert np.abs(given[possible] - expected[possible]).max() < tolerance


def models_of(out: dict[str, Any]) -> list[str]:
    names = [
        out.get("base") or out["expert"],
        *out.get("others", ()),
        *([out["expert"]] if "base" in out and "expert" in out else ()),
    ]
    return [*names, *(out[name] for name in ("amateur", "anti_expert") if name in out)]


async def rows_of(run: Any, prompt: Any, name: str, ids: Sequence[int], tokenizer: Any) -> tuple[Any, list[Array]]:
    """A model's session, and its rows after every beginning of a text: in its own words where it has other ones."""
    session = await run.open(name, prompt)
    rows = []
    for count in range(len(ids) + 1):
        session.rollback(0)
        here = list(ids[:count])
        if session.tokenizer.fingerprint != tokenizer.fingerprint:
            here = follow(session.tokenizer, tokenizer, here)
        await session.extend(here, rows="none")
        rows.append(normal(await session.logits()))
    return session, rows


def follow(inner: Any, outer: Any, ids: Sequence[int]) -> list[int]:
    """Tokens of equal text one by one; whenever there is none, everything is encoded again."""
    here: list[int] = []
    for count, token in enumerate(ids):
        equal = inner.mapping().get(outer.token(token))
        here = [*here, equal] if equal is not None else inner.encode(outer.decode(ids[: count + 1]))
    return here


@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_rows_are_those_of_the_formula(form: str, shared: Any) -> None:
    engine, stage = shared
    out = FORMS[form]
    probe = {"kind": "script", "action": "computes", "model": "out", "models": models_of(out)}
    asked = []

    @stage.action
    async def computes(node: Any, run: Any, prompt: Any) -> None:
        composed = run.node_of("out", LanguageModel)
        session = await run.open("out", prompt)
        found = [await session.logits(), *(await session.extend(IDS, rows="all"))]
        models = [await rows_of(run, prompt, name, IDS, session.tokenizer) for name in node.models]
        base = models[0][0]
        assert session.tokenizer is base.tokenizer
        assert session.stop_ids == base.stop_ids
        for place, row in enumerate(found):
            lead = models[0][1][place]
            mapping, unmapped = composed.mapping, composed.unmapped
            rows = [lead, *(brought(model, rows[place], base, lead, mapping, unmapped) for model, rows in models[1:])]
            compare(row, by_hand(composed, rows))
            asked.append(not np.array_equal(normal(row), lead))

    engine.run(recipe(out) | {"output": "probe", "nodes": {**recipe(out)["nodes"], "probe": probe}}, "the sun")
    assert any(asked), "the others had a say"
    assert all(asked) != ("gate" in form), "with a gate they had none somewhere"


def test_on_real_models(tmp_path: Any, stage: Any) -> None:
    nodes: dict[str, Any] = {
        name: {"kind": "huggingface", "source": f"path:{save_tiny_model(tmp_path / name, seed=seed)}", "dtype": "float32"}
        for seed, name in enumerate(["one", "same", "kin"])
    }
    forms = {name: FORMS[name] for name in ("mixture of one vocabulary", "contrastive", "ensemble")}
    forms["proxy tuning"] = {**FORMS["proxy tuning"], "expert": "same", "anti_expert": "kin"}

    @stage.action
    async def computes(node: Any, run: Any, prompt: Any) -> None:
        for name, out in forms.items():
            ids = [72, 101, 108, 108, 111]
            session = await run.open(name, prompt)
            found = [await session.logits(), *(await session.extend(ids, rows="all"))]
            rows = [(await rows_of(run, prompt, model, ids, session.tokenizer))[1] for model in models_of(out)]
            for place, row in enumerate(found):
                compare(row, by_hand(run.node_of(name, LanguageModel), [one[place] for one in rows]), 1e-4)

    from counterpoint.store import ModelStore

    probe = {"kind": "script", "action": "computes", "models": [*forms, *nodes]}
    with make_engine([stage.plugin, *PLUGINS], store=ModelStore(tmp_path / "store")) as engine:
        engine.run({"nodes": {**nodes, **forms, "probe": probe}, "output": "probe"}, "Hi")


rows_and_more = st.lists(
    st.lists(st.one_of(st.floats(-30, 30, width=32), st.just(-np.inf)), min_size=6, max_size=6), min_size=2, max_size=4
)


@given(rows_and_more, st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.sampled_from([0.0, 0.1, 1.0]))
def test_a_weighted_sum_equals_that_of_float64(rows: list[list[float]], weights: list[float], alpha: float) -> None:
    weights = [round(weight, 2) for weight in weights[: len(rows)]]
    lead, *others = (torch.tensor([row]) for row in rows)
    before = [row.clone() for row in (lead, *others)]
    found = weighted(lead, others, weights, alpha)[0]
    assert all(torch.equal(now, then) for now, then in zip((lead, *others), before, strict=True)), "rows may be a cache's"
    possible = [all(np.isfinite(row[i]) for row in rows) for i in range(6)]
    best = max((rows[0][i] for i in range(6) if possible[i]), default=0.0)
    for index in range(6):
        gap = rows[0][index] - best - (np.log(alpha) if alpha else -np.inf)
        if possible[index] and gap > 1e-4:
            wanted = sum(weight * row[index] for weight, row in zip(weights, rows, strict=True))
            assert found[index].item() == pytest.approx(wanted, abs=1e-4)
        elif not possible[index] or gap < -1e-4:
            assert found[index].item() == -np.inf


@given(rows_and_more, st.lists(st.floats(0, 3), min_size=4, max_size=4))
def test_an_average_of_probabilities_equals_that_of_float64(rows: list[list[float]], weights: list[float]) -> None:
    rows = [[0.0, *row[1:]] for row in rows]
    shares = np.array([1.0, *(round(weight, 2) for weight in weights[1 : len(rows)])])
    shares /= shares.sum()
    lead, *others = (torch.tensor([row], dtype=torch.float32) for row in rows)
    before = [row.clone() for row in (lead, *others)]
    found = average(lead, others, list(shares))[0]
    assert all(torch.equal(now, then) for now, then in zip((lead, *others), before, strict=True)), "rows may be a cache's"
    total = sum(share * np.exp(normal(row)) for share, row in zip(shares, rows, strict=True))
    with np.errstate(divide="ignore"):
        assert found.double().numpy() == pytest.approx(np.log(total), abs=2e-5)


# --- laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "so. the"])
@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_session_laws_hold(form: str, prefix: str) -> None:
    prompt = {"text": "hello there", "prefix": prefix}
    assert_session_laws(recipe(FORMS[form]), IDS, plugins=PLUGINS, prompt=prompt)


@pytest.mark.parametrize(
    "form", ["mixture of several", "contrastive ratio", "proxy tuning", "ensemble with more ends", "ensemble with a gate"]
)
def test_the_generator_laws_hold(form: str) -> None:
    assert_generator_laws(recipe(FORMS[form]), plugins=PLUGINS, max_tokens=16)


NESTED = {
    "kind": "contrastive",
    "expert": {"kind": "ensemble", "base": "one", "others": ["other", "same"], "gate": 0.2},
    "amateur": {"kind": "proxy_tuning", "base": "kin", "expert": "other", "anti_expert": "third"},
}


def test_compositions_nest() -> None:
    assert_session_laws(recipe(NESTED), IDS, plugins=PLUGINS)
    assert_generator_laws(recipe(NESTED), plugins=PLUGINS, max_tokens=16)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize(
    "form", ["contrastive", "ensemble with a gate", "ensemble of several vocabularies", "proxy tuning", "nested"]
)
def test_a_composition_verifies_drafts(form: str, temperature: float, shared: Any) -> None:
    """Speculative decoding of a composition gives the tokens of sampling from it."""
    engine, _ = shared
    plain = recipe(NESTED if form == "nested" else FORMS[form])
    plain["nodes"].update(same=LEAVES["same"])
    drafted = {
        **plain["nodes"],
        "s": {"kind": "speculative", "target": "out", "draft": "one", "adaptive": False, "max_draft": 5},
    }
    sampling = Sampling(temperature=temperature, max_tokens=30, ignore_stop=True)
    for prompt in ("hello there", "a"):
        wanted = engine.run(plain, prompt, sampling=sampling, seed=3).completion
        found = engine.run({"nodes": drafted, "output": "s"}, prompt, sampling=sampling, seed=3).completion
        assert found.ids == wanted.ids
        assert len(found.ids) == 30


# --- what is not run ------------------------------------------------------------------------------------------------------


def passes(result: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for event in result.trace:
        if isinstance(event, Forward) and not event.prefill:
            found[event.node] = found.get(event.node, 0) + 1
    return found


def tokens(result: Any, node: str) -> int:
    return sum(
        event.tokens for event in result.trace if isinstance(event, Forward) and event.node == node and not event.prefill
    )


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_a_gate_spares_passes_of_the_others(average: str, shared: Any) -> None:
    engine, _ = shared
    sampling = Sampling(temperature=0.8, max_tokens=40, ignore_stop=True)
    counts = []
    for gate in (None, 0.2):
        out = {"kind": "ensemble", "base": "one", "others": ["same"], "gate": gate, "average": average}
        result = engine.run(recipe(out), "hello there", sampling=sampling)
        counts.append(passes(result))
        assert tokens(result, "one") >= 39
        assert tokens(result, "same") <= 40, "what they have not been asked about is fed once"
    assert counts[0]["same"] >= 39
    assert counts[1]["one"] == counts[0]["one"]
    assert 0 < counts[1]["same"] < 0.8 * counts[0]["same"]


@pytest.mark.parametrize(
    "out",
    [
        {"kind": "logit_mixture", "base": "one", "others": ["other"], "weights": [1, 0]},
        {"kind": "proxy_tuning", "base": "one", "expert": "other", "anti_expert": "other", "alpha": 0},
        {"kind": "contrastive", "expert": "one", "amateur": "other", "alpha": 0, "beta": 0},
        {"kind": "ensemble", "base": "one", "others": ["other"], "weights": [3, 0], "gate": 0.5},
    ],
)
def test_what_weighs_nothing_is_not_run_and_the_base_is_itself(out: dict[str, Any], shared: Any) -> None:
    engine, stage = shared

    @stage.action
    async def compares(node: Any, run: Any, prompt: Any) -> None:
        mixed, base = await run.open("out", prompt), await run.open("one", prompt)
        assert torch.equal(await mixed.logits(), await base.logits())
        assert torch.equal(await mixed.extend(IDS, rows="all"), await base.extend(IDS, rows="all"))

    nodes = {**recipe(out)["nodes"], "probe": {"kind": "script", "action": "compares", "model": "out", "models": ["one"]}}
    result = engine.run({"nodes": nodes, "output": "probe"}, "hello")
    assert {event.node for event in result.trace if isinstance(event, Forward)} == {"one"}


def test_a_mask_without_an_amateur_is_still_a_mask(shared: Any) -> None:
    engine, stage = shared

    @stage.action
    async def counts(node: Any, run: Any, prompt: Any) -> None:
        row = normal(await (await run.open("one", prompt)).logits())
        masked = await (await run.open("out", prompt)).logits()
        assert np.array_equal(masked.isfinite().numpy(), row >= row.max() + np.log(0.1))
        assert masked.isfinite().sum() < len(row)

    out = {"kind": "contrastive", "expert": "one", "amateur": "other", "beta": 0}
    nodes = {**recipe(out)["nodes"], "probe": {"kind": "script", "action": "counts", "model": "out", "models": ["one"]}}
    engine.run({"nodes": nodes, "output": "probe"}, "hello")


# --- tokens that only one of them has -------------------------------------------------------------------------------------


def test_a_model_that_agrees_on_what_both_have_changes_nothing(shared: Any) -> None:
    """Unmapped tokens are neither favoured nor buried: they keep the base's probability."""
    engine, stage = shared
    from counterpoint.composition import Component
    from counterpoint_plugins.logit_mixture.mixing import completed

    @stage.action
    async def agrees(node: Any, run: Any, prompt: Any) -> None:
        base = await Component.open("one", prompt, run)
        part = await Component.open("other", prompt, run, like=base.session)
        lead = await base.logits()
        ours, theirs = base.session.tokenizer, part.session.tokenizer
        row = torch.full((theirs.size,), -3.0)
        for token, index in theirs.mapping().items():
            if (equal := ours.mapping().get(token)) is not None:
                row[index] = lead[equal] + 5
        unmapped = sum(token not in theirs.mapping() for token in ours.mapping())
        assert unmapped == 3  # a comma and the words
        found = completed(part, row[None], lead[None], base.session.stop_ids, "base")
        assert torch.allclose(found[0], lead, atol=1e-5)
        lost = completed(part, row[None], lead[None], base.session.stop_ids, "impossible")
        assert int(lost.isneginf().sum()) == unmapped
        silent = torch.full_like(row, -torch.inf)
        silent[theirs.mapping()["0"]] = 0.0  # sure of what the base does not have
        assert torch.equal(completed(part, silent[None], lead[None], base.session.stop_ids, "base")[0], lead)
        row[theirs.mapping()["a"]] = -torch.inf
        wanted = completed(part, row[None], lead[None], base.session.stop_ids, "base")
        subtracted = completed(part, row[None], lead[None], base.session.stop_ids, "base", subtracted=True)
        assert wanted[0, 0] == -torch.inf
        assert subtracted[0, 0] == lead[0], "subtracted, the impossible would be all there is"

    probe = {"kind": "script", "action": "agrees", "models": ["one", "other"]}
    engine.run({"nodes": {"one": LEAVES["one"], "other": LEAVES["other"], "probe": probe}, "output": "probe"}, "hello")


# --- what is refused ------------------------------------------------------------------------------------------------------


def plan(engine: Engine, out: dict[str, Any], **more: Any) -> list[tuple[str, str, str]]:
    found = engine.plan(recipe(out, **more)).findings
    return [(finding.level, finding.message, finding.hint) for finding in found if finding.node == "out"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ({"weights": [1, float("nan")]}, "out.weights.1: Input should be a finite number"),
        ({"weights": [float("inf"), 1]}, "out.weights.0: Input should be a finite number"),
        ({"weights": [1]}, r"out.weights: 1 weight\(s\) for 2 models: give one for each"),
        ({"weights": [1, 1, 1]}, r"out.weights: 3 weight\(s\) for 2 models"),
        ({"weights": [1, 1], "alpha": 1.5}, "out.alpha: Input should be less than or equal to 1"),
        ({"weights": [1], "others": []}, "out.others: .* at least 1 item"),
        ({"kind": "ensemble", "weights": [1, -1]}, "out.weights.1: .* greater than or equal to 0"),
        ({"kind": "ensemble", "weights": [0, 0]}, "out.weights: all weights are 0"),
        ({"kind": "ensemble", "weights": [1, 1, 1]}, r"out.weights: 3 weight\(s\) for 2 models"),
        ({"kind": "ensemble", "gate": 0}, "out.gate: Input should be greater than 0"),
        ({"kind": "ensemble", "average": "median"}, "out.average: Input should be 'probabilities' or 'logits'"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(out: dict[str, Any], message: str, shared: Any) -> None:
    given = {"kind": "logit_mixture", "base": "one", "others": ["same"], **out}
    with pytest.raises(RecipeError, match=message):
        shared[0].plan(recipe(given))


def test_more_weights_or_strengths_that_make_no_sense(shared: Any) -> None:
    for out in (
        {"kind": "proxy_tuning", "base": "one", "expert": "same", "anti_expert": "kin", "alpha": float("inf")},
        {"kind": "contrastive", "expert": "one", "amateur": "same", "beta": float("nan")},
    ):
        with pytest.raises(RecipeError, match=r"out.(alpha|beta): Input should be a finite number"):
            shared[0].plan(recipe(out))
    (found,) = plan(shared[0], {"kind": "logit_mixture", "base": "one", "others": ["same"], "weights": [0, 0]})
    assert found == ("error", "all weights are 0, which leaves nothing to draw from", "give the base a weight of 1")


@pytest.mark.parametrize(
    "form", ["mixture of several", "contrastive ratio", "proxy tuning", "ensemble of several vocabularies"]
)
def test_vocabularies_are_looked_at_before_anything_loads(form: str, shared: Any) -> None:
    engine, _ = shared
    told = [message for level, message, _ in plan(engine, FORMS[form]) if level == "info"]
    assert any("'other' and 'one' have different vocabularies: 91% of 32 tokens have an image" in message for message in told)
    refused = [found for found in plan(engine, {**FORMS[form], "mapping": "same"}) if found[0] == "error"]
    assert any("'other' and 'one': the vocabularies differ" in message and "shared" in hint for _, message, hint in refused)
    foreign = {"other": {"kind": "fake", "alphabet": "ABC"}}
    refused = [found for found in plan(engine, FORMS[form], **foreign) if found[0] == "error"]
    assert any("'other' and 'one'" in message and "no token in common" in message for _, message, _ in refused)


def test_a_composition_speaks_as_its_base(shared: Any) -> None:
    outer = {"kind": "ensemble", "base": "inner", "others": ["coarse"]}
    inner = {"kind": "contrastive", "expert": "other", "amateur": "one"}
    told = [message for level, message, _ in plan(shared[0], outer, inner=inner) if level == "info"]
    assert len(told) == 1
    assert "of 33 tokens" in told[0], "the tokens of 'other', which 'inner' speaks as"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ({"kind": "ensemble", "base": "one", "others": ["one"]}, "'one' is mixed with itself"),
        ({"kind": "contrastive", "expert": "one", "amateur": "one"}, "'one' is mixed with itself"),
        (
            {"kind": "proxy_tuning", "base": "one", "expert": "same", "anti_expert": "same"},
            "expert and anti_expert are both 'same'",
        ),
        (
            {"kind": "contrastive", "expert": "one", "amateur": "same", "form": "log_ratio", "beta": 0.3},
            "beta counts in the form logits",
        ),
        (
            {"kind": "contrastive", "expert": "one", "amateur": "same", "form": "log_ratio", "alpha": 0},
            "without a plausibility mask",
        ),
    ],
)
def test_what_is_senseless_is_warned_of(out: dict[str, Any], message: str, shared: Any) -> None:
    ((level, found, hint),) = plan(shared[0], out)
    assert level == "warning"
    assert message in found
    assert hint


def test_a_base_may_be_its_own_expert(shared: Any) -> None:
    out = {"kind": "proxy_tuning", "base": "one", "expert": "one", "anti_expert": "same"}
    assert plan(shared[0], out) == [], "the contrast of a model with a worse one"


def test_models_that_exclude_one_another_are_told_at_run_time(shared: Any, stage: Any) -> None:
    """Two masks with nothing in common: an error that says so, and no draw from nothing."""
    engine, _ = shared
    sure = {"kind": "contrastive", "alpha": 1.0, "beta": 0, "amateur": "kin"}
    out = {
        "kind": "ensemble",
        "base": {**sure, "expert": "one"},
        "others": [{**sure, "expert": {**LEAVES["same"], "seed": 11}}],
        "average": "logits",
    }
    with pytest.raises(RunError, match=r"out: after \d+ tokens or a few more, its models leave no token possible") as caught:
        engine.run(recipe(out), "hello", sampling=Sampling(max_tokens=20, ignore_stop=True))
    assert "unmapped: base" in caught.value.hint

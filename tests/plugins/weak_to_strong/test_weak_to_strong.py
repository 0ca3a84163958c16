"""Weak-to-strong decoding: the interleaved strategy is the offline one in three stages, and only cheaper."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pytest
import torch

from counterpoint import Completion, Engine, ModelError, Prompt, RecipeError, Sampling, tensors
from counterpoint.composition import Component, ComposedSession
from counterpoint.draws import draw_key
from counterpoint.events import Drafted, Emitted, Forward, NodeFinished, Note, Switched, dump_event, parse_event
from counterpoint.plugin import Node, SwitchCriterion, hookimpl
from counterpoint.rendering import render
from counterpoint.session import Step
from counterpoint.store import ModelStore
from counterpoint.testing import FakeModel, assert_generator_laws, make_engine, save_tiny_model
from counterpoint.testing.fake import FakeBackend
from counterpoint_plugins import weak_to_strong

WORDS = "abcde \n."
"""Few letters, so that words are short and probabilities are not."""
DRAFT: dict[str, Any] = {"kind": "fake", "alphabet": WORDS, "end_bias": 1.0, "prompt_format": "raw"}
TARGET: dict[str, Any] = {"kind": "fake", "alphabet": WORDS, "seed": 5, "end_bias": 0.0}
SETTINGS = {"temperature": 0.9, "max_tokens": 60}


class EveryThird(SwitchCriterion):
    """A plugin's own: sure of every third token that is no surprise."""

    kind: Literal["every_third"] = "every_third"
    reads: ClassVar[Literal["nothing", "logprobs", "rows"]] = "rows"

    @property
    def threshold(self) -> float:
        return 3.0

    def scores(self, ids: Any, logprobs: Any, new: int, rows: Any = None) -> list[float]:
        assert rows.shape[0] == new
        assert torch.allclose(rows.exp().sum(-1), torch.ones(new))
        for row, token, value in zip(rows, ids[-new:], logprobs[-new:], strict=True):
            assert float(row[token]) == pytest.approx(value)
        first = len(ids) - new
        return [3.0 * (index % 3 == 2 and logprobs[index] > -3) for index in range(first, len(ids))]


class Extra:
    __name__ = "extra"

    @hookimpl
    def counterpoint_nodes(self) -> list[type[Node]]:
        return [EveryThird]


async def plain_draft(node: Any, run: Any, prompt: Prompt) -> Completion:
    """Stage one of the offline procedure: the whole draft, drawn as the node's draft is."""
    limits = {"max_tokens": node.value, "min_tokens": min(run.sampling.min_tokens, node.value)}
    sampling = run.sampling_of(node.child, run.sampling.model_copy(update=limits))
    return await run.generate(node.child, prompt, sampling=sampling, relay=True)  # type: ignore[no-any-return]


async def in_one_piece(node: Any, run: Any, prompt: Prompt) -> Completion:
    made = await run.generate(node.child, prompt)
    run.emit(Emitted(text=made.text, ids=made.ids))
    return run.completion(made.finish_reason)  # type: ignore[no-any-return]


async def without_a(node: Any, run: Any, prompt: Prompt) -> Any:
    """A composed model for which the first letter is impossible."""

    class WithoutA(ComposedSession):
        def combine(self, rows: Any, first: int) -> torch.Tensor:
            masked: torch.Tensor = rows[0].clone()
            masked[:, 0] = -torch.inf
            return masked

    return WithoutA(run.path, [await Component.open(node.models[0], prompt, run)], run)


async def says(node: Any, run: Any, prompt: Prompt) -> Completion:
    """Emits a fixed text, letter by letter."""
    for letter in ["", "   \n ", "a b c d e a b c d e a b c"][node.value]:
        await run._valve.passing()
        run.emit(Emitted(text=letter))
    return run.completion("stop")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def engine(stage_type: Any) -> Iterator[Engine]:
    """One engine for all of this file; nothing stays open in it."""
    stage = stage_type()
    for action in (plain_draft, in_one_piece, says, without_a):
        stage.action(action)
    with make_engine([stage.plugin, weak_to_strong, Extra()]) as made:
        yield made
        assert all(host.slots == 0 and host.pending == 0 for host in made.hosts())


def recipe(draft: Any = None, target: Any = None, sampling: Any = None, **fields: Any) -> dict[str, Any]:
    node = {"kind": "weak_to_strong", "draft": "small", "target": "large", **fields}
    nodes = {"small": draft or DRAFT, "large": target or TARGET, "s": node}
    return {"nodes": nodes, "output": "s", "sampling": {**SETTINGS, **(sampling or {})}}


# --- the definition -------------------------------------------------------------------------------------------------------


def window(values: list[float], end: int, w: int) -> float:
    return 0.0 if end < w else math.prod(values[end - w : end]) ** (1 / w)


def by_definition(kind: str, c: dict[str, Any], ids: list[int], rows: torch.Tensor) -> list[bool]:
    """Where a criterion holds, over a whole draft."""
    p = [float(row.exp()[token]) for row, token in zip(rows, ids, strict=True)]
    gamma, w = c.get("gamma", 0.8), c.get("window", 6)
    found = []
    for i in range(len(ids)):
        match kind:
            case "window_confidence":
                found.append(window(p, i + 1, w) >= gamma)
            case "token_confidence":
                found.append(p[i] >= gamma)
            case "entropy":
                found.append(float(-(rows[i].exp() * rows[i]).sum()) <= c["bound"])
            case "loop_discounted":
                n = c.get("ngram", 4)
                discounted = list(p)
                for j in range(n - 1, len(ids)):
                    earlier = [ids[k : k + n] for k in range(j - n + 1)]
                    if ids[j - n + 1 : j + 1] in earlier:
                        discounted[j] *= c.get("weight", 0.0)
                found.append(window(discounted, i + 1, w) >= gamma)
            case "every_third":
                found.append(i % 3 == 2 and math.log(p[i]) > -3)
            case "never":
                found.append(False)
    return found


class Offline:
    """The three stages, one after the other, on the backend itself."""

    def __init__(self, engine: Engine, given: dict[str, Any], prompt: Any, seed: int) -> None:
        node, nodes = given["nodes"]["s"], given["nodes"]
        self.given = Prompt.of(prompt)
        script = {"kind": "script", "action": "plain_draft", "child": node["draft"], "value": node.get("draft_tokens", 512)}
        drafted = engine.run({**given, "nodes": {**nodes, "s": script}}, prompt, seed=seed)
        text = drafted.text.rstrip() if self.given.prefix else drafted.text.strip()
        model = FakeModel.model_validate(nodes["large"])
        backend = FakeBackend(model)
        tokenizer = backend.tokenizer
        before, prefix = render(self.given, model.prompt_format, tokenizer, "large")
        ids = tokenizer.encode(text)

        def rows_of(response: list[int]) -> torch.Tensor:
            """The distribution in the place of every response token, and after the last."""
            slot = backend.new_slot()
            return backend.forward([Step(slot, [*before, *prefix, *response], len(response) + 1)])[0].rows

        criterion = node.get("criterion", {"kind": "window_confidence"})
        rows = rows_of(ids)[:-1].log_softmax(-1)
        self.drafted = ids
        self.holds = by_definition(criterion["kind"], criterion, ids, rows)
        sampling = Sampling.model_validate(given["sampling"])
        self.ended = drafted.finish_reason == "stop"
        self.point = self.holds.index(True) if True in self.holds else None
        kept = ids if self.point is None else ids[: self.point + 1]
        self.accepted = self.point is None and self.ended and node.get("finished_draft") != "continue" and ids != []
        self.ids: list[int] = []
        self.finish_reason = ""
        stops = (*sampling.stop, *model.stop)

        def add(token: int) -> bool:
            self.ids.append(token)
            if token in backend.stop_ids or any(stop in tokenizer.decode(self.ids) for stop in stops):
                self.finish_reason = "stop"
            elif len(self.ids) >= min(sampling.max_tokens, model.context - len(before) - len(prefix)):
                self.finish_reason = "length"
            return not self.finish_reason

        going_on = all(add(token) for token in kept)
        self.kept = len(self.ids)
        self.switched = going_on and not self.accepted
        if self.accepted:
            self.finish_reason = self.finish_reason or "stop"
        while not self.finish_reason:
            row = rows_of(self.ids)[-1:]
            if len(self.ids) < sampling.min_tokens:
                row[:, -1] = -torch.inf
            key = draw_key(seed, (), 0, len(prefix) + len(self.ids), "sample")
            add(int(row.argmax(-1) if sampling.greedy else tensors.draw(tensors.process(row, sampling), [key])))
        self.text = tokenizer.decode(self.ids)
        if cuts := [self.text.find(stop) for stop in stops if stop in self.text]:
            self.text = self.text[: min(cuts)]


CRITERIA: list[Any] = [
    {"kind": "window_confidence", "gamma": 0.15, "window": 3},
    {"kind": "window_confidence", "gamma": 0.06, "window": 6},
    {"kind": "window_confidence", "gamma": 0.3, "window": 2},
    {"kind": "token_confidence", "gamma": 0.6},
    {"kind": "token_confidence", "gamma": 0.95},
    {"kind": "entropy", "bound": 0.6},
    {"kind": "entropy", "bound": 0.25},
    {"kind": "loop_discounted", "gamma": 0.2, "window": 2, "ngram": 2},
    {"kind": "loop_discounted", "gamma": 0.12, "window": 3, "ngram": 3, "weight": 0.3},
    {"kind": "every_third"},
    {"kind": "never"},
    None,
]
DRAFTS: list[Any] = [
    DRAFT,
    {**DRAFT, "end_bias": -3.0},
    {**DRAFT, "seed": 5, "blur": 3.0, "end_bias": -2.0, "prompt_format": None},  # of one mind with the target, nearly
    {**DRAFT, "alphabet": " .\nedcba", "end_bias": -2.0},  # the same letters, other tokens
    {**DRAFT, "alphabet": "xyzab \n", "end_bias": -2.0},  # letters that the target does not have
    {**DRAFT, "memory": 1, "end_bias": -4.0},  # loops
    {**DRAFT, "end_bias": 4.0},  # soon at its end
    {**DRAFT, "alphabet": " \n", "end_bias": 0.0},  # white space only
]


def cases(seed: int, count: int) -> Iterator[tuple[dict[str, Any], Any, int]]:
    pick = random.Random(seed)
    for number in range(count):
        sampling: dict[str, Any] = {"max_tokens": pick.choice([1, 30, 60, 90, 90]), "temperature": pick.choice([0, 0.7, 1.2])}
        if pick.random() < 0.25:
            sampling["stop"] = pick.choice([["a bc"], ["cec", "\n\n\n"], [". "]])
        if pick.random() < 0.2:
            sampling["min_tokens"] = min(6, sampling["max_tokens"])
        target = {**TARGET, "sharpness": pick.choice([8.0, 14.0])}
        if pick.random() < 0.1:
            target["stop"] = ["d "]
        fields: dict[str, Any] = {"block": pick.choice([1, 3, 8, 64]), "draft_tokens": pick.choice([1, 25, 70, 70])}
        if (criterion := pick.choice(CRITERIA)) is not None:
            fields["criterion"] = criterion
        if pick.random() < 0.4:
            fields["finished_draft"] = "continue"
        draft = pick.choice(DRAFTS)
        if pick.random() < 0.2:
            draft = {"kind": "script", "action": "in_one_piece", "child": draft}
        prefix = pick.choice(["", "", "", "ab c", "a "])
        prompt = {"text": f"{pick.choice('abcde')} prompt {number}", "prefix": prefix}
        yield recipe(draft, target, sampling, **fields), prompt, number


@pytest.mark.parametrize("part", range(5))
def test_interleaved_equals_offline(engine: Engine, part: int) -> None:
    met: Counter[str] = Counter()
    for given, prompt, seed in cases(part, 60):
        expected = Offline(engine, given, prompt, seed)
        result = engine.run(given, prompt, seed=seed)
        assert list(result.completion.ids) == expected.ids
        assert result.text == expected.text
        assert result.finish_reason == expected.finish_reason
        switches = [event for event in result.trace if isinstance(event, Switched)]
        assert [event.position for event in switches] == ([expected.kept] if expected.switched else [])
        by = Counter[str]()
        for event in result.trace:
            if isinstance(event, Emitted) and event.span == 1:
                by[event.proposer] += len(event.ids)
        assert by["small"] == expected.kept
        assert by["large"] == len(expected.ids) - expected.kept
        if expected.switched:
            met["in the middle" if expected.point is not None else "ended" if expected.ended else "cut off"] += 1
        else:
            met["accepted" if expected.accepted else "over"] += 1
    assert len(met) == 5, met
    assert met["in the middle"] >= 8, met


def test_the_laws_hold() -> None:
    for fields in ({"block": 3}, {"criterion": {"kind": "entropy", "bound": 0.5}}, {"continue_with": "small"}):
        given = recipe(draft_tokens=20, **fields)
        del given["sampling"]
        assert_generator_laws(given, plugins=[weak_to_strong])


# --- attribution and trace ------------------------------------------------------------------------------------------------

SOON = {"kind": "token_confidence", "gamma": 0.5}
SURE = {"kind": "window_confidence", "gamma": 0.25, "window": 3}


def test_who_proposed_and_who_decided(engine: Engine) -> None:
    given = recipe({**DRAFT, "end_bias": -99}, {**TARGET, "end_bias": -99}, criterion=SURE, block=4)
    result = engine.run(given, "a prompt", seed=1)
    (switched,) = [event for event in result.trace if isinstance(event, Switched)]
    assert (switched.giver, switched.taker, switched.node) == ("small", "large", "s")
    assert switched.reason.startswith("window_confidence: 0.")
    assert switched.reason.endswith(" reaches 0.25")
    own = [event for event in result.trace if isinstance(event, Emitted) and event.span == 1]
    proposers = [event.proposer for event in own for _ in event.ids]
    assert 0 < switched.position < 60
    assert proposers == ["small"] * switched.position + ["large"] * (60 - switched.position)
    assert {event.decider for event in own} == {"large"}
    backend = FakeBackend(FakeModel.model_validate(given["nodes"]["large"]))
    before, _ = render(Prompt.of("a prompt"), None, backend.tokenizer, "large")
    rows = backend.forward([Step(backend.new_slot(), [*before, *result.completion.ids], 61)])[0].rows.log_softmax(-1)
    logprobs = [value for event in own for value in event.logprobs["large"]]
    assert logprobs == pytest.approx([float(rows[i, token]) for i, token in enumerate(result.completion.ids)], abs=1e-4)
    assert [event for event in result.trace if isinstance(event, Drafted)] == []


@pytest.mark.parametrize("criterion", [SURE, {"kind": "entropy", "bound": 0.3}, {"kind": "loop_discounted", "gamma": 0.9}])
def test_every_window_score_is_in_the_trace(engine: Engine, criterion: Any) -> None:
    given = recipe({**DRAFT, "end_bias": -99}, criterion=criterion, block=4, draft_tokens=40)
    result = engine.run(given, "a prompt", seed=1)
    notes = [event for event in result.trace if isinstance(event, Note)]
    assert {event.name for event in notes} == {"window_scores"}
    positions = [position for event in notes for position in event.data["positions"]]
    scores = [score for event in notes for score in event.data["scores"]]
    assert positions == list(range(len(scores)))
    threshold = -0.3 if criterion["kind"] == "entropy" else criterion["gamma"]
    reached = [position for position, score in zip(positions, scores, strict=True) if score >= threshold]
    switched = next(event for event in result.trace if isinstance(event, Switched))
    assert switched.position == (reached[0] + 1 if reached else len(scores))
    assert any(scores)


def test_text_comes_while_it_is_drafted(engine: Engine) -> None:
    result = engine.run(recipe({**DRAFT, "end_bias": -99}, criterion={"kind": "token_confidence", "gamma": 1}, block=4), "a")
    events = [event for event in result.trace if isinstance(event, Emitted) and event.proposer == "small"]
    own = [index for index, event in enumerate(events) if event.span == 1]
    assert own[0] < 30 < len(events) - len(own)
    assert own != list(range(own[0], own[0] + len(own))), "what is checked is out before the rest is drafted"


def test_nothing_is_drafted_after_the_switch_and_little_before(engine: Engine) -> None:
    given = recipe({**DRAFT, "end_bias": -99}, criterion=SOON, block=2, draft_tokens=512)
    for seed in range(8):
        result = engine.run(given, f"prompt {seed}", seed=seed)
        at = next(event.seq for event in result.trace if isinstance(event, Switched))
        drafts = [event.seq for event in result.trace if isinstance(event, Emitted) and event.span == 2]
        assert max(drafts) < at
        child = next(event for event in result.trace if isinstance(event, NodeFinished) and event.span == 2)
        assert child.finish_reason == "cancelled"
        assert child.generated == child.tokens == len(drafts)


# --- costs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 8])
def test_passes_of_the_target(engine: Engine, block: int) -> None:
    given = recipe({**DRAFT, "end_bias": -99}, {**TARGET, "end_bias": -99}, criterion=SOON, block=block)
    for seed in range(6):
        result = engine.run(given, f"a prompt {seed}", seed=seed, scope=f"{block} {seed}")
        passes = [event for event in result.trace if isinstance(event, Forward) and event.node == "large"]
        checks = [event for event in result.trace if isinstance(event, Note)]
        position = next(event.position for event in result.trace if isinstance(event, Switched))
        scored = sum(len(event.data["scores"]) for event in checks)
        prompt_tokens = len(render(Prompt.of(f"a prompt {seed}"), None, FakeBackend(FakeModel()).tokenizer, "")[0])
        again = scored > position  # the row after the switch, when its block went further
        assert sum(event.passes for event in passes) == 1 + len(checks) + again + (60 - position - 1)
        assert sum(event.tokens for event in passes) == prompt_tokens + scored + again + (60 - position - 1)


def test_a_criterion_that_reads_nothing_costs_the_target_one_pass(engine: Engine) -> None:
    given = recipe(criterion={"kind": "never"}, draft_tokens=300, sampling={"max_tokens": 300})
    result = engine.run(given, "hello there", seed=1)
    assert result.finish_reason == "stop"
    assert len(result.completion.ids) > 8
    assert [event for event in result.trace if isinstance(event, Note)] == []
    assert sum(event.passes for event in result.trace if isinstance(event, Forward) and event.node == "large") <= 1
    assert {event.decider for event in result.trace if isinstance(event, Emitted) and event.span == 1} == {"small"}
    given = recipe({**DRAFT, "end_bias": -99}, criterion={"kind": "never"}, draft_tokens=40, sampling={"max_tokens": 300})
    result = engine.run(given, "hello", seed=2)
    switched = next(event for event in result.trace if isinstance(event, Switched))
    assert switched.reason == "the draft was cut off"


# --- options and edges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "finished", "reason"), [
    (0, "accept", "the draft is empty"), (1, "accept", "the draft is empty"), (1, "continue", "the draft is empty"),
    (2, "continue", "the draft has ended"), (2, "accept", None),
])  # fmt: skip
def test_drafts_that_end_by_themselves(engine: Engine, number: int, finished: str, reason: str | None) -> None:
    draft = {"kind": "script", "action": "says", "value": number}
    result = engine.run(recipe(draft, criterion={"kind": "token_confidence", "gamma": 1}, finished_draft=finished), "hello")
    switches = [event.reason for event in result.trace if isinstance(event, Switched)]
    assert switches == ([] if reason is None else [reason])
    text = "a b c d e a b c d e a b c" if number == 2 else ""
    assert result.text.startswith(text)
    assert (result.text == text) == (reason is None)
    assert result.completion.tokenizer == FakeBackend(FakeModel.model_validate(TARGET)).tokenizer.fingerprint


def test_another_generator_goes_on(engine: Engine) -> None:
    """From prefix and kept text, with what is left of the answer's length."""
    third = {"kind": "fake", "alphabet": WORDS, "seed": 9, "end_bias": -99}
    given = recipe({**DRAFT, "end_bias": -99}, criterion=SOON, continue_with="third")
    given["nodes"]["third"] = third
    prompt = {"text": "a prompt", "prefix": "abc "}
    result = engine.run(given, prompt, seed=1)
    (switched,) = [event for event in result.trace if isinstance(event, Switched)]
    assert switched.taker == "third"
    assert (len(result.completion.ids), result.finish_reason) == (60, "length")
    own = [event for event in result.trace if isinstance(event, Emitted) and event.span == 1]
    kept = "".join(event.text for event in own if event.proposer == "small")
    rest = "".join(event.text for event in own if event.proposer == "third")
    assert result.text == kept + rest
    assert len(kept) == switched.position
    backend = FakeBackend(FakeModel.model_validate(third))
    before, prefix = render(Prompt.of(prompt).continued("abc " + kept), None, backend.tokenizer, "third")
    tokens = [*before, *prefix]
    for token in backend.tokenizer.encode(rest):
        row = backend.forward([Step(backend.new_slot(), tokens, 1)])[0].rows
        key = draw_key(1, (1,), 0, len(tokens) - len(before), "sample")
        assert int(tensors.draw(tensors.process(row, Sampling(temperature=0.9)), [key])) == token
        tokens.append(token)


def test_another_generator_with_another_vocabulary(engine: Engine) -> None:
    given = recipe({**DRAFT, "end_bias": -99}, criterion=SURE, continue_with={"kind": "fake", "alphabet": WORDS + "xyz"})
    result = engine.run(given, "a prompt", seed=1)
    assert (result.completion.ids, result.completion.tokenizer) == ((), "")
    assert result.text == "".join(e.text for e in result.trace if isinstance(e, Emitted) and e.span == 1)
    assert next(e.taker for e in result.trace if isinstance(e, Switched)) == "s.continue_with"


def test_the_target_goes_on_as_another_generator(engine: Engine) -> None:
    """Its cache of prompt and kept text is there for whoever goes on."""
    given = recipe({**DRAFT, "end_bias": -99}, {**TARGET, "end_bias": -99}, criterion=SURE, continue_with="large", block=1)
    result = engine.run(given, "a prompt", seed=3)
    passes = [event for event in result.trace if isinstance(event, Forward) and event.node == "large"]
    scored = sum(len(event.data["scores"]) for event in result.trace if isinstance(event, Note))
    prompt_tokens = len(render(Prompt.of("a prompt"), None, FakeBackend(FakeModel()).tokenizer, "")[0])
    switched = next(event for event in result.trace if isinstance(event, Switched))
    assert sum(event.tokens for event in passes) <= prompt_tokens + scored + 1 + (60 - switched.position)


def test_a_stop_string_across_the_switch(engine: Engine) -> None:
    """What another generator goes on from may not end inside a stop string that its own first letter completes."""
    plain = recipe({**DRAFT, "end_bias": -99}, {**TARGET, "end_bias": -99}, criterion=SURE)
    result = engine.run(plain, "a prompt", seed=1)
    position = next(event.position for event in result.trace if isinstance(event, Switched))
    stop = result.text[position - 1 : position + 1]
    stopped = engine.run({**plain, "sampling": {**SETTINGS, "stop": [stop]}}, "a prompt", seed=1)
    assert stopped.text == result.text[: result.text.index(stop)]
    assert stopped.finish_reason == "stop"


@pytest.mark.parametrize("unit", ["tokens", "flops"])
def test_budgets_that_run_out_anywhere(engine: Engine, unit: str) -> None:
    given = recipe({**DRAFT, "end_bias": -99}, {**TARGET, "end_bias": -99}, criterion=SURE, block=4)
    whole = engine.run(given, "a prompt", seed=1, scope="whole")
    flops = sum(event.flops for event in whole.trace if isinstance(event, Forward))
    texts = []
    for share in range(1, 20):
        amount = share * 4 if unit == "tokens" else flops * share / 20
        result = engine.run(given, "a prompt", seed=1, budget=f"{unit}={amount}", scope=f"{unit}{share}")
        assert result.error is None
        assert result.finish_reason == ("budget" if len(result.completion.ids) < 60 else "length")
        assert whole.completion.ids[: len(result.completion.ids)] == result.completion.ids
        assert whole.text.startswith(result.text)
        texts.append(len(result.text))
    assert texts == sorted(texts)
    assert texts[0] == 0 < texts[10] < 60
    assert all(host.slots == 0 and host.pending == 0 for host in engine.hosts())


def test_a_target_whose_context_is_shorter_than_the_draft(engine: Engine) -> None:
    target = {**TARGET, "prompt_format": "raw", "context": 30}
    result = engine.run(recipe({**DRAFT, "end_bias": -99}, target, criterion={"kind": "token_confidence", "gamma": 1}), "hello")
    assert (result.finish_reason, len(result.completion.ids)) == ("length", 25)
    assert not [event for event in result.trace if isinstance(event, Switched)]
    with pytest.raises(ModelError, match="large: the prompt has 40 tokens"):
        engine.run(recipe(target=target), "a" * 40)


def test_a_draft_model_whose_context_is_short(engine: Engine) -> None:
    draft = {**DRAFT, "end_bias": -99, "context": 30}
    result = engine.run(recipe(draft, criterion={"kind": "token_confidence", "gamma": 1}), "hello")
    switched = next(event for event in result.trace if isinstance(event, Switched))
    assert switched.reason == "the draft was cut off"
    assert 20 <= switched.position <= 25


def test_the_draft_has_settings_of_its_own(engine: Engine) -> None:
    """What the draft node sets goes over what is in force; its max_tokens over draft_tokens."""
    draft = {"kind": "sample", "model": {**DRAFT, "end_bias": -99}, "sampling": {"max_tokens": 11, "temperature": 0}}
    never = {"kind": "never"}
    results = [engine.run(recipe(draft, criterion=never, draft_tokens=40), "hello", seed=seed) for seed in (1, 2)]
    positions = [next(event.position for event in result.trace if isinstance(event, Switched)) for result in results]
    for result in results:
        assert next(e for e in result.trace if isinstance(e, NodeFinished) and e.span == 2).tokens == 11
    assert positions[0] == positions[1] > 0
    assert results[0].completion.ids[: positions[0]] == results[1].completion.ids[: positions[0]]
    assert results[0].completion.ids != results[1].completion.ids
    long = recipe({**DRAFT, "end_bias": 3.0}, criterion=never, draft_tokens=5, sampling={"min_tokens": 20})
    assert len(engine.run(long, "hello").completion.ids) >= 20


@pytest.mark.parametrize("kind", ["token_confidence", "window_confidence", "entropy", "loop_discounted"])
def test_a_composed_target_that_forbids_tokens_of_the_draft(engine: Engine, kind: str) -> None:
    """The first of them ends the draft before it, whatever the criterion says, so none is in the answer."""
    target = {"kind": "script_model", "action": "without_a", "models": ["inner"]}
    criterion = {"kind": kind, **({"bound": 0.1} if kind == "entropy" else {"gamma": 0.9})}
    given = recipe({**DRAFT, "end_bias": -99}, target, criterion=criterion, draft_tokens=30)
    given["nodes"]["inner"] = {**TARGET, "end_bias": -99, "sharpness": 4.0}
    result = engine.run(given, "a prompt", seed=1)
    switched = next(event for event in result.trace if isinstance(event, Switched))
    assert switched.reason == "the target finds the next token of the draft impossible"
    assert len(result.completion.ids) > switched.position
    assert 0 not in result.completion.ids
    own = [event for event in result.trace if isinstance(event, Emitted) and event.span == 1]
    assert all(math.isfinite(value) for event in own for value in event.logprobs["large"])
    for event in result.trace:
        assert parse_event(dump_event(event)) == event


def test_nested_in_itself(engine: Engine) -> None:
    given = recipe(criterion=SURE, draft_tokens=30)
    given["nodes"]["outer"] = {"kind": "weak_to_strong", "draft": "s", "target": "third", "criterion": SURE, "draft_tokens": 30}
    given["nodes"]["third"] = {**TARGET, "seed": 8}
    given["output"] = "outer"
    for seed in range(5):
        first, second = (engine.run(given, "a prompt", seed=seed) for _ in range(2))
        assert first.completion == second.completion
        proposers = {event.proposer for event in first.trace if isinstance(event, Emitted) and event.span == 1}
        assert proposers <= {"s", "third"}


def test_what_plans_say(engine: Engine) -> None:
    findings = engine.plan(recipe()).findings
    assert not [finding for finding in findings if finding.level != "info"]
    given = recipe()
    given["nodes"] = {"large": TARGET, "s": {"kind": "weak_to_strong", "draft": "large", "target": "large"}}
    (finding,) = [finding for finding in engine.plan(given).findings if finding.level == "warning"]
    assert "drafts for itself" in finding.message
    with pytest.raises(RecipeError, match=r"s.criterion: 'small' \(fake\) is a LanguageModel, but a SwitchCriterion is wanted"):
        engine.plan(recipe(criterion="small"))
    named = recipe(criterion="when")
    named["nodes"]["when"] = SURE
    assert engine.run(named, "a", seed=1).text == engine.run(recipe(criterion=SURE), "a", seed=1).text


# --- real architectures ---------------------------------------------------------------------------------------------------


def test_on_tiny_models(tmp_path: Any, stage: Any) -> None:
    """Bytes as tokens, characters in pieces; the switch is where the scores of one pass over the whole draft have it."""
    stage.action(plain_draft)
    scores: dict[str, tuple[list[int], list[float]]] = {}

    @stage.action
    async def scored(node: Any, run: Any, prompt: Prompt) -> Any:
        draft = await run.generate(
            node.child, prompt, sampling=run.sampling_of(node.child, Sampling(temperature=1.2, max_tokens=30))
        )
        session = await run.open(node.model, prompt)
        ids = session.tokenizer.encode(draft.text.strip().rstrip("\ufffd").rstrip())
        scores[prompt.text or ""] = ids, (await session.score(ids)).exp().tolist()

    small = {"kind": "huggingface", "source": f"path:{save_tiny_model(tmp_path / 'a', seed=1)}", "dtype": "float32"}
    large = {"kind": "huggingface", "source": f"path:{save_tiny_model(tmp_path / 'b', 'sliding', seed=2)}", "dtype": "float32"}
    prompts = [f"prompt {number}" for number in range(4)]
    with make_engine([stage.plugin, weak_to_strong], store=ModelStore(tmp_path / "store")) as engine:
        for continue_with in (None, "large"):
            criterion = {"kind": "token_confidence", "gamma": 0.1}
            given = recipe(small, large, {"temperature": 1.2, "max_tokens": 100}, criterion=criterion, draft_tokens=30,
                           block=4, continue_with=continue_with, finished_draft="continue")  # fmt: skip
            results = engine.run_many(given, prompts, seed=3)
            given["nodes"]["s"] = {"kind": "script", "action": "scored", "child": "small", "model": "large"}
            engine.run_many(given, prompts, seed=3)
            for prompt, result in zip(prompts, results, strict=True):
                assert result.error is None
                ids, p = scores[prompt]
                sure = next((i for i, value in enumerate(p) if value >= 0.1), len(ids) - 1)
                (switched,) = [event for event in result.trace if isinstance(event, Switched)]
                if continue_with is None:
                    assert switched.position == sure + 1
                else:  # a whole character is handed over
                    assert sure - 3 <= switched.position <= sure + 1
                assert list(result.completion.ids[: switched.position]) == ids[: switched.position]
        assert all(host.slots == 0 for host in engine.hosts())

"""Compositions: components in step with a response in another vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import counterpoint as cp
from counterpoint.composition import BridgedSession, Component, ComposedSession
from counterpoint.errors import BridgeError
from counterpoint.events import Forward, Note
from counterpoint.hooks import hookimpl
from counterpoint.node import Generator, LanguageModel, Node, Ref
from counterpoint.planning import Resources
from counterpoint.prompt import Completion, Prompt
from counterpoint.running import Run
from counterpoint.session import Backend, Session
from counterpoint.testing import CharTokenizer, FakeModel, assert_generator_laws, assert_session_laws, make_engine
from counterpoint.testing.fake import ALPHABET, END, FakeBackend

OTHER = "zyxwvutsrqponmlkjihgfedcba \n.0123"
PARTIAL = {"alphabet": "eabr .", "words": ["th", "the", "he", "her", "re", "ab", "abab", "ba", "e "]}
"""Has no token for t and h alone: what follows one changes how the text is cut."""


class _Sum(ComposedSession):
    def combine(self, rows: Sequence[Tensor], first: int) -> Tensor:
        return rows[0] + sum(part.onto(row, 0.0) for part, row in zip(self.components[1:], rows[1:], strict=True))


class Sum(LanguageModel):
    """The sum of some models' logits, in the vocabulary of the first."""

    kind: Literal["test_sum"] = "test_sum"
    models: tuple[Ref[LanguageModel], ...]

    async def open(self, prompt: Prompt, run: Run) -> Session:
        first, *others = self.models
        leader = await Component.open(first, prompt, run)
        rest = [await Component.open(other, prompt, run, like=leader.session, mapping="shared") for other in others]
        return _Sum(run.path, [leader, *rest], run)


class Bridged(LanguageModel):
    """One model in the vocabulary of another."""

    kind: Literal["test_bridged"] = "test_bridged"
    like: Ref[LanguageModel]
    model: Ref[LanguageModel]
    mapping: Literal["same", "shared", "pm_mined"] = "shared"

    async def open(self, prompt: Prompt, run: Run) -> Session:
        like = await run.open(self.like, prompt)
        part = await Component.open(self.model, prompt, run, like=like, mapping=self.mapping)
        return BridgedSession(run.path, [part], run, like=like)


class _OtherEnd(FakeBackend):
    def __init__(self, node: FakeModel) -> None:
        super().__init__(node)
        self.stop_ids = frozenset({0})


class OtherEnd(FakeModel):
    """A fake whose turns end with its first token instead of its last."""

    kind: Literal["test_other_end"] = "test_other_end"  # type: ignore[assignment]

    def load(self, resources: Resources) -> Backend:
        return _OtherEnd(self)


class Play(Generator):
    """Runs a function of the test on sessions of a model."""

    kind: Literal["test_play"] = "test_play"
    model: Ref[LanguageModel]

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        await Play.current(self, prompt, run)  # type: ignore[attr-defined]
        return run.completion("stop")


class Nodes:
    @staticmethod
    @hookimpl
    def counterpoint_nodes() -> list[type[Node]]:
        return [Sum, Bridged, OtherEnd, Play]


def recipe(**nodes: object) -> dict[str, Any]:
    return {"nodes": nodes, "output": "out"}


FAKES: dict[str, Any] = {
    "one": {"kind": "fake"},
    "same": {"kind": "fake", "seed": 2},
    "other": {"kind": "fake", "seed": 3, "alphabet": OTHER},
    "partial": {"kind": "fake", "seed": 4, **PARTIAL},
    "words": {"kind": "fake", "seed": 5, "words": ["hello", "ther", "bab", "re a", " t"]},
    "far": {"kind": "fake", "seed": 6, "alphabet": "+-*/"},
}


@pytest.fixture(scope="module")
def engine() -> Iterator[cp.Engine]:
    with make_engine([Nodes]) as made:
        yield made


def play(engine: cp.Engine, given: dict[str, Any], function: Any, prompt: Any = "the hat") -> cp.RunResult:
    Play.current = staticmethod(function)  # type: ignore[attr-defined]
    nodes = {**given["nodes"], "play": {"kind": "test_play", "model": given["output"]}}
    return engine.run({"nodes": nodes, "output": "play"}, prompt)


def ids_of(text: str) -> list[int]:
    return [ALPHABET.index(char) for char in text]


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "so. it"])
@pytest.mark.parametrize(
    "parts", [["one", "same"], ["one", "other"], ["one", "partial"], ["one", "other", "same", "words"], ["other", "one"]]
)
def test_a_composition_obeys_the_session_laws(parts: list[str], prefix: str) -> None:
    given = recipe(**FAKES, out={"kind": "test_sum", "models": parts})
    assert_session_laws(given, [3, 1, 26, 8, 27, 28, 5], plugins=[Nodes], prompt={"text": "hello there", "prefix": prefix})


@pytest.mark.parametrize("parts", [["one", "partial"], ["words", "partial"], ["partial", "words"]])
@pytest.mark.parametrize("text", ["there the heat", "abababab ", "t the\nhere", "theththee"])
def test_the_laws_hold_where_texts_are_cut_anew(parts: list[str], text: str) -> None:
    given = recipe(**FAKES, out={"kind": "test_sum", "models": parts})
    fields = FAKES[parts[0]]
    ids = CharTokenizer(fields.get("alphabet", ALPHABET), fields.get("words", ())).encode(text + text)
    assert_session_laws(given, ids, plugins=[Nodes], prompt={"text": "hello there", "prefix": "the a"})


@pytest.mark.parametrize("model", ["other", "partial", "words"])
def test_a_bridged_model_obeys_the_session_laws(model: str) -> None:
    given = recipe(**FAKES, out={"kind": "test_bridged", "like": "one", "model": model})
    assert_session_laws(given, [3, 1, 26, 8, 27, 28, 5, 7, *ids_of("there")], plugins=[Nodes])


def test_a_composition_stands_wherever_a_model_can() -> None:
    given = recipe(**FAKES, out={"kind": "test_sum", "models": ["one", "partial"]})
    assert_generator_laws(given, plugins=[Nodes])
    nested = {**given["nodes"], "more": {"kind": "test_sum", "models": ["same", "out"]}}
    assert_session_laws({"nodes": nested, "output": "more"}, ids_of("there abab"), plugins=[Nodes])


# --- a pure function of the response, however it was fed -------------------------------------------------------------------

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.lists(st.sampled_from([*ids_of("theabr .") * 3, END]), max_size=6), st.integers(0, 6)),
        st.tuples(st.just("back"), st.integers(0, 8), st.none()),
        st.tuples(st.just("fork"), st.booleans(), st.none()),
        st.tuples(st.just("score"), st.lists(st.sampled_from(ids_of("theab")), max_size=4), st.none()),
        st.tuples(st.just("row"), st.none(), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=80)
@given(
    moves=MOVES, parts=st.sampled_from([["one", "partial"], ["one", "words", "partial"], ["one", "other"], ["words", "one"]])
)
def test_its_rows_depend_on_the_response_alone(engine: cp.Engine, moves: list[Any], parts: list[str]) -> None:
    async def current(node: Play, prompt: Prompt, run: Run) -> None:
        session = await run.open(node.model, prompt)
        response = list(session.prefix_ids)

        async def fresh(ids: Sequence[int]) -> Tensor:
            """The row after a response that was fed at once to a session that has seen no other."""
            other = await run.open(node.model, prompt)
            other.rollback(0)
            await other.extend(ids, rows="none")
            row = await other.logits()
            other.close()
            return row

        for move, ids, wanted in moves:
            if move == "extend":
                rows = await session.extend(ids, rows=wanted)
                assert len(rows) == min(wanted, len(ids))
                response += ids
                for index, row in enumerate(reversed(rows)):
                    torch.testing.assert_close(row, await fresh(response[: len(response) - index]))
            elif move == "back":
                session.rollback(max(0, len(response) - ids))
                del response[max(0, len(response) - ids) :]
            elif move == "fork":
                first, second = await session.fork(2)
                await second.extend(ids_of("eht"))
                session, response = (first, response) if ids else (second, [*response, *ids_of("eht")])
            elif move == "score":
                scores = await session.score(ids)
                before = [torch.log_softmax(await fresh([*response, *ids[:at]]), -1) for at in range(len(ids))]
                wanted_scores = [row[token] for row, token in zip(before, ids, strict=True)]
                torch.testing.assert_close(scores, torch.tensor([float(score) for score in wanted_scores]))
                response += ids
            else:
                torch.testing.assert_close(await session.logits(), await fresh(response))
            assert session.length == len(response)
        torch.testing.assert_close(await session.logits(), await fresh(response))

    play(engine, recipe(**FAKES, out={"kind": "test_sum", "models": parts}), current, {"text": "a hat", "prefix": "the "})


def test_rows_are_wanted_in_the_middle_of_what_is_cut_anew(engine: cp.Engine) -> None:
    """Each row is that of the cut of its own moment, although the model has held a part of another for long."""

    async def current(node: Play, prompt: Prompt, run: Run) -> None:
        session = await run.open(node.model, prompt)
        await session.extend(ids_of("abat"))  # what the model holds now does not last
        rows = await session.extend(ids_of("here t"), rows="all")
        for length in range(1, 7):
            alone = await run.open(node.model, prompt)
            await alone.extend(ids_of("abathere t"[: 4 + length]), rows="none")
            assert torch.equal(rows[length - 1], await alone.logits()), length

    play(engine, recipe(**FAKES, out={"kind": "test_bridged", "like": "one", "model": "partial"}), current)


# --- costs ----------------------------------------------------------------------------------------------------------------


def passes(result: cp.RunResult, path: str) -> list[list[int]]:
    """Tokens of each pass of a model, between the notes of a run."""
    found: list[list[int]] = [[]]
    for event in result.trace:
        if isinstance(event, Note):
            found.append([])
        elif isinstance(event, Forward) and event.node == path:
            found[-1].append(event.tokens)
    return found


def test_a_stretch_of_equal_tokens_goes_in_one_pass(engine: cp.Engine) -> None:
    async def current(node: Play, prompt: Prompt, run: Run) -> None:
        session = await run.open(node.model, prompt)
        await session.logits()
        for ids in (ids_of("xyz. xyz"), ids_of("zyx")):
            run.emit(Note(name="next"))
            await session.extend(ids, rows="all")
            session.rollback(5)

    result = play(engine, recipe(**FAKES, out={"kind": "test_sum", "models": ["one", "other"]}), current)
    assert passes(result, "other")[1:] == [[8], [3]]
    assert passes(result, "one")[1:] == [[8], [3]]


def test_a_row_within_a_cut_that_does_not_last_costs_a_pass(engine: cp.Engine) -> None:
    async def current(node: Play, prompt: Prompt, run: Run) -> None:
        for wanted in ("last", "all"):
            session = await run.open(node.model, prompt)
            await session.logits()
            run.emit(Note(name="next"))
            await session.extend(ids_of("ather"), rows=wanted)
            run.emit(Note(name="done"))

    result = play(engine, recipe(**FAKES, out={"kind": "test_bridged", "like": "one", "model": "partial"}), current)
    _, last, _, every, _ = passes(result, "partial")
    assert last == [4]  # a, th, e, r
    assert every == [2, 3]  # a and a token for the lone t; in the place of that th, then e and r


def test_ends_of_turns_are_one_by_their_role(engine: cp.Engine) -> None:
    """The mass of an end goes to the composition's own, and an inner token that is an end is nothing else."""

    async def current(node: Play, prompt: Prompt, run: Run) -> None:
        session = await run.open(node.model, prompt)
        inner = await run.open("other", prompt)
        row, own = await session.logits(), await inner.logits()
        assert row[END] == pytest.approx(float(own[0]))
        assert row[ALPHABET.index("z")].isneginf()
        assert row[ALPHABET.index("y")] == own[1]
        assert row[ALPHABET.index(",")].isneginf()
        await session.extend([END], rows="none")
        await inner.extend([0], rows="none")
        assert (await session.logits())[ALPHABET.index("y")] == (await inner.logits())[1]

    nodes = {**FAKES, "other": {**FAKES["other"], "kind": "test_other_end"}}
    play(engine, recipe(**nodes, out={"kind": "test_bridged", "like": "one", "model": "other"}), current)


@pytest.mark.parametrize(("model", "mapping"), [("far", "shared"), ("far", "pm_mined"), ("other", "same")])
def test_a_mapping_that_the_vocabularies_do_not_allow_is_refused(engine: cp.Engine, model: str, mapping: str) -> None:
    async def current(node: Play, prompt: Prompt, run: Run) -> None:
        await run.open(node.model, prompt)

    given = recipe(**FAKES, out={"kind": "test_bridged", "like": "one", "model": model, "mapping": mapping})
    with pytest.raises(BridgeError, match=f"{model} beside one: the vocabularies") as caught:
        play(engine, given, current)
    assert caught.value.hint
    assert all(host.slots == 0 for host in engine.hosts())


def test_alphabets_of_the_test_differ() -> None:
    assert set(ALPHABET) != set(OTHER)
    assert set(ALPHABET) & set(OTHER)

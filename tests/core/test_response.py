"""A growing response: no token is lost, no text is lost, and it stops where it should."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from counterpoint import Completion, Sampling
from counterpoint.events import Emitted
from counterpoint.response import Response
from counterpoint.testing import CharTokenizer

ALPHABET = "abcd"
END = 4


class Listener:
    """Stands for a run: keeps what is emitted."""

    recipe = SimpleNamespace(record="tokens")

    def __init__(self) -> None:
        self.events: list[Emitted] = []

    def begin(self, response: Response) -> None:
        pass

    def emit(self, event: Emitted) -> None:
        self.events.append(event)

    def completion(self, reason: Any, tokenizer: Any) -> Completion:
        text = "".join(event.text for event in self.events)
        ids = tuple(token for event in self.events for token in event.ids)
        return Completion(text=text, ids=ids, tokenizer=tokenizer.fingerprint, finish_reason=reason)


def respond(
    ids: list[int],
    sampling: Sampling,
    *,
    room: int = 99,
    prefix: tuple[int, ...] = (),
    stops: tuple[str, ...] = (),
    **options: Any,
) -> tuple[Completion, Listener, Response]:
    run = Listener()
    session: Any = SimpleNamespace(
        tokenizer=CharTokenizer(ALPHABET), stop_ids=frozenset({END}), stop_strings=stops, room=room, prefix_ids=prefix
    )
    response = Response(run, session, sampling)  # type: ignore[arg-type]
    for index, token in enumerate(ids):
        if response.finish_reason is not None:
            break
        response.add(token, proposer="p" if index % 3 else "q", decider="d", logprob=-float(index), **options)
    return response.finish(), run, response


STOPS = st.lists(st.text(ALPHABET, min_size=1, max_size=3), max_size=2).map(tuple)


@given(st.lists(st.integers(0, END), max_size=15), STOPS, STOPS, st.integers(1, 12), st.booleans(), st.integers(0, 14))
def test_tokens_and_text(
    ids: list[int], stop: tuple[str, ...], own: tuple[str, ...], most: int, ignore: bool, room: int
) -> None:
    completion, run, response = respond(ids, Sampling(stop=stop, max_tokens=most, ignore_stop=ignore), room=room, stops=own)
    expected: list[int] = []
    reason = "length" if min(most, room) <= 0 else ""
    text = ""
    for token in ids if not reason else ():
        expected.append(token)
        text = "".join(ALPHABET[index] for index in expected if index != END)
        found = [text.find(one) for one in (*stop, *own) if one in text] if not ignore else []
        if found:
            text, reason = text[: min(found)], "stop"
        elif token == END and not ignore:
            reason = "stop"
        elif len(expected) >= min(most, room):
            reason = "length"
        if reason:
            break
    assert list(completion.ids) == expected == response.ids
    assert completion.text == text
    assert completion.finish_reason == (reason or "length")
    emitted = [token for event in run.events for token in event.ids]
    assert emitted == expected
    for event in run.events:
        assert len({event.proposer}) == 1
        assert not event.logprobs or len(event.logprobs["d"]) == len(event.ids)
    assert [value for event in run.events for value in event.logprobs.get("d", ())] == [-float(i) for i in range(len(expected))]


@given(st.lists(st.integers(0, END - 1), max_size=15), STOPS)
def test_every_token_goes_with_its_proposer(ids: list[int], stop: tuple[str, ...]) -> None:
    _, run, response = respond(ids, Sampling(stop=stop))
    said = [(token, event.proposer) for event in run.events for token in event.ids]
    assert said == [(token, "p" if index % 3 else "q") for index, token in enumerate(response.ids)]


def test_the_prefix_is_history_but_no_answer() -> None:
    completion, _, response = respond([2, 3], Sampling(stop=("bc",)), prefix=(0, 1))
    assert response.history == [0, 1, 2, 3]
    assert completion.ids == (2, 3)
    assert completion.text == "cd", "a stop string does not begin in the prefix"


def test_room_in_the_context_limits_the_answer() -> None:
    completion, _, response = respond([0] * 9, Sampling(max_tokens=8), room=5, prefix=(0, 1))
    assert completion.finish_reason == "length"
    assert len(completion.ids) == 3
    assert respond([0], Sampling(), room=2, prefix=(0, 1))[0].ids == ()
    assert response.room == 0


def test_alternatives_are_named_and_what_is_impossible_is_none() -> None:
    _, run, _ = respond([0, 1], Sampling(), alternatives=((1, -0.5), (END, -2.0), (2, float("-inf"))))
    assert [[(one.id, one.text, one.logprob) for one in event.alternatives[0]] for event in run.events] == [
        [(1, "b", -0.5), (END, "<end>", -2.0)]
    ] * 2

"""Prompt look-up: the continuation of the longest match, whatever has been proposed before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from counterpoint.testing import assert_drafter_laws
from counterpoint_plugins.prompt_lookup import _OCCURRENCES, LookupSession

TOKENS = st.integers(0, 2)


def propose(session: LookupSession, response: Sequence[int], limit: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    draft = asyncio.run(session.propose(response, limit, lambda _: True))
    assert draft.logits is None
    return draft.ids, draft.confidence


def by_hand(text: list[int], smallest: int, largest: int, limit: int) -> list[int]:
    """What followed the latest of the earlier occurrences with the longest common end."""
    best, found = 0, 0
    for end in range(smallest, len(text)):
        length = 0
        while length < min(largest, end) and text[end - 1 - length] == text[-1 - length]:
            length += 1
        if length >= max(smallest, best):
            best, found = length, end
    return text[found : found + limit] if best else []


@given(
    st.lists(TOKENS, min_size=1, max_size=_OCCURRENCES - 2),
    st.lists(TOKENS, max_size=4),
    st.integers(1, 3),
    st.integers(0, 4),
    st.integers(1, 6),
)
def test_the_draft_is_what_followed_the_longest_match(
    prompt: list[int], response: list[int], smallest: int, more: int, limit: int
) -> None:
    ids, confidence = propose(LookupSession("l", prompt, smallest, smallest + more), response, limit)
    assert list(ids) == by_hand([*prompt, *response], smallest, smallest + more, limit)
    assert len(confidence) == len(ids)
    assert all(0 < one < 1 for one in confidence)
    assert list(confidence) == sorted(confidence)


@given(st.lists(TOKENS, min_size=1, max_size=30), st.lists(st.lists(TOKENS, max_size=5), max_size=6), st.integers(1, 3))
def test_a_session_that_has_grown_is_as_a_fresh_one(prompt: list[int], pieces: list[list[int]], smallest: int) -> None:
    session = LookupSession("l", prompt, smallest, 5)
    response: list[int] = []
    for piece in pieces:
        response += piece
        assert propose(session, response, 4) == propose(LookupSession("l", prompt, smallest, 5), response, 4)


def test_by_example() -> None:
    text = [ord(letter) for letter in "the cat sat. the dog sat. the "]
    assert "".join(map(chr, propose(LookupSession("l", text, 2, 8), [], 3)[0])) == "dog"
    assert "".join(map(chr, propose(LookupSession("l", text, 2, 8), [ord("c")], 3)[0])) == "at "
    assert propose(LookupSession("l", text, 2, 8), [ord("x")], 3) == ((), ())
    assert propose(LookupSession("l", [1], 2, 8), [], 3) == ((), ())
    assert propose(LookupSession("l", [1, 1, 1, 1], 2, 8), [], 3)[0][:1] == (1,)


def test_a_longer_match_is_surer() -> None:
    short = propose(LookupSession("l", [1, 2, 3, 9, 2], 1, 8), [], 1)
    long = propose(LookupSession("l", [1, 2, 3, 4, 1, 2, 3], 1, 8), [], 1)
    assert long[0] == (4,)
    assert long[1] > short[1]


def test_the_laws_hold() -> None:
    nodes = {"m": {"kind": "fake"}, "l": {"kind": "prompt_lookup"}}
    assert_drafter_laws({"nodes": nodes, "output": "l"}, "m")
    assert_drafter_laws(
        {"nodes": {**nodes, "l": {"kind": "prompt_lookup", "min_ngram": 1}}, "output": "l"}, "m", prompt="aaaa bbbb aaaa"
    )


def test_long_texts_take_no_long_time() -> None:
    """All the same token: the worst there is for looking back."""
    session = LookupSession("l", [1] * 20_000, 2, 64)
    response: list[int] = []
    for _ in range(500):
        response += [1] * 4
        assert propose(session, response, 8)[0]

"""Plain data round trips exactly; everything else, and every forged message, is refused without harm."""

from __future__ import annotations

import enum
import math
import os
import threading
from collections import Counter, OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.sandbox.inside import codec, wire
from counterpoint.sandbox.inside.codec import MalformedError, NotPlainError, decode, encode

# Surrogates too: a candidate may well return one.
TEXTS = st.text(st.characters(codec=None, exclude_categories=()))
INTEGERS = st.integers() | st.integers(-(2**70), 2**70) | st.integers(0, 400).map(lambda bits: -(1 << bits))
HASHABLE: Any = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats() | TEXTS | st.binary() | st.complex_numbers(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4),
    max_leaves=6,
)
VALUES: Any = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=4),
    lambda inner: st.lists(inner, max_size=5) | st.tuples(inner) | st.dictionaries(HASHABLE, inner, max_size=4),
    max_leaves=20,
)


def shape(value: Any) -> Any:
    """A value in a form that compares types, NaNs, signs of zero and order."""
    if isinstance(value, float):
        return ("float", value.hex())
    if isinstance(value, complex):
        return ("complex", value.real.hex(), value.imag.hex())
    if isinstance(value, (list, tuple)):
        return (type(value), [shape(item) for item in value])
    if isinstance(value, (set, frozenset)):
        return (type(value), sorted(repr(shape(item)) for item in value))
    if isinstance(value, dict):
        return (dict, [(shape(key), shape(item)) for key, item in value.items()])
    return (type(value), value)


@given(VALUES)
def test_plain_data_round_trips(value: Any) -> None:
    assert shape(decode(encode(value))) == shape(value)


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**5000), 2**53, -(2**53), 2**53 - 1, -0.0, math.inf, -math.inf, "\ud83d"],
    ids=lambda value: type(value).__name__,
)
def test_awkward_scalars_round_trip(value: object) -> None:
    assert shape(decode(encode(value))) == shape(value)


def test_lone_surrogates_are_not_joined() -> None:
    pair = "\ud83d" + "\ude00"
    assert len(decode(encode(pair))) == 2


class Lying(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __index__(self) -> int:
        raise AssertionError("called")

    __int__ = __str__ = __repr__ = __format__ = __index__  # type: ignore[assignment]


class LyingText(str):
    def __str__(self) -> str:
        raise AssertionError("called")

    __len__ = __iter__ = encode = __str__  # type: ignore[assignment]


class LyingList(list[int]):
    def __iter__(self) -> Any:
        raise AssertionError("called")

    __len__ = __getitem__ = __iter__


class LyingDict(dict[str, int]):
    def items(self) -> Any:
        raise AssertionError("called")

    __iter__ = keys = __getitem__ = items


Pair = namedtuple("Pair", "left right")
Colour = enum.IntEnum("Colour", "RED GREEN")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Lying(7), 7),
        (Lying(10**30), 10**30),
        (LyingText("text"), "text"),
        (LyingList([1, 2]), [1, 2]),
        (LyingDict(a=1), {"a": 1}),
        (Pair(1, 2), (1, 2)),
        (Colour.GREEN, 2),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_are_reduced_to_their_contents(value: object, plain: object) -> None:
    decoded = decode(encode(value))
    assert shape(decoded) == shape(plain)
    assert type(decoded) is type(plain)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def shared() -> list[Any]:
    """Small in memory, and two to the fiftieth when written out."""
    value: list[Any] = []
    for _ in range(50):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        object(),
        (n for n in range(3)),
        range(3),
        len,
        int,
        {1: object()},
        [b"", bytearray(b"x")],
        {}.keys(),
        NotImplemented,
        ...,
        nested(codec.MAX_DEPTH + 1),
        nested(5000),
        circle(),
        shared(),
        1 << (8 * codec.MAX_BYTES),
        "x" * (codec.MAX_BYTES + 1),
        "é" * (codec.MAX_BYTES // 2 + 1),
        bytes(codec.MAX_BYTES),
        [0] * (codec.MAX_ITEMS + 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_else_is_refused(value: object) -> None:
    with pytest.raises(NotPlainError):
        encode(value)


def test_what_is_just_within_bounds_arrives() -> None:
    for value in (nested(codec.MAX_DEPTH), [0] * (codec.MAX_ITEMS - 1), "x" * (codec.MAX_BYTES - 2)):
        assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"{}",
        b'{"l": 1}',
        b"[]",
        b"[1]",
        b"[[]]",
        b"[null]",
        b'["q", 1]',
        b'["", 1]',
        b'["s", ["l"]]',
        b'["z", ["s"]]',
        b'["d", 1]',
        b'["d", ["l"], 1]',
        b'["i"]',
        b'["i", 5]',
        b'["i", "xyz"]',
        b'["i", "1", "2"]',
        b'["f", "one"]',
        b'["f", ["l"]]',
        b'["c", "1"]',
        b'["u", "zz"]',
        b'["u", "ff"]',
        b'["b", "abc"]',
        b"NaN",
        b"Infinity",
        b"1" * 5000,
        b'["l", ' + b"1" * 30 + b"]",
        b'["l",' * 200 + b"1" + b"]" * 200,
        b"[" * 1_000_000,
        b'["l"' + b",0" * (codec.MAX_ITEMS + 1) + b"]",
        b" " * (codec.MAX_BYTES + 1),
    ],
    ids=lambda message: repr(message[:20]),
)
def test_a_malformed_message_is_refused(message: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(message)


@given(st.binary() | st.text(alphabet='[]{}",:0123456789ltszdicufbe.-ANa ').map(str.encode))
def test_no_message_does_anything_else(message: bytes) -> None:
    try:
        value = decode(message)
    except MalformedError:
        return
    assert shape(decode(encode(value))) == shape(value), "what arrives is plain data"


def test_messages_cross_a_pipe_whole() -> None:
    receiving, sending = os.pipe()
    values = ["x" * 300_000, [1, 2], None]
    thread = threading.Thread(target=lambda: [wire.send(sending, value) for value in values] and os.close(sending))
    thread.start()
    assert [wire.receive(receiving) for _ in values] == values
    thread.join()
    with pytest.raises(wire.GoneError, match="it ended"):
        wire.receive(receiving)
    os.close(receiving)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"\xff\xff\xff\xff", "announced a message of 4294967295 bytes"),
        (b"\x00\x00", "it ended"),
        (b"\x00\x00\x00\x05ab", "it ended"),
        (b"\x00\x00\x00\x02{}", "malformed"),
    ],
)
def test_a_message_of_no_honest_sender(sent: bytes, said: str) -> None:
    receiving, sending = os.pipe()
    os.write(sending, sent)
    os.close(sending)
    with pytest.raises(wire.GoneError, match=said):
        wire.receive(receiving)
    os.close(receiving)


def test_nobody_listens() -> None:
    receiving, sending = os.pipe()
    os.close(receiving)
    with pytest.raises(wire.GoneError):
        wire.send(sending, 1)
    os.close(sending)

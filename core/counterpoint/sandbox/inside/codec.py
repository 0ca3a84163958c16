"""Plain data as bytes and back: what crosses between the two sandboxed processes of a judgment. Never pickle.

Plain data is None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset and dict, nested. The bytes are JSON of
scalars and arrays; an array begins with a tag. A value that arrives is made of exactly these types, whatever was sent, so that it
brings no methods of its own. The sender is not trusted: sizes and depths are bounded on both sides, and what is not understood
is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

MAX_BYTES = 8 * 2**20
"""Longest encoded value."""
MAX_DEPTH = 100
"""Deepest nesting."""
MAX_ITEMS = 500_000
"""Most values in one, counting every element of every container."""

_SMALL = 2**53  # integers from here on travel in hexadecimal: decimal takes quadratic time, and Python caps its digits


class NotPlainError(Exception):
    """A value that is not plain data, or too much of it."""


class TooMuchError(NotPlainError):
    """Plain data, but too large or too deep."""


class MalformedError(Exception):
    """Bytes that are not an encoded value."""


def encode(value: object) -> bytes:
    """The value as bytes.

    Instances of subclasses of the plain types are reduced to their contents. These are read through the plain types' own
    methods, so nothing of what a subclass overrides is called.

    Raises:
        NotPlainError: the value is or holds something else; as TooMuchError, it is too large or too deep.
    """
    encoded = json.dumps(_Encoder().node(value, 0), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(encoded) > MAX_BYTES:
        raise TooMuchError("too large")
    return encoded


class _Encoder:
    def __init__(self) -> None:
        self.items = 0
        self.bytes = 0

    def node(self, value: object, depth: int) -> object:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise TooMuchError("too many items")
        if depth > MAX_DEPTH:
            raise TooMuchError("nested too deeply")
        if value is None or value is True or value is False:
            return value
        kind = type(value)  # isinstance would believe a `__class__` that lies
        for base, encoder in _ENCODERS:
            if kind is base or issubclass(kind, base):
                return encoder(self, value, depth)
        raise NotPlainError(f"a value of type {_name_of(kind)}")

    def scalar(self, size: int) -> None:
        self.bytes += size
        if self.bytes > MAX_BYTES:
            raise TooMuchError("too large")

    def nodes(self, tag: str, items: Iterable[object], depth: int) -> list[object]:
        return [tag, *[self.node(item, depth + 1) for item in items]]


def _name_of(kind: type) -> str:
    name = type.__dict__["__name__"].__get__(kind)  # a metaclass may answer `kind.__name__` itself
    return str.__str__(name)[:100]


def _int(encoder: _Encoder, value: Any, depth: int) -> object:
    encoder.scalar(int.bit_length(value) // 4)
    plain = int.__index__(value)
    return plain if -_SMALL < plain < _SMALL else ["i", format(plain, "x")]


def _float(encoder: _Encoder, value: Any, depth: int) -> object:
    plain = float.__float__(value)
    return plain if plain - plain == 0 else ["f", float.__repr__(plain)]  # neither infinity nor NaN


def _complex(encoder: _Encoder, value: Any, depth: int) -> object:
    parts = (complex.__dict__[part].__get__(value) for part in ("real", "imag"))
    return ["c", *[float.__repr__(part) for part in parts]]


def _str(encoder: _Encoder, value: Any, depth: int) -> object:
    plain = str.__str__(value)
    encoder.scalar(len(plain))
    try:
        plain.encode()
    except UnicodeEncodeError:  # lone surrogates: JSON would join two of them
        return ["u", plain.encode("utf-8", "surrogatepass").hex()]
    return plain


def _bytes(encoder: _Encoder, value: Any, depth: int) -> object:
    encoder.scalar(2 * bytes.__len__(value))
    return ["b", bytes.hex(value)]


def _dict(encoder: _Encoder, value: Any, depth: int) -> object:
    return encoder.nodes("d", [part for item in dict.items(value) for part in item], depth)


_ENCODERS: tuple[tuple[type, Callable[[_Encoder, Any, int], object]], ...] = (
    (int, _int),
    (str, _str),
    (list, lambda encoder, value, depth: encoder.nodes("l", list.__iter__(value), depth)),
    (float, _float),
    (tuple, lambda encoder, value, depth: encoder.nodes("t", tuple.__iter__(value), depth)),
    (dict, _dict),
    (set, lambda encoder, value, depth: encoder.nodes("s", set.__iter__(value), depth)),
    (frozenset, lambda encoder, value, depth: encoder.nodes("z", frozenset.__iter__(value), depth)),
    (bytes, _bytes),
    (complex, _complex),
)


def decode(encoded: bytes) -> Any:
    """The value that was encoded: only exact builtin types.

    Raises:
        MalformedError: these are not the bytes of a value, or of too large or too deep a one.
    """
    if len(encoded) > MAX_BYTES:
        raise MalformedError("too long")
    try:
        tree = json.loads(encoded.decode(), parse_int=_decimal, parse_constant=_constant)
        return _Decoder().value(tree, 0)
    except MalformedError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise MalformedError(f"{type(error).__name__}") from None


def _decimal(digits: str) -> int:
    if len(digits) > 20:
        raise MalformedError("a long decimal number")
    return int(digits)


def _constant(name: str) -> object:
    raise MalformedError(name)


class _Decoder:
    def __init__(self) -> None:
        self.items = 0

    def value(self, node: Any, depth: int) -> Any:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise MalformedError("too many items")
        if depth > MAX_DEPTH:
            raise MalformedError("nested too deeply")
        if not isinstance(node, (list, dict)):
            return node
        if isinstance(node, dict) or not node or not isinstance(node[0], str):
            raise MalformedError("an object, or an array without a tag")
        tag, rest = node[0], node[1:]
        if tag in _CONTAINERS:
            return _CONTAINERS[tag](self.value(item, depth + 1) for item in rest)
        if tag == "d":
            parts = [self.value(item, depth + 1) for item in rest]
            return dict(zip(parts[::2], parts[1::2], strict=True))
        if tag not in _SCALARS or not all(isinstance(part, str) for part in rest):
            raise MalformedError("an unknown tag, or a scalar that is not text")
        return _SCALARS[tag](*rest)


_CONTAINERS: dict[str, Callable[[Iterable[Any]], Any]] = {"l": list, "t": tuple, "s": set, "z": frozenset}
_SCALARS: dict[str, Callable[..., Any]] = {
    "i": lambda digits: int(digits, 16),
    "f": float,
    "c": lambda real, imag: complex(float(real), float(imag)),
    "u": lambda digits: bytes.fromhex(digits).decode("utf-8", "surrogatepass"),
    "b": bytes.fromhex,
}

"""Data that changes by making another one: copies of frozen data, sequences that only grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


def changed(value: T, **changes: Any) -> T:
    """A copy of frozen data with some fields changed.

    What :func:`dataclasses.replace` does, for classes without slots, at a tenth of its time: it is most of what an event costs.
    """
    made = object.__new__(type(value))
    object.__setattr__(made, "__dict__", value.__dict__ | changes)
    return made


class Log(Sequence[T], Generic[T]):
    """A sequence that only grows, of which every earlier state stays what it was.

    All states of one history share a list and look at as much of it as they know; whoever goes on from an earlier state than the
    last gets a copy. (Of pyrsistent's vector every state is a tree of its own to the garbage collector, which then walks through a
    long answer once for each of a thousand states: a tenth of a second, in the middle of typing.)
    """

    __slots__ = ("_items", "_length")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items = list(items)
        self._length = len(self._items)

    def append(self, item: T) -> Log[T]:
        """The same with one more."""
        items, length = self._items, self._length
        if len(items) != length:  # another state has gone on from here
            items = items[:length]
        items.append(item)
        made: Log[T] = object.__new__(Log)
        made._items, made._length = items, length + 1
        return made

    def extend(self, more: Iterable[T]) -> Log[T]:
        """The same with some more."""
        made = self
        for item in more:
            made = made.append(item)
        return made

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return islice(self._items, self._length)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._length)
            return self._items[start:stop:step] if step > 0 else [self._items[place] for place in range(start, stop, step)]
        if index < 0:
            index += self._length
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self._items[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Log):
            return NotImplemented
        if self._length != other._length:
            return False
        return self._items is other._items or all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Log({list(self)!r})"

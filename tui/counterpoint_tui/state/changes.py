"""Where two texts differ, word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MANY = 4000
"""Words in two texts together from which on they are compared by lines first, and frequent words are not looked for one by one."""
_MOST = 20_000
"""Words of two stretches together from which on they are not compared word by word: it would take minutes."""


@dataclass(frozen=True, slots=True)
class Change:
    """A stretch of two texts: the same in both (then ``a == b``), or what the one has where the other has something else."""

    a: str
    b: str

    @property
    def same(self) -> bool:
        """Whether both have it."""
        return self.a == self.b


def text_changes(a: str, b: str) -> tuple[Change, ...]:
    """Two texts word by word; joined, the left and the right sides are the texts.

    Long ones are compared line by line first, and then those lines that differ.
    """
    if len(_WORDS.findall(a)) + len(_WORDS.findall(b)) <= _MANY:
        return tuple(_joined(_by_words(a, b)))
    left, right = a.splitlines(keepends=True), b.splitlines(keepends=True)
    found: list[Change] = []
    for tag, start, end, begin, stop in difflib.SequenceMatcher(None, left, right).get_opcodes():
        if tag == "equal":
            found.append(Change("".join(left[start:end]), "".join(right[begin:stop])))
        elif end - start == stop - begin:
            for one, other in zip(left[start:end], right[begin:stop], strict=True):
                found += _by_words(one, other)
        else:
            found += _by_words("".join(left[start:end]), "".join(right[begin:stop]))
    return tuple(_joined(found))


def _by_words(a: str, b: str) -> Iterator[Change]:
    left, right = _WORDS.findall(a), _WORDS.findall(b)
    start = _common(left, right)
    end = _common(left[start:][::-1], right[start:][::-1])
    yield _change(left[:start], right[:start])
    yield from _inner(left[start : len(left) - end], right[start : len(right) - end])
    yield _change(left[len(left) - end :], right[len(right) - end :])


def _inner(left: Sequence[str], right: Sequence[str]) -> Iterator[Change]:
    if len(left) + len(right) > _MOST:
        yield _change(left, right)
        return
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=len(left) + len(right) > _MANY)
    for _, start, end, begin, stop in matcher.get_opcodes():
        yield _change(left[start:end], right[begin:stop])


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """How many words both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _change(left: Sequence[str], right: Sequence[str]) -> Change:
    return Change("".join(left), "".join(right))


def _joined(changes: Iterable[Change]) -> Iterator[Change]:
    """Changes, those of one sort that follow one another as one, and none without text."""
    for _, group in groupby((change for change in changes if change.a or change.b), key=lambda change: change.same):
        run = list(group)
        yield Change("".join(change.a for change in run), "".join(change.b for change in run))

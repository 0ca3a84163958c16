"""Fuzzy search: which texts a query finds, best first; the matcher is Textual's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from textual.fuzzy import FuzzySearch

_ITEM = TypeVar("_ITEM")
_WAYS = 500
"""Most ways to find a word's letters in a text that are looked through; Textual's matcher tries all, which may be millions."""
_SCATTERED = 0.1


class Search(Generic[_ITEM]):
    """Scores texts by a query. Each word of the query has to be found, and a text's score is the sum over them."""

    def __init__(self, query: str) -> None:
        self._words = query.lower().split()
        self._fuzzy = FuzzySearch()

    def score(self, text: str) -> float:
        """How well a text matches; 0 when it does not, and 1 for an empty query."""
        text = text.lower()
        scores = [self._score(word, text) for word in self._words]
        return 1.0 if not scores else 0.0 if 0.0 in scores else sum(scores)

    def _score(self, word: str, text: str) -> float:
        if word not in text and not _few_ways(word, text):
            return _SCATTERED if _in_order(word, text) else 0.0
        return self._fuzzy.match(word, text)[0]

    def best(self, items: Iterable[tuple[_ITEM, tuple[str, str]]]) -> list[_ITEM]:
        """The items that match, best first; a match in the first of an item's two texts (its name) counts twice."""
        found = []
        for place, (item, (name, rest)) in enumerate(items):
            score = max(2 * self.score(name), self.score(f"{name} {rest}"))
            if score:
                found.append((-score, place, item))
        return [item for _, _, item in sorted(found, key=lambda one: one[:2])]


def _few_ways(word: str, text: str) -> bool:
    ways = 1
    for letter in word:
        ways *= text.count(letter)
    return ways <= _WAYS


def _in_order(word: str, text: str) -> bool:
    letters = iter(text)
    return all(letter in letters for letter in word)

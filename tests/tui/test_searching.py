"""Fuzzy search."""

from __future__ import annotations

import time

import pytest

from counterpoint_tui.searching import Search


def best(query: str, *names: str) -> list[str]:
    return Search[str](query).best((name, (name, "")) for name in names)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["speculative", "speculative-rejection", "small", "sample"]),
        ("spec", ["speculative", "speculative-rejection"]),
        ("SMALL", ["small"]),
        ("spre", ["speculative-rejection"]),
        ("rejection spec", ["speculative-rejection"]),
        ("sml", ["small", "sample"]),
        ("nothing", []),
    ],
)
def test_what_is_found(query: str, found: list[str]) -> None:
    assert best(query, "speculative", "speculative-rejection", "small", "sample") == found


def test_a_name_counts_more_than_what_is_said_of_it() -> None:
    items = [("a", ("contrastive", "a small model beside")), ("b", ("small", "alone"))]
    assert Search[str]("small").best(items) == ["b", "a"]


def test_no_query_takes_long() -> None:
    """Textual's matcher would try some 10¹³ ways to find these letters in this text."""
    text = "e " * 100
    started = time.monotonic()
    assert 0 < Search[str]("e" * 20).score(text) < 1
    assert Search[str]("f" * 20).score(text) == 0
    assert time.monotonic() - started < 1

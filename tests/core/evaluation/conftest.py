"""Records of evaluations that never were; small data sets, and an engine with the fake model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from counterpoint.evaluation.records import Configuration, Cost, DataDescription, Record, ScoreRecord


class Invented:
    """Makes configurations and records."""

    def configuration(self, name: str, *scorers: str, **other: Any) -> Configuration:
        settings: dict[str, Any] = {
            "name": name,
            "recipe": {"name": name, "nodes": {"m": {"kind": "fake"}}},
            "task": "code",
            "data": DataDescription(name="small", sha256="3f2a" * 16, examples=40),
            "scorers": {scorer: {"kind": scorer} for scorer in scorers or ("tests",)},
        }
        return Configuration(**settings | other)

    def records(
        self, values: Sequence[float | Sequence[float | None] | None], scorer: str = "tests", **other: Any
    ) -> list[Record]:
        """A record per value, or per sample where an example has several; ``other`` are fields of the cost, and ``first``."""
        first, text = other.pop("first", 0), other.pop("text", "")
        found = []
        for example, value in enumerate(values, first):
            samples = list(value) if isinstance(value, Sequence) else [value]
            for sample, one in enumerate(samples):
                cost = Cost(**{"flops": 100.0, "tokens": 10, "answer_tokens": 8, "share": 0.5} | other)
                scores = {scorer: ScoreRecord(value=one)}
                answer = text or f"answer {example} {sample}"
                found.append(Record(id=f"e{example:03}", sample=sample, text=answer, scores=scores, cost=cost))
        return found

    def failed(self, example: int, **other: Any) -> Record:
        return Record(id=f"e{example:03}", error="it broke", hint="mend it", finish_reason="failed", **other)


@pytest.fixture(scope="session")
def invented() -> Invented:
    return Invented()


RECIPE = {
    "name": "fake",
    "nodes": {"m": {"kind": "fake", "end_bias": -1.0, "memory": 30}},
    "output": "m",
    "sampling": {"max_tokens": 20},
    "tasks": {"math": {"template": "{{ question }}"}},
}
# letters, for the fake model knows no digits
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
QUESTIONS = [{"question": f"what is {word} and {word}", "answer": f"#### {2 * n}"} for n, word in enumerate(NUMBERS, 1)]


@pytest.fixture
def recipe() -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(RECIPE))
    return copy


@pytest.fixture
def questions() -> list[dict[str, str]]:
    return [dict(row) for row in QUESTIONS]


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of JSON lines; strings are written as they are."""

    def write(*rows: Any, name: str = "data.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def registry() -> Any:
    from counterpoint.registry import load_plugins
    from counterpoint.testing import fake

    return load_plugins([fake])


@pytest.fixture
def engine() -> Iterator[Any]:
    from counterpoint.testing import make_engine

    with make_engine() as made:
        yield made
        for host in made.hosts():
            assert host.slots == 0, "a session was left open"

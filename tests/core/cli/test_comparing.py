"""Comparisons in the terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from counterpoint.cli.comparing import show_comparison, verdict_lines
from counterpoint.evaluation.comparison import Comparison, compare
from counterpoint.evaluation.figures import Settings
from counterpoint.evaluation.outcomes import Measure
from counterpoint.evaluation.records import Configuration, Cost, DataDescription, Record, ScoreRecord


def comparison(*scorers: str) -> Comparison:
    def evaluation(name: str, right: int) -> tuple[Configuration, list[Record]]:
        scored = {scorer: {"kind": scorer} for scorer in scorers}
        data = DataDescription(name="d", sha256="0", examples=40)
        configuration = Configuration(name=name, recipe={}, task="t", data=data, scorers=scored)
        cost = Cost(flops=2.5e13, tokens=120, seconds=12.5)
        return configuration, [
            Record(id=f"{index:02}", scores={one: ScoreRecord(value=float(index < right)) for one in scorers}, cost=cost)
            for index in range(40)
        ]

    measures = [Measure(scorers[0], verdicts=True), *(Measure(one, lower_is_better=True) for one in scorers[1:])]
    evaluations = [evaluation("large-with-a-long-name", 30), evaluation("[red]small", 10)]
    return compare(evaluations, measures, settings=Settings(resamples=99))


def shown(found: Comparison, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False, emoji=False)
    show_comparison(console, found, **options)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_verdict_table_and_notes_in_eighty_columns() -> None:
    text = shown(comparison("tests"))
    assert "is better than" in text
    table = text[text.index("recipe ") :].splitlines()
    assert table[0].split() == ["recipe", "tests", "FLOPs", "time", "tokens"]
    assert table[1].split() == ["large-with-a-long-name", "75.0", "%", "25", "TFLOP", "12", "s", "120"]
    assert table[2].split() == ["59.8–85.8"]
    assert "[red]small" in text
    assert "note: 95 % intervals over examples" in text


def test_three_scorers_still_fit() -> None:
    found = comparison("tests", "rouge", "bits_per_byte")
    text = shown(found)
    assert "…" not in text[text.index("recipe ") :].split("intervals over")[0]
    assert "bits_per_byte" in text
    assert text.count("59.8–85.8") == 1
    assert len(verdict_lines(found)) == 1
    assert len(verdict_lines(found, every=True)) == 3

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from counterpoint.errors import RunError
from counterpoint.events import CandidateFinished, CandidateScored, Emitted, Event, Failed, NodeStarted, RunStarted
from counterpoint.prompt import Completion, Prompt
from counterpoint.recording import EVENTS, RECIPE
from counterpoint.runstore import RunStore
from counterpoint_tui.state import TraceView, answer_text, fold
from counterpoint_tui.state.export import ExportFormat, export, page, write_export

Traces = dict[str, tuple[Event, ...]]
Record = Callable[[str], Path]
EVIL = "</div><script>alert('x')</script> & <b title=\"q\">\x00\x1b[31m\ud800"


class Page(HTMLParser):
    """What a browser would make of a page: well-formed, with its texts and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.answer = ""
        self._inside = 0
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag in ("meta", "br"):
            return
        if self._inside or ("class", "answer said") in attributes:
            self._inside += 1
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._inside = max(0, self._inside - 1)

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.answer += data


def test_text_json_and_recipe_are_those_of_the_command_line(name: str, record: Record, store: RunStore) -> None:
    folder = record(name)
    trace = TraceView.open(folder)
    formats: list[ExportFormat] = ["text", "json", "recipe"]
    for format in formats:  # noqa: A001
        assert export(trace, format) == store.export(folder.name, format)


def test_a_live_run_is_exported_from_its_events(traces: Traces, record: Record) -> None:
    live = TraceView.of(traces["cascade"])
    stored = TraceView.open(record("cascade"))
    assert export(live, "text") == export(stored, "text")
    assert yaml.safe_load(export(live, "recipe")) == yaml.safe_load(export(stored, "recipe"))
    ours, theirs = json.loads(export(live, "json")), json.loads(export(stored, "json"))
    assert ours["events"] == theirs["events"]
    assert ours["result"]["summary"] == theirs["result"]["summary"]
    assert ours["result"]["started"] == pytest.approx(theirs["result"]["started"], abs=600)


def test_a_damaged_run_is_exported_as_far_as_it_can_be_read(record: Record, traces: Traces) -> None:
    folder = record("speculative")
    lines = (folder / EVENTS).read_bytes().splitlines(keepends=True)
    (folder / EVENTS).write_bytes(b"".join([*lines[:30], b"garbage\n", *lines[30:60], lines[60][:20]]))
    (folder / RECIPE).unlink()
    (folder / "result.json").unlink()
    trace = TraceView.open(folder)
    with pytest.raises(RunError):
        RunStore(folder.parent).export(folder.name, "json")
    data = json.loads(export(trace, "json"))
    assert len(data["events"]) == 60
    assert data["result"]["status"] == "interrupted"
    assert export(trace, "text") == answer_text(fold(traces["speculative"][:60]))
    assert yaml.safe_load(export(trace, "recipe"))["output"] == "answer"
    made = export(trace, "html")
    assert "line 31 is no event" in made
    assert "the run was interrupted" in made


def test_a_page_is_whole_and_says_what_the_run_said(name: str, traces: Traces) -> None:
    state = fold(traces[name])
    made = Page(page(state))
    assert made.answer == answer_text(state)
    assert "script" not in made.tags
    outside = [value for key, value in made.attributes if key in ("src", "href", "srcset", "data", "action")]
    assert outside == []


def test_a_page_loads_nothing_and_has_colours_for_both_schemes(traces: Traces) -> None:
    text = page(fold(traces["nested"]))
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "Candidates of stages" in text
    assert "Candidates of best" in text
    assert "Timeline" in text
    assert "% under large" in text


def test_what_models_say_is_shown_and_never_obeyed() -> None:
    events: list[Event] = [
        RunStarted(
            run_id=EVIL, recipe={"name": EVIL, "nodes": {EVIL: {"kind": "x"}}, "output": "o"}, prompt=Prompt(text=EVIL), seed=1
        ),
        NodeStarted(kind=EVIL, role="Generator", span=1, parent=0, node=EVIL),
        Emitted(text=EVIL, ids=(1,), proposer=EVIL, decider=EVIL, logprobs={EVIL: (-1.0,)}, span=1, parent=0, node=EVIL),
        CandidateFinished(candidate=0, completion=Completion(text=EVIL, finish_reason="stop"), span=1, parent=0),
        CandidateScored(candidate=0, verifier=EVIL, score=float("nan"), detail=EVIL, span=1, parent=0),
        Failed(error="E", message=EVIL, hint=EVIL, span=0),
    ]
    made = page(fold(events), [EVIL])
    parsed = Page(made)
    assert "script" not in parsed.tags
    assert parsed.tags.count("b") == 0
    assert parsed.answer == EVIL.replace("\x00", "�").replace("\x1b", "�").replace("\ud800", "�")
    made.encode("utf-8")


def test_a_long_answer_has_a_tooltip_for_each_stretch() -> None:
    events = [
        Emitted(text="x", ids=(1,), proposer="a" if number % 5000 < 2500 else "b", decider="b", span=1, parent=0)
        for number in range(25_000)
    ]
    made = Page(page(fold(events)))
    assert made.answer == "x" * 25_000
    assert sum(key == "title" for key, _ in made.attributes) < 20


def test_an_export_is_written_in_one_step_or_not_at_all(record: Record, tmp_path: Path) -> None:
    trace = TraceView.open(record("sample"))
    target = tmp_path / "made" / "run.html"
    write_export(trace, "html", target)
    assert target.read_text(encoding="utf-8") == export(trace, "html")
    assert [entry.name for entry in target.parent.iterdir()] == ["run.html"]
    with pytest.raises(RunError, match="cannot write") as caught:
        write_export(trace, "text", target / "below.txt")
    assert caught.value.hint

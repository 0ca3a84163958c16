"""Two answers beside each other, and those of two stored runs. Blocking, and fit for a thread; no Textual."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from counterpoint.cli.console import flops_text, seconds_text
from counterpoint.prompt import Prompt
from counterpoint.runstore import RunStore
from counterpoint_tui.state import RunState, TraceView, summary
from counterpoint_tui.state.changes import Change
from counterpoint_tui.state.compare import FigureRow, compare_runs
from counterpoint_tui.texts import one_line


@dataclass(frozen=True)
class Side:
    """One of the answers."""

    name: str
    facts: str
    """Score, cost and how it ended, on one line."""
    run: str = ""
    """The stored run it is of."""


@dataclass(frozen=True)
class Answers:
    """Two answers, or one."""

    sides: tuple[Side, ...]
    changes: tuple[Change, ...]
    figures: tuple[FigureRow, ...]
    asked: tuple[tuple[str, str], ...]
    """Prompt, references and the like, each with what it is called."""
    notes: tuple[str, ...] = ()
    """What a reader has to know."""
    remarks: tuple[str, ...] = ()
    """What else was said of them: why one failed, details of scores."""


def answers_of_runs(*ids: str) -> Answers:
    """Two stored runs.

    Raises:
        RunError: one of them is not there, or cannot be read.
    """
    store = RunStore()
    traces = [TraceView.open(store.path(one)) for one in ids]
    a, b = (trace.last for trace in traces)
    made = compare_runs(a, b)
    damage = [f"{name}: {problem.message}" for name, trace in zip("AB", traces, strict=True) for problem in trace.problems]
    names = [str(one.recipe.get("name", "")) or "a run" for one in (a, b)]
    sides = tuple(
        Side(f"{one_line(name)}, {_when(state.started)}", _cost(state), run)
        for name, state, run in zip(names, (a, b), ids, strict=True)
    )
    return Answers(sides, made.changes, made.figures, _prompts(a.prompt, b.prompt), (*made.notes, *damage))


def _when(started: str) -> str:
    try:
        return f"{datetime.datetime.fromisoformat(started).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return "at an unknown time"


def _cost(state: RunState) -> str:
    found = summary(state)
    return f"{found.answer_tokens} tokens, {seconds_text(found.seconds - found.preparing_seconds)}, {flops_text(found.flops)}"


def _prompts(a: Prompt | None, b: Prompt | None) -> tuple[tuple[str, str], ...]:
    if a == b:
        return _prompt(a, "")
    return (*_prompt(a, "A: "), *_prompt(b, "B: "))


def _prompt(prompt: Prompt | None, label: str) -> tuple[tuple[str, str], ...]:
    if prompt is None:
        return ((f"{label}prompt", "not known"),)
    said = [("prompt", prompt.text)] if prompt.text is not None else [(one.role, one.content) for one in prompt.messages]
    said += [("the answer begins with", prompt.prefix)] if prompt.prefix else []
    return tuple((f"{label}{name}", str(text)) for name, text in said)

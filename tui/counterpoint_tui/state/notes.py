"""Notes: plugins' own data, kept by name for their panels. Some are read here too: window scores, and what failed in part.

A note that names a ``candidate`` or ``stage`` (or ``candidates``) and an ``error`` says that it failed, whatever plugin it is of; with
a ``verifier``, that the verifier did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from counterpoint.events import Note
from counterpoint_tui.state.candidates import failed
from counterpoint_tui.state.data import Failure, NoteState, RunState, Window
from counterpoint_tui.state.persistent import Log

WINDOW_SCORES = "window_scores"
"""The note with the scores of a draft's windows: ``positions``, ``scores``, perhaps ``threshold``."""


def take(state: RunState, event: Note, changes: dict[str, Any]) -> None:
    """What a note makes different."""
    note = NoteState(state.count, event.t, event.span, event.node, event.data)
    changes["notes"] = state.notes.set(event.name, state.notes.get(event.name, Log()).append(note))
    if event.name == WINDOW_SCORES:
        _window(state, event, changes)
    error = event.data.get("error")
    if isinstance(error, str):
        where = event.data.get("verifier")
        node = where if isinstance(where, str) else event.node
        failure = Failure(state.count, node, event.name, error, "", fatal=False)
        changes["failures"] = state.failures.append(failure)
        numbers = _numbers(event.data)
        if numbers:
            contests = changes.get("contests", state.contests)
            changes["contests"] = failed(contests, event.span, numbers, error, where if isinstance(where, str) else "")


def of(state: RunState, name: str) -> Log[NoteState]:
    """The notes of a name so far, for a plugin's panel."""
    return state.notes.get(name, Log())


def _numbers(data: Mapping[str, Any]) -> list[int]:
    """The candidates or stages that a note speaks of."""
    given = data.get("candidate", data.get("stage", data.get("candidates")))
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    return [number for number in several if isinstance(number, int) and not isinstance(number, bool)]


def _window(state: RunState, event: Note, changes: dict[str, Any]) -> None:
    positions, scores = event.data.get("positions"), event.data.get("scores")
    if not isinstance(positions, list) or not isinstance(scores, list):
        return
    window = state.windows.get(event.span) or Window(event.span, event.node)
    points = [
        (position, number, state.count)
        for position, score in zip(positions, scores, strict=False)
        if isinstance(position, int) and (number := _number(score)) is not None
    ]
    threshold = _number(event.data.get("threshold"))
    window = replace(
        window,
        points=window.points.extend(points),
        threshold=window.threshold if threshold is None else threshold,
    )
    changes["windows"] = state.windows.set(event.span, window)


def _number(value: Any) -> float | None:
    """A score in a note; infinities may be strings in it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None

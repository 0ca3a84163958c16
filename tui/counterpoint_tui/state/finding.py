"""Search and filters over a trace."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import accumulate

from counterpoint_tui.state.data import RunState
from counterpoint_tui.state.reading import strings
from counterpoint_tui.state.spans import base_path
from counterpoint_tui.state.trace import TraceView

_AROUND = 30
_NUMBERS = frozenset({"forward", "emitted", "verified", "node_finished"})
"""Types in which there is nothing to find but text that calls emit, which is searched as a whole."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Where a text was found."""

    event: int
    """The event with which its beginning came."""
    span: int
    node: str
    excerpt: str
    """What was found, with some of what is around it."""
    at: int
    """Where in the excerpt it begins, and how long it is."""
    length: int
    emitted: bool
    """Whether it is text that a call has emitted (which may go over several events)."""


def search(trace: TraceView, text: str, limit: int = 1000) -> tuple[Hit, ...]:
    """Where a text is, upper and lower case alike: in what calls emitted, across tokens, and in all that other events say.

    Args:
        trace: the trace.
        text: what to look for.
        limit: most hits.
    """
    if not text:
        return ()
    pattern = re.compile(re.escape(text), re.IGNORECASE)
    hits = [*_in_texts(trace.last, pattern), *_in_events(trace, pattern, text, limit)]
    return tuple(sorted(hits, key=lambda hit: (hit.event, not hit.emitted))[:limit])


def _in_texts(state: RunState, pattern: re.Pattern[str]) -> Iterator[Hit]:
    for span in state.spans.values():
        if not span.pieces:
            continue
        whole = span.text
        starts = [0, *accumulate(len(piece.text) for piece in span.pieces)]
        for match in pattern.finditer(whole):
            piece = span.pieces[bisect_right(starts, match.start()) - 1]
            yield Hit(piece.event, span.id, span.node, *_excerpt(whole, match), emitted=True)


def _in_events(trace: TraceView, pattern: re.Pattern[str], text: str, limit: int) -> Iterator[Hit]:
    columns, found = trace.columns, 0
    written = json.dumps(text, ensure_ascii=False)[1:-1].lower()  # as it stands in a line
    for index, kind in enumerate(columns.types):
        if kind in _NUMBERS or written not in trace.line(index).decode("utf-8", "replace").lower():
            continue
        event = trace.event(index)
        for part in strings(event.model_dump(exclude={"type", "node"})):
            if match := pattern.search(part):
                yield Hit(index, columns.spans[index], columns.nodes[index], *_excerpt(part, match), emitted=False)
                found += 1
                break
        if found >= limit:
            return


def _excerpt(text: str, match: re.Match[str]) -> tuple[str, int, int]:
    start = max(0, match.start() - _AROUND)
    end = min(len(text), match.end() + _AROUND)
    head, tail = "…" if start else "", "…" if end < len(text) else ""
    excerpt = f"{head}{text[start:end]}{tail}".replace("\n", "⏎").replace("\t", " ")
    return excerpt, match.start() - start + len(head), match.end() - match.start()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a list shows; what is left out lets all through."""

    types: Collection[str] = ()
    nodes: Collection[str] = ()
    """Paths; a model's stands for those that wrap it too (``small`` for ``small:sample``)."""
    spans: Collection[int] = ()
    """Calls; for one with all below it, give the numbers of :func:`counterpoint_tui.state.spans.below`."""
    without: Collection[str] = ()
    """Types that are left out."""

    def __bool__(self) -> bool:
        return bool(self.types or self.nodes or self.spans or self.without)


def filtered(trace: TraceView, chosen: Filter, start: int = 0) -> list[int]:
    """The events that a filter lets through, by their places in the trace.

    Args:
        trace: the trace.
        chosen: the filter.
        start: the first event to look at: a list of a live run asks for what is new.
    """
    trace.prepare()
    columns = trace.columns
    indices: Collection[int] = range(start, len(trace))
    if chosen.types:
        wanted = frozenset(chosen.types)
        indices = [index for index in indices if columns.types[index] in wanted]
    if chosen.without:
        unwanted = frozenset(chosen.without)
        indices = [index for index in indices if columns.types[index] not in unwanted]
    if chosen.nodes:
        paths = frozenset(chosen.nodes)
        shown = {path for path in set(columns.nodes) if path in paths or base_path(path) in paths}
        indices = [index for index in indices if columns.nodes[index] in shown]
    if chosen.spans:
        calls = frozenset(chosen.spans)
        indices = [index for index in indices if columns.spans[index] in calls]
    return list(indices)

"""A run for other programs and for readers: text, JSON, the recipe, and a page that needs nothing else.

Text, JSON and recipe of a stored run are those of :meth:`counterpoint.runstore.RunStore.export` (`counterpoint runs export`). A trace
that it refuses, one cut off or of a newer format, is exported as far as it can be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from counterpoint.cli.console import PALETTE, flops_text, rate_text, seconds_text
from counterpoint.errors import RunError
from counterpoint.printable import page_template
from counterpoint.recording import result_of
from counterpoint.runstore import RunStore
from counterpoint.writing import write_whole
from counterpoint_tui.state.calls import Piece, SpanState
from counterpoint_tui.state.candidates import CandidateRow, candidate_table, contests, verifiers
from counterpoint_tui.state.data import RunState
from counterpoint_tui.state.figures import node_rows, problems, summary
from counterpoint_tui.state.legend import legend
from counterpoint_tui.state.spans import timeline
from counterpoint_tui.state.text import adopted_from, answer_stretches, answer_text
from counterpoint_tui.state.trace import TraceView

ExportFormat = Literal["text", "json", "recipe", "html"]
SUFFIXES: Mapping[ExportFormat, str] = {"text": ".txt", "json": ".json", "recipe": ".yaml", "html": ".html"}
"""What a file of each format is called."""

_TOKENS = 20_000
"""Tokens of an answer up to which each has a tooltip of its own; a longer answer has one for each stretch."""
_CALLS = 2_000
"""Most calls in a page's timeline."""


def export(trace: TraceView, format: ExportFormat) -> str:  # noqa: A002
    """A run as text (the answer), ``json`` (events and summary), ``recipe`` (YAML, to run again) or ``html`` (one page)."""
    if format == "html":
        return page(trace.last, [problem.message for problem in trace.problems])
    if trace.folder is not None:
        try:
            return RunStore(trace.folder.parent).export(trace.folder.name, format)
        except RunError:
            pass  # what can be read of it comes below
    state = trace.last
    if format == "text":
        return answer_text(state)
    if format == "recipe":
        return yaml.safe_dump(dict(state.recipe), sort_keys=False, allow_unicode=True, width=120)
    whole = [index for index, kind in enumerate(trace.columns.types) if kind != "unreadable"]
    events: Any = [trace.event(index) for index in whole]
    result = result_of(state.run_id, events, started=_when(state))
    lines = [json.loads(trace.line(index)) for index in whole]
    return json.dumps({"result": result, "events": lines}, ensure_ascii=False, indent=1)


def _when(state: RunState) -> float:
    """When the run started, in seconds since the epoch; 0 where the trace does not tell."""
    try:
        return datetime.fromisoformat(state.started).timestamp()
    except ValueError:
        return 0.0


def write_export(trace: TraceView, format: ExportFormat, path: Path) -> None:  # noqa: A002
    """Writes an export into a file, in one step.

    Raises:
        RunError: it cannot be written.
    """
    text = export(trace, format)
    try:
        write_whole(path, text, errors="replace")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}", hint="choose a folder you may write to") from None


# --- the page -----------------------------------------------------------------------------------------------------------


def page(state: RunState, remarks: list[str] | None = None) -> str:
    """A run as one HTML page: it loads nothing, runs no script, and shows text of models as text.

    Args:
        state: the run, at its end or on its way.
        remarks: what a reader has to know of the trace.
    """
    entries = legend(state.recipe, state)
    return page_template(Path(__file__).parent, "page.html.j2").render(
        run=state,
        name=state.recipe.get("name", "") or "run",
        messages=state.prompt.chat() if state.prompt else [],
        prefix=state.prompt.prefix if state.prompt else "",
        legend=[(entry, PALETTE[entry.index % len(PALETTE)]) for entry in entries.values() if entry.speaks],
        answer=_answer(state, {path: entry.index for path, entry in entries.items() if entry.speaks}),
        totals=_totals(state),
        nodes=[row for row in node_rows(state) if row.busy],
        contests=[_contest(state, span) for span in contests(state)],
        switches=list(state.switches),
        calls=_calls(state),
        failures=problems(state),
        remarks=remarks or [],
        flops=flops_text,
        seconds=seconds_text,
    )


def _answer(state: RunState, places: Mapping[str, int]) -> list[tuple[str, int | None, str]]:
    """Text, place in the legend, and tooltip of each token, or of each stretch of a long answer."""
    root = state.spans.get(1)
    if root is None:
        return []
    if root.emitted > _TOKENS:
        return [
            (one.text, places.get(one.proposer), f"{one.tokens} tokens, proposed by {one.proposer}, decided by {one.decider}")
            for one in answer_stretches(state, adopted=True)
        ]
    return [(piece.text, places.get(piece.proposer), _told(piece)) for piece in _pieces(state, root) if piece.text]


def _pieces(state: RunState, span: SpanState) -> Iterator[Piece]:
    """What a call has said, adopted answers as those have said them who wrote them."""
    for piece in span.pieces:
        source = adopted_from(state, span, piece)
        if source is None:
            yield piece
        else:
            yield from _pieces(state, source)


def _told(piece: Piece) -> str:
    """A token's tooltip."""
    said = [f"proposed by {piece.proposer}"] if piece.proposer else []
    if piece.decider and piece.decider != piece.proposer:
        said.append(f"decided by {piece.decider}")
    for path, logprobs in piece.logprobs.items():
        said.append(f"{' · '.join(f'{math.exp(value):.1%}' for value in logprobs)} under {path}")
    said += [
        "instead: " + ", ".join(f"{text!r} {math.exp(value):.1%}" for _, text, value in others) for others in piece.alternatives
    ]
    return "\n".join(said)


def _totals(state: RunState) -> list[tuple[str, str]]:
    figures = summary(state)
    return [
        ("ended", figures.finish_reason or "not ended"),
        ("tokens", str(figures.answer_tokens)),
        ("speed", rate_text(figures.tokens_per_second)),
        ("first token", seconds_text(figures.first_token_seconds)),
        ("cost", flops_text(figures.flops)),
        ("time", seconds_text(figures.seconds)),
    ]


def _contest(state: RunState, span: int) -> dict[str, Any]:
    rows = candidate_table(state, span)
    columns = verifiers(rows)
    return {
        "node": state.spans[span].node,
        "verifiers": columns,
        "rows": [(row, [_score(row, verifier) for verifier in columns]) for row in rows],
    }


def _score(row: CandidateRow, verifier: str) -> str:
    said = [score for score in row.scores if score.verifier == verifier]
    if not said:
        return ""
    number = "abstains" if math.isnan(said[-1].score) else f"{said[-1].score:.4g}"
    return f"{number} ({said[-1].detail})" if said[-1].detail else number


def _calls(state: RunState) -> dict[str, Any]:
    """The timeline, in per cent of the run's time."""
    rows = timeline(state)
    end = max([state.last_t, *(row.end for row in rows)])
    start = min([state.first_t or 0.0, *(row.start for row in rows)])
    whole = max(end - start, 1e-9)
    bars = [
        (row, f"{100 * (row.start - start) / whole:.2f}", f"{max(0.2, 100 * (row.end - row.start) / whole):.2f}")
        for row in rows[:_CALLS]
    ]
    return {"bars": bars, "left_out": max(0, len(rows) - _CALLS)}

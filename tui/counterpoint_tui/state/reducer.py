"""The fold of a run's events: ``reduce(state, event)`` is the state after one more event.

Pure, total and without a model: events of calls that never started, of nodes that nobody knows or after the run's end are taken as
they are, and an event of an unknown type is only counted. Figures are those of :func:`counterpoint.trace.summarize`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from counterpoint.events import (
    BudgetSpent,
    CandidateFinished,
    CandidateScored,
    CandidateSelected,
    Drafted,
    Emitted,
    EventBase,
    Failed,
    Forward,
    NodeFinished,
    NodeStarted,
    Note,
    Progress,
    RunFinished,
    RunStarted,
    Switched,
    Verified,
)
from counterpoint.tally import ROOT_SPAN
from counterpoint_tui.state import candidates, notes
from counterpoint_tui.state.calls import Draft, Piece, SpanState
from counterpoint_tui.state.data import BudgetStop, Failure, NodeState, RunState, Switch
from counterpoint_tui.state.persistent import Log, changed

_TICK, _TICKS = 0.25, 12
"""Seconds between two points of a node's rate, and how many are kept."""
_CALLS = frozenset({"Generator", "Verifier", "Trainer"})
"""Roles whose calls have an end in the trace."""


def reduce(state: RunState, event: EventBase) -> RunState:
    """The state after one more event."""
    t, number, spans = event.t, event.span, state.spans
    changes: dict[str, Any] = {"count": state.count + 1}
    if t > state.last_t:
        changes["last_t"] = t
    if state.first_t is None:
        changes["first_t"] = t
    handler = _HANDLERS.get(type(event))
    if handler is None:
        return changed(state, **changes)
    span = spans.get(number)
    if span is None:
        start, kind = (t, "") if number else (0.0, "run")
        span = SpanState(number, event.parent, event.node, kind, first=state.count, start=start, end=t)
        if number != 0:
            above = event.parent or 0
            changes["children"] = state.children.set(above, state.children.get(above, Log()).append(number))
    of_span: dict[str, Any] = {"end": t} if t > span.end else {}
    handler(state, event, span, changes, of_span)
    changes["spans"] = spans.set(number, changed(span, **of_span) if of_span else span)
    return changed(state, **changes)


def fold(events: Iterable[EventBase], state: RunState | None = None) -> RunState:
    """The state after these events, from the beginning or from another state."""
    state = state or RunState()
    for event in events:
        state = reduce(state, event)
    return state


# --- what each event makes different: of the run (``changes``), and of the event's call (``of_span``) ----------------------

_Changes: TypeAlias = dict[str, Any]


def _node(state: RunState, path: str) -> NodeState:
    return state.nodes.get(path) or NodeState(path)


def _run_started(state: RunState, event: RunStarted, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    names = ("run_id", "recipe", "prompt", "seed", "row", "schema_version", "started", "versions")
    changes.update({name: getattr(event, name) for name in names})


def _run_finished(state: RunState, event: RunFinished, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    completion = changes["completion"] = event.completion
    of_span.update(finished=True, finish_reason=completion.finish_reason, tokens=len(completion.ids))


def _node_started(state: RunState, event: NodeStarted, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    of_span.update(node=event.node, kind=event.kind, role=event.role, start=event.t, started=True)
    node = _node(state, event.node)
    node = changed(node, kind=event.kind, role=event.role, open=node.open + (event.role in _CALLS))
    changes["nodes"] = {**state.nodes, event.node: node}


def _node_finished(state: RunState, event: NodeFinished, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    of_span.update(finished=True, finish_reason=event.finish_reason, tokens=event.tokens, generated=event.generated)
    changes["generated_tokens"] = state.generated_tokens + event.generated
    node = state.nodes.get(span.node)
    if node is not None and node.open and span.started and not span.finished and span.role in _CALLS:
        changes["nodes"] = {**state.nodes, span.node: changed(node, open=node.open - 1)}


def _progress(state: RunState, event: Progress, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    changes["progress"] = state.progress.set((event.node, event.phase, event.item), event)
    if event.phase in ("train", "evaluate"):  # the run's own work, for which nothing waits
        return
    key = (event.node, event.phase == "load")
    begins = key not in state.preparing_now
    ends = event.total is not None and event.done >= event.total
    if begins or ends:
        changes["preparing"] = state.preparing.append(event)
        changes["preparing_now"] = state.preparing_now - {key} if ends else state.preparing_now | {key}


def _forward(state: RunState, event: Forward, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    flops, prefill, seconds, t = event.flops, event.prefill, event.seconds, event.t
    of_span["flops"] = span.flops + flops
    of_span["share"] = span.share + event.share
    if prefill:
        of_span["prefill_flops"] = span.prefill_flops + flops
    node = _node(state, event.node)
    this, last = (event.pass_id, seconds), node.last_pass
    new = last is None or last[0] != event.pass_id  # the rows of a pass come one after the other
    if this != last and not any(other.last_pass == this for other in state.nodes.values()):
        changes["model_seconds"] = state.model_seconds + seconds  # nodes that share a model share its passes
    ticks = node.ticks
    if not ticks or t - ticks[-1][0] >= _TICK:
        ticks = (*ticks[1 - _TICKS :], (t - seconds, node.tokens - node.prefill_tokens))
    node = changed(
        node,
        passes=node.passes + event.passes if new else node.passes,
        rows=node.rows + 1,
        tokens=node.tokens + event.tokens,
        prefill_tokens=node.prefill_tokens + event.tokens if prefill else node.prefill_tokens,
        context=node.context + event.context,
        logits_rows=node.logits_rows + event.logits_rows,
        flops=node.flops + flops,
        prefill_flops=node.prefill_flops + flops if prefill else node.prefill_flops,
        seconds=node.seconds + seconds if new else node.seconds,
        share=node.share + event.share,
        last_pass=this,
        last_t=t,
        ticks=ticks,
    )
    changes["nodes"] = {**state.nodes, event.node: node}


def _emitted(state: RunState, event: Emitted, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    choices = tuple([tuple([(c.id, c.text, c.logprob) for c in token]) for token in event.alternatives])
    piece = Piece(event.text, event.ids, event.proposer, event.decider, event.logprobs, choices, state.count, span.emitted)
    count = len(event.ids)
    of_span["pieces"] = span.pieces.append(piece)
    of_span["emitted"] = span.emitted + count
    draft = span.draft
    if draft is not None and draft.verdict is not None and draft.emitted <= draft.accepted + 1:
        of_span["draft"] = _taken_up(draft, piece)
    if event.span != ROOT_SPAN:
        return
    changes["answer_tokens"] = state.answer_tokens + count
    if state.first_emission is None:
        changes["first_emission"] = (event.t, count)
    if event.proposer:
        node = _node(state, event.proposer)
        changes["nodes"] = {**state.nodes, event.proposer: changed(node, emitted=node.emitted + count)}


def _taken_up(draft: Draft, piece: Piece) -> Draft:
    """A draft after its span has emitted more: accepted tokens have moved from it into the answer."""
    characters, emitted = draft.characters, draft.emitted + len(piece.ids)
    if draft.emitted < draft.accepted:
        if draft.text.startswith(piece.text, characters):
            characters += len(piece.text)
        else:  # characters that span tokens come out late: as far as so many of its tokens go
            characters = max(characters, len(draft.text) * min(emitted, draft.accepted) // max(1, len(draft.ids)))
    return draft._replace(characters=characters, emitted=emitted)


def _drafted(state: RunState, event: Drafted, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    draft = Draft(
        event=state.count,
        position=event.position,
        after=span.emitted,
        ids=event.ids,
        text=event.text,
        proposer=event.proposer,
        confidence=event.confidence,
        discarded=event.discarded,
    )
    of_span["draft"] = draft
    if span.draft is not None:
        of_span["earlier_drafts"] = span.earlier_drafts.append(span.draft)
    node = _node(state, event.proposer)
    drafted = node.drafted + len(event.ids) + event.discarded
    changes["nodes"] = {**state.nodes, event.proposer: changed(node, drafted=drafted)}


def _verified(state: RunState, event: Verified, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    of_span["rejected"] = span.rejected + event.proposed - event.accepted
    if span.draft is not None and span.draft.verdict is None:
        of_span["draft"] = span.draft._replace(verdict=state.count, accepted=event.accepted)
    node = _node(state, event.proposer)
    node = changed(node, verified=node.verified + event.proposed, accepted=node.accepted + event.accepted)
    changes["nodes"] = {**state.nodes, event.proposer: node}


def _switched(state: RunState, event: Switched, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    switch = Switch(state.count, event.t, event.span, event.position, event.giver, event.taker, event.reason)
    changes["switches"] = state.switches.append(switch)


def _budget_spent(state: RunState, event: BudgetSpent, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    stop = BudgetStop(state.count, event.span, event.node, event.unit, event.limit, event.spent, event.needed)
    changes["budget_stops"] = state.budget_stops.append(stop)


def _failed(state: RunState, event: Failed, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    failure = Failure(state.count, event.node, event.error, event.message, event.hint, fatal=True)
    changes.update(failures=state.failures.append(failure), error=event.message)


def _candidate(state: RunState, event: EventBase, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    candidates.take(state, event, changes)


def _note(state: RunState, event: Note, span: SpanState, changes: _Changes, of_span: _Changes) -> None:
    notes.take(state, event, changes)


_HANDLERS: dict[type[EventBase], Callable[[RunState, Any, SpanState, _Changes, _Changes], None]] = {
    RunStarted: _run_started,
    RunFinished: _run_finished,
    NodeStarted: _node_started,
    NodeFinished: _node_finished,
    Progress: _progress,
    Forward: _forward,
    Emitted: _emitted,
    Drafted: _drafted,
    Verified: _verified,
    Switched: _switched,
    BudgetSpent: _budget_spent,
    Failed: _failed,
    CandidateFinished: _candidate,
    CandidateScored: _candidate,
    CandidateSelected: _candidate,
    Note: _note,
}

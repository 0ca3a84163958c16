"""What a run has cost so far and what is going on: totals, nodes, budgets, progress, problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from counterpoint.events import Progress
from counterpoint.tally import NodeSummary, Preparing, Summary
from counterpoint_tui.state.calls import SpanState
from counterpoint_tui.state.data import Failure, NodeState, RunState
from counterpoint_tui.state.graph import recipe_nodes
from counterpoint_tui.state.spans import base_path

LATELY = 2.0
"""Seconds over which speeds are shown."""
_STILL = 0.3
"""Seconds after a pass for which its model counts as at work."""
_SUMMARY_FIELDS = tuple(field.name for field in fields(NodeSummary))


def summary(state: RunState) -> Summary:
    """What the run did and cost so far: the figures of :func:`counterpoint.trace.summarize`."""
    start, end = state.first_t or 0.0, state.last_t
    preparing = Preparing()
    for event in state.preparing:
        preparing.add(event)
    seconds, spent = end - start, preparing.seconds(start, end)
    first_token = speed = overall = None
    if state.first_emission is not None:
        at, tokens = state.first_emission
        first_token = at - start - preparing.seconds(start, at)
        speed = _rate(state.answer_tokens - tokens, end - at - preparing.seconds(at, end))
        overall = _rate(state.answer_tokens, seconds - spent)
    nodes = tuple(_plain(node) for node in state.nodes.values())
    return Summary(
        run_id=state.run_id,
        finish_reason=state.completion.finish_reason if state.completion else None,
        error=state.error,
        answer_tokens=state.answer_tokens,
        generated_tokens=state.generated_tokens,
        flops=sum(node.flops for node in nodes),
        prefill_flops=sum(node.prefill_flops for node in nodes),
        model_seconds=state.model_seconds,
        share=sum(node.share for node in nodes),
        seconds=seconds,
        preparing_seconds=spent,
        first_token_seconds=first_token,
        tokens_per_second=speed,
        overall_tokens_per_second=overall,
        nodes=nodes,
    )


def _plain(node: NodeState) -> NodeSummary:
    made = NodeSummary(**{name: getattr(node, name) for name in _SUMMARY_FIELDS})
    return replace(made, acceptance=node.accepted / node.verified) if node.verified else made


def _rate(tokens: int, seconds: float) -> float | None:
    return tokens / seconds if tokens > 0 and seconds > 0 else None


# --- nodes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node as a table shows it."""

    figures: NodeSummary
    rate: float | None
    """Tokens fed per second lately, prompts not counted; None where it is idle or no model."""
    active: bool
    """Whether it works now: a call of it is under way, or it has just taken part in a pass."""
    busy: bool
    """Whether there is anything to show of it: passes, drafts or tokens of the answer."""

    @property
    def path(self) -> str:
        """The node's path."""
        return self.figures.node


def node_rows(state: RunState, now: float | None = None) -> tuple[NodeRow, ...]:
    """What each node did so far and does now: the recipe's nodes in their order, then others as they came.

    Args:
        state: the run.
        now: seconds since the run started; by default those of the last event.
    """
    at = state.last_t if now is None else max(now, state.last_t)
    named = list(recipe_nodes(state.recipe))
    places = {name: place for place, name in enumerate(named)}
    rows = [_node_row(state, node, at) for node in state.nodes.values()]
    return tuple(sorted(rows, key=lambda row: places.get(base_path(row.path), len(named))))


def _node_row(state: RunState, node: NodeState, now: float) -> NodeRow:
    working = node.open > 0 or (node.last_pass is not None and now - node.last_t <= _STILL)
    return NodeRow(
        figures=_plain(node),
        rate=rate(node, now),
        active=working and not state.finished,
        busy=bool(node.rows or node.drafted or node.emitted),
    )


def rate(node: NodeState, now: float) -> float | None:
    """Tokens fed to a model per second lately, prompts not counted."""
    if not node.ticks or now - node.last_t > LATELY:
        return None
    began, before = next((tick for tick in node.ticks if tick[0] >= now - LATELY), node.ticks[-1])
    return _rate(node.tokens - node.prefill_tokens - before, now - began)


def active_nodes(state: RunState, now: float | None = None) -> frozenset[str]:
    """Paths of the recipe's nodes that work now."""
    return frozenset(base_path(row.path) for row in node_rows(state, now) if row.active)


# --- budgets ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BudgetBar:
    """One limit of the run's budget."""

    unit: str
    limit: float
    spent: float
    at_least: bool
    """Whether ``spent`` is a lower bound: tokens of calls under way are counted when these end."""
    stopped: bool
    """Whether this limit has ended the run or a part of it."""

    @property
    def share(self) -> float:
        """Spent of the limit, at most 1."""
        return min(1.0, self.spent / self.limit) if self.limit > 0 else 1.0


def budget_bars(state: RunState, now: float | None = None) -> tuple[BudgetBar, ...]:
    """What has been spent of the recipe's budget; empty where it has none."""
    budget = state.recipe.get("budget")
    if not isinstance(budget, Mapping):
        return ()
    at = state.last_t if now is None or state.finished else max(now, state.last_t)
    root = state.spans.get(1)
    drawn = drawn_tokens(state)
    spent = {
        "flops": sum(node.flops for node in state.nodes.values()),
        "seconds": max(0.0, (root.end if root.finished else at) - root.start) if root else 0.0,
        "tokens": drawn,
    }
    return tuple(
        BudgetBar(
            unit=unit,
            limit=float(limit),
            spent=float(spent[unit]),
            at_least=unit == "tokens" and drawn > state.generated_tokens,
            stopped=any(stop.unit == unit and stop.limit == limit for stop in state.budget_stops),
        )
        for unit, limit in budget.items()
        if unit in spent and isinstance(limit, (int, float))
    )


def drawn_tokens(state: RunState) -> int:
    """How many tokens have been drawn: in calls that have ended; and in those under way, at least so many as they have said."""
    return state.generated_tokens + sum(_drawn(state, span) for span in state.spans.values())


def _drawn(state: RunState, span: SpanState) -> int:
    """At least how many tokens a call under way has had drawn; what calls below it made they count themselves."""
    if (
        span.finished
        or not span.pieces
        or any(state.spans[below].role == "Generator" for below in state.children.get(span.id, ()))
    ):
        return 0
    return span.emitted + span.rejected


# --- progress and problems ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """Something slow that goes on: a download, a load, a training."""

    node: str
    phase: str
    item: str
    done: float
    total: float | None
    unit: str
    finished: bool

    @property
    def share(self) -> float | None:
        """Done of the total; None where the total is not known."""
        return min(1.0, self.done / self.total) if self.total else None


def progress_rows(state: RunState, *, finished: bool = False) -> tuple[ProgressRow, ...]:
    """What goes on, in the order in which it was last heard of.

    Args:
        state: the run.
        finished: also what has ended.
    """
    rows = sorted(state.progress.values(), key=lambda event: (event.t, event.seq))
    made = [_progress_row(event, over=state.finished) for event in rows]
    return tuple(row for row in made if finished or not row.finished)


def _progress_row(event: Progress, *, over: bool) -> ProgressRow:
    ended = over or (event.total is not None and event.done >= event.total)
    return ProgressRow(event.node, event.phase, event.item, event.done, event.total, event.unit, ended)


def problems(state: RunState) -> tuple[Failure, ...]:
    """What failed, in order: the run itself (with a hint), or candidates, stages and verifiers that others made up for."""
    return tuple(state.failures)

"""What screens show, without any screen: a run's state as a pure fold of its events, and views of it as pure functions.

    from counterpoint_tui.state import RunState, TraceView, answer_stretches, reduce

    state = RunState()
    for event in events:                 # live, from the worker
        state = reduce(state, event)
    for stretch in answer_stretches(state):
        ...

    trace = TraceView.open(store.path("last"))
    state = trace.at(trace.next("rejection", 0) or 0)

Nothing here knows Textual, and nothing changes a state in place. Layers, lowest first: ``calls`` and ``data`` (the state), ``spans``,
``candidates``, ``notes``, ``reducer`` (the fold), then views (``text``, ``figures``, ``windows``, ``stages``, ``graph``, ``legend``,
``rows``), ``trace`` with ``reading``, ``marks``, ``finding`` and ``details``; and ``changes``,
``compare`` and ``export``, imported by their own names.
"""

from __future__ import annotations

from counterpoint_tui.state.calls import Draft, Piece, SpanState
from counterpoint_tui.state.candidates import CandidateRow, candidate_table, contests, verifiers
from counterpoint_tui.state.data import RunState
from counterpoint_tui.state.details import TokenDetails, token_details, token_of_place
from counterpoint_tui.state.figures import (
    BudgetBar,
    NodeRow,
    ProgressRow,
    active_nodes,
    budget_bars,
    node_rows,
    problems,
    progress_rows,
    summary,
)
from counterpoint_tui.state.finding import Filter, Hit, filtered, search
from counterpoint_tui.state.graph import GraphEdge, GraphNode, GraphView, graph_view
from counterpoint_tui.state.legend import LegendEntry, legend
from counterpoint_tui.state.marks import MARKS, Mark
from counterpoint_tui.state.reading import Problem
from counterpoint_tui.state.reducer import fold, reduce
from counterpoint_tui.state.rows import EventRow, describe, event_row
from counterpoint_tui.state.spans import SpanRow, below, children, timeline, writer
from counterpoint_tui.state.stages import StageRow, in_stages, stage_steps
from counterpoint_tui.state.text import (
    Overlay,
    Stretch,
    Token,
    answer_stretches,
    answer_text,
    event_of_token,
    pending,
    rejected,
    token_at,
)
from counterpoint_tui.state.trace import TraceView
from counterpoint_tui.state.windows import WindowPlot, window_plot, window_plots

__all__ = [
    "MARKS",
    "BudgetBar",
    "CandidateRow",
    "Draft",
    "EventRow",
    "Filter",
    "GraphEdge",
    "GraphNode",
    "GraphView",
    "Hit",
    "LegendEntry",
    "Mark",
    "NodeRow",
    "Overlay",
    "Piece",
    "Problem",
    "ProgressRow",
    "RunState",
    "SpanRow",
    "SpanState",
    "StageRow",
    "Stretch",
    "Token",
    "TokenDetails",
    "TraceView",
    "WindowPlot",
    "active_nodes",
    "answer_stretches",
    "answer_text",
    "below",
    "budget_bars",
    "candidate_table",
    "children",
    "contests",
    "describe",
    "event_of_token",
    "event_row",
    "filtered",
    "fold",
    "graph_view",
    "in_stages",
    "legend",
    "node_rows",
    "pending",
    "problems",
    "progress_rows",
    "reduce",
    "rejected",
    "search",
    "stage_steps",
    "summary",
    "timeline",
    "token_at",
    "token_details",
    "token_of_place",
    "verifiers",
    "window_plot",
    "window_plots",
    "writer",
]

"""What is known of a run after its first n events, as frozen data.

A :class:`RunState` is made by :func:`counterpoint_tui.state.reducer.reduce` and never changed: the next event makes another one, which
shares with it all that the event does not touch. What a screen shows of it is computed by the view functions of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from pyrsistent import PMap, pmap

from counterpoint.events import Progress
from counterpoint.prompt import Completion, Prompt
from counterpoint.tally import NodeSummary
from counterpoint_tui.state.calls import Spans
from counterpoint_tui.state.persistent import Log

Status: TypeAlias = Literal["waiting", "preparing", "running", "finished", "budget", "cancelled", "failed"]


@dataclass(frozen=True)
class NodeState(NodeSummary):
    """What one node did and cost so far, and what it does now."""

    last_pass: tuple[int, float] | None = None
    """Number and seconds of the pass it took part in last."""
    last_t: float = 0.0
    """When that ended."""
    open: int = 0
    """Calls of it that are under way (of drafters and models, whose ends are not recorded, none)."""
    ticks: tuple[tuple[float, int], ...] = ()
    """Times, and the tokens it had been fed by then, prompts not counted: what :func:`~counterpoint_tui.state.figures.rate` is
    computed from."""


class Switch(NamedTuple):
    """A hand-over from one model to another."""

    event: int
    t: float
    span: int
    position: int
    giver: str
    taker: str
    reason: str


class CandidateScore(NamedTuple):
    """What a verifier said of a candidate."""

    event: int
    verifier: str
    score: float
    detail: str
    span: int
    """The verifier's call."""
    nested: bool
    """Whether the verifier was asked by another verifier."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What its strategy said of a candidate; the text while it grows is that of the call that makes it."""

    number: int
    completion: Completion | None = None
    finished: int | None = None
    """Place of the event that said so."""
    scores: tuple[CandidateScore, ...] = ()
    problem: str = ""
    """Why it, or a verifier on it, failed."""
    failed: bool = False
    """Whether there is no such candidate because making it failed."""


@dataclass(frozen=True, slots=True)
class Contest:
    """The candidates, or stages, of one call."""

    span: int
    candidates: PMap[int, Candidate] = field(default_factory=pmap)
    selected: int | None = None
    reason: str = ""
    event: int | None = None
    """Place of the event that said which one was selected."""


@dataclass(frozen=True, slots=True)
class Window:
    """Scores of windows of a draft, in order of position."""

    span: int
    node: str
    points: Log[tuple[int, float, int]] = field(default_factory=Log)
    """Position in the response, score, place of the event."""
    threshold: float | None = None
    """Where the note itself says it."""


class BudgetStop(NamedTuple):
    """A budget that did not allow the next pass."""

    event: int
    span: int
    node: str
    unit: str
    limit: float
    spent: float
    needed: float


class NoteState(NamedTuple):
    """A plugin's own data."""

    event: int
    t: float
    span: int
    node: str
    data: Mapping[str, Any]


class Failure(NamedTuple):
    """What failed: the run, or a part that others make up for."""

    event: int
    node: str
    error: str
    message: str
    hint: str
    fatal: bool
    """Whether the run ended for it."""


@dataclass(frozen=True)
class RunState:
    """Everything known of a run so far."""

    count: int = 0
    """Events so far."""
    first_t: float | None = None
    last_t: float = 0.0
    run_id: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The recipe as plain data; empty before the run has started."""
    prompt: Prompt | None = None
    seed: int = 0
    row: int = 0
    schema_version: int = 1
    started: str = ""
    """Wall-clock time, ISO 8601."""
    versions: Mapping[str, str] = field(default_factory=dict)
    completion: Completion | None = None
    """Once the run has finished."""
    error: str = ""
    """What failed last."""
    spans: Spans = field(default_factory=Spans)
    children: PMap[int, Log[int]] = field(default_factory=pmap)
    """Calls that a call has made, in the order in which they were first heard of."""
    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    """By path, in the order in which they were first heard of (so few that a copy is quicker than a persistent map)."""
    contests: PMap[int, Contest] = field(default_factory=pmap)
    windows: PMap[int, Window] = field(default_factory=pmap)
    switches: Log[Switch] = field(default_factory=Log)
    budget_stops: Log[BudgetStop] = field(default_factory=Log)
    progress: PMap[tuple[str, str, str], Progress] = field(default_factory=pmap)
    """The last of each node, phase and item."""
    notes: PMap[str, Log[NoteState]] = field(default_factory=pmap)
    failures: Log[Failure] = field(default_factory=Log)
    answer_tokens: int = 0
    generated_tokens: int = 0
    """Of calls that have finished."""
    model_seconds: float = 0.0
    first_emission: tuple[float, int] | None = None
    """When the answer's first text came, and how many tokens came with it."""
    preparing: Log[Progress] = field(default_factory=Log)
    """Events at which downloading, converting or loading began or ended."""
    preparing_now: frozenset[tuple[str, bool]] = frozenset()

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.completion is not None

    @property
    def status(self) -> Status:
        """What the run does now, or how it ended."""
        if self.completion is not None:
            reason = self.completion.finish_reason
            return "finished" if reason in ("stop", "length") else reason  # type: ignore[return-value]
        if not self.recipe:
            return "waiting"
        return "preparing" if self.preparing_now else "running"

"""Everything that can happen in a run, as a closed union of plain frozen data.

Plugins extend nodes, never this union: what only a plugin knows goes into a :class:`Note`. A *trace* is the ordered
events of one run under :data:`SCHEMA`; everything shown anywhere, costs included, is a pure fold over it
(:mod:`counterpoint.trace`).

Law: the ``text`` of the :class:`Emitted` events of one span, joined, is that span's completion; it is never retracted.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from counterpoint.printable import as_json
from counterpoint.prompt import Completion, Prompt

SCHEMA = 1
"""Version of the trace format; raised whenever an event changes incompatibly."""


class EventBase(BaseModel):
    """What the engine stamps on every event."""

    # NaN (a verifier abstains) and infinities are written as strings, which is JSON and is read back as numbers
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    seq: int = Field(default=-1, description="Position in the trace, from 0.")
    t: float = Field(default=0.0, description="Seconds since the run started.")
    span: int = Field(default=0, description="The call this belongs to; 0 is the run itself.")
    parent: int | None = Field(default=None, description="The span that made that call.")
    node: str = Field(default="", description="Path of the node in the recipe.")


class RunStarted(EventBase):
    """A run begins; the recipe is complete, so that the run can be repeated from it."""

    type: Literal["run_started"] = "run_started"
    run_id: str
    schema_version: int = SCHEMA
    recipe: dict[str, Any]
    prompt: Prompt
    seed: int
    row: int = 0
    started: str = Field(default="", description="Wall-clock time, ISO 8601 with time zone.")
    versions: dict[str, str] = Field(default_factory=dict)


class RunFinished(EventBase):
    """A run ends, however it ended."""

    type: Literal["run_finished"] = "run_finished"
    completion: Completion


class NodeStarted(EventBase):
    """A node begins to generate, verify or draft."""

    type: Literal["node_started"] = "node_started"
    kind: str
    role: str


class NodeFinished(EventBase):
    """A node has finished its call."""

    type: Literal["node_finished"] = "node_finished"
    finish_reason: str = ""
    tokens: int = Field(default=0, description="Tokens of its completion.")
    generated: int = Field(
        default=0, description="Tokens drawn from leaf models in this call, drafts included, those of calls below not."
    )


class Progress(EventBase):
    """Progress of something slow: download, load, train, evaluate."""

    type: Literal["progress"] = "progress"
    phase: str
    item: str
    done: float
    total: float | None = None
    unit: str = ""


class Forward(EventBase):
    """One row's part in one forward pass of a leaf model (``node``); many rows, and many runs, share a pass."""

    type: Literal["forward"] = "forward"
    pass_id: int
    passes: int = Field(default=1, description="How many passes this stands for; more than one in a summary.")
    pass_rows: int = Field(description="Rows that shared the pass, this one included.")
    tokens: int = Field(description="New tokens this row fed.")
    context: int = Field(description="Sum over these tokens of the positions each attends to.")
    logits_rows: int = Field(description="Rows of logits computed for this row.")
    flops: float = Field(description="Floating-point operations as executed for this row.")
    seconds: float = Field(description="Wall time of the whole pass.")
    share: float = Field(description="This row's share of that time, by new tokens.")
    prefill: bool = Field(default=False, description="Whether the tokens were prompt, not response.")


class Drafted(EventBase):
    """Draft tokens proposed for verification."""

    type: Literal["drafted"] = "drafted"
    position: int
    ids: tuple[int, ...]
    text: str
    proposer: str
    confidence: tuple[float, ...] = ()
    discarded: int = Field(default=0, description="Further tokens drafted and then not thought worth verifying.")


class Verified(EventBase):
    """The target's verdict on a draft: the first ``accepted`` of ``proposed`` tokens stand."""

    type: Literal["verified"] = "verified"
    position: int
    proposed: int
    accepted: int
    proposer: str


class Alternative(BaseModel):
    """A token that might have been."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    id: int
    text: str
    logprob: float


class Emitted(EventBase):
    """Text that is final. ``ids`` may be several, or none, where characters span tokens."""

    type: Literal["emitted"] = "emitted"
    text: str
    ids: tuple[int, ...] = ()
    proposer: str = ""
    decider: str = ""
    logprobs: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="Per node path, each token's log-probability (natural log) under that model."
    )
    alternatives: tuple[tuple[Alternative, ...], ...] = ()


class Switched(EventBase):
    """One model handed over to another."""

    type: Literal["switched"] = "switched"
    position: int
    giver: str
    taker: str
    reason: str = ""


class CandidateFinished(EventBase):
    """A candidate is complete."""

    type: Literal["candidate_finished"] = "candidate_finished"
    candidate: int
    completion: Completion


class CandidateScored(EventBase):
    """A verifier scored a candidate."""

    type: Literal["candidate_scored"] = "candidate_scored"
    candidate: int
    verifier: str
    score: float
    detail: str = ""
    data: JsonValue = Field(default=None, description="What the figure of a whole evaluation is computed from.")


class CandidateSelected(EventBase):
    """A candidate was chosen as the answer."""

    type: Literal["candidate_selected"] = "candidate_selected"
    candidate: int
    reason: str = ""


class BudgetSpent(EventBase):
    """A budget did not allow the next pass."""

    type: Literal["budget_spent"] = "budget_spent"
    unit: Literal["flops", "seconds", "tokens"]
    limit: float
    spent: float
    needed: float


class Note(EventBase):
    """A plugin's own data (plain JSON)."""

    type: Literal["note"] = "note"
    name: str
    data: dict[str, Any] = Field(default_factory=dict)


class Failed(EventBase):
    """Something failed; what had been made before is kept."""

    type: Literal["failed"] = "failed"
    error: str
    message: str
    hint: str = ""


Event = (
    RunStarted
    | RunFinished
    | NodeStarted
    | NodeFinished
    | Progress
    | Forward
    | Drafted
    | Verified
    | Emitted
    | Switched
    | CandidateFinished
    | CandidateScored
    | CandidateSelected
    | BudgetSpent
    | Note
    | Failed
)

EventT = TypeVar("EventT", bound=EventBase)

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def dump_event(event: EventBase) -> str:
    """One line of JSON (no newline at the end); what has its default value is left out, but for the schema's version."""
    body = as_json(event)[1:]
    if isinstance(event, RunStarted) and event.schema_version == SCHEMA:  # another default in later versions
        body = f'"schema_version":{SCHEMA},{body}'
    separator = "" if body == "}" else ","
    return f'{{"type":"{event.type}"{separator}{body}'  # type: ignore[attr-defined]


def parse_event(line: str | bytes) -> Event:
    """The event of one line of JSON.

    Raises:
        pydantic.ValidationError: the line is no event of this schema.
    """
    return _ADAPTER.validate_json(line)

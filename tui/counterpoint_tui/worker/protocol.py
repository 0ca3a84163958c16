"""What the application and its worker say to each other: small typed messages, one JSON object a line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_serializer

from counterpoint.errors import CounterpointError
from counterpoint.events import Event, EventBase, dump_event
from counterpoint.planning import Finding
from counterpoint.prompt import Prompt
from counterpoint.settings import Budget, Sampling


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    id: int = Field(default=0, description="Of the command that this is, or that it answers; 0 for the worker as a whole.")


# --- commands ---------------------------------------------------------------------------------------------------------------


class PlanRecipe(_Message):
    """Check a recipe and say what it needs; answered by :class:`Planned`."""

    type: Literal["plan"] = "plan"
    recipe: dict[str, Any]
    prompt: Prompt | None = None


class StartRun(_Message):
    """Run a recipe and record it; answered by a :class:`RunEvent` for every event, and :class:`RunEnded`."""

    type: Literal["run"] = "run"
    recipe: dict[str, Any]
    prompt: Prompt | None = None
    sampling: Sampling | None = None
    seed: int | None = None
    budget: Budget | None = None

    @field_serializer("sampling")
    def _what_is_set(self, sampling: Sampling | None) -> Any:
        return None if sampling is None else sampling.model_dump(mode="json", exclude_unset=True)


class PullModel(_Message):
    """Download a model; answered by :class:`PullProgress`, several times, and :class:`Pulled`."""

    type: Literal["pull"] = "pull"
    source: str


class Cancel(_Message):
    """Stop what the command with this id has begun: a run within one pass, keeping what there is; a download at once."""

    type: Literal["cancel"] = "cancel"


class Quit(_Message):
    """Stop everything, keep what there is, and end."""

    type: Literal["quit"] = "quit"


Command = PlanRecipe | StartRun | PullModel | Cancel | Quit


# --- replies ----------------------------------------------------------------------------------------------------------------


class PlannedNode(BaseModel):
    """A node of a plan."""

    model_config = ConfigDict(frozen=True)

    node: str
    kind: str
    roles: tuple[str, ...]
    refers_to: dict[str, str]


class PlannedModel(BaseModel):
    """A model of a plan, as far as it is known; see ``counterpoint plan --json``."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    node: str
    source: str
    download_bytes: int
    weight_bytes: int | None = None
    dtype: str = ""
    device: str = ""
    context: int | None = None
    vocabulary: int | None = None
    prompt_tokens: int | None = None
    flops_per_token: float | None = None
    seconds_per_pass: float | None = None


class PlannedMemory(BaseModel):
    """Bytes: of the weights, of the cache of one row, and what the machine has."""

    model_config = ConfigDict(frozen=True)

    weights: int | None
    cache: int | None
    total: int
    available: int


class Planned(_Message):
    """What a recipe needs, and what stands in its way."""

    type: Literal["planned"] = "planned"
    recipe: str
    output: str
    nodes: tuple[PlannedNode, ...]
    models: tuple[PlannedModel, ...]
    download_bytes: int
    memory: PlannedMemory
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What stands in the way."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def missing(self) -> dict[str, int]:
        """Sources to download, with their bytes."""
        return {model.source: model.download_bytes for model in self.models if model.download_bytes}


class RunEvent(_Message):
    """An event of a run."""

    type: Literal["event"] = "event"
    event: Event = Field(discriminator="type")


class RunEnded(_Message):
    """A run is over, and stored as far as ``problems`` does not say otherwise."""

    type: Literal["ended"] = "ended"
    run_id: str
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class PullProgress(_Message):
    """How far a download is; ``done`` and ``total`` count ``unit``."""

    type: Literal["pulling"] = "pulling"
    phase: str
    item: str
    done: int
    total: int | None
    unit: str


class Pulled(_Message):
    """A model is here."""

    type: Literal["pulled"] = "pulled"
    source: str
    licence: str


class Refused(_Message):
    """A command failed."""

    type: Literal["refused"] = "refused"
    error: str
    message: str
    hint: str = ""

    def exception(self) -> CounterpointError:
        """It as an error of the class that it had in the worker."""
        import counterpoint.errors

        found = getattr(counterpoint.errors, self.error, None)
        known = isinstance(found, type) and issubclass(found, CounterpointError)
        return (found if known else CounterpointError)(self.message, hint=self.hint)  # type: ignore[misc]


Reply = Planned | RunEvent | RunEnded | PullProgress | Pulled | Refused

_COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])
_REPLIES: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="type")])


def parse_command(line: str | bytes) -> Command:
    """The command in a line.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _COMMANDS.validate_json(line)


def parse_reply(line: str | bytes) -> Reply:
    """The reply in a line.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _REPLIES.validate_json(line)


def dump(message: Command | Reply) -> bytes:
    """A message as a line, its end included."""
    return message.model_dump_json().encode() + b"\n"


def dump_run_event(run: int, event: EventBase) -> bytes:
    """An event as a line: the very text that is stored, with the number of its run."""
    return f'{{"type":"event","id":{run},"event":{dump_event(event)}}}\n'.encode()

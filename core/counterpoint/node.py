"""Nodes: what a recipe says about one part of a model graph, and the roles a part can play.

A node is a frozen pydantic model with a ``kind``; its fields are its parameters. It plays a *role* by deriving from one
or several of :class:`LanguageModel`, :class:`Drafter`, :class:`Generator`, :class:`Verifier` and :class:`Trainer`.
Fields that name other nodes are annotated ``Ref[Role]`` and take a node's name, a node written inline, or (in Python) a node.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, TypeVar, Union, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializeAsAny,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from counterpoint.prompt import Completion, Prompt
from counterpoint.settings import Sampling

if TYPE_CHECKING:
    from counterpoint.planning import ModelFacts, NodePlan, Resources
    from counterpoint.running import Run
    from counterpoint.session import Backend, DraftSession, Session


class Node(BaseModel):
    """Base of all nodes. A subclass gives ``kind`` a ``Literal`` type and a default, and documents its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    kind: str

    adapts: ClassVar[str | None] = None
    """Name of the ``Ref[LanguageModel]`` field through which this kind wraps a bare language model that stands where
    this kind's role is expected (plain sampling for a Generator, say). At most one kind per role declares it."""
    speaks_as: ClassVar[str | None] = None
    """Name of the ``Ref[LanguageModel]`` field whose model gives a composition its vocabulary."""

    def references(self) -> Iterator[tuple[str, type[Node], str | Node]]:
        """Every reference to another node: the field (``draft``, ``draft[0]``), the role it wants, and the target."""
        for name, field in type(self).model_fields.items():
            role = wanted_role(field)
            if role is None:
                continue
            value = getattr(self, name)
            if isinstance(value, (str, Node)):
                yield name, role, value
            elif isinstance(value, Mapping):
                for key, item in value.items():
                    yield f"{name}.{key}", role, item
            elif isinstance(value, Sequence):
                for index, item in enumerate(value):
                    yield f"{name}[{index}]", role, item

    def plain(self) -> dict[str, Any]:
        """The node as plain data for a recipe: its kind, and what differs from the defaults."""
        data = self.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
        for name, value in self:
            if isinstance(value, Sampling):  # over other settings, one that is set says something even at its default value
                data[name] = value.model_dump(mode="json", exclude_unset=True)
        return {"kind": self.kind, **data}

    def content_key(self) -> str:
        """What tells apart contents that fields only name, those of a file say; empty where there are none. (The engine knows
        the weights of leaf models.)"""
        return ""

    def check(self, plan: NodePlan) -> None:
        """Checks, before any weights load, whatever is checkable; reports through ``plan.refuse`` and ``plan.warn``."""


class LanguageModel(Node):
    """Role: a next-token distribution over a tokenizer's vocabulary, which opens sessions.

    Logit compositions derive from this directly and implement :meth:`open`; models with weights derive from
    :class:`LeafModel`.
    """

    forbids: ClassVar[bool] = False
    """Whether it forbids tokens that its parts allow (a constraint): what others write has to be checked by it to hold."""

    @abstractmethod
    async def open(self, prompt: Prompt, run: Run) -> Session:
        """A session on ``prompt``, whose response is ``prompt.prefix`` so far.

        Raises:
            ModelError: the prompt does not fit the model.
        """


class LeafModel(LanguageModel):
    """A language model with weights of its own, run by a backend; the engine owns its cache, batches and meters it."""

    has_module: ClassVar[bool] = False
    """Whether its backend gives the torch module (:meth:`Backend.module`), which trainers need."""
    has_hidden: ClassVar[bool] = False
    """Whether its sessions give hidden states (:meth:`Session.hidden`), which learned heads score with."""

    prompt_format: str | None = Field(
        default=None,
        description="How prompts are rendered: `chat` (the model's own template), `raw` (a plain string as it is), `roles` "
        "([User] and [Assistant] headers, for base models), or Jinja text over `messages` and `text`. By default `chat` where "
        "the model has a template, else `raw`.",
    )
    stop: tuple[str, ...] = Field(default=(), description="Strings that end this model's answers.")

    @field_validator("prompt_format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        from counterpoint.rendering import check_format

        if problem := check_format(value):
            raise ValueError(problem)
        return value

    @abstractmethod
    def inspect(self, resources: Resources) -> ModelFacts:
        """What can be known without loading weights (blocking; may read files, must not use the network)."""

    @abstractmethod
    def load(self, resources: Resources) -> Backend:
        """The loaded model (blocking; called in a worker thread, once for all nodes with the same facts' ``key``).

        Raises:
            ModelError: the model cannot be had or loaded.
        """

    async def open(self, prompt: Prompt, run: Run) -> Session:
        """A session of the engine's own (the engine does not call this for leaf models; it is here to complete the role)."""
        return await run.open(self, prompt)


class Drafter(Node):
    """Role: proposes continuation tokens for a target to verify."""

    def check_beside(self, target: str | Node, plan: NodePlan) -> None:
        """Checks, before any weights load, whether it can draft for a target; ``plan`` is that of the node that asks it to."""

    @abstractmethod
    async def draft(self, prompt: Prompt, target: Session, run: Run) -> DraftSession:
        """A draft session beside ``target``, a session already open on the same prompt."""


class Generator(Node):
    """Role: makes a completion, emitting events on the way."""

    sampling: Sampling | None = Field(
        default=None, description="Sampling settings of this node, over those of the recipe (only what is set here)."
    )

    @abstractmethod
    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        """The response that follows ``prompt.prefix``. Every piece of text is emitted through ``run.emit``."""


class Score(float):
    """A score that says why: a float with a ``detail`` for readers, and ``data`` (plain JSON) from which
    :meth:`Verifier.overall` computes the figure of a whole evaluation."""

    detail: str
    data: Any

    def __new__(cls, value: float, detail: str = "", data: Any = None) -> Score:
        """A score of ``value``."""
        score = super().__new__(cls, value)
        score.detail = detail
        score.data = data
        return score


class Verifier(Node):
    """Role: scores completions of a prompt: inside a strategy, to choose among them, or as the scorer of an evaluation."""

    requires: ClassVar[tuple[str, ...]] = ()
    """Fields of the prompt that this verifier reads; ``plan`` checks that the prompt has them."""
    verdicts: ClassVar[bool] = False
    """Whether its scores are verdicts, 1 or 0; pass@k is defined for these."""
    lower_is_better: ClassVar[bool] = False
    """Whether a lower score is better (bits per byte); a strategy chooses by the others only."""
    reads_answers: ClassVar[bool] = True
    """Whether the completions matter; an evaluation need not make any for a scorer that measures the model itself."""
    compares: ClassVar[bool] = False
    """Whether a score depends on the other completions it is given with (a preference, a consensus)."""

    @abstractmethod
    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> Sequence[float]:
        """One score per completion; NaN abstains. A :class:`Score` also says why."""

    def overall(self, scores: Sequence[Score], texts: Sequence[str]) -> float:
        """The figure of a whole evaluation from the scores of its answers, abstentions left out: their mean, unless the
        measure is defined over all answers at once (then from the scores' ``data``, or from the texts)."""
        return sum(scores) / len(scores)


class Trainer(Node):
    """Role: makes an artifact that other nodes load (``counterpoint train``).

    A field ``artifact`` names what it makes, and a field ``minutes`` may say how long that takes: a plan that lacks the artifact
    finds the recipe by the one and tells the other.
    """

    @abstractmethod
    async def train(self, run: Run) -> str:
        """Trains, and returns the name of the artifact. Blocking work goes through :func:`counterpoint.training.in_thread`."""


ROLES: tuple[type[Node], ...] = (LanguageModel, Drafter, Generator, Verifier, Trainer)


def roles_of(kind: type[Node]) -> tuple[str, ...]:
    """Names of the roles a kind plays; of the smaller protocols that plugins define, for one that plays none."""
    roles = tuple(role.__name__ for role in ROLES if issubclass(kind, role))
    return roles or tuple(base.__name__ for base in kind.__mro__ if Node in base.__bases__ and _has_no_kind(base))


def _has_no_kind(node: type[Node]) -> bool:
    return node.model_fields["kind"].is_required()


RoleT = TypeVar("RoleT", bound=Node)

if TYPE_CHECKING:
    Ref: TypeAlias = Union[str, RoleT]  # noqa: UP007 (an alias over a type variable)
else:

    class Ref:
        """``Ref[Role]``: a reference to a node that plays the role, by name or inline."""

        def __class_getitem__(cls, role: type[Node]) -> Any:
            return Annotated[str | SerializeAsAny[Node], RefTo(role)]


class RefTo:
    """The annotation behind ``Ref[Role]``: says which role a field wants.

    Inline nodes in a recipe are built by the registry before the field is validated."""

    def __init__(self, role: type[Node]) -> None:
        self.role = role

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(value: Any) -> str | Node:
            if isinstance(value, (str, Node)):
                return value
            raise ValueError("expected the name of a node, or a node with a `kind`")

        def serialize(value: str | Node) -> Any:
            return value if isinstance(value, str) else value.plain()

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(serialize)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "string"}, {"type": "object", "required": ["kind"]}],
            "x-role": self.role.__name__,
        }


def wanted_role(field: FieldInfo) -> type[Node] | None:
    """The role a field's ``Ref[Role]`` names; None for a field that refers to no node."""
    return _wanted_role(field.annotation, field.metadata)


def _wanted_role(annotation: Any, metadata: Sequence[Any] = ()) -> type[Node] | None:
    for item in metadata:
        if isinstance(item, RefTo):
            return item.role
    for argument in get_args(annotation):
        if isinstance(argument, RefTo):
            return argument.role
        role = _wanted_role(argument)
        if role is not None:
            return role
    return None

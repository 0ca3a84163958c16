"""The `constrained` language model, held to what constraints allow, and the constraint `grammar`."""

from __future__ import annotations

import importlib.util
import json
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from counterpoint.plugin import (
    Constraint,
    ConstraintState,
    LanguageModel,
    Node,
    NodePlan,
    Prompt,
    RecipeError,
    Ref,
    Run,
    Sampling,
    Session,
    Tokenizer,
    Unsupported,
    hookimpl,
)

_MISSING = "needs the package llguidance, which is not installed"
_HINT = "pip install 'counterpoint[constrained]'"
_ENDS_HINT = "say in the constraint how long an answer has to be, and leave min_tokens and ignore_stop alone"


class Constrained(LanguageModel):
    """A language model that writes only what its constraints allow, and ends exactly where all of them are content.

    Its distribution is the model's own over the tokens that may follow; others have probability 0.
    """

    kind: Literal["constrained"] = "constrained"
    speaks_as: ClassVar[str | None] = "model"
    forbids: ClassVar[bool] = True
    model: Ref[LanguageModel] = Field(description="The language model that is held to the constraints.")
    constraints: Ref[Constraint] | tuple[Ref[Constraint], ...] = Field(
        description="A constraint (`grammar`, a monitor), or several, all of which have to allow a token."
    )

    @model_validator(mode="after")
    def _some(self) -> Constrained:
        if not self.all:
            raise ValueError("needs at least one constraint")
        return self

    @property
    def all(self) -> tuple[str | Constraint, ...]:
        """The constraints."""
        return self.constraints if isinstance(self.constraints, tuple) else (self.constraints,)

    def check(self, plan: NodePlan) -> None:
        if problem := _ends_elsewhere(plan.sampling):
            plan.refuse(problem, _ENDS_HINT)
        path, inner = plan.resolve(self.model)
        while inner.speaks_as is not None:
            if isinstance(inner, Constrained):
                plan.refuse(f"its model '{path}' is constrained already", "list all constraints in one node")
                return
            path, inner = plan.resolve(getattr(inner, inner.speaks_as))

    async def open(self, prompt: Prompt, run: Run) -> Session:
        from counterpoint_plugins.constrained.session import open_constrained

        if problem := _ends_elsewhere(run.sampling):
            raise RecipeError(f"{run.path}: {problem}", hint=_ENDS_HINT)
        return await open_constrained(self.model, self.all, prompt, run)


def _ends_elsewhere(sampling: Sampling) -> str:
    """Why an answer could not end where its constraints say; empty when it can."""
    for name in ("min_tokens", "ignore_stop"):
        if getattr(sampling, name):
            return f"{name} forbids the end of an answer where a constraint may allow nothing else"
    return ""


class Grammar(Constraint):
    """An answer of a given form: a regular expression, a JSON schema or a context-free grammar (exactly one of them).

    The engine is llguidance; whatever spelling of an allowed text the vocabulary has is allowed.
    """

    kind: Literal["grammar"] = "grammar"
    regex: str | None = Field(
        default=None,
        description="A regular expression that the whole answer matches, in the syntax of Rust's `regex`: no look-around, no "
        "back-references; `.` does not match a line break.",
    )
    json_schema: dict[str, Any] | str | None = Field(
        default=None, description="A JSON schema, as a mapping or as JSON text, for an answer that is one JSON value."
    )
    lark: str | None = Field(
        default=None, description="A grammar in llguidance's dialect of Lark, whose start rule is `start`."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Grammar:
        given = [name for name in ("regex", "json_schema", "lark") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"set exactly one of regex, json_schema and lark, not {' and '.join(given) or 'none'}")
        if isinstance(self.json_schema, str):
            try:
                schema = json.loads(self.json_schema)
            except ValueError as error:
                raise ValueError(f"json_schema is no JSON text: {error}") from None
            if not isinstance(schema, dict):
                raise ValueError("json_schema is no JSON object")
        return self

    def source(self) -> str:
        """The grammar as the engine reads it."""
        from counterpoint_plugins.constrained import engine

        if self.regex is not None:
            return engine.from_regex(self.regex)
        if self.json_schema is not None:
            return engine.from_json_schema(self.json_schema)
        assert self.lark is not None
        return engine.from_lark(self.lark)

    def check(self, plan: NodePlan) -> None:
        if importlib.util.find_spec("llguidance") is None:
            plan.refuse(_MISSING, _HINT)
            return
        from counterpoint_plugins.constrained import engine

        error, warnings = engine.problems(self.source())
        if error:
            plan.refuse(f"{self.form} cannot be compiled: {error}", self.hint)
        for warning in warnings:
            plan.warn(f"{self.form}: {warning}")

    def begin(self, tokenizer: Tokenizer, stop_ids: frozenset[int], prompt: Prompt) -> ConstraintState:
        if importlib.util.find_spec("llguidance") is None:
            raise Unsupported(_MISSING, hint=_HINT)
        from counterpoint_plugins.constrained import engine

        try:
            return engine.begin(self.source(), tokenizer, stop_ids)
        except ValueError as error:
            raise RecipeError(f"{self.form} cannot be compiled: {error}", hint=self.hint) from None

    @property
    def form(self) -> str:
        """What it is called in messages."""
        if self.regex is not None:
            return "the regular expression"
        return "the JSON schema" if self.json_schema is not None else "the grammar"

    @property
    def hint(self) -> str:
        """Where to read what can be compiled."""
        if self.regex is not None:
            return "the syntax is that of Rust's regex crate, without look-around and back-references"
        if self.json_schema is not None:
            return "use keywords that llguidance knows (docs/nodes/grammar.md)"
        return "the syntax is llguidance's dialect of Lark (docs/nodes/grammar.md)"


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The nodes `constrained` and `grammar`."""
    return [Constrained, Grammar]

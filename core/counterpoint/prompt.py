"""What goes into a run and what comes out: prompts and completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

FinishReason = Literal["stop", "length", "budget", "cancelled", "failed"]


class Message(BaseModel):
    """One chat message."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(BaseModel):
    """A string (one user message) or chat messages; each model renders it by its own ``prompt_format``.

    ``prefix`` is the start of the answer, already fixed: a hand-over from another model, or "chat on".
    ``fields`` are further columns of a data-set example; only verifiers see them, and only those they require.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str | None = Field(default=None, description="The prompt as one string: one user message.")
    messages: tuple[Message, ...] = Field(default=(), description="The prompt as chat messages, oldest first.")
    prefix: str = Field(default="", description="The start of the answer; the models go on from it.")
    fields: dict[str, JsonValue] = Field(default_factory=dict, description="Other columns of the example, for verifiers.")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"text": value}
        if isinstance(value, Sequence):
            return {"messages": tuple(value)}
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> Prompt:
        if (self.text is None) == (not self.messages):
            raise ValueError("a prompt needs either text or messages")
        content = self.text if self.text is not None else "".join(message.content for message in self.messages)
        if not content.strip():
            raise ValueError("the prompt is empty")
        return self

    @classmethod
    def of(cls, value: PromptLike) -> Prompt:
        """A prompt from a string, a list of ``{"role": …, "content": …}`` messages, a mapping, or a prompt."""
        return value if isinstance(value, Prompt) else cls.model_validate(value)

    def chat(self) -> list[dict[str, str]]:
        """The prompt as chat messages (a string becomes one user message)."""
        if self.text is not None:
            return [{"role": "user", "content": self.text}]
        return [message.model_dump() for message in self.messages]

    def continued(self, prefix: str) -> Prompt:
        """The same prompt with another start of the answer."""
        return self.model_copy(update={"prefix": prefix})


PromptLike = str | Sequence[Mapping[str, str] | Message] | Mapping[str, Any] | Prompt


class Completion(BaseModel):
    """What a generator made: the response, without the prompt and without the prompt's ``prefix``.

    ``text`` ends before a stop string; ``ids`` are the tokens it came from, in the vocabulary of ``tokenizer``
    (a fingerprint), and include a final end-of-turn token when the model produced one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    ids: tuple[int, ...] = ()
    tokenizer: str = ""
    finish_reason: FinishReason

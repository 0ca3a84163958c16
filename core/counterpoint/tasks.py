"""Task types: what one example of a data set holds, how it is asked, and how its answers are scored by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Columns(BaseModel):
    """One example of a data set. A task type derives from this and says which columns a line must have.

    Further columns are kept, for templates. Validators may bring columns into one form; the names that scorers read are
    ``references`` (a list of good answers) and those the task type documents.
    """

    model_config = ConfigDict(frozen=True, extra="allow")


@dataclass(frozen=True)
class TaskType:
    """A kind of data set, brought by a plugin through ``counterpoint_tasks``."""

    name: str
    """What ``--task`` calls it."""
    description: str
    """In a sentence: what is asked."""
    columns: type[Columns]
    """What a line must have."""
    template: str
    """The prompt: Jinja text over the columns."""
    scorers: tuple[str | Mapping[str, Any], ...]
    """Verifiers that score answers by default, the headline first: kinds, or nodes as plain data."""
    prefix: str = ""
    """The start of the answer, Jinja text too; models go on from it."""
    stop: tuple[str, ...] = ()
    """Strings that end an answer."""
    public: tuple[str, ...] = ()
    """Columns that are the question itself: who reads these reads no reference."""

    def fits(self, keys: frozenset[str]) -> bool:
        """Whether a line with these columns can be of this type."""
        return all(
            name in keys or (field.alias or name) in keys or not field.is_required()
            for name, field in self.columns.model_fields.items()
        )


class Words(BaseModel):
    """How examples of a task are asked, where it differs from what the task type says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str | None = Field(default=None, description="The prompt: Jinja text over the columns of an example.")
    prefix: str | None = Field(default=None, description="The start of the answer, Jinja text too; models go on from it.")
    stop: tuple[str, ...] | None = Field(default=None, description="Strings that end an answer.")

    @classmethod
    def first(cls, *words: Words) -> Words:
        """What is said first, part by part."""
        found = {
            name: next((value for value in (getattr(one, name) for one in words) if value is not None), None)
            for name in cls.model_fields
        }
        return cls(**found)

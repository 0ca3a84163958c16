"""Everything Counterpoint raises on purpose.

CounterpointError
├── RecipeError          a recipe that cannot be read, resolved or planned
├── PluginError          a plugin that cannot be imported or that clashes with another
├── ModelError           a model that cannot be fetched, loaded or used
│   ├── ModelNotFound    no such model, or not here and no way to get it
│   └── Unsupported      the model or backend lacks a capability that was asked for
├── BridgeError          two vocabularies that nothing can bridge
├── BudgetError          a budget that makes no sense or that nothing can meet
├── RunError             a run that failed, or a stored run that cannot be read
└── EvaluationError      a data set, an evaluation or a comparison that makes no sense or cannot be read

Each error carries a message that says what is wrong and where (recipe, node, field), and a hint that
says what to do. The command line and the terminal application print both; only ``--debug`` adds a traceback.
"""

from __future__ import annotations


class CounterpointError(Exception):
    """Base of every error Counterpoint raises on purpose.

    Args:
        message: what is wrong, in one or a few lines, naming the place.
        hint: what the reader can do about it; empty when there is nothing to add.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class RecipeError(CounterpointError):
    """A recipe that cannot be read, resolved or planned."""


class PluginError(CounterpointError):
    """A plugin that cannot be imported, or that clashes with another."""


class ModelError(CounterpointError):
    """A model that cannot be fetched, loaded or used."""


class ContextFull(ModelError):
    """Tokens that do not fit a model's context. A generator that has written something ends there, by `length`."""


class PromptTooLong(ModelError):
    """A prompt leaves no room for an answer in a model's context."""


class ModelNotFound(ModelError):
    """No such model, or it is not here and there is no way to get it."""


class Unsupported(ModelError):
    """The model or its backend lacks a capability that was asked for."""


class BridgeError(CounterpointError):
    """Two vocabularies that nothing can bridge."""


class BudgetError(CounterpointError):
    """A budget that makes no sense or that nothing can meet."""


class RunError(CounterpointError):
    """A run that failed, or a stored run that cannot be read."""


class EvaluationError(CounterpointError):
    """A data set, an evaluation or a comparison that makes no sense or cannot be read."""

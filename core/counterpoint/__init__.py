"""Counterpoint: small and large language models that work together.

    import counterpoint as cp

    result = cp.run("speculative", "Write a function that reverses a list.")
    print(result.text)

This is the door for applications. Plugin authors use :mod:`counterpoint.plugin`. Importing this loads neither torch nor textual.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counterpoint.api import run, stream
    from counterpoint.engine import Engine
    from counterpoint.errors import (
        BridgeError,
        BudgetError,
        CounterpointError,
        EvaluationError,
        ModelError,
        ModelNotFound,
        PluginError,
        RecipeError,
        RunError,
        Unsupported,
    )
    from counterpoint.evaluation.accepting import Goal
    from counterpoint.evaluation.calibrating import Calibration, Stakes, calibrate
    from counterpoint.evaluation.comparing import compare
    from counterpoint.evaluation.comparison import Comparison
    from counterpoint.evaluation.evaluating import evaluate, load_evaluation
    from counterpoint.evaluation.result import EvaluationResult
    from counterpoint.events import Event
    from counterpoint.plan import Plan
    from counterpoint.prompt import Completion, Message, Prompt
    from counterpoint.recipe import Recipe, load_recipe
    from counterpoint.registry import load_plugins
    from counterpoint.runstore import RunStore
    from counterpoint.selection.scoring import score
    from counterpoint.settings import Budget, Sampling
    from counterpoint.streaming import RunResult, RunStream

_HOMES = {
    "api": ("run", "stream"),
    "engine": ("Engine",),
    "errors": (
        "BridgeError",
        "BudgetError",
        "CounterpointError",
        "EvaluationError",
        "ModelError",
        "ModelNotFound",
        "PluginError",
        "RecipeError",
        "RunError",
        "Unsupported",
    ),
    "evaluation.accepting": ("Goal",),
    "evaluation.calibrating": ("Calibration", "Stakes", "calibrate"),
    "evaluation.comparing": ("compare",),
    "evaluation.comparison": ("Comparison",),
    "evaluation.evaluating": ("evaluate", "load_evaluation"),
    "evaluation.result": ("EvaluationResult",),
    "events": ("Event",),
    "plan": ("Plan",),
    "prompt": ("Completion", "Message", "Prompt"),
    "recipe": ("Recipe", "load_recipe"),
    "registry": ("load_plugins",),
    "runstore": ("RunStore",),
    "selection.scoring": ("score",),
    "settings": ("Budget", "Sampling"),
    "streaming": ("RunResult", "RunStream"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BridgeError",
    "Budget",
    "BudgetError",
    "Calibration",
    "Comparison",
    "Completion",
    "CounterpointError",
    "Engine",
    "EvaluationError",
    "EvaluationResult",
    "Event",
    "Goal",
    "Message",
    "ModelError",
    "ModelNotFound",
    "Plan",
    "PluginError",
    "Prompt",
    "Recipe",
    "RecipeError",
    "RunError",
    "RunResult",
    "RunStore",
    "RunStream",
    "Sampling",
    "Stakes",
    "Unsupported",
    "calibrate",
    "compare",
    "evaluate",
    "load_evaluation",
    "load_plugins",
    "load_recipe",
    "run",
    "score",
    "stream",
]


logging.getLogger(__name__).addHandler(logging.NullHandler())  # an application says where the log goes


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'counterpoint' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"counterpoint.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

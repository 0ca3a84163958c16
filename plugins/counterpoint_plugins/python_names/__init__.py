"""The constraint `python_names`: after a dot in Python code, only attributes that exist. A monitor, with jedi for its eyes."""

from __future__ import annotations

import importlib.util
from typing import Literal

from pydantic import Field

from counterpoint.plugin import Constraint, ConstraintState, Node, NodePlan, Prompt, Tokenizer, Unsupported, hookimpl

_MISSING = "needs the package jedi, which is not installed"
_HINT = "pip install 'counterpoint[python-monitor]'"


class PythonNames(Constraint):
    """Python code whose attributes exist: after `expression.`, only names that static analysis finds.

    Monitor-guided decoding (Agrawal et al. 2023, arXiv 2306.10763), with jedi as the analysis, which reads code and never runs it.
    Where jedi knows nothing, nothing is forbidden.
    """

    kind: Literal["python_names"] = "python_names"
    code: Literal["fence", "all"] = Field(
        default="fence",
        description="What of the answer is code: the ```python block that is open (`fence`), or the whole answer (`all`).",
    )
    context: Literal["prompt", "none"] = Field(
        default="prompt",
        description="Code that stands before the answer's: the ```python blocks of the prompt, or where it has none and `code` is "
        "`all`, the prompt itself (`prompt`); or nothing (`none`).",
    )

    def check(self, plan: NodePlan) -> None:
        if importlib.util.find_spec("jedi") is None:
            plan.refuse(_MISSING, _HINT)

    def begin(self, tokenizer: Tokenizer, stop_ids: frozenset[int], prompt: Prompt) -> ConstraintState:
        if importlib.util.find_spec("jedi") is None:
            raise Unsupported(_MISSING, hint=_HINT)
        from counterpoint_plugins.python_names import monitor, places

        before = places.code_before(prompt, whole=self.code == "all") if self.context == "prompt" else ""
        return monitor.begin(tokenizer, stop_ids, before, whole=self.code == "all")


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `python_names` constraint."""
    return [PythonNames]

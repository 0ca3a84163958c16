"""Runs model-written code apart from everything else, and judges it by tests. For plugin authors.

:func:`run_checks` judges a program; :func:`choose` says, for a node's ``check``, whether code can be isolated here. What this
guarantees and what not is in ``docs/sandbox.md``.
"""

from counterpoint.sandbox.isolation import Isolation, IsolationKind, choose
from counterpoint.sandbox.judging import Verdict, run_checks
from counterpoint.sandbox.limits import Limits

__all__ = ["Isolation", "IsolationKind", "Limits", "Verdict", "choose", "run_checks"]

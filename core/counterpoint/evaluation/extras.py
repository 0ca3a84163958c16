"""Libraries that only figures and reports need: imported where they are used, with an error that says how to get them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.errors import EvaluationError

_OF_EXTRA = frozenset({"scipy", "matplotlib"})


def require(module: str, purpose: str) -> Any:
    """Imports a library that is not always installed.

    Args:
        module: its name, as in ``scipy.stats``.
        purpose: what it is needed for, as the subject of a sentence: ``intervals``.

    Raises:
        EvaluationError: it is not installed; the hint says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise  # it is there, and what it needs is not: pip's own words say more than ours
        raise EvaluationError(
            f"{purpose} need {package}, which is not installed",
            hint="pip install 'counterpoint[eval]'" if package in _OF_EXTRA else f"pip install {package}",
        ) from None


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A pandas ``DataFrame``, a row per mapping.

    Raises:
        EvaluationError: pandas is not installed.
    """
    return require("pandas", "data frames").DataFrame([dict(row) for row in rows])

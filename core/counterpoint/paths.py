"""Where Counterpoint keeps things on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The folder of the model store, stored runs and settings (``COUNTERPOINT_HOME`` relocates it)."""
    configured = os.environ.get("COUNTERPOINT_HOME")
    return Path(configured).expanduser() if configured else Path(platformdirs.user_data_dir("counterpoint"))


def models() -> Path:
    """The model store."""
    return home() / "models"


def runs() -> Path:
    """Stored runs."""
    return home() / "runs"


def evaluations() -> Path:
    """Evaluations that were not told where to go."""
    return home() / "evaluations"


def artifacts() -> Path:
    """What trainers made."""
    return home() / "artifacts"


def candidates() -> Path:
    """Answers that recipes keep, so as to make them once (the node `cached`)."""
    return home() / "candidates"


def bridges() -> Path:
    """What has been found out about pairs of tokenizers."""
    return home() / "bridges"


def log() -> Path:
    """What the command line's models and libraries complain about."""
    return home() / "counterpoint.log"


def recipes() -> Path:
    """The user's own recipes, addressable by name."""
    return home() / "recipes"


def data() -> Path:
    """Evaluation data (``COUNTERPOINT_DATA``; default ``../shared/data`` from the working directory)."""
    return Path(os.environ.get("COUNTERPOINT_DATA", "../shared/data")).expanduser()

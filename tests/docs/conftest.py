"""The documentation runs on the same fakes as the examples."""

from __future__ import annotations

import runpy
from pathlib import Path

fakes = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "conftest.py"))["fakes"]

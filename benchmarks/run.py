"""Runs every benchmark in turn (about eight hours on two cores; each goes on where it was stopped).

python benchmarks/run.py [NAME …]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ALL = (
    "startup",
    "speculative",
    "batching",
    "exactness",
    "backends",
    "cross_vocabulary",
    "compositions",
    "bridges",
    "constrained",
    "python_names",
    "weak_to_strong_exactness",
    "weak_to_strong",
    "proxy_tuning",
    "contrastive",
    "evaluation",
    "tui",
    "best_of_n",
    "overlap",
    "humaneval",
    "budget_reallocation",
    "cascade",
)
"""All but `cross_model_control`, `corrector` and `verifiers`, which need artifacts that take half an hour and more to train."""


def main() -> None:
    """Runs those named, or all."""
    for name in sys.argv[1:] or ALL:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py"))], check=True)


if __name__ == "__main__":
    main()

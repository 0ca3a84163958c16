"""How long things take to start: `import counterpoint`, `counterpoint --help`, and the pair from the store to its first token.

python benchmarks/startup.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

from common import Results, pair

IMPORT = (
    "import sys, time; t = time.perf_counter(); import counterpoint; print(time.perf_counter() - t, 'torch' in sys.modules)"
)
FIRST_TOKEN = """
import json, sys, time
started = time.perf_counter()
import counterpoint as cp
for event in cp.stream(json.loads(sys.argv[1]), "Write a haiku."):
    if event.type == "emitted":
        print(time.perf_counter() - started)
        break
"""


def seconds(command: list[str]) -> float:
    """Wall time of a command."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Medians of five; the pair's first token, of three."""
    imports = [
        subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True).stdout for _ in range(5)
    ]
    times = [float(text.split()[0]) for text in imports]
    recipe = json.dumps(pair("spec"))
    firsts = [
        float(subprocess.run([sys.executable, "-c", FIRST_TOKEN, recipe], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    Results("startup").summarize(
        {
            "import_counterpoint_seconds": round(statistics.median(times), 3),
            "torch_imported": any("True" in text for text in imports),
            "help_seconds": round(
                statistics.median(seconds([sys.executable, "-m", "counterpoint", "--help"]) for _ in range(5)), 3
            ),
            "pair_to_first_token_seconds": round(statistics.median(firsts), 2),
        }
    )


if __name__ == "__main__":
    main()

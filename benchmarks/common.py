"""What the benchmarks share: prompts, the machine, results that survive an interruption."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from counterpoint import paths

RESULTS = Path(__file__).parent / "results"
LARGE, SMALL = "qwen2.5-coder-1.5b-instruct", "qwen2.5-coder-0.5b-instruct"


def humaneval(count: int) -> list[str]:
    """The first prompts of HumanEval."""
    with (paths.data() / "humaneval.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["prompt"] for _, line in zip(range(count), lines, strict=False)]


def solutions(count: int) -> list[str]:
    """The first problems of HumanEval with their reference solutions: real code."""
    with (paths.data() / "humaneval.jsonl").open(encoding="utf-8") as lines:
        found = [json.loads(line) for _, line in zip(range(count), lines, strict=False)]
    return [example["prompt"].lstrip() + example["canonical_solution"] for example in found]


def model(source: str, dtype: str = "bfloat16") -> dict[str, Any]:
    """A `huggingface` node as plain data."""
    return {"kind": "huggingface", "source": source, "dtype": dtype}


def pair(output: str, dtype: str = "bfloat16", **speculative: Any) -> dict[str, Any]:
    """The recipe of the benchmarks: the 1.5B, the 0.5B, look-up, and a speculative node over them."""
    return {
        "nodes": {
            "large": model(LARGE, dtype),
            "small": model(SMALL, dtype),
            "lookup": {"kind": "prompt_lookup"},
            "spec": {"kind": "speculative", "target": "large", "draft": ["lookup", "small"], **speculative},
        },
        "output": output,
        "record": "tokens",
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on, and with."""
    cpu = next(
        (line.split(":")[1].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    flags = _read("/proc/cpuinfo")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "bf16_instructions": "avx512_bf16" in flags or "amx_bf16" in flags,
        "python": platform.python_version(),
        **{name: version(name) for name in ("counterpoint", "torch", "transformers")},
        "commit": _commit(),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def geometric_mean(values: Iterable[float]) -> float:
    """Geometric mean."""
    return statistics.geometric_mean(values)


class Results:
    """Rows of one benchmark, a JSON line each, appended as they are made: a run that was stopped goes on where it was."""

    def __init__(self, name: str, *, fresh: bool = False) -> None:
        RESULTS.mkdir(exist_ok=True)
        self.rows_path = RESULTS / f"{name}.jsonl"
        self.summary_path = RESULTS / f"{name}.json"
        if fresh:
            self.rows_path.unlink(missing_ok=True)
        self.rows = [json.loads(line) for line in _read(str(self.rows_path)).splitlines()]

    def have(self, **keys: Any) -> dict[str, Any] | None:
        """The row with these values, if there is one."""
        return next((row for row in self.rows if all(row.get(key) == value for key, value in keys.items())), None)

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """Keeps a row."""
        self.rows.append(row)
        with self.rows_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def once(self, keys: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row with these keys, measured if it is not there."""
        return self.have(**keys) or self.add({**keys, **measure()})

    def summarize(self, summary: dict[str, Any]) -> None:
        """Writes the summary beside the rows, with the machine, and prints it."""
        text = json.dumps({"machine": machine(), **summary}, indent=1)
        self.summary_path.write_text(text + "\n", encoding="utf-8")
        print(text)

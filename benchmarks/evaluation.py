"""Throughput of an evaluation: many examples in flight against one at a time, and whether the answers are the same.

    python benchmarks/evaluation.py                      # float32 and bfloat16, about twenty minutes on two cores
    python benchmarks/evaluation.py --dtype float32

The 0.5B answers the first twenty problems of HumanEval, greedily and with the same seed at T = 0.8, one at a time and all in
flight; 160 tokens at most. Both run in one process, models loaded before the clock starts.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from common import SMALL, Results, model

import counterpoint as cp

PROBLEMS = 20
TOKENS = 160
IN_FLIGHT = (1, PROBLEMS)


def measure(engine: cp.Engine, dtype: str, temperature: float, in_flight: int) -> dict[str, Any]:
    """Seconds of an evaluation, and its answers."""
    recipe = {
        "nodes": {"small": model(SMALL, dtype)},
        "output": "small",
        "sampling": {"max_tokens": TOKENS, "temperature": temperature},
    }
    engine.load(recipe)
    began = time.perf_counter()
    result = cp.evaluate(recipe, "humaneval.jsonl", engine=engine, limit=PROBLEMS, in_flight=in_flight, scorers=[])
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "tokens": sum(record.cost.answer_tokens for record in result.records),
        "answers": {record.id: record.text for record in result.records},
    }


def main() -> None:
    """Measures, and writes the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="only this type")
    parser.add_argument("--fresh", action="store_true", help="measure all again")
    arguments = parser.parse_args()
    results = Results("evaluation", fresh=arguments.fresh)
    summary: dict[str, Any] = {}
    for dtype in (arguments.dtype,) if arguments.dtype else ("float32", "bfloat16"):
        with cp.Engine() as engine:
            for temperature in (0.0, 0.8):
                rows = [
                    results.once(
                        {"dtype": dtype, "temperature": temperature, "in_flight": count},
                        lambda count=count, dtype=dtype, temperature=temperature: measure(engine, dtype, temperature, count),
                    )
                    for count in IN_FLIGHT
                ]
                alone, together = rows
                parted = [name for name, text in alone["answers"].items() if together["answers"][name] != text]
                summary[f"{dtype}, T = {temperature:g}"] = {
                    "tokens/s, one at a time": round(alone["tokens"] / alone["seconds"], 2),
                    f"tokens/s, {PROBLEMS} in flight": round(together["tokens"] / together["seconds"], 2),
                    "ratio": round(together["tokens"] / together["seconds"] / (alone["tokens"] / alone["seconds"]), 3),
                    "answers that differ": len(parted),
                    "which": parted,
                }
    results.summarize({"problems": PROBLEMS, "max_tokens": TOKENS, **summary})


if __name__ == "__main__":
    main()

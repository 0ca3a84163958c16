"""Throughput of an evaluation: many examples in flight against one at a time, and whether the answers are the same.

    python benchmarks/evaluation.py                      # float32 and bfloat16, about twenty minutes on two cores
    python benchmarks/evaluation.py --dtype float32

The 0.5B answers the first twenty problems of HumanEval, greedily and with the same seed at T = 0.8, one at a time and all in
flight; 160 tokens at most. Both run in one process, models loaded before the clock starts.
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Any

from common import SMALL, Results, model

import counterpoint as cp

PROBLEMS = 20
TOKENS = 160
DTYPES = ("float32", "bfloat16")
IN_FLIGHT = (1, PROBLEMS)
TEMPERATURES = (0.0, 0.8)


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
    parser.add_argument("--dtype", choices=DTYPES, help="only this type")
    parser.add_argument("--temperature", type=float, choices=TEMPERATURES, help="only this temperature")
    parser.add_argument("--fresh", action="store_true", help="measure all again")
    arguments = parser.parse_args()
    results = Results("evaluation", fresh=arguments.fresh)
    for dtype in (arguments.dtype,) if arguments.dtype else DTYPES:
        with cp.Engine() as engine:
            for temperature in TEMPERATURES if arguments.temperature is None else (arguments.temperature,):
                for count in IN_FLIGHT:
                    results.once(
                        {"dtype": dtype, "temperature": temperature, "in_flight": count},
                        lambda count=count, dtype=dtype, temperature=temperature: measure(engine, dtype, temperature, count),
                    )
    results.summarize({"problems": PROBLEMS, "max_tokens": TOKENS, **summary(results)})


def summary(results: Results) -> dict[str, Any]:
    """What has been measured in both ways."""
    found = {}
    for dtype, temperature in itertools.product(DTYPES, TEMPERATURES):
        alone, together = (results.have(dtype=dtype, temperature=temperature, in_flight=count) for count in IN_FLIGHT)
        if alone is None or together is None:
            continue
        speeds = [row["tokens"] / row["seconds"] for row in (alone, together)]
        parted = [name for name, text in alone["answers"].items() if together["answers"][name] != text]
        found[f"{dtype}, T = {temperature:g}"] = {
            "tokens/s, one at a time": round(speeds[0], 2),
            f"tokens/s, {PROBLEMS} in flight": round(speeds[1], 2),
            "ratio": round(speeds[1] / speeds[0], 3),
            "answers that differ": len(parted),
            "which": parted,
        }
    return found


if __name__ == "__main__":
    main()

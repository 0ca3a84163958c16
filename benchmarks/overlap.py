"""Whether tests of one candidate run while others are still being made.

    python benchmarks/overlap.py [--rounds 5]      # about six minutes on two idle cores

The recipe ``best-of-n`` on its own prompt, with eight candidates of the 0.5B (transformers, bfloat16, T = 1.2) that end when they
end, all of them tested (``select: score``), in the sandbox, by tests that wait for a second. Seconds to make the candidates without
tests, to test all of them when they are there, and to do both at once; medians in one process, in turn.
"""

from __future__ import annotations

import argparse
import statistics

from best_of_n import timed
from common import Results

import counterpoint as cp

CANDIDATES = 8


def seconds(engine: cp.Engine, rounds: int) -> tuple[list[int], dict[str, float]]:
    """Tokens of the candidates; and seconds to make them, to test them, and to do both at once, medians."""
    tested = engine.recipe("best-of-n").to_dict()
    test = tested["prompt"]["fields"]["test"].replace("(candidate):\n", "(candidate):\n    __import__('time').sleep(1)\n")
    prompt = cp.Prompt(**{**tested["prompt"], "fields": {**tested["prompt"]["fields"], "test": test}})
    best = {**tested["nodes"]["best"], "select": "score"}  # all of them are tested
    tested = {**tested, "nodes": {**tested["nodes"], "best": best}, "sampling": {**tested["sampling"], "temperature": 1.2}}
    plain = {**tested, "nodes": {**tested["nodes"], "best": {**best, "verifiers": [], "select": "vote"}}}
    tests = {"nodes": {"tests": tested["nodes"]["tests"]}, "output": "tests"}
    sampled = engine.samples({**tested, "output": "small"}, prompt, CANDIDATES)
    completions = [stream.result().completion for stream in sampled]
    found: dict[str, list[float]] = {"made": [], "tested": [], "both": []}
    for number in range(rounds):
        found["made"].append(timed(lambda n=number: engine.run(plain, prompt, scope=f"made {n}")))  # type: ignore[misc]
        found["tested"].append(timed(lambda: engine.verify(tests, prompt, completions).result()))
        found["both"].append(timed(lambda n=number: engine.run(tested, prompt, scope=f"both {n}")))  # type: ignore[misc]
    medians = {name: round(statistics.median(values), 2) for name, values in found.items()}
    return sorted(len(one.ids) for one in completions), medians


def main() -> None:
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with cp.Engine(offline=True) as engine:
        engine.run({**engine.recipe("small").to_dict(), "sampling": {"max_tokens": 8}}, "hello")  # loaded and warm
        tokens, medians = seconds(engine, options.rounds)
    hidden = medians["made"] + medians["tested"] - medians["both"]
    Results("overlap").summarize(
        {
            "what": f"eight candidates of the 0.5B with tests of a second each, medians of {options.rounds}",
            "tokens of the candidates": tokens,
            "seconds": medians,
            "share of the tests' time that goes by while others are made": round(hidden / medians["tested"], 2),
        }
    )


if __name__ == "__main__":
    main()

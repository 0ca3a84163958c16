"""Sharing passes: sixteen candidates against one, and eight prompts at once through `speculative` against one at a time.

    python benchmarks/batching.py [--tokens 128] [--fresh]

CPU, bfloat16. Sixteen candidates are samples at temperature 0.8 of one prompt, exactly `--tokens` tokens each, from one prefill.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from common import Results, humaneval, pair

import counterpoint as cp


def candidates(engine: cp.Engine, node: str, count: int, tokens: int, prompt: str) -> dict[str, Any]:
    """Wall time of `count` samples of fixed length."""
    sampling = cp.Sampling(temperature=0.8, max_tokens=tokens, ignore_stop=True)
    started = time.perf_counter()
    results = engine.run_many(pair(node), [prompt], samples=count, sampling=sampling)
    seconds = time.perf_counter() - started
    assert all(len(result.completion.ids) == tokens for result in results), [result.error for result in results]
    assert len({result.text for result in results}) > count // 2, "candidates differ"
    prefill = sum(e.tokens for r in results for e in r.trace if e.type == "forward" and e.prefill)
    return {"seconds": seconds, "prefill_tokens": prefill}


def prompts_through(engine: cp.Engine, prompts: list[str], tokens: int) -> dict[str, Any]:
    """Aggregate speed of prompts in flight together."""
    started = time.perf_counter()
    results = engine.run_many(pair("spec"), prompts, sampling=cp.Sampling(max_tokens=tokens))
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "tokens": sum(len(result.completion.ids) for result in results),
        "ids": [list(result.completion.ids) for result in results],
    }


def main() -> None:
    """Measures what is missing, and summarises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    options = parser.parse_args()
    results = Results("batching", fresh=options.fresh)
    prompts = humaneval(8)
    with cp.Engine(offline=True) as engine:
        engine.load(pair("spec"))
        engine.run_many(pair("spec"), prompts[:2], sampling=cp.Sampling(max_tokens=4))
        for node in ("small", "large"):
            for count in (1, 16):
                keys = {"what": "candidates", "node": node, "count": count, "max_tokens": options.tokens}
                results.once(keys, lambda n=node, c=count: candidates(engine, n, c, options.tokens, prompts[0]))  # type: ignore[misc]
        for index, prompt in enumerate(prompts):
            keys = {"what": "alone", "prompt": index, "max_tokens": options.tokens}
            results.once(keys, lambda p=prompt: prompts_through(engine, [p], options.tokens))  # type: ignore[misc]
        together = results.once(
            {"what": "together", "max_tokens": options.tokens}, lambda: prompts_through(engine, prompts, options.tokens)
        )
    alone = [results.have(what="alone", prompt=index, max_tokens=options.tokens) or {} for index in range(8)]
    aggregate = sum(row["tokens"] for row in alone) / sum(row["seconds"] for row in alone)

    def wall(node: str, count: int) -> float:
        row = results.have(what="candidates", node=node, count=count, max_tokens=options.tokens)
        assert row is not None
        return float(row["seconds"])

    results.summarize(
        {
            "sixteen_candidates_over_one_wall_time": {
                node: round(wall(node, 16) / wall(node, 1), 3) for node in ("small", "large")
            },
            "seconds": {f"{node}, {count}": round(wall(node, count), 1) for node in ("small", "large") for count in (1, 16)},
            "eight_prompts_speculative": {
                "tokens_per_second_one_at_a_time": round(aggregate, 2),
                "tokens_per_second_together": round(together["tokens"] / together["seconds"], 2),
                "ratio": round(together["tokens"] / together["seconds"] / aggregate, 3),
                "prompts_whose_tokens_part_in_bfloat16": [
                    index for index in range(8) if together["ids"][index] != alone[index]["ids"][0]
                ],
            },
        }
    )


if __name__ == "__main__":
    main()

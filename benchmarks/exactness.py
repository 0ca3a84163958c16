"""Exactness in float32: batching, concurrency and speculative decoding change no token.

    python benchmarks/exactness.py [--prompts 20] [--tokens 64] [--dtype float32|bfloat16] [--fresh]

For the first HumanEval prompts: `speculative` (both rules greedy; the invariant rule at temperature 0.8) must give exactly the
tokens of `sample` with the same seed; eight prompts at once, and four speculative runs at once, those of one at a time. In
bfloat16 the parting prompts are listed with the gap of the two most probable tokens where they part.
"""

from __future__ import annotations

import argparse
from typing import Any

from common import Results, humaneval, pair

import counterpoint as cp


def together(engine: cp.Engine, recipe: dict[str, Any], prompts: list[str], sampling: cp.Sampling) -> dict[str, Any]:
    """Tokens of prompts in flight together, and each token's gap to the runner-up."""
    results = engine.run_many({**recipe, "record": "full"}, prompts, sampling=sampling, seed=11)
    for result in results:
        if result.error is not None:
            raise result.error
    gaps = []
    for result in results:
        emitted = [event for event in result.trace if event.type == "emitted" and event.span == 1]
        gaps.append([round(a[0].logprob - a[1].logprob, 4) for event in emitted for a in event.alternatives])
    return {"ids": [list(result.completion.ids) for result in results], "gaps": gaps}


def parting(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Prompts whose tokens differ, where, and how near the tie was."""
    found = []
    for index, (a, b) in enumerate(zip(left["ids"], right["ids"], strict=True)):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            gap = left["gaps"][index][at] if at < len(left["gaps"][index]) else None
            found.append({"prompt": index, "position": at, "logprob_gap": gap})
    return {"prompts": len(left["ids"]), "part": len(found), "where": found}


def main() -> None:
    """Measures what is missing, compares, and fails when float32 tokens part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    options = parser.parse_args()
    results = Results(f"exactness-{options.dtype}", fresh=options.fresh)
    prompts = humaneval(options.prompts)
    greedy = cp.Sampling(max_tokens=options.tokens)
    warm = cp.Sampling(max_tokens=options.tokens, temperature=0.8)
    with cp.Engine(offline=True) as engine:

        def row(what: str, recipe: dict[str, Any], some: list[str], sampling: cp.Sampling, width: int) -> dict[str, Any]:
            def measure() -> dict[str, Any]:
                parts = [together(engine, recipe, some[i : i + width], sampling) for i in range(0, len(some), width)]
                return {key: [item for part in parts for item in part[key]] for key in ("ids", "gaps")}

            found = results.once({"what": what, "max_tokens": options.tokens, "prompts": len(some)}, measure)
            print(what, "done", flush=True)
            return found

        sample, spec = pair("large", options.dtype), pair("spec", options.dtype)
        rejection = pair("spec", options.dtype, rule="rejection")
        eight = row("sample, 8 at once", sample, prompts[:8], greedy, 8)
        base = row("sample, all at once", sample, prompts, greedy, 20)
        base_warm = row("sample T=0.8, all at once", sample, prompts, warm, 20)
        comparisons = {
            "speculative (invariant, greedy) = sample": parting(
                base, row("speculative, 10 at once", spec, prompts, greedy, 10)
            ),
            "speculative (rejection, greedy) = sample": parting(
                base, row("speculative rejection, 10 at once", rejection, prompts, greedy, 10)
            ),
            "speculative (invariant, T=0.8) = sample": parting(
                base_warm, row("speculative T=0.8, 10 at once", spec, prompts, warm, 10)
            ),
            "8 prompts at once = one at a time": parting(row("sample, one at a time", sample, prompts[:8], greedy, 1), eight),
            "4 speculative runs at once = one at a time": parting(
                row("speculative, one at a time", spec, prompts[:4], greedy, 1),
                row("speculative, 4 at once", spec, prompts[:4], greedy, 4),
            ),
        }
    results.summarize({"dtype": options.dtype, "new_tokens": options.tokens, "comparisons": comparisons})
    if options.dtype == "float32" and any(found["part"] for found in comparisons.values()):
        raise SystemExit("float32 tokens part")


if __name__ == "__main__":
    main()

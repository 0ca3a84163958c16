"""Compositions of logits: what they cost beside their models' passes, and what drafting for them gains.

    python benchmarks/compositions.py [--prompts 6] [--tokens 96] [--fresh]

CPU, bfloat16, greedy, one prompt at a time: the first HumanEval prompts as chat messages. Two figures:

- the share of a composition's time that its models' passes take: the speed reached, over the speed that the passes allow;
- `speculative` with a composition as its target against the composition alone, tokens per second, geometric mean over prompts.

Each system runs on each prompt in turn in one process. Rows are kept as they are made, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from common import LARGE, SMALL, Results, geometric_mean, humaneval, model

import counterpoint as cp

COMPOSITIONS: dict[str, dict[str, Any]] = {
    "contrastive": {"kind": "contrastive", "expert": "large", "amateur": "small"},
    "logit_mixture": {"kind": "logit_mixture", "base": "large", "others": ["small"], "weights": [0.7, 0.3]},
    "logit_mixture, two vocabularies": {"kind": "logit_mixture", "base": "small", "others": ["tiny"], "weights": [0.8, 0.2]},
    "cross_model_control": {"kind": "cross_model_control", "base": "large", "delta": "tiny", "alpha": 0.1},
    "ensemble": {"kind": "ensemble", "base": "large", "others": ["small"]},
}
DRAFTED = ("contrastive", "cross_model_control")
"""Those that are drafted for, by look-up and the 0.5B."""


def recipe(system: str) -> dict[str, Any]:
    """A composition, or a speculative node that has it as its target."""
    name = system.removeprefix("speculative, ")
    nodes: dict[str, Any] = {
        "large": model(LARGE),
        "small": model(SMALL),
        "tiny": model("smollm2-135m-instruct"),
        "lookup": {"kind": "prompt_lookup"},
        "composition": COMPOSITIONS[name],
        "spec": {"kind": "speculative", "target": "composition", "draft": ["lookup", "small"]},
    }
    return {"nodes": nodes, "output": "composition" if name == system else "spec", "record": "tokens"}


def measure(engine: cp.Engine, system: str, prompt: str, tokens: int) -> dict[str, Any]:
    """Tokens, the time they took, and how much of it passes took."""
    started = time.perf_counter()
    result = engine.run(recipe(system), prompt, sampling=cp.Sampling(max_tokens=tokens))
    seconds = time.perf_counter() - started
    forward = [event for event in result.trace if event.type == "forward"]
    verified = [event for event in result.trace if event.type == "verified"]
    return {
        "seconds": seconds,
        "tokens": len(result.completion.ids),
        "ids": list(result.completion.ids),
        "passes": len(forward),
        "pass_seconds": sum(event.seconds for event in forward),
        "proposed": sum(event.proposed for event in verified),
        "accepted": sum(event.accepted for event in verified),
    }


def main() -> None:
    """Measures what is missing, and summarises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    options = parser.parse_args()
    results = Results("compositions", fresh=options.fresh)
    prompts = humaneval(options.prompts)
    systems = [*COMPOSITIONS, *(f"speculative, {name}" for name in DRAFTED)]
    keys = [
        {"prompt": index, "system": system, "max_tokens": options.tokens} for index in range(len(prompts)) for system in systems
    ]
    if any(results.have(**key) is None for key in keys):
        with cp.Engine(offline=True) as engine:
            for system in systems:
                measure(engine, system, "Say hi.", 3)
            for key in keys:
                row = results.have(**key)
                if row is None:
                    row = results.add({**key, **measure(engine, key["system"], prompts[key["prompt"]], options.tokens)})
                    print(f"{key['prompt']:3} {key['system']:36} {row['tokens'] / row['seconds']:6.2f} tokens/s", flush=True)
    rows = {
        system: [results.have(prompt=index, system=system, max_tokens=options.tokens) or {} for index in range(len(prompts))]
        for system in systems
    }
    drafted = {name: (rows[f"speculative, {name}"], rows[name]) for name in DRAFTED}
    results.summarize(
        {
            "what": f"{len(prompts)} HumanEval prompts, {options.tokens} new tokens, greedy, bfloat16",
            "tokens_per_second": {
                system: round(geometric_mean(row["tokens"] / row["seconds"] for row in found), 2)
                for system, found in rows.items()
            },
            "share_of_the_speed_that_passes_allow": {
                name: round(sum(row["pass_seconds"] for row in rows[name]) / sum(row["seconds"] for row in rows[name]), 3)
                for name in COMPOSITIONS
            },
            "speculative / composition alone": {
                name: {
                    "geometric_mean": round(geometric_mean(ratios(*pair)), 3),
                    "lowest": round(min(ratios(*pair)), 3),
                    "acceptance": round(sum(r["accepted"] for r in pair[0]) / max(1, sum(r["proposed"] for r in pair[0])), 3),
                    "prompts whose tokens part (bfloat16)": [
                        index for index, (one, other) in enumerate(zip(*pair, strict=True)) if one["ids"] != other["ids"]
                    ],
                }
                for name, pair in drafted.items()
            },
        }
    )


def ratios(ours: list[dict[str, Any]], alone: list[dict[str, Any]]) -> list[float]:
    """Tokens per second of one system over those of another, prompt by prompt."""
    return [a["tokens"] / a["seconds"] / (b["tokens"] / b["seconds"]) for a, b in zip(ours, alone, strict=True)]


if __name__ == "__main__":
    main()

"""Drafting across vocabularies: SmolLM2-135M drafts for Qwen2.5-Coder-1.5B, against transformers' universal assisted generation.

    python benchmarks/cross_vocabulary.py [--prompts 20] [--tokens 128] [--fresh]

CPU, bfloat16, greedy, one prompt at a time: the first HumanEval prompts as chat messages. All systems run on each prompt in turn in one
process; those "on llama.cpp" have the same draft model there, beside the target on transformers. A figure is the geometric mean over
prompts of the ratio of tokens per second, prompt processing included on both sides. Rows are kept as they are made, so an interrupted
run goes on.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from common import LARGE, Results, geometric_mean, humaneval, model
from theirs import Transformers

import counterpoint as cp

DRAFT = "smollm2-135m-instruct"
SYSTEMS = (
    "transformers plain",
    "transformers universal",
    "sample",
    "string",
    "token",
    "string and look-up",
    "string on llama.cpp",
    "string on llama.cpp and look-up",
)


def recipe(system: str) -> dict[str, Any]:
    """One of our systems."""
    drafter: Any = {"kind": "model_drafter", "model": "small", "level": "token" if system == "token" else "string"}
    draft = ["lookup", drafter] if system.endswith("look-up") else drafter
    return {
        "nodes": {
            "large": model(LARGE),
            "small": {"kind": "llama_cpp", "source": DRAFT} if "llama.cpp" in system else model(DRAFT),
            "lookup": {"kind": "prompt_lookup"},
            "spec": {"kind": "speculative", "target": "large", "draft": draft},
        },
        "output": "large" if system == "sample" else "spec",
        "record": "tokens",
    }


def ours(engine: cp.Engine, system: str, prompt: str, tokens: int) -> dict[str, Any]:
    """One of our systems on one prompt."""
    started = time.perf_counter()
    result = engine.run(recipe(system), prompt, sampling=cp.Sampling(max_tokens=tokens))
    seconds = time.perf_counter() - started
    verified = [event for event in result.trace if event.type == "verified"]
    forward = [event for event in result.trace if event.type == "forward"]
    return {
        "seconds": seconds,
        "tokens": len(result.completion.ids),
        "ids": list(result.completion.ids),
        "proposed": sum(event.proposed for event in verified),
        "accepted": sum(event.accepted for event in verified),
        "target_passes": sum(event.node == "large" for event in forward),
        "draft_passes": sum(event.node == "small" for event in forward),
    }


def main() -> None:
    """Measures what is missing, and summarises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    options = parser.parse_args()
    results = Results("cross_vocabulary", fresh=options.fresh)
    prompts = humaneval(options.prompts)
    keys = [
        {"prompt": index, "system": system, "max_tokens": options.tokens} for index in range(len(prompts)) for system in SYSTEMS
    ]
    missing = [key for key in keys if results.have(**key) is None]
    if missing:
        theirs = Transformers(LARGE, DRAFT)
        with cp.Engine(offline=True) as engine:
            for system in SYSTEMS[3:]:
                ours(engine, system, "Say hi.", 4)
            theirs.generate("Say hi.", 4, True)
            for key in missing:
                prompt, system = prompts[key["prompt"]], key["system"]
                if system.startswith("transformers"):
                    row = theirs.generate(prompt, options.tokens, system.endswith("universal"))
                else:
                    row = ours(engine, system, prompt, options.tokens)
                results.add({**key, **row})
                print(f"{key['prompt']:3} {system:24} {row['tokens'] / row['seconds']:6.2f} tokens/s", flush=True)
    summarize(results, list(range(len(prompts))), options.tokens)


def summarize(results: Results, prompts: list[int], tokens: int) -> None:
    """Ratios, acceptance, and where tokens part."""
    rows = {
        system: [results.have(prompt=index, system=system, max_tokens=tokens) or {} for index in prompts] for system in SYSTEMS
    }

    def speeds(system: str) -> list[float]:
        return [row["tokens"] / row["seconds"] for row in rows[system]]

    def ratio(system: str, base: str) -> dict[str, float]:
        values = sorted(a / b for a, b in zip(speeds(system), speeds(base), strict=True))
        return {
            "geometric_mean": round(geometric_mean(values), 3),
            "lowest": round(values[0], 3),
            "highest": round(values[-1], 3),
        }

    ours_drafting = SYSTEMS[3:]
    results.summarize(
        {
            "what": f"{len(prompts)} HumanEval prompts, {tokens} new tokens, greedy, bfloat16, {LARGE} drafted for by {DRAFT}",
            "tokens_per_second": {system: round(geometric_mean(speeds(system)), 2) for system in SYSTEMS},
            "ratios": {
                **{f"{system} / transformers universal": ratio(system, "transformers universal") for system in ours_drafting},
                **{f"{system} / sample": ratio(system, "sample") for system in ours_drafting},
                "sample / transformers plain": ratio("sample", "transformers plain"),
                "transformers universal / transformers plain": ratio("transformers universal", "transformers plain"),
            },
            "acceptance": {
                system: round(sum(r["accepted"] for r in rows[system]) / max(1, sum(r["proposed"] for r in rows[system])), 3)
                for system in ours_drafting
            },
            "tokens_per_target_pass": {
                system: round(sum(r["tokens"] for r in rows[system]) / sum(r["target_passes"] for r in rows[system]), 3)
                for system in ours_drafting
            },
            "prompts_whose_tokens_part_from_plain_bfloat16": {
                system: [i for i in prompts if rows[system][i]["ids"] != rows["transformers plain"][i]["ids"]]
                for system in SYSTEMS[1:]
            },
        }
    )


if __name__ == "__main__":
    main()

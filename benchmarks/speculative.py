"""Tokens per second: `speculative` and `sample` against transformers' own generation, one prompt at a time.

    python benchmarks/speculative.py [--prompts 20] [--tokens 128] [--fresh]

CPU, bfloat16, Qwen2.5-Coder 0.5B drafting for 1.5B, the first HumanEval prompts as chat messages, greedy. All systems run on
each prompt in turn in one process; a figure is the geometric mean over prompts of the ratio of tokens per second, prompt
processing included on both sides. Rows are kept as they are made, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from common import LARGE, SMALL, Results, geometric_mean, humaneval, pair
from theirs import Transformers

import counterpoint as cp
from counterpoint.costs import PassCosts

SYSTEMS = ("transformers plain", "transformers assisted", "sample", "speculative", "speculative, model only")


def ours(engine: cp.Engine, system: str, prompt: str, tokens: int) -> dict[str, Any]:
    """One of our systems on one prompt."""
    recipe = pair("large" if system == "sample" else "spec")
    if system.endswith("model only"):
        recipe["nodes"]["spec"]["draft"] = "small"
    started = time.perf_counter()
    result = engine.run(recipe, prompt, sampling=cp.Sampling(max_tokens=tokens))
    seconds = time.perf_counter() - started
    verified = [event for event in result.trace if event.type == "verified"]
    forward = [event for event in result.trace if event.type == "forward"]
    costs = [event.data for event in result.trace if event.type == "note" and event.name == "draft_costs"]
    by_model = [event for event in verified if event.proposer == "small"]
    return {
        "seconds": seconds,
        "tokens": len(result.completion.ids),
        "ids": list(result.completion.ids),
        "proposed": sum(event.proposed for event in verified),
        "accepted": sum(event.accepted for event in verified),
        "model_proposed": sum(event.proposed for event in by_model),
        "model_accepted": sum(event.accepted for event in by_model),
        "target_passes": sum(event.node == "large" for event in forward),
        "draft_passes": sum(event.node == "small" for event in forward),
        "target_seconds": sum(event.seconds for event in forward if event.node == "large"),
        "draft_seconds": sum(event.seconds for event in forward if event.node == "small"),
        "costs": costs[0] if costs else None,
    }


def ideal_speedup(row: dict[str, Any], plain: dict[str, Any], most: int = 12) -> float:
    """The best that drafting with the model alone could reach: max over γ of (1 − a^(γ+1)) / (1 − a) / (γc + v(γ)).

    a and c are measured: the acceptance per judged token, and the time of a draft pass over that of a plain step. The target's
    pass over γ+1 tokens is not free on a CPU; v(γ) is its calibrated time over that of a plain step.
    """
    judged = row["model_accepted"] + max(1, row["target_passes"] - row["model_accepted"] // 2)
    a = min(0.999, row["model_accepted"] / max(1, min(row["model_proposed"], judged)))
    step = plain["seconds"] / plain["tokens"]
    c = row["draft_seconds"] / max(1, row["draft_passes"]) / step
    points = tuple((int(tokens), float(cost)) for tokens, cost in row["costs"]["target"].items())
    target = PassCosts(points)

    def verify(tokens: int) -> float:
        return target.at(tokens) / target.at(1)

    return max((1 - a ** (g + 1)) / (1 - a) / (g * c + verify(g + 1)) for g in range(most + 1))


def main() -> None:
    """Measures what is missing, and summarises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no further prompt after so long")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    options = parser.parse_args()
    results = Results("speculative", fresh=options.fresh)
    prompts = humaneval(options.prompts)
    missing = [
        (index, system)
        for index in range(len(prompts))
        for system in SYSTEMS
        if results.have(prompt=index, system=system, max_tokens=options.tokens) is None
    ]
    if missing:
        theirs = Transformers(LARGE, SMALL)
        with cp.Engine(offline=True) as engine:
            engine.load(pair("spec"))
            theirs.generate("Say hi.", 4, True)
            ours(engine, "speculative", "Say hi.", 4)
            began = time.perf_counter()
            for index, system in missing:
                if system == SYSTEMS[0] and time.perf_counter() - began > 60 * options.minutes:
                    break
                if system.startswith("transformers"):
                    row = theirs.generate(prompts[index], options.tokens, system.endswith("assisted"))
                else:
                    row = ours(engine, system, prompts[index], options.tokens)
                results.add({"prompt": index, "system": system, "max_tokens": options.tokens, **row})
                print(f"{index:3} {system:26} {row['tokens'] / row['seconds']:6.2f} tokens/s", flush=True)
    complete = [
        index
        for index in range(len(prompts))
        if all(results.have(prompt=index, system=system, max_tokens=options.tokens) for system in SYSTEMS)
    ]
    summarize(results, complete, options.tokens)


def summarize(results: Results, prompts: list[int], tokens: int) -> None:
    """Ratios, acceptance, ideal, and where tokens part."""

    def row(index: int, system: str) -> dict[str, Any]:
        found = results.have(prompt=index, system=system, max_tokens=tokens)
        assert found is not None
        return found

    def speed(index: int, system: str) -> float:
        return float(row(index, system)["tokens"] / row(index, system)["seconds"])

    def ratio(system: str, base: str) -> dict[str, float]:
        values = sorted(speed(index, system) / speed(index, base) for index in prompts)
        return {
            "geometric_mean": round(geometric_mean(values), 3),
            "median": round(values[len(values) // 2], 3),
            "lowest": round(values[0], 3),
            "highest": round(values[-1], 3),
        }

    def parted(system: str) -> list[int]:
        return [index for index in prompts if row(index, system)["ids"] != row(index, "transformers plain")["ids"]]

    def share(system: str) -> float:
        rows = [row(index, system) for index in prompts]
        return round(sum(r["accepted"] for r in rows) / max(1, sum(r["proposed"] for r in rows)), 3)

    def of_model(model: int) -> float:
        rows = [row(index, "speculative") for index in prompts]
        proposed = sum(r["model_proposed"] if model else r["proposed"] - r["model_proposed"] for r in rows)
        accepted = sum(r["model_accepted"] if model else r["accepted"] - r["model_accepted"] for r in rows)
        return round(accepted / max(1, proposed), 3)

    def per_token(system: str, passes: str) -> float:
        rows = [row(index, system) for index in prompts]
        return round(sum(r[passes] for r in rows) / sum(r["tokens"] for r in rows), 3)

    plain = [row(index, "transformers plain") for index in prompts]
    ideals = [ideal_speedup(row(index, "speculative, model only"), row(index, "sample")) for index in prompts]
    reached = [speed(index, "speculative, model only") / speed(index, "sample") for index in prompts]
    results.summarize(
        {
            "what": f"{len(prompts)} HumanEval prompts, {tokens} new tokens, greedy, bfloat16, {LARGE} drafted for by {SMALL}",
            "tokens_per_second": {
                system: round(geometric_mean(speed(index, system) for index in prompts), 2) for system in SYSTEMS
            },
            "ratios": {
                "speculative / transformers assisted": ratio("speculative", "transformers assisted"),
                "speculative / transformers plain": ratio("speculative", "transformers plain"),
                "speculative, model only / transformers assisted": ratio("speculative, model only", "transformers assisted"),
                "speculative, model only / transformers plain": ratio("speculative, model only", "transformers plain"),
                "sample / transformers plain": ratio("sample", "transformers plain"),
                "transformers assisted / transformers plain": ratio("transformers assisted", "transformers plain"),
            },
            "acceptance": {system: share(system) for system in SYSTEMS[3:]},
            "acceptance_by_proposer": {"small": of_model(1), "lookup": of_model(0)},
            "passes_per_token": {
                system: {node: per_token(system, f"{node}_passes") for node in ("target", "draft")} for system in SYSTEMS[3:]
            },
            "model_only_share_of_ideal": round(geometric_mean(r / i for r, i in zip(reached, ideals, strict=True)), 3),
            "ideal_speedup_model_only": round(geometric_mean(ideals), 3),
            "prompts_whose_tokens_part_from_plain_bfloat16": {system: parted(system) for system in SYSTEMS[1:]},
            "plain_tokens": sum(r["tokens"] for r in plain),
        }
    )


if __name__ == "__main__":
    main()

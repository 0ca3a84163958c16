"""Contrastive decoding on GSM8K: the 1.5B against the 0.5B as amateur, beside each alone.

    python benchmarks/contrastive.py [--problems 100] [--backend llama_cpp]     # goes on where it was stopped

CPU, greedy, chat prompts, sixteen problems in flight, numeric match. Of the same files, whichever backend runs them (`backends.py`:
bits per byte within 1 %). How far it is a matter of length is counted, too: where either reached the limit of tokens. Evaluations
are kept in ``results/contrastive`` (configuration, answers compressed, summary).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from common import LARGE, RESULTS, SMALL, machine, model
from evaluated import estimate, evaluate

import counterpoint as cp
from counterpoint.evaluation.comparing import comparison_of
from counterpoint.evaluation.result import EvaluationResult

FOLDER = RESULTS / "contrastive"
TOKENS = 320
OUTPUTS: dict[str, dict[str, Any]] = {
    "large": model(LARGE),
    "small": model(SMALL),
    "contrastive": {"kind": "contrastive", "expert": model(LARGE), "amateur": model(SMALL)},
}


def answered(name: str, problems: int, backend: str) -> EvaluationResult:
    """One of the systems on the first problems."""
    recipe = {"name": name, "nodes": {"out": OUTPUTS[name]}, "output": "out"}
    sampling = cp.Sampling(max_tokens=TOKENS, temperature=0.0)
    return evaluate(
        FOLDER / name, recipe, "gsm8k_test_200.jsonl", backend=backend, sampling=sampling, limit=problems, in_flight=16
    )


def lengths(expert: EvaluationResult, contrastive: EvaluationResult) -> dict[str, int]:
    """Which of the two solves what, and which reached the limit of tokens there."""
    pairs = list(zip(expert.records, contrastive.records, strict=True))
    right = [tuple((one.scores["numeric_match"].value or 0.0) >= 0.5 for one in pair) for pair in pairs]
    cut = [tuple(one.finish_reason == "length" for one in pair) for pair in pairs]
    ended = [solved for solved, long in zip(right, cut, strict=True) if not any(long)]
    gained = [long for solved, long in zip(right, cut, strict=True) if solved == (False, True)]
    return {
        "only contrastive": len(gained),
        "of these the expert was cut": sum(long[0] for long in gained),
        "only the expert": right.count((True, False)),
        "both ended": len(ended),
        "of these the expert is right on": sum(solved[0] for solved in ended),
        "of these contrastive is right on": sum(solved[1] for solved in ended),
    }


def main() -> None:
    """Evaluates what is missing, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--backend", choices=("llama_cpp", "huggingface"), default="llama_cpp")
    options = parser.parse_args()
    results = [answered(name, options.problems, options.backend) for name in OUTPUTS]
    comparison = comparison_of(results)
    summary = {
        "machine": machine(),
        "what": f"{options.problems} problems of GSM8K's test set, greedy, {TOKENS} tokens, {options.backend}",
        "figures": {
            result.name: {
                "numeric_match": estimate(result, "numeric_match", 100, 1),
                "gflops": round(result.analysis.costs.flops / 1e9, 1),
                "tokens": round(result.analysis.costs.answer_tokens, 1),
                "cut": sum(record.finish_reason == "length" for record in result.records),
            }
            for result in results
        },
        "lengths": lengths(results[0], results[2]),
        "verdicts": list(comparison.verdicts),
        "notes": [*comparison.warnings, *comparison.notes],
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    (RESULTS / "contrastive.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

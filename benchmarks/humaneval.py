"""HumanEval, all 164 problems, chat prompts: is the large model once worth more than the small one several times?

    python benchmarks/humaneval.py            # about an hour and a half on two cores; goes on where it was stopped
    python benchmarks/humaneval.py --report   # figures and report from what is there, no model loaded

Evaluations, each kept in ``results/humaneval/NAME`` (configuration, answers compressed, summary; ids and no words of the data
set but those a model repeats):

- ``large``, ``small``: the 1.5B and the 0.5B, greedy; ``small-16``: sixteen answers of the 0.5B at T = 0.8. All on transformers in
  bfloat16 with sixteen examples in flight, where many rows at once are quickest;
- ``timed-large``, ``timed-K``: one greedy answer of the 1.5B, and K answers of the 0.5B at T = 0.8 together, on llama.cpp with one
  example in flight, the first twenty problems: what these take in seconds.

The frontiers are those of budget reallocation (Hassid et al., COLM 2024): pass@k of k small answers, tests at hand, at the cost
in FLOPs and in seconds of one large answer.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from common import RESULTS, machine
from evaluated import evaluate

import counterpoint as cp
from counterpoint.evaluation.comparing import comparison_of
from counterpoint.evaluation.estimators import Attempts, mean_pass_at_k
from counterpoint.evaluation.outcomes import attempts, by_example
from counterpoint.evaluation.report import write_report
from counterpoint.evaluation.result import EvaluationResult

FOLDER = RESULTS / "humaneval"
PUBLISHED = {"small": 61.6, "large": 70.7}
"""pass@1 in per cent as published for full-precision weights with the official template (Qwen2.5-Coder, arXiv 2409.12186)."""
TOKENS = 512
TIMED = (1, 4, 16)
TIMED_PROBLEMS = 20


GREEDY = cp.Sampling(temperature=0.0, max_tokens=TOKENS)
SAMPLED = cp.Sampling(temperature=0.8, max_tokens=TOKENS)


def gap(name: str, result: EvaluationResult) -> dict[str, Any]:
    """pass@1 of greedy answers beside what is published, and what they cost."""
    estimate = result.figures["unit_tests"].estimate
    cut = sum(record.finish_reason == "length" for record in result.records)
    return {
        "pass@1": round(100 * estimate.value, 2),
        "interval": [round(100 * estimate.low, 2), round(100 * estimate.high, 2)],
        "published": PUBLISHED[name],
        "gap": round(100 * estimate.value - PUBLISHED[name], 2),
        "cut at the token limit": cut,
        "gflops": round(result.analysis.costs.flops / 1e9, 1),
        "tokens": round(result.analysis.costs.answer_tokens, 1),
    }


def seconds_of(times: dict[int, EvaluationResult], large: EvaluationResult) -> dict[str, float]:
    """What k small answers take together, and one large one, on the problems where both were timed."""
    found = {}
    for name, result in (*((f"{k} small", result) for k, result in times.items()), ("1 large", large)):
        of_example = {record.id: record.cost.seconds or 0.0 for record in result.records}
        found[name] = round(sum(of_example.values()) / len(of_example), 3)
    return found


def affordable(times: dict[str, float], budget: float) -> float:
    """How many small answers fit a budget of seconds, by straight lines between what was timed; 0 where not even one does."""
    points = [(float(name.split()[0]), value) for name, value in times.items() if name.endswith("small")]
    if budget < points[0][1]:
        return 0.0
    for (k, at), (more, after) in itertools.pairwise(points):
        if budget < after:
            return k + (more - k) * (budget - at) / (after - at)
    return points[-1][0]


def summarize(results: dict[str, EvaluationResult], times: dict[int, EvaluationResult]) -> dict[str, Any]:
    """The figures of the docs."""
    large, small, sampled = results["large"], results["small"], results["small-16"]
    (measure,) = sampled.measures
    tried = attempts(by_example(sampled.records), measure)
    cost_of_large = {example: found.cost(1) for example, found in attempts(by_example(large.records), measure).items()}
    budget = sum(cost_of_large.values()) / len(cost_of_large)
    by_flops = {
        str(k): {
            "gflops": round(sum(one.cost(k) for one in tried.values()) / len(tried) / 1e9, 1),
            "of one large answer": round(sum(one.cost(k) for one in tried.values()) / len(tried) / budget, 3),
            "pass@k": round(100 * mean_pass_at_k(list(tried.values()), k), 2),
        }
        for k in (1, 2, 3, 4, 6, 8, 12, 16)
    }
    timed = seconds_of(times, results["timed-large"])
    k_seconds = int(affordable(timed, timed["1 large"]))
    k_flops = max((k for k in range(1, 17) if mean_cost(tried, k) <= budget), default=0)
    comparison = comparison_of([large, small, sampled])
    return {
        "greedy": {name: gap(name, results[name]) for name in ("large", "small")},
        "small, T = 0.8": {
            f"pass@{k}": [round(100 * value, 2) for value in (one.value, one.low, one.high)]
            for k, one in sampled.passes[measure.name]
            if k in (1, 4, 16)
        },
        "at the FLOPs of one large answer": at(k_flops, tried),
        "at the seconds of one large answer": at(k_seconds, tried),
        "FLOPs": by_flops,
        "seconds, first twenty problems": timed,
        "verdicts": list(comparison.verdicts),
        "notes": [*comparison.warnings, *comparison.notes],
    }


def mean_cost(tried: dict[str, Attempts], k: int) -> float:
    """FLOPs of k answers to a problem, on average."""
    return sum(one.cost(k) for one in tried.values()) / len(tried)


def at(k: int, tried: dict[str, Attempts]) -> dict[str, Any]:
    """What k small answers reach."""
    return {"k": k, "pass@k of the small one": round(100 * mean_pass_at_k(list(tried.values()), k), 2) if k else 0.0}


def main() -> None:
    """Evaluates what is missing, and writes figures and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="only read what is there")
    parser.add_argument("--only", help="make this evaluation alone")
    arguments = parser.parse_args()
    many: dict[str, Any] = {"backend": "huggingface", "in_flight": 16}
    timed: dict[str, Any] = {"backend": "llama_cpp", "in_flight": 1, "limit": TIMED_PROBLEMS}
    work: dict[str, dict[str, Any]] = {
        "large": {"recipe": "sample", "sampling": GREEDY, **many},
        "small": {"recipe": "small", "sampling": GREEDY, **many},
        "small-16": {"recipe": "small", "sampling": SAMPLED, "samples": 16, **many},
        "timed-large": {"recipe": "sample", "sampling": GREEDY, **timed},
        **{f"timed-{k}": {"recipe": "small", "sampling": SAMPLED, "samples": k, **timed} for k in TIMED},
    }
    results = {}
    for name, options in work.items():
        if arguments.only in (None, name):
            made = cp.load_evaluation(FOLDER / name) if arguments.report else None
            results[name] = made or evaluate(FOLDER / name, data="humaneval.jsonl", **options)
    if arguments.only is not None:
        return
    summary = {"machine": machine(), **summarize(results, {k: results[f"timed-{k}"] for k in TIMED})}
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    Path(RESULTS / "humaneval.json").write_text(text + "\n", encoding="utf-8")
    write_report(RESULTS / "humaneval.html", comparison_of([results["large"], results["small"], results["small-16"]]))
    print(text)


if __name__ == "__main__":
    main()

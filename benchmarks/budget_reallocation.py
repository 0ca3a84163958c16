"""Budget reallocation on HumanEval: k answers of the 0.5B against one greedy answer of the 1.5B, with tests, ranked, and with half of
the tests.

    python benchmarks/budget_reallocation.py            # about an hour on two idle cores; goes on where it was stopped

Answers are those of `humaneval.py` (all 164 problems; sixteen of the 0.5B at T = 0.8, one greedy of the 1.5B; kept in
``results/humaneval``). Added here, a row per problem in ``results/budget_reallocation.jsonl``:

- the likelihood of the first eight answers under the 0.5B and under the 1.5B (`likelihood`, llama.cpp files dequantised, bfloat16),
  and what that costs. As in the paper, answers cut off at the limit are not ranked;
- whether it passes the first half of its problem's tests, split at the top-level asserts of ``check``.

Reported: pass@k at the FLOPs of one large answer; rank-score@k (Hassid et al., COLM 2024) with the ranker's cost counted; each
beside the large model's greedy answers, paired over problems. For half of the tests: completeness and soundness against all of them,
the spread of difficulty, what the model of Stroebl et al. (arXiv 2411.17501) predicts for k samples beside what is measured on
problems that were not used to fit it, and how many samples pay for several prices of a wrong answer.
"""

from __future__ import annotations

import argparse
import ast
import math
from typing import Any

import numpy as np
from common import LARGE, RESULTS, SMALL, Results, model

import counterpoint as cp
from counterpoint import paths
from counterpoint.evaluation.accepting import Trust, trust
from counterpoint.evaluation.dataset import load_dataset
from counterpoint.evaluation.estimators import pass_at_k, rank_score_at_k
from counterpoint.evaluation.job import words_of
from counterpoint.evaluation.outcomes import attempts, by_example
from counterpoint.evaluation.records import Record
from counterpoint.evaluation.statistics import mean_interval, paired_difference
from counterpoint.imperfect import ImperfectVerifier

FOLDER = RESULTS / "humaneval"
RANKERS = {"small": SMALL, "large": LARGE}
KS = (1, 2, 4, 8, 16)
RANKED = 8
"""How many of the sixteen answers are ranked: eight of them and their ranking cost twice to four times a large answer."""


# --- half of the tests ------------------------------------------------------------------------------------------------------


def halved(test: str, entry_point: str) -> str | None:
    """A problem's tests with the first half of the top-level asserts of ``check`` that call the candidate; None where there are
    fewer than two."""
    tree = ast.parse(test)
    check = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check")
    asserts = [node for node in check.body if isinstance(node, ast.Assert) and "candidate" in ast.unparse(node)]
    if len(asserts) < 2:
        return None
    dropped = {id(node) for node in asserts[(len(asserts) + 1) // 2 :]}
    check.body = [node for node in check.body if id(node) not in dropped]
    return ast.unparse(tree)


# --- rows ---------------------------------------------------------------------------------------------------------------


def measure(engine: cp.Engine, recipes: dict[str, Any], prompt: cp.Prompt, records: list[Record]) -> dict[str, Any]:
    """Likelihoods of one problem's answers, what they cost, and verdicts by half of the tests."""
    completions = [cp.Completion(text=record.text, finish_reason=record.finish_reason) for record in records]  # type: ignore[arg-type]
    row: dict[str, Any] = {}
    for name, recipe in recipes.items():
        result = engine.verify(recipe, prompt, completions[:RANKED], scope=name).result()
        row[name] = [None if math.isnan(score) else round(float(score), 6) for score in result.scores]
        row[f"{name}_gflops"] = round(result.summary.flops / 1e9, 2)
    fields = {name: prompt.fields[name] for name in ("prompt", "entry_point", "test")}
    test = halved(str(fields["test"]), str(fields["entry_point"]))
    row["half"] = None
    if test is not None:
        asked = prompt.model_copy(update={"fields": {**fields, "test": test}})
        verdicts = engine.verify({"nodes": {"t": {"kind": "unit_tests"}}, "output": "t"}, asked, completions).result().scores
        row["half"] = [None if math.isnan(score) else float(score) for score in verdicts]
    return row


def rows(results: Results, sampled: dict[str, list[Record]]) -> dict[str, dict[str, Any]]:
    """The rows of all problems, those that are missing measured now."""
    dataset = load_dataset(paths.data() / "humaneval.jsonl")
    with cp.Engine(offline=True) as engine:
        recipes = {
            name: engine.recipe({"nodes": {"m": model(source), "l": {"kind": "likelihood", "model": "m"}}, "output": "l"})
            for name, source in RANKERS.items()
        }
        prompts = dataset.prompts(words_of(engine.recipe("small"), dataset))
        found = {}
        for number, (example, records) in enumerate(sampled.items(), 1):
            row = results.have(id=example)
            if row is None:
                row = results.add({"id": example, **measure(engine, recipes, prompts[example], records)})
                print(f"{number} of {len(sampled)}", flush=True)
            found[example] = row
    return found


# --- figures --------------------------------------------------------------------------------------------------------------


def verdict(record: Record) -> bool:
    """Whether an answer passes all tests."""
    return (record.scores["unit_tests"].value or 0.0) >= 0.5


def percent(values: Any) -> list[float]:
    """A figure and its interval, in per cent."""
    return [round(100 * value, 2) for value in (values.value, values.low, values.high)]


def beside(ours: list[float], large: list[float]) -> dict[str, Any]:
    """A strategy's figure, and its paired difference to the large model's greedy answers."""
    return {"figure": percent(mean_interval(ours)), "minus large": percent(paired_difference(ours, large))}


def ranked(rows: dict[str, dict[str, Any]], sampled: dict[str, list[Record]], ranker: str, k: int) -> list[float]:
    """rank-score@k per problem; a problem none of whose answers can be ranked counts as failed."""
    values = []
    for example, records in sampled.items():
        scored = zip(records[:RANKED], rows[example][ranker], strict=True)
        pairs = [(verdict(one), score) for one, score in scored if score is not None]
        passed, ranks = [float(one) for one, _ in pairs], [score for _, score in pairs]
        values.append(rank_score_at_k(passed, ranks, min(k, len(passed))) if passed else 0.0)
    return values


def imperfect(rows: dict[str, dict[str, Any]], sampled: dict[str, list[Record]]) -> dict[str, Any]:
    """Half of the tests as the verifier, all of them as the truth."""
    excluded = [example for example in sampled if rows[example]["half"] is None]
    kept = [example for example in sampled if example not in excluded]
    right = np.array([[float(verdict(record)) for record in sampled[example]] for example in kept])
    accepted = np.array([[np.nan if v is None else v for v in rows[example]["half"]] for example in kept], dtype=float)
    everything = trust(right, accepted, 0.5)
    # predictions are for the half of the problems that did not fit the model
    order = np.random.default_rng(0).permutation(len(kept))
    halves = order[: len(kept) // 2], order[len(kept) // 2 :]
    out_of_sample = []
    for fitted, other in (halves, halves[::-1]):
        model_of = ImperfectVerifier(trust(right[fitted], accepted[fitted], 0.5).verified)
        measured = trust(right[other], accepted[other], 0.5).measured
        out_of_sample.append([(model_of.outcome(k).right_if_kept, value) for k, value in zip(KS, measured, strict=True)])
    pays = ImperfectVerifier(everything.verified)
    return {
        "problems": len(kept),
        "excluded": excluded,
        **described(everything),
        "k: predicted, measured (problems that did not fit the model)": {
            str(k): [round(100 * float(np.mean([half[i][j] for half in out_of_sample])), 1) for j in (0, 1)]
            for i, k in enumerate(KS)
        },
        "samples that pay, by the value of a wrong answer": {
            str(wrong): {f"price {price:g}": pays.best_number(64, wrong=wrong, price=price) for price in (0.0, 0.01, 0.05)}
            for wrong in (0, -1, -2, -4, -10)
        },
    }


def described(found: Trust) -> dict[str, Any]:
    """Completeness and the rest."""
    return {
        "completeness": percent(found.completeness),
        "soundness": percent(found.soundness),
        "samples right": percent(found.right),
        "difficulty (Beta)": [round(value, 3) for value in found.difficulty],
        "ceiling": round(100 * found.ceiling, 2),
    }


def main() -> None:
    """Measures what is missing, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    small, large = cp.load_evaluation(FOLDER / "small-16"), cp.load_evaluation(FOLDER / "large")
    sampled, greedy = by_example(small.records), by_example(large.records)
    assert list(sampled) == list(greedy)
    results = Results("budget_reallocation")
    found = rows(results, sampled)
    (measure_of,) = small.measures
    tried = attempts(sampled, measure_of)
    price = {example: one.cost(1) for example, one in attempts(greedy, measure_of).items()}
    budget = sum(price.values()) / len(price)
    reference = [float(verdict(records[0])) for records in greedy.values()]

    def cost(k: int) -> float:
        return sum(one.cost(k) for one in tried.values()) / len(tried)

    def ranking(name: str, k: int) -> float:
        return sum(row[f"{name}_gflops"] for row in found.values()) * 1e9 / len(found) * k / RANKED

    summary: dict[str, Any] = {
        "large, greedy": {"pass@1": percent(mean_interval(reference, verdicts=True)), "gflops": round(budget / 1e9, 1)},
        "with tests": {},
    }
    for k in sorted({*KS, 3, 6}):
        ours = [pass_at_k(one.n, one.correct, k) for one in tried.values()]
        summary["with tests"][f"k={k}"] = {"of one large answer": round(cost(k) / budget, 3), **beside(ours, reference)}
    for name in RANKERS:
        table = summary[f"ranked by the {name}"] = {}
        for k in (1, 2, 3, 4, 6, RANKED):
            whole = cost(k) + ranking(name, k)
            table[f"k={k}"] = {
                "of one large answer": round(whole / budget, 3),
                **beside(ranked(found, sampled, name, k), reference),
            }
    summary["half of the tests"] = imperfect(found, sampled)
    results.summarize(summary)


if __name__ == "__main__":
    main()

"""Choosing among eight answers to GSM8K problems: the first, majority vote, likelihood, a learned verifier, and an oracle.

    counterpoint train train-verifier      # 48 minutes on two cores, sampling included
    python benchmarks/verifiers.py         # an hour and ten minutes; goes on where it was stopped

200 problems of the test set, eight answers each of the 0.5B (T = 0.7, at most 256 tokens), made once and kept in
``results/verifiers/samples`` (an evaluation). Every way of choosing sees the same answers. ``rank-score@k`` (Hassid et al., COLM
2024) averages over which k of the eight are seen. The verifier is SmolLM2-135M with a scalar head, trained on 640 labelled answers to
160 problems of the training set: TinyGSM's procedure at a small fraction of its size.

Answers begin with "Let's think step by step." (Kojima et al. 2022), for without it two in five of the 0.5B's are a bare number. How
all this goes without it is the same with ``--plain``, in training and here:

    counterpoint train train-verifier --set trainer.artifact=gsm8k-verifier-plain --set tasks.math.prefix=
    python benchmarks/verifiers.py --plain
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections import Counter
from typing import Any

from common import RESULTS, SMALL, Results, model
from evaluated import evaluate

import counterpoint as cp
from counterpoint.answers import extractor
from counterpoint.evaluation.dataset import load_dataset
from counterpoint.evaluation.estimators import pass_at_k, rank_score_at_k
from counterpoint.evaluation.job import words_of
from counterpoint.evaluation.outcomes import by_example
from counterpoint.evaluation.records import Record
from counterpoint.evaluation.statistics import mean_interval, paired_difference
from counterpoint.tasks import Words

SAMPLES, PROBLEMS, TOKENS = 8, 200, 256
DATA = "gsm8k_test_200.jsonl"
PREFIX = "Let's think step by step."


def rankers(artifact: str) -> dict[str, dict[str, Any]]:
    """Verifiers that score every answer."""
    return {
        "likelihood": {"m": model(SMALL), "v": {"kind": "likelihood", "model": "m"}},
        "learned": {"m": {"kind": "huggingface", "source": f"artifact:{artifact}"}, "v": {"kind": "learned", "model": "m"}},
    }


def scored(
    results: Results, samples: dict[str, list[Record]], words: Words, named: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The rankers' scores of every problem's answers, and what they cost."""
    data = load_dataset(DATA).first(PROBLEMS)
    found = {}
    with cp.Engine(offline=True) as engine:
        prompts = data.prompts(words_of(engine.recipe("small"), data, words))
        recipes = {name: engine.recipe({"nodes": nodes, "output": "v"}) for name, nodes in named.items()}
        for number, (example, records) in enumerate(samples.items(), 1):
            row = results.have(id=example)
            if row is None:
                answers = [cp.Completion(text=one.text, finish_reason=one.finish_reason) for one in records]  # type: ignore[arg-type]
                row = {"id": example}
                for name, ranker in recipes.items():
                    result = engine.verify(ranker, prompts[example], answers, scope=name).result()
                    row[name] = [None if math.isnan(score) else round(float(score), 6) for score in result.scores]
                    row[f"{name}_gflops"] = round(result.summary.flops / 1e9, 2)
                results.add(row)
                print(f"{number} of {len(samples)}", flush=True)
            found[example] = row
    return found


def right(record: Record) -> float:
    """1 for the known number."""
    return float((record.scores["numeric_match"].value or 0.0) >= 0.5)


def length(record: Record) -> float | None:
    """A ranker that knows nothing: characters of an answer that ended by itself."""
    return None if record.finish_reason == "length" else float(len(record.text))


def voted(records: list[Record], k: int) -> float:
    """Accuracy of the majority among k of the answers, over all choices of k; a tie goes to the answer that came first."""
    extract = extractor("number")
    said = [extract(record.text) for record in records]
    values = []
    for some in itertools.combinations(range(len(records)), k):
        votes = Counter(said[i] for i in some if said[i] is not None)
        if not votes:
            values.append(0.0)
            continue
        most = max(votes.values())
        winner = next(i for i in some if said[i] is not None and votes[said[i]] == most)
        values.append(right(records[winner]))
    return statistics.fmean(values)


def ranked(records: list[Record], scores: list[float | None], k: int) -> float:
    """Accuracy of the best-scored among k; answers on which the ranker abstains are dropped."""
    pairs = [(right(one), score) for one, score in zip(records, scores, strict=True) if score is not None]
    if not pairs:
        return 0.0
    passed, ranks = zip(*pairs, strict=True)
    return rank_score_at_k(passed, ranks, min(k, len(pairs)))


def main() -> None:
    """Samples and scores what is missing, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", action="store_true", help="only make the answers")
    parser.add_argument("--plain", action="store_true", help="answers that begin as the model likes")
    options = parser.parse_args()
    name, artifact, words = "verifiers", "gsm8k-verifier", Words(prefix=PREFIX)
    if options.plain:
        name, artifact, words = "verifiers-plain", "gsm8k-verifier-plain", Words()
    sampling = cp.Sampling(temperature=0.7, max_tokens=TOKENS)
    result = evaluate(
        RESULTS / name / "samples",
        "small",
        DATA,
        backend="huggingface",
        sampling=sampling,
        samples=SAMPLES,
        limit=PROBLEMS,
        in_flight=8,
        words=words,
    )
    if options.samples:
        return
    samples = by_example(result.records)
    results, named = Results(name), rankers(artifact)
    rows = scored(results, samples, words, named)
    ways: dict[str, Any] = {
        "one sample": lambda example, k: statistics.fmean(map(right, samples[example])),
        "majority vote": lambda example, k: voted(samples[example], k),
        "likelihood": lambda example, k: ranked(samples[example], rows[example]["likelihood"], k),
        "learned": lambda example, k: ranked(samples[example], rows[example]["learned"], k),
        "learned, of whole answers": lambda example, k: ranked(
            samples[example],
            [
                score if one.finish_reason != "length" else None
                for one, score in zip(samples[example], rows[example]["learned"], strict=True)
            ],
            k,
        ),
        "longest whole answer": lambda example, k: ranked(samples[example], [length(one) for one in samples[example]], k),
        "oracle": lambda example, k: pass_at_k(SAMPLES, int(sum(map(right, samples[example]))), k),
    }
    table: dict[str, Any] = {}
    first = [ways["one sample"](example, 1) for example in samples]
    for name, way in ways.items():
        for k in (2, 4, 8) if name != "one sample" else (1,):
            values = [way(example, k) for example in samples]
            found, gain = mean_interval(values), paired_difference(values, first)
            table[f"{name}, k={k}"] = {
                "accuracy": [round(100 * value, 1) for value in (found.value, found.low, found.high)],
                "minus one sample": [round(100 * value, 1) for value in (gain.value, gain.low, gain.high)],
            }
    cut = sum(record.finish_reason == "length" for record in result.records)
    bare = [record for record in result.records if len(record.text.split()) <= 2]
    summary = {
        "what": f"{len(samples)} problems of GSM8K's test set, {SAMPLES} answers of the 0.5B at T = 0.7, at most {TOKENS} tokens",
        "answers begin with": words.prefix or "nothing given",
        "answers": len(result.records),
        "right": int(sum(map(right, result.records))),
        "cut off": cut,
        "a bare number": len(bare),
        "right among these": int(sum(map(right, bare))),
        "gflops of an answer": round(result.analysis.costs.flops / 1e9, 1),
        "gflops to score eight": {
            name: round(statistics.fmean(row[f"{name}_gflops"] for row in rows.values()), 1) for name in named
        },
        "ways": table,
    }
    results.summarize(summary)


if __name__ == "__main__":
    main()

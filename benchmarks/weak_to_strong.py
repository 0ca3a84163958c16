"""Weak-to-strong decoding: SmolLM2-135M-Instruct begins, Gemma-3-270m (a base model) goes on, against each of them alone.

    python benchmarks/weak_to_strong.py             # about an hour on two cores; goes on where it was stopped
    python benchmarks/weak_to_strong.py --time      # seconds of an answer as well; on an idle machine

CPU, bfloat16, greedy, at most 128 tokens: 200 questions of TruthfulQA and the 50 everyday instructions of ``everyday.jsonl``. For
each system: answers that end by themselves, repetition, FLOPs, and how often the 1.5B prefers weak-to-strong's answer to that of one
model alone, for the loop-discounted criterion on the everyday instructions only (`preference` by probability, both orders; what
such a judge is worth is measured on pairs of a good answer and that to another question).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from common import LARGE, RESULTS, Results, model
from evaluated import evaluate

import counterpoint as cp
from counterpoint import paths
from counterpoint.evaluation.records import Record
from counterpoint.evaluation.result import EvaluationResult
from counterpoint.evaluation.statistics import mean_interval

FOLDER = RESULTS / "weak_to_strong"
TOKENS, TIMED = 128, 20
MARKERS = ["\n\n[User]", "\n\n[System]", "\n\n[Assistant]"]
NODES: dict[str, Any] = {
    "draft": model("smollm2-135m-instruct"),
    "base": {**model("gemma-3-270m"), "prompt_format": "roles", "stop": MARKERS},
    "weak-to-strong": {"kind": "weak_to_strong", "draft": "draft", "target": "base", "draft_tokens": TOKENS},
    "loop-discounted": {
        "kind": "weak_to_strong",
        "draft": "draft",
        "target": "base",
        "draft_tokens": TOKENS,
        "criterion": {"kind": "loop_discounted"},
    },
}
PAIRS = (("weak-to-strong", "base"), ("weak-to-strong", "draft"), ("loop-discounted", "base"), ("loop-discounted", "draft"))
JUDGE = {
    "nodes": {"judge": model(LARGE), "preference": {"kind": "preference", "judge": "judge", "by": "probability"}},
    "output": "preference",
}


def read(path: Any, count: int) -> list[dict[str, Any]]:
    """The first lines of a file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for _, line in zip(range(count), lines, strict=False)]


def prompts() -> list[dict[str, str]]:
    """What is asked."""
    questions = read(paths.data() / "truthfulqa_400.jsonl", 200)
    asked = [{"id": f"truthfulqa/{index}", "prompt": line["question"]} for index, line in enumerate(questions)]
    return asked + read(RESULTS.parent / "everyday.jsonl", 50)


def answered(name: str, *, timed: bool = False) -> EvaluationResult:
    """The answers of one system; timed, those to some of the everyday instructions, one at a time."""
    parts = (name,) if name in ("draft", "base") else ("draft", "base", name)
    return evaluate(
        FOLDER / (f"timed-{name}" if timed else name),
        {"nodes": {part: NODES[part] for part in parts}, "output": name},
        prompts()[-TIMED:] if timed else prompts(),
        task="text",
        scorers="repetition",
        sampling=cp.Sampling(temperature=0.0, max_tokens=TOKENS),
        in_flight=1 if timed else 16,
    )


def judged(results: Results, answers: dict[str, dict[str, Record]]) -> None:
    """Asks the judge about every pair that it has not been asked about."""
    asked = prompts()
    with cp.Engine(offline=True) as engine:
        for one, other in PAIRS:
            for line in asked if one == "weak-to-strong" else asked[200:]:
                key = {"one": one, "other": other, "id": line["id"]}
                if results.have(**key) is None:
                    texts = [answers[name][line["id"]].text for name in (one, other)]
                    results.add({**key, **verdict(engine, line["prompt"], texts)})
            print(f"{one} and {other} judged", flush=True)
        questions = read(paths.data() / "truthfulqa_400.jsonl", 400)[200:300]
        for index, line in enumerate(questions):
            key = {"one": "right", "other": "of another question", "id": f"truthfulqa/{200 + index}"}
            if results.have(**key) is None:
                texts = [line["best_answer"], questions[index - 1]["best_answer"]]
                results.add({**key, **verdict(engine, line["question"], texts)})


def verdict(engine: cp.Engine, question: str, texts: list[str]) -> dict[str, Any]:
    """What the judge makes of a pair."""
    score = engine.verify(JUDGE, question, texts).result().scores[0]
    return {"score": float(score), **{name: value for name, value in score.data.items() if value}}


def of_records(records: Sequence[Record]) -> dict[str, Any]:
    """The figures of one system, an answer to each prompt."""
    scores = [record.scores["repetition"].value for record in records]
    repetition = mean_interval([score for score in scores if score is not None])  # a short answer has none
    return {
        "finished": round(100 * sum(record.finish_reason == "stop" for record in records) / len(records), 1),
        "empty": sum(not record.text.strip() for record in records),
        "repetition": [round(value, 3) for value in (repetition.value, repetition.low, repetition.high)],
        "tokens": round(fmean(record.cost.answer_tokens for record in records), 1),
        "gflops": round(fmean(record.cost.flops for record in records) / 1e9, 1),
    }


def preferred(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the first of a pair is preferred, with a 95 % interval."""
    share = mean_interval([row["score"] for row in rows])
    return {
        "preferred": [round(100 * value, 1) for value in (share.value, share.low, share.high)],
        "pairs": len(rows),
        "equal answers": sum(row["score"] == 0.5 for row in rows),
        "both orders for the first": sum(row.get("always_first", 0) for row in rows),
        "both orders for the second": sum(row.get("always_second", 0) for row in rows),
    }


def main() -> None:
    """Makes what is missing, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", action="store_true", help="time answers one at a time")
    options = parser.parse_args()
    systems = {name: answered(name) for name in NODES}
    results = Results("weak_to_strong")
    judged(results, {name: {record.id: record for record in result.records} for name, result in systems.items()})
    timed = (
        [answered(name, timed=True) for name in NODES] if options.time or (FOLDER / "timed-loop-discounted").exists() else []
    )
    groups = {"all": "", "TruthfulQA": "truthfulqa/", "everyday": "everyday/"}
    pairs = (*PAIRS, ("right", "of another question"))
    results.summarize(
        {
            "what": f"200 questions of TruthfulQA, 50 everyday instructions, greedy, {TOKENS} tokens, bfloat16",
            "systems": {name: of_records(result.records) for name, result in systems.items()},
            "judge": {
                f"{one} against {other}": {
                    group: preferred(found)
                    for group, start in groups.items()
                    if (
                        found := [
                            row
                            for row in results.rows
                            if (row["one"], row["other"]) == (one, other) and row["id"].startswith(start)
                        ]
                    )
                }
                for one, other in pairs
            },
            "seconds of an answer": {
                result.name: round(sum(record.cost.seconds or 0 for record in result.records) / len(result.records), 2)
                for result in timed
            },
        }
    )


if __name__ == "__main__":
    main()

"""Proxy-tuning: Gemma-3-270m (a base model), moved by what its chat template changes in SmolLM2-135M-Instruct, against each of them.

    python benchmarks/weak_to_strong.py    # the answers of each model alone are taken from there
    python benchmarks/proxy_tuning.py      # ten minutes on two cores; goes on where it was stopped

The 50 everyday instructions of ``everyday.jsonl``, as in ``weak_to_strong.py``: CPU, bfloat16, greedy, at most 128 tokens; answers
that end by themselves, repetition, FLOPs, and how often the 1.5B prefers the moved model's answer.
"""

from __future__ import annotations

import argparse
from typing import Any

from common import RESULTS, Results, model
from evaluated import evaluate
from weak_to_strong import NODES, TOKENS, answered, of_records, preferred, prompts, verdict

import counterpoint as cp
from counterpoint.evaluation.records import Record

MOVED: dict[str, Any] = {
    "base": NODES["base"],
    "tuned": NODES["draft"],
    "untuned": {**model("smollm2-135m-instruct"), "prompt_format": "raw"},
    "moved": {"kind": "proxy_tuning", "base": "base", "expert": "tuned", "anti_expert": "untuned"},
}


def main() -> None:
    """Makes what is missing, and writes the figures."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    asked = [line for line in prompts() if line["id"].startswith("everyday/")]
    moved = evaluate(
        RESULTS / "proxy_tuning" / "moved",
        {"nodes": MOVED, "output": "moved"},
        asked,
        task="text",
        scorers="repetition",
        sampling=cp.Sampling(temperature=0.0, max_tokens=TOKENS),
        in_flight=16,
    )
    known = {line["id"] for line in asked}
    records: dict[str, list[Record]] = {"moved": list(moved.records)}
    for name in ("base", "draft"):
        records[name] = [record for record in answered(name).records if record.id in known]
    texts = {name: {record.id: record.text for record in found} for name, found in records.items()}
    results = Results("proxy_tuning")
    with cp.Engine(offline=True) as engine:
        for other in ("base", "draft"):
            for line in asked:
                key = {"one": "moved", "other": other, "id": line["id"]}
                if results.have(**key) is None:
                    pair = [texts[name][line["id"]] for name in ("moved", other)]
                    results.add({**key, **verdict(engine, line["prompt"], pair)})
    results.summarize(
        {
            "what": f"{len(asked)} everyday instructions, greedy, {TOKENS} tokens, bfloat16",
            "systems": {name: of_records(found) for name, found in records.items()},
            "judge": {
                f"moved against {other}": preferred([row for row in results.rows if row["other"] == other])
                for other in ("base", "draft")
            },
        }
    )


if __name__ == "__main__":
    main()

"""LM-corrector on JFLEG: a SmolLM2-135M that was trained on candidates of the 0.5B, against what it has to beat.

    counterpoint train train-corrector                                             # with candidates: 35 minutes on two cores
    counterpoint train train-corrector --set trainer.n=0 --name corrector-alone    # the same model without candidates
    python benchmarks/corrector.py                                                 # about forty minutes; goes on where it was stopped

The first 550 sentences of JFLEG's development set trained the correctors; the other 204 are evaluated here, Napoles' GLEU with its
four references, intervals by resampling sentences. Systems: the source as it is; the proposer alone (the 0.5B with three examples,
greedy); of its five candidates the one that is likeliest under the 0.5B itself; the corrector without candidates; prompt-only
fusion by the 0.5B; the corrector, and the corrector choosing among the candidates instead of writing. Then the same corrector over
candidates of Gemma-3-270m, which it has never seen, beside Gemma alone. Evaluations are kept in ``results/corrector``,
on this machine only, for their answers are nearly the data set's words; candidates are made once (`cached`).
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from common import RESULTS, machine, model
from evaluated import estimate, evaluate

import counterpoint as cp
from counterpoint import paths
from counterpoint.evaluation.comparing import comparison_of
from counterpoint.evaluation.dataset import Dataset, load_dataset
from counterpoint.evaluation.result import EvaluationResult

FOLDER = RESULTS / "corrector"
TRAINED = 550
WORDS = {"rewrite": {"template": "{{ source }}"}}


def proposing(source: str) -> dict[str, Any]:
    """A base of candidates, asked by examples."""
    return {**model(source), "prompt_format": "raw", "stop": ["\n"]}


def systems() -> dict[str, dict[str, Any]]:
    """Recipes by name; the shipped one is `corrector`."""
    shipped = cp.load_recipe("corrector").to_dict()
    ask = shipped["nodes"]["answer"]["ask"]
    nodes = {name: shipped["nodes"][name] for name in ("proposer", "candidates", "corrector")}
    gemma = {**nodes, "proposer": proposing("gemma-3-270m")}
    alone = {**nodes["corrector"], "source": "artifact:corrector-alone"}
    answer = shipped["nodes"]["answer"]
    raw = {"rewrite": {"template": ask}}

    def recipe(graph: dict[str, Any], output: Any, words: Any = WORDS) -> dict[str, Any]:
        used = {**graph, "answer": output} if isinstance(output, dict) else graph
        return {
            "nodes": used,
            "output": "answer" if isinstance(output, dict) else output,
            "tasks": words,
            "sampling": {"max_tokens": 96},
        }

    ranked = {"kind": "best_of_n", "generators": "proposer", "n": 5, "select": "score", "sampling": {"temperature": 0.6}}
    return {
        "proposer": recipe({"proposer": nodes["proposer"]}, "proposer", raw),
        "likelihood": recipe(
            {"proposer": nodes["proposer"]}, {**ranked, "verifiers": {"kind": "likelihood", "model": "proposer"}}, raw
        ),
        "corrector-alone": recipe(
            {"corrector": alone, "proposer": nodes["proposer"]}, {**answer, "candidates": "proposer", "n": 0}
        ),
        "fusion": recipe(
            {"proposer": nodes["proposer"], "candidates": nodes["candidates"], "writer": model("qwen2.5-coder-0.5b-instruct")},
            {
                "kind": "fusion",
                "model": "writer",
                "candidates": "candidates",
                "n": 5,
                "ask": ask,
                "template": "Below are a sentence and {{ candidates | length }} attempts to correct its grammar, spelling and wording. "
                "Combine what is best in them into one correct sentence that keeps the meaning.\n\nSentence: {{ source }}\n"
                "{% for candidate in candidates %}\nAttempt {{ loop.index }}: {{ candidate }}{% endfor %}\n\n"
                "Reply with the corrected sentence only.",
            },
        ),
        "corrector": recipe(nodes, answer),
        "corrector-choosing": recipe(nodes, {**answer, "write": "choose"}),
        "gemma": recipe({"proposer": gemma["proposer"]}, "proposer", raw),
        "gemma-corrector": recipe(gemma, answer),
    }


def unchanged(data: Dataset) -> dict[str, Any]:
    """A recipe that gives every sentence back as it is."""
    file = FOLDER / "sources.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    sources = [str(example.columns["source"]) for example in data.examples]
    file.write_text(
        "".join(json.dumps({"prompt": one, "answers": one.strip()}) + "\n" for one in dict.fromkeys(sources)), encoding="utf-8"
    )
    return {"nodes": {"r": {"kind": "recorded", "file": os.path.relpath(file)}}, "output": "r", "tasks": WORDS}


def figures(result: EvaluationResult) -> dict[str, Any]:
    """What the summary says of a system."""
    return {
        "gleu": estimate(result, "gleu", 100, 2),
        "gflops": round(result.analysis.costs.flops / 1e9, 1),
        "tokens": round(result.analysis.costs.tokens, 1),
        "unfinished": sum(record.finish_reason == "length" for record in result.records),
    }


def main() -> None:
    """Evaluates what is missing, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="make this evaluation alone")
    options = parser.parse_args()
    folder = paths.data() / "jfleg_dev"
    references = sorted(folder.glob("dev.ref?"))
    data = load_dataset(folder / "dev.src", references=references).after(TRAINED)
    results = {}
    recipes = {"source": unchanged(data), **systems()}
    for name, recipe in recipes.items():
        if options.only in (None, name):
            results[name] = evaluate(FOLDER / name, {"name": name, **recipe}, data, in_flight=16)
    (FOLDER / "sources.jsonl").unlink()  # the data set's words
    if options.only is not None:
        return
    comparison = comparison_of(list(results.values()), baseline="proposer")
    summary = {
        "machine": machine(),
        "what": f"JFLEG's development set, sentences {TRAINED + 1} to {TRAINED + len(data.examples)}, four references",
        "systems": {name: figures(result) for name, result in results.items()},
        "verdicts": list(comparison.verdicts),
        "notes": [*comparison.warnings, *comparison.notes],
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    (RESULTS / "corrector.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

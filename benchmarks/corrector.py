"""LM-corrector on JFLEG: a SmolLM2-135M that was trained on candidates of the 0.5B, against what it has to beat.

    counterpoint train train-corrector                                             # with candidates: 50 minutes on two cores
    counterpoint train train-corrector --set trainer.n=0 --name corrector-alone    # the same model without candidates
    python benchmarks/corrector.py                                                 # about forty minutes; goes on where it was stopped

The first 550 sentences of JFLEG's development set trained the correctors; the other 204 are evaluated here, Napoles' GLEU with its
four references, intervals by resampling sentences. Systems: the source as it is; the proposer alone (the 0.5B with three examples,
greedy); of its five candidates the one that is likeliest under the 0.5B itself; the corrector without candidates; prompt-only
fusion by the 0.5B; the corrector, and the corrector choosing among the candidates instead of writing. Then the same corrector over
candidates of Gemma-3-270m, which it has never seen, beside Gemma alone. Evaluations are kept in ``results/corrector``,
on this machine only, for their answers are nearly the data set's words; candidates are made once (`cached`), and FLOPs of the
summary have them wherever they are read.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from typing import Any

from common import RESULTS, SMALL, machine, model
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
            {"proposer": nodes["proposer"], "candidates": nodes["candidates"], "writer": model(SMALL)},
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


def kept_candidates(source: str) -> dict[str, tuple[float, int]]:
    """FLOPs and tokens that the kept candidates of a proposer took when they were made, by the sentence they were made for."""
    found: dict[str, tuple[float, int]] = {}
    for file in paths.candidates().glob("*.jsonl"):
        header, *lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        if header["of"]["parts"]["model"]["fields"]["source"] != source:
            continue
        for line in lines:
            sentence = line["prompt"]["text"].rpartition("Sentence: ")[2].partition("\n")[0].strip()
            flops, tokens = found.get(sentence, (0.0, 0))
            found[sentence] = flops + line["cost"]["flops"], tokens + line["cost"]["tokens"]
    return found


def flops_of(result: EvaluationResult, data: Dataset, kept: dict[str, tuple[float, int]]) -> float:
    """FLOPs of an answer, those of candidates that an evaluation found kept included."""
    sources = {example.id: str(example.columns["source"]).strip() for example in data.examples}
    total = 0.0
    for record in result.records:
        flops, tokens = kept.get(sources[record.id], (0.0, 0))
        made = max(0, record.cost.tokens - record.cost.answer_tokens)
        total += record.cost.flops + flops * (1 - min(1.0, made / tokens) if tokens else 0)
    return total / len(result.records)


def figures(result: EvaluationResult, flops: float) -> dict[str, Any]:
    """What the summary says of a system."""
    return {
        "gleu": estimate(result, "gleu", 100, 2),
        "gflops": round(flops / 1e9, 1),
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
    comparisons = [
        comparison_of([one for name, one in results.items() if not name.startswith("gemma")], baseline="corrector"),
        comparison_of(
            [results[name] for name in ("proposer", "likelihood", "fusion", "corrector-choosing", "corrector-alone", "source")],
            baseline="proposer",
        ),
        comparison_of([results[name] for name in ("gemma", "gemma-corrector", "corrector-alone")], baseline="gemma-corrector"),
    ]
    kept = {name: kept_candidates(source) for name, source in (("", SMALL), ("gemma-", "gemma-3-270m"))}
    uses = {
        **dict.fromkeys(("fusion", "corrector", "corrector-choosing"), kept[""]),
        "gemma-corrector": kept["gemma-"],
    }
    summary = {
        "machine": machine(),
        "what": f"JFLEG's development set, sentences {TRAINED + 1} to {TRAINED + len(data.examples)}, four references",
        "systems": {name: figures(result, flops_of(result, data, uses.get(name, {}))) for name, result in results.items()},
        # their ratios of FLOPs leave out what `cached` brought; those of the systems do not
        "verdicts": [
            re.sub(r"(, at|; \S+ took) (about the same|[\d.]+ × the) FLOPs", "", verdict)
            for comparison in comparisons
            for verdict in comparison.verdicts
            if " on gleu" in verdict
        ],
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    (RESULTS / "corrector.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Cross-model control: a delta trained beside SmolLM2-135M on worked answers, used untrained on models of other vocabularies.

    counterpoint train train-cross-model-control     # first: makes artifact:cmc-smollm2
    python benchmarks/cross_model_control.py         # about half an hour on two cores; goes on where it was stopped

CPU, bfloat16, GSM8K's test set, of which the delta has seen nothing. The prompt is the question alone, so that nothing but the delta
asks for GSM8K's manner of answering. Three figures a system:

- bits per byte of the known worked answers (200 problems; 80 on models of other vocabularies);
- how many greedy answers end in GSM8K's format, a line ``#### NUMBER`` (100 problems and 64, 192 tokens);
- how many of those answers are right (the last number stands for an answer without that line).

At α = 0 the bits of every answer have to be the base's, to the last digit (20 problems, float32). Summaries and compressed answers are in
``results/cross_model_control``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from common import RESULTS, SMALL, machine, model
from evaluated import estimate, evaluate

import counterpoint as cp
from counterpoint import paths
from counterpoint.evaluation.comparing import comparison_of
from counterpoint.evaluation.result import EvaluationResult
from counterpoint.tasks import Words

FOLDER = RESULTS / "cross_model_control"
DATA = "gsm8k_test_200.jsonl"
DELTA = "artifact:cmc-smollm2"
QUESTION = Words(template="{{ question }}", prefix="", stop=())
BASES: dict[str, dict[str, Any]] = {
    "smollm2": model("smollm2-135m-instruct"),
    "qwen": model(SMALL),
    "gemma": {**model("gemma-3-270m"), "prompt_format": "roles", "stop": ["\n\n[User]"]},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "": {"alpha": 1.0},
    "-half": {"alpha": 0.5},
    "-mean": {"alpha": 1.0, "unmapped": "mean"},
}
FORMAT = re.compile(r"^#### *-?\$?[\d,]*\.?\d+ *\.?\s*\Z", re.MULTILINE)


def recipe(base: str, dtype: str = "bfloat16", **control: Any) -> dict[str, Any]:
    """A base alone, or controlled."""
    alone = {**BASES[base], "dtype": dtype}
    controlled = {"kind": "cross_model_control", "base": alone, "delta": model(DELTA, dtype), **control}
    return {"nodes": {"out": controlled if control else alone}, "output": "out"}


def bits(name: str, what: dict[str, Any], problems: int) -> EvaluationResult:
    """Bits per byte of the worked answers."""
    return evaluate(FOLDER / f"bits-{name}", what, DATA, scorers="bits_per_byte", words=QUESTION, limit=problems, in_flight=8)


def answers(name: str, what: dict[str, Any], problems: int) -> EvaluationResult:
    """Greedy answers."""
    sampling = cp.Sampling(temperature=0.0, max_tokens=192)
    return evaluate(
        FOLDER / f"answers-{name}",
        what,
        DATA,
        scorers="numeric_match",
        words=QUESTION,
        limit=problems,
        in_flight=32,
        sampling=sampling,
    )


def formatted(result: EvaluationResult) -> dict[str, Any]:
    """How many answers end in the format, how many are right, and how many were cut."""
    return {
        "with the calculator's marks": sum("<<" in record.text for record in result.records),
        "in the format": sum(FORMAT.search(record.text.rstrip()) is not None for record in result.records),
        "right": sum(record.scores["numeric_match"].value == 1 for record in result.records),
        "cut at the token limit": sum(record.finish_reason == "length" for record in result.records),
        "answers": len(result.records),
        "tokens": round(result.analysis.costs.answer_tokens, 1),
        "gflops": round(result.analysis.costs.flops / 1e9, 1),
    }


def same_at_zero(base: str) -> bool:
    """Whether at α = 0 every answer has the bits that it has under the base alone, in float32, one at a time."""
    alone, controlled = (
        evaluate(
            FOLDER / f"zero-{base}-{name}",
            recipe(base, "float32", **control),
            DATA,
            scorers="bits_per_byte",
            words=QUESTION,
            limit=20,
            in_flight=1,
        )
        for name, control in (("alone", {}), ("controlled", {"alpha": 0.0}))
    )
    scores = [[record.scores["bits_per_byte"].value for record in one.records] for one in (alone, controlled)]
    return scores[0] == scores[1]


def training() -> dict[str, Any]:
    """What the artifact's card says of its training."""
    card = json.loads((paths.artifacts() / "cmc-smollm2" / "counterpoint.json").read_text(encoding="utf-8"))
    return {name: card[name] for name in ("steps", "examples", "loss", "held_out_loss", "seconds") if name in card}


def main() -> None:
    """Evaluates what is missing, and writes the figures."""
    figures: dict[str, Any] = {}
    verdicts: list[str] = []
    for base in BASES:
        settings = {name: value for name, value in SETTINGS.items() if base != "smollm2" or "unmapped" not in value}
        problems, answered = (200, 100) if base == "smollm2" else (80, 64)
        alone = bits(base, recipe(base), problems)
        controlled = {
            name: bits(f"{base}-controlled{name}", recipe(base, **value), problems) for name, value in settings.items()
        }
        comparison = comparison_of([alone, *controlled.values()])
        verdicts += comparison.verdicts
        figures[base] = {
            "bits per byte": {
                "alone": estimate(alone, "bits_per_byte"),
                **{f"controlled{name}": estimate(one, "bits_per_byte") for name, one in controlled.items()},
            },
            "answers": {
                "alone": formatted(answers(base, recipe(base), answered)),
                "controlled": formatted(answers(f"{base}-controlled", recipe(base, alpha=1.0), answered)),
            },
            "at alpha 0 the bits are the base's": same_at_zero(base),
        }
    summary = {"machine": machine(), "training": training(), "figures": figures, "verdicts": verdicts}
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    Path(RESULTS / "cross_model_control.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

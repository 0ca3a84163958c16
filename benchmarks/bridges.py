"""Bridges between the tokenizers of SmolLM2, Gemma 3 and Qwen2.5: how long they take to build, and what they cover.

Tokens of real text count as they come: the reference solutions of HumanEval, and the answers of TruthfulQA.

python benchmarks/bridges.py
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Results, solutions

import counterpoint as cp
from counterpoint import paths
from counterpoint.bridge import Bridges, TokenizerBridge
from counterpoint.tokenizer import Tokenizer

MODELS = {"smollm2": "smollm2-135m-instruct", "gemma-3": "gemma-3-270m", "qwen2.5": "qwen2.5-coder-0.5b-instruct"}


def tokenizer(source: str) -> Tokenizer:
    """The tokenizer of a model in the store, without its weights."""
    with cp.Engine() as engine:
        plan = engine.plan({"nodes": {"m": {"kind": "huggingface", "source": source}}, "output": "m"})
        plan.check()
    found = plan.facts["m"].tokenizer
    if found is None:
        raise SystemExit(f"{source} is not here: counterpoint models pull {source}")
    return found


def truths() -> list[str]:
    """The best answers of TruthfulQA."""
    with (paths.data() / "truthfulqa_400.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["best_answer"] for line in lines]


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of a call."""
    started = time.perf_counter()
    call()
    return round(time.perf_counter() - started, 2)


def shared(bridge: TokenizerBridge, texts: list[str]) -> float:
    """Share of the tokens of texts, as the outer tokenizer cuts them, that the inner vocabulary has as well."""
    ids = [token_id for text in texts for token_id in bridge.outer.encode(text)]
    return round(float((bridge.shared[ids] >= 0).mean()), 4)


def measure(outer: Tokenizer, inner: Tokenizer) -> dict[str, Any]:
    """One ordered pair."""
    with tempfile.TemporaryDirectory() as folder:
        built = seconds(lambda: Bridges(Path(folder)).between(outer, inner))
        held = sum(path.stat().st_size for path in Path(folder).iterdir())
        read = seconds(lambda: Bridges(Path(folder)).between(outer, inner))
        bridge = Bridges(Path(folder)).between(outer, inner)
    return {
        "outer_tokens": bridge.words,
        "inner_tokens": len(inner.mapping()) - len(inner.special_ids),
        "build_seconds": built,
        "read_seconds": read,
        "megabytes": round(held / 1e6, 2),
        "equal": round(bridge.coverage, 4),
        "pm_mined": round(bridge.covered("pm_mined"), 4),
        "equal_in_code": shared(bridge, solutions(164)),
        "equal_in_answers": shared(bridge, truths()),
    }


def main() -> None:
    """All ordered pairs."""
    tokenizers = {name: tokenizer(source) for name, source in MODELS.items()}
    pairs = itertools.permutations(tokenizers.items(), 2)
    Results("bridges").summarize({f"{one} to {other}": measure(outer, inner) for (one, outer), (other, inner) in pairs})


if __name__ == "__main__":
    main()

"""Weak-to-strong decoding in float32: the interleaved switch point against the offline definition, on TruthfulQA's questions.

    python benchmarks/weak_to_strong_exactness.py [--prompts 200] [--draft-tokens 96] [--in-flight 8] [--fresh]

SmolLM2-135M-Instruct drafts greedily, Gemma-3-270m checks. Offline, in the paper's stages: whole drafts, stripped, encoded by
Gemma's tokenizer, scored by transformers in one teacher-forced pass after the prompt with its role headers; the switch is after the
first token whose window (w 6) has a geometric mean of at least γ = 0.8. Interleaved: the `weak_to_strong` node, in blocks of 8; each
run is stopped at its switch. Drafts are made many in flight. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from typing import Any

import torch
from common import Results, model
from transformers import AutoModelForCausalLM, AutoTokenizer

import counterpoint as cp
from counterpoint import paths
from counterpoint.store import ModelStore

DRAFT, TARGET = "smollm2-135m-instruct", "gemma-3-270m"
GAMMA, WINDOW = 0.8, 6


def questions(count: int) -> list[str]:
    """The first questions of TruthfulQA."""
    with (paths.data() / "truthfulqa_400.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)["question"] for _, line in zip(range(count), lines, strict=False)]


class Offline:
    """The second stage of the paper: a whole draft in one pass of the target."""

    def __init__(self) -> None:
        folder = ModelStore().path(TARGET)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def check(self, question: str, draft: str) -> dict[str, Any]:
        """Tokens of the draft, how many are kept, and how near the nearest score is to γ."""
        prompt = self.tokenizer(f"\n\n[User]\n{question}\n\n[Assistant]\n")["input_ids"]
        ids = self.tokenizer(draft.strip(), add_special_tokens=False)["input_ids"]
        if not ids:
            return {"ids": [], "kept": 0, "switched": False, "margin": None}
        rows = self.model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        logprobs = rows.gather(-1, torch.tensor(ids)[:, None])[:, 0].double()
        scores = [math.exp(float(logprobs[i - WINDOW : i].mean())) for i in range(WINDOW, len(ids) + 1)]
        first = next((index for index, score in enumerate(scores) if score >= GAMMA), None)
        return {
            "ids": ids,
            "kept": len(ids) if first is None else first + WINDOW,
            "switched": first is not None,
            "margin": min((abs(score - GAMMA) for score in scores), default=None),
        }


def recipe(draft_tokens: int, output: str) -> dict[str, Any]:
    """The interleaved strategy (``answer``), or its draft alone (``small``)."""
    answer = {
        "kind": "weak_to_strong",
        "draft": "small",
        "target": "large",
        "criterion": {"kind": "window_confidence", "gamma": GAMMA, "window": WINDOW},
        "draft_tokens": draft_tokens,
    }
    nodes = {
        "small": model(DRAFT, "float32"),
        "large": {**model(TARGET, "float32"), "prompt_format": "roles"},
        "answer": answer,
    }
    if output == "small":
        return {"nodes": {"small": nodes["small"]}, "output": "small", "sampling": {"max_tokens": draft_tokens}}
    return {"nodes": nodes, "output": "answer", "sampling": {"max_tokens": 4 * draft_tokens}}


async def interleaved(stream: cp.RunStream) -> dict[str, Any]:
    """The tokens that are kept, and whether the criterion held; the run is stopped there."""
    ids: list[int] = []  # of the text that is out: a character that is not complete is held back
    drafted, switched, position = 0, False, None
    async for event in stream:
        if event.type == "switched":
            switched, position = not event.reason.startswith("the draft"), event.position
            stream.cancel()
            break
        if event.type == "emitted" and event.span == 1:
            ids += event.ids
        elif event.type == "emitted":
            drafted += len(event.ids)
    async for _ in stream:
        pass
    return {"ids": ids, "kept": len(ids) if position is None else position, "switched": switched, "drafted": drafted}


async def together(streams: list[cp.RunStream]) -> list[dict[str, Any]]:
    """What each of several runs at once has kept."""
    return await asyncio.gather(*(interleaved(stream) for stream in streams))


def main() -> None:
    """Measures what is missing, compares, and fails where a switch differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--draft-tokens", type=int, default=96)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    options = parser.parse_args()
    results = Results("weak-to-strong-exactness", fresh=options.fresh)
    length = {"draft_tokens": options.draft_tokens}
    asked = list(enumerate(questions(options.prompts)))
    missing = [(number, question) for number, question in asked if results.have(prompt=number, **length) is None]
    if missing:
        offline = Offline()
        with cp.Engine(offline=True) as engine:
            engine.load(recipe(options.draft_tokens, "answer"))
            for start in range(0, len(missing), options.in_flight):
                some = missing[start : start + options.in_flight]
                drafts = engine.run_many(recipe(options.draft_tokens, "small"), [question for _, question in some])
                streams = [engine.stream(recipe(options.draft_tokens, "answer"), question) for _, question in some]
                found = asyncio.run(together(streams))
                for (number, question), draft, ours in zip(some, drafts, found, strict=True):
                    if draft.error is not None:
                        raise draft.error
                    theirs = offline.check(question, draft.text)
                    same = theirs["kept"] == ours["kept"] and theirs["switched"] == ours["switched"]
                    row = {
                        "prompt": number,
                        **length,
                        "same": same and theirs["ids"][: len(ours["ids"])] == ours["ids"],
                        "kept": theirs["kept"],
                        "switched": theirs["switched"],
                        "interleaved": {name: ours[name] for name in ("kept", "switched", "drafted")},
                        "draft": len(draft.completion.ids),
                        "margin": theirs["margin"],
                    }
                    results.add(row)
                print(f"{start + len(some)} of {len(missing)}", flush=True)
    rows = [row for row in results.rows if row["draft_tokens"] == options.draft_tokens and row["prompt"] < options.prompts]
    differing = [row for row in rows if not row["same"]]
    switched = [row for row in rows if row["switched"]]
    results.summarize(
        {
            "prompts": len(rows),
            **length,
            "same_switch_and_tokens": len(rows) - len(differing),
            "switched_in_the_middle": len(switched),
            "tokens_drafted_offline": sum(row["draft"] for row in rows),
            "tokens_drafted_interleaved": sum(row["interleaved"]["drafted"] for row in rows),
            "least_distance_of_a_score_from_gamma": min(
                (row["margin"] for row in rows if row["margin"] is not None), default=None
            ),
            "differing": differing,
        }
    )
    if differing:
        raise SystemExit("switch points differ")


if __name__ == "__main__":
    main()

"""What sixteen candidates cost beside one: wall time of best-of-16, and of scoring sixteen candidates by likelihood.

    python benchmarks/best_of_n.py [--rounds 5]      # about ten minutes on two idle cores

The 0.5B on transformers, bfloat16, 128 new tokens each, stop tokens ignored. In one process, in turn, medians:

- one sample; best-of-16 of the same length without a verifier (`vote`); best-of-16 ranked by likelihood under the same model;
- sixteen candidates of 128 tokens scored by `likelihood` after a prompt, beside one pass of the backend over the same tokens, and
  beside transformers' own forward pass over them as a batch (both with the prompt processed before);
- best-of-8 with a verifier that sleeps for a second over each candidate, in threads. All eight end together here, so this shows that
  they are verified side by side; that one is verified while others are still made is in ``overlap.py``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from common import SMALL, Results, humaneval, model

import counterpoint as cp
from counterpoint.plugin import Completion, Node, Prompt, Run, Step, Verifier, hookimpl

TOKENS, CANDIDATES = 128, 16


class Patient(Verifier):
    """Takes a second for each candidate, in a thread, and accepts none."""

    kind: Literal["patient"] = "patient"
    verdicts: ClassVar[bool] = True

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        await run.gather(*(run.thread(time.sleep, 1.0) for _ in completions))
        return [0.0] * len(completions)


class Plugin:
    """Brings `patient`."""

    __name__ = "patience"

    @hookimpl
    def counterpoint_nodes(self) -> list[type[Node]]:
        """The node."""
        return [Patient]


def recipe(**best: Any) -> dict[str, Any]:
    """A best_of_n over the 0.5B, or the model alone."""
    nodes: dict[str, Any] = {"m": model(SMALL)}
    if best:
        nodes["best"] = {"kind": "best_of_n", "generators": "m", **best}
    sampling = {"temperature": 0.8, "max_tokens": TOKENS, "ignore_stop": True}
    return {"nodes": nodes, "output": "best" if best else "m", "sampling": sampling, "record": "summary"}


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def scoring(engine: cp.Engine, prompt: str, rounds: int) -> dict[str, float]:
    """Seconds to score sixteen candidates: by the verifier, by one pass of the backend, by transformers' batch."""
    sampled = engine.samples(recipe(), prompt, CANDIDATES)
    completions = [stream.result().completion for stream in sampled]
    verifier = {"nodes": {"m": model(SMALL), "l": {"kind": "likelihood", "model": "m", "cut": "score"}}, "output": "l"}
    (host,) = engine.hosts()
    backend: Any = host.backend
    ids = [backend.tokenizer.encode(completion.text)[:TOKENS] for completion in completions]
    asked = backend.tokenizer.encode(prompt)
    module = backend.module()
    batch = torch.tensor([one + [0] * (TOKENS - len(one)) for one in ids])
    found: dict[str, list[float]] = {"verifier": [], "backend": [], "transformers": []}
    for number in range(rounds):
        # a scope of its own, in which the prompt is processed before the clock starts
        scope = f"score {number}"
        engine.run({**recipe(), "sampling": {"max_tokens": 1}}, prompt, scope=scope)
        found["verifier"].append(timed(lambda s=scope: engine.verify(verifier, prompt, completions, scope=s).result()))  # type: ignore[misc]
        found["backend"].append(one_pass(backend, asked, ids))
        with torch.inference_mode():
            found["transformers"].append(timed(lambda: logprobs(module, batch)))
    return {name: statistics.median(values) for name, values in found.items()}


def one_pass(backend: Any, asked: list[int], ids: list[list[int]]) -> float:
    """Seconds of the backend's passes over all candidates, as many tokens at once as the engine feeds."""
    first = backend.new_slot()
    backend.forward([Step(first, asked, 1)])
    slots = [backend.copy(first, len(asked)) for _ in ids]
    per_pass = max(1, 1024 // TOKENS)
    began = time.perf_counter()
    for start in range(0, len(ids), per_pass):
        some = range(start, min(start + per_pass, len(ids)))
        backend.forward([Step(slots[i], ids[i], 1, score=True) for i in some])
    took = time.perf_counter() - began
    for slot in (first, *slots):
        backend.free(slot)
    return took


def logprobs(module: Any, batch: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of a batch's tokens, half of the rows at a time (the whole vocabulary at every token takes gigabytes)."""
    found = []
    for part in batch.split(CANDIDATES // 2):
        logits = module(input_ids=part, use_cache=False).logits[:, :-1].float()
        chosen = logits.gather(-1, part[:, 1:, None])[..., 0]
        found.append(chosen - logits.logsumexp(-1))
    return torch.cat(found)


def main() -> None:
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    (prompt,) = humaneval(1)
    systems = {
        "one": recipe(),
        "sixteen": recipe(n=CANDIDATES, select="vote"),
        "sixteen, ranked": recipe(n=CANDIDATES, verifiers={"kind": "likelihood", "model": "m", "cut": "score"}, select="score"),
    }
    results = Results("best_of_n", fresh=True)
    with cp.Engine(offline=True, registry=cp.load_plugins(extra=[Plugin()])) as engine:
        engine.run({**recipe(), "sampling": {"max_tokens": 8}}, prompt)  # loaded and warm
        for number in range(options.rounds):
            for name, system in systems.items():
                scope = f"{name} {number}"
                results.add(
                    {
                        "system": name,
                        "round": number,
                        "seconds": timed(lambda s=system, c=scope: engine.run(s, prompt, scope=c)),
                    }
                )  # type: ignore[misc]
        plain = timed(lambda: engine.run(recipe(n=8, select="vote"), prompt, scope="plain"))
        patient = timed(lambda: engine.run(recipe(n=8, verifiers={"kind": "patient"}), prompt, scope="patient"))
        scores = scoring(engine, prompt, options.rounds)
    median = {name: statistics.median(row["seconds"] for row in results.rows if row["system"] == name) for name in systems}
    summary = {
        "what": f"0.5B, bfloat16, transformers, {TOKENS} tokens, medians of {options.rounds}",
        "seconds": {name: round(value, 2) for name, value in median.items()},
        "sixteen over one": round(median["sixteen"] / median["one"], 3),
        "sixteen ranked over one": round(median["sixteen, ranked"] / median["one"], 3),
        "scoring, seconds": {name: round(value, 3) for name, value in scores.items()},
        "scoring over one pass of the backend": round(scores["verifier"] / scores["backend"], 3),
        "scoring over transformers' batch": round(scores["verifier"] / scores["transformers"], 3),
        "eight verifications of a second add": round(patient - plain, 2),
    }
    results.summarize(summary)


if __name__ == "__main__":
    main()

"""The two backends: llama.cpp through the engine against its own Python bindings, and against transformers.

    python benchmarks/backends.py [--tokens 128] [--fresh]

Same GGUF files, threads and prompts on both sides, in turn, in one process, every prompt processed afresh. `sample` against
llama-cpp-python's own greedy loop; sixteen candidates at once against its own one at a time; `speculative` against `sample` on
HumanEval and on code-editing prompts; the way from the store to the pair's first token; bits per byte of the two backends on the
same text.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import llama_cpp
from common import LARGE, SMALL, Results, geometric_mean, humaneval, solutions

import counterpoint as cp
from counterpoint import calibration
from counterpoint.plugin import Backend, Completion, Generator, LanguageModel, Node, Note, Prompt, Ref, Run, hookimpl
from counterpoint.registry import load_plugins
from counterpoint.rendering import render
from counterpoint.store import ModelStore

NAMES = {"small": SMALL, "large": LARGE}
OUTPUTS = {"sample": "large", "speculative": "spec"}
ROUNDS = {"sample": 3, "humaneval": 2, "editing": 1}

FIRST_TOKEN = """
import json, sys, time
started = time.perf_counter()
import counterpoint as cp
for event in cp.stream(json.loads(sys.argv[1]), "Write a haiku."):
    if event.type == "emitted":
        print(time.perf_counter() - started)
        break
"""


class Scorer(Generator):
    """Log-probability of a text after an empty prompt."""

    kind: Literal["benchmark_scorer"] = "benchmark_scorer"
    model: Ref[LanguageModel]

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        first, _, rest = prompt.chat()[-1]["content"].partition("\n")
        session = await run.open(self.model, Prompt(text=first + "\n"))
        scores = await session.score(session.tokenizer.encode(rest))
        run.emit(Note(name="score", data={"logprob": float(scores.sum()), "bytes": len(rest.encode())}))
        return run.completion("stop")


class _Plugin:
    @staticmethod
    @hookimpl
    def counterpoint_nodes() -> list[type[Node]]:
        return [Scorer]


def pair(output: str, kind: str = "llama_cpp") -> dict[str, Any]:
    """The pair on one backend."""
    return {
        "nodes": {
            "large": {"kind": kind, "source": LARGE},
            "small": {"kind": kind, "source": SMALL},
            "lookup": {"kind": "prompt_lookup"},
            "spec": {"kind": "speculative", "target": "large", "draft": ["lookup", "small"]},
        },
        "output": output,
    }


def on_its_thread(engine: cp.Engine, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Runs their code on the engine's thread.

    OpenMP keeps a team of threads for every thread that computes; with two teams on two cores both would sleep where one spins,
    and everything in the process would take twice as long.
    """

    async def call() -> dict[str, Any]:
        return function()

    return engine._scheduler.submit(call()).result()


def forget(engine: cp.Engine) -> None:
    """Drops what closed sessions have left in the caches, so that no prompt is found there."""
    for host in engine.hosts():
        while host.table.give_back_oldest():
            pass


def ours(engine: cp.Engine, output: str, prompt: str, tokens: int) -> dict[str, Any]:
    """One answer through the engine."""
    forget(engine)
    started = time.perf_counter()
    result = engine.run(pair(output), prompt, sampling=cp.Sampling(max_tokens=tokens))
    return {"seconds": time.perf_counter() - started, "tokens": len(result.completion.ids), "ids": list(result.completion.ids)}


def theirs(model: llama_cpp.Llama, stops: frozenset[int], ids: list[int], tokens: int) -> dict[str, Any]:
    """One answer by llama-cpp-python's own greedy loop."""
    model.reset()
    started = time.perf_counter()
    found: list[int] = []
    for token in model.generate(ids, temp=0.0, repeat_penalty=1.0):
        found.append(token)
        if token in stops or len(found) == tokens:
            break
    model.detokenize(found)
    return {"seconds": time.perf_counter() - started, "tokens": len(found), "ids": found}


def theirs_sampled(model: llama_cpp.Llama, ids: list[int], tokens: int) -> dict[str, Any]:
    """Sixteen candidates of fixed length at temperature 0.8, one after another; the prompt is processed once."""
    model.reset()
    started = time.perf_counter()
    for seed in range(16):
        model.set_seed(seed)
        made = itertools.islice(model.generate(ids, temp=0.8, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0), tokens)
        assert sum(1 for _ in made) == tokens
    return {"seconds": time.perf_counter() - started, "tokens": 16 * tokens}


def speed(row: dict[str, Any]) -> float:
    """Tokens per second."""
    return float(row["tokens"] / row["seconds"])


def medians(systems: dict[str, Callable[[], dict[str, Any]]], rounds: int) -> dict[str, Any]:
    """Every system's answer and its median time, measured in turn."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, measure in systems.items():
            rows[name].append(measure())
    return {name: {**found[0], "seconds": statistics.median(row["seconds"] for row in found)} for name, found in rows.items()}


def main() -> None:
    """Measures what is missing, and summarises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    options = parser.parse_args()
    results = Results("backends", fresh=options.fresh)
    prompts, tokens = humaneval(20), options.tokens
    editing = [json.loads(line)["prompt"] for line in Path(__file__).with_name("editing.jsonl").read_text().splitlines()]
    with cp.Engine(offline=True, registry=load_plugins([_Plugin])) as engine:
        engine.load(pair("spec"))
        for name in NAMES:
            against_own(results, engine, name, prompts[:5], tokens)
        for what, some, most in (("humaneval", prompts, tokens), ("editing", editing, 2 * tokens)):
            for index, prompt in enumerate(some):
                systems = {name: partial(ours, engine, node, prompt, most) for name, node in OUTPUTS.items()}
                results.once({"what": what, "prompt": index, "max_tokens": most}, partial(medians, systems, ROUNDS[what]))
        for kind in ("llama_cpp", "huggingface"):
            for name in NAMES:
                keys = {"what": "bits", "kind": kind, "model": name}
                results.once(keys, partial(bits, engine, kind, name, solutions(20)))
    results.once({"what": "start"}, start)
    summarize(results, tokens)


def against_own(results: Results, engine: cp.Engine, name: str, prompts: list[str], tokens: int) -> None:
    """`sample` and the bindings' own greedy loop, in turn; and sixteen candidates."""
    backend = next(host.backend for host in engine.hosts() if NAMES[name] in host.key)
    path = ModelStore().ensure(NAMES[name], formats=("gguf",)).gguf
    own = llama_cpp.Llama(str(path), n_ctx=2048, n_threads=2, verbose=False)
    for index, prompt in enumerate(prompts):
        ids, _ = render(Prompt.of(prompt), None, backend.tokenizer, name)
        systems = {
            "theirs": partial(on_its_thread, engine, partial(theirs, own, backend.stop_ids, ids, tokens)),
            "ours": partial(ours, engine, name, prompt, tokens),
        }
        results.once(
            {"what": "sample", "model": name, "prompt": index, "max_tokens": tokens},
            partial(medians, systems, ROUNDS["sample"]),
        )
    ids, _ = render(Prompt.of(prompts[0]), None, backend.tokenizer, name)
    for system, measure in (
        ("ours", partial(sixteen, engine, name, prompts[0], tokens)),
        ("theirs", partial(on_its_thread, engine, partial(theirs_sampled, own, ids, tokens))),
    ):
        results.once({"what": "sixteen", "model": name, "system": system, "max_tokens": tokens}, measure)
    results.once({"what": "passes", "model": name}, partial(on_its_thread, engine, partial(passes, backend)))


def passes(backend: Backend) -> dict[str, Any]:
    """Seconds of llama.cpp's own passes over one row and over sixteen, nothing of ours around them: what batching can give."""
    costs = calibration.measure(backend)
    return {"seconds": {str(rows): costs.at(rows) for rows in (1, 16)}}


def sixteen(engine: cp.Engine, name: str, prompt: str, tokens: int) -> dict[str, Any]:
    """Sixteen candidates of fixed length at once."""
    forget(engine)
    sampling = cp.Sampling(temperature=0.8, max_tokens=tokens, ignore_stop=True)
    started = time.perf_counter()
    made = engine.run_many(pair(name), [prompt], samples=16, sampling=sampling)
    seconds = time.perf_counter() - started
    assert len({result.text for result in made}) > 8, "candidates differ"
    return {"seconds": seconds, "tokens": sum(len(result.completion.ids) for result in made)}


def bits(engine: cp.Engine, kind: str, name: str, texts: list[str]) -> dict[str, Any]:
    """Bits per byte of texts under a model."""
    recipe = pair("score", kind)
    recipe["nodes"]["score"] = {"kind": "benchmark_scorer", "model": name}
    notes = [e.data for r in engine.run_many(recipe, texts) for e in r.trace if e.type == "note" and e.name == "score"]
    assert len(notes) == len(texts)
    total = sum(note["logprob"] for note in notes)
    return {"bits_per_byte": -total / 0.6931471805599453 / sum(note["bytes"] for note in notes)}


def start() -> dict[str, Any]:
    """Seconds from a fresh process to the pair's first token, median of three."""
    recipe = json.dumps(pair("spec"))
    found = [
        float(subprocess.run([sys.executable, "-c", FIRST_TOKEN, recipe], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    return {"seconds": statistics.median(found)}


def summarize(results: Results, tokens: int) -> None:
    """The figures that are claimed."""

    def rows(what: str, **keys: Any) -> list[dict[str, Any]]:
        return [row for row in results.rows if row["what"] == what and all(row.get(k) == v for k, v in keys.items())]

    def ratio(found: list[dict[str, Any]], one: str, other: str) -> dict[str, Any]:
        values = sorted(speed(row[one]) / speed(row[other]) for row in found)
        return {
            "geometric_mean": round(geometric_mean(values), 3),
            "lowest": round(values[0], 3),
            "highest": round(values[-1], 3),
            "prompts_with_other_tokens": [row["prompt"] for row in found if row[one]["ids"] != row[other]["ids"]],
        }

    def rate(found: list[dict[str, Any]], system: str) -> float:
        return round(geometric_mean(speed(row[system]) for row in found), 1)

    def aggregate(name: str, system: str) -> float:
        return speed(rows("sixteen", model=name, system=system)[0])

    def cost(name: str, size: int) -> float:
        return float(rows("passes", model=name)[0]["seconds"][str(size)])

    bpb = {(row["kind"], row["model"]): row["bits_per_byte"] for row in rows("bits")}
    results.summarize(
        {
            "what": f"llama.cpp, Q4_K_M files, {tokens} new tokens, 2 threads; medians of {ROUNDS}",
            "llama_cpp_python": llama_cpp.__version__,
            "sample_over_own_greedy": {name: ratio(rows("sample", model=name), "ours", "theirs") for name in NAMES},
            "tokens_per_second": {
                **{f"sample, {name}": rate(rows("sample", model=name), "ours") for name in NAMES},
                **{
                    f"{what}, {system}": rate(rows(what), system)
                    for what in ("humaneval", "editing")
                    for system in ("sample", "speculative")
                },
            },
            "sixteen_candidates_over_own_one_at_a_time": {
                name: {
                    "its prompt processed each time": round(
                        aggregate(name, "ours") / rate(rows("sample", model=name), "theirs"), 2
                    ),
                    "its prompt processed once": round(aggregate(name, "ours") / aggregate(name, "theirs"), 2),
                    "what its passes allow": round(16 * cost(name, 1) / cost(name, 16), 2),
                }
                for name in NAMES
            },
            "speculative_over_sample": {what: ratio(rows(what), "speculative", "sample") for what in ("humaneval", "editing")},
            "seconds_to_first_token": round(rows("start")[0]["seconds"], 2),
            "bits_per_byte": {
                name: {
                    "llama_cpp": round(bpb["llama_cpp", name], 4),
                    "huggingface": round(bpb["huggingface", name], 4),
                    "difference": round(bpb["llama_cpp", name] / bpb["huggingface", name] - 1, 4),
                }
                for name in NAMES
            },
        }
    )


if __name__ == "__main__":
    main()

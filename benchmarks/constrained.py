"""Answers held to a JSON schema: how many are valid with and without, and what the constraint costs.

    python benchmarks/constrained.py [--backend llama_cpp] [--fresh]      # a few minutes on two cores

Qwen2.5-Coder-0.5B is asked for a record about each of twenty things, the schema in the prompt, greedy, one at a time. Systems on each
prompt in turn, in one process: the model alone, the same `constrained`, and the latter as the target of `speculative` with look-up drafts.
An answer is valid where all of it is one JSON value that the schema allows; ``fenced`` also counts those in a Markdown code block.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import time
from typing import Annotated, Any, Literal

from common import SMALL, Results, geometric_mean
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

import counterpoint as cp


class Thing(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    kind: Literal["animal", "plant", "tool", "food", "place"]
    facts: Annotated[list[Annotated[str, StringConstraints(max_length=60)]], Field(min_length=2, max_length=3)]
    size_in_metres: Annotated[float, Field(ge=0)]
    alive: bool


SCHEMA = Thing.model_json_schema()
THINGS = (
    "an oak",
    "a hammer",
    "a blue whale",
    "a lighthouse",
    "bread",
    "a violin maker's plane",
    "a hedgehog",
    "the moor",
    "a mushroom soup",
    "a compass",
    "a bonsai",
    "a heron",
    "an anvil",
    "a valley",
    "an apple tart",
    "a sunflower",
    "a microscope",
    "a honey bee",
    "a harbour",
    "a coconut",
)
SYSTEMS = ("alone", "constrained", "constrained and drafted")


def recipe(system: str, backend: str) -> dict[str, Any]:
    """One of the systems."""
    output = {"alone": "model", "constrained": "held", "constrained and drafted": "quick"}[system]
    nodes = {
        "model": {"kind": backend, "source": SMALL},
        "held": {"kind": "constrained", "model": "model", "constraints": {"kind": "grammar", "json_schema": SCHEMA}},
        "lookup": {"kind": "prompt_lookup"},
        "quick": {"kind": "speculative", "target": "held", "draft": "lookup"},
    }
    needed = {"model": ("model",), "held": ("model", "held"), "quick": tuple(nodes)}[output]
    return {"nodes": {name: nodes[name] for name in needed}, "output": output}


def valid(text: str) -> bool:
    """Whether a text is one JSON value of the schema."""
    try:
        Thing.model_validate_json(text)
    except ValidationError:
        return False
    return True


def answer(engine: cp.Engine, system: str, backend: str, thing: str) -> dict[str, Any]:
    """One answer, and its time."""
    prompt = f"Describe {thing} as one JSON object of this schema, and write nothing else:\n{json.dumps(SCHEMA)}"
    began = time.perf_counter()
    result = engine.run(recipe(system, backend), prompt, sampling=cp.Sampling(temperature=0.0, max_tokens=200))
    seconds = time.perf_counter() - began
    fence = re.search(r"```(?:json)?\n(.*?)\n```", result.text, re.DOTALL)
    return {
        "seconds": seconds,
        "tokens": len(result.completion.ids),
        "passes": sum(event.type == "forward" for event in result.trace),
        "in_passes": sum(event.seconds for event in result.trace if event.type == "forward"),
        "valid": valid(result.text),
        "fenced": valid(result.text) or (fence is not None and valid(fence[1])),
        "finish": result.completion.finish_reason,
    }


def main() -> None:
    """Measures what is missing, and summarises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="llama_cpp")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    options = parser.parse_args()
    results = Results("constrained", fresh=options.fresh)
    with cp.Engine(offline=True) as engine:
        for system in SYSTEMS:
            answer(engine, system, options.backend, "a stone")
        for thing in THINGS:
            for system in SYSTEMS:
                key = {"thing": thing, "system": system, "backend": options.backend}
                results.once(key, functools.partial(answer, engine, system, options.backend, thing))
    rows = {
        system: [row for row in results.rows if row["system"] == system and row["backend"] == options.backend]
        for system in SYSTEMS
    }
    results.summarize(
        {
            "what": f"{len(THINGS)} answers to a schema, greedy, {SMALL} on {options.backend}",
            "systems": {
                system: {
                    "valid": sum(row["valid"] for row in found),
                    "valid_or_in_a_fence": sum(row["fenced"] for row in found),
                    "cut": sum(row["finish"] == "length" for row in found),
                    "tokens": round(sum(row["tokens"] for row in found) / len(found), 1),
                    "tokens_per_second": round(geometric_mean(row["tokens"] / row["seconds"] for row in found), 2),
                    "share_of_time_in_passes": round(
                        sum(row["in_passes"] for row in found) / sum(row["seconds"] for row in found), 3
                    ),
                }
                for system, found in rows.items()
            },
        }
    )


if __name__ == "__main__":
    main()

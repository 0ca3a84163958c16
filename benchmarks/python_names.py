"""The monitor `python_names`: calls of attributes that do not exist, with and without it.

    python benchmarks/python_names.py      # some ten minutes on two cores; goes on where it was stopped

Qwen2.5-Coder-0.5B (CPU, bfloat16, greedy, 200 tokens) is shown each of the sixteen classes of ``classes.jsonl``, whose methods are
called otherwise than one would guess, and asked for a function that uses two of them. Counted by Python's own parser, without jedi:
attributes of the function's parameter that the class does not have. Whether the code does what it should is not judged.
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import re
import time
from pathlib import Path
from typing import Any

from common import SMALL, Results, model

import counterpoint as cp

SYSTEMS = ("alone", "monitored")
CLASSES = Path(__file__).with_name("classes.jsonl")


def recipe(system: str) -> dict[str, Any]:
    """One of the systems."""
    if system == "alone":
        return {"nodes": {"model": model(SMALL)}, "output": "model"}
    held = {"kind": "constrained", "model": "model", "constraints": {"kind": "python_names"}}
    return {"nodes": {"model": model(SMALL), "held": held}, "output": "held"}


def has(code: str) -> set[str]:
    """Names of the attributes that classes in a text give their objects."""
    found = set(dir(object))
    for made in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ClassDef)):
        found |= {node.name for node in made.body if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(made):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                found.add(node.attr)
    return found


def asked_of(code: str, parameter: str) -> list[str] | None:
    """Attributes of the parameter that a function reads, one by one; None for what is no Python."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == parameter
    ]


def answer(engine: cp.Engine, system: str, case: dict[str, str]) -> dict[str, Any]:
    """One answer, and what it reads of the parameter."""
    prompt = f"```python\n{case['code']}\n```\n\n{case['task']} Give the code of the function only."
    began = time.perf_counter()
    result = engine.run(recipe(system), prompt, sampling=cp.Sampling(temperature=0.0, max_tokens=200))
    seconds = time.perf_counter() - began
    fence = re.search(r"```(?:python)?\n(.*?)(?:\n```|\Z)", result.text, re.DOTALL)
    code = fence[1] if fence else result.text
    used = asked_of(code, case["parameter"])
    known = has(case["code"]) | (has(code) if used is not None else set())  # an answer may write the class anew
    return {
        "seconds": round(seconds, 2),
        "tokens": len(result.completion.ids),
        "python": used is not None,
        "used": len(used or ()),
        "unknown": sorted(set(used or ()) - known),
        "finish": result.completion.finish_reason,
    }


def main() -> None:
    """Measures what is missing, and summarises."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    cases = [json.loads(line) for line in CLASSES.read_text(encoding="utf-8").splitlines()]
    results = Results("python_names")
    with cp.Engine(offline=True) as engine:
        for system in SYSTEMS:  # what is loaded once counts for no answer
            answer(engine, system, cases[0])
        for case in cases:
            for system in SYSTEMS:
                results.once({"id": case["id"], "system": system}, functools.partial(answer, engine, system, case))
    results.summarize(
        {
            "what": f"functions for {len(cases)} classes, greedy, {SMALL}, bfloat16",
            "systems": {
                system: {
                    "with attributes that do not exist": sum(bool(row["unknown"]) for row in rows),
                    "no Python": sum(not row["python"] for row in rows),
                    "cut": sum(row["finish"] == "length" for row in rows),
                    "attributes read": sum(row["used"] for row in rows),
                    "tokens a second": round(sum(row["tokens"] for row in rows) / sum(row["seconds"] for row in rows), 2),
                }
                for system in SYSTEMS
                for rows in [[row for row in results.rows if row["system"] == system]]
            },
        }
    )


if __name__ == "__main__":
    main()

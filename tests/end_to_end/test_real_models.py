"""The main job on real models, through the real commands (slow: downloads what the store lacks)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import counterpoint as cp

pytestmark = pytest.mark.slow

SMALL = "qwen2.5-coder-0.5b-instruct"


def counterpoint(*arguments: str, home: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if home is not None:
        environment["COUNTERPOINT_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-m", "counterpoint", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        env=environment,
        timeout=1500,
        check=False,
    )


def test_the_demo_answers_and_replays() -> None:
    """`make demo` on the real pair: fetched when missing, streamed, stored; then shown again without a model."""
    done = counterpoint("demo")
    assert done.returncode == 0, done.stderr
    assert "def " in done.stdout, "the demo's prompt asks for a Python function"
    assert "tokens/s" in done.stderr
    again = counterpoint("replay", "last")
    assert again.returncode == 0, again.stderr
    assert done.stdout.strip() in again.stdout


def test_speculative_gives_the_tokens_of_sample_on_the_real_pair() -> None:
    """Greedy and sampled, in float32, where equality is exact."""
    recipe = {
        "nodes": {
            "large": {"kind": "huggingface", "source": SMALL, "dtype": "float32"},
            "small": {"kind": "huggingface", "source": SMALL, "dtype": "bfloat16"},
            "lookup": {"kind": "prompt_lookup"},
            "spec": {"kind": "speculative", "target": "large", "draft": ["lookup", "small"], "adaptive": False, "max_draft": 6},
        },
        "output": "spec",
    }
    prompts = ["Write a Python function that adds two numbers.", "What is the capital of France?", "def fib(n):"]
    with cp.Engine() as engine:
        for temperature in (0.0, 0.8):
            sampling = cp.Sampling(temperature=temperature, max_tokens=24)
            plain = engine.run_many({**recipe, "output": "large"}, prompts, sampling=sampling, seed=5)
            drafted = engine.run_many(recipe, prompts, sampling=sampling, seed=5)
            assert [r.completion.ids for r in plain] == [r.completion.ids for r in drafted]
            verified = [event for result in drafted for event in result.trace if event.type == "verified"]
            assert sum(event.accepted for event in verified) > 10, "the same weights in bfloat16 draft well"


def test_the_right_answer() -> None:
    done = counterpoint("run", "small", "--json", "--max-tokens", "24", "What is the capital of France? Answer in one word.")
    assert done.returncode == 0, done.stderr
    assert "Paris" in json.loads(done.stdout)["text"]


@pytest.mark.parametrize(
    ("name", "prompt", "answer"),
    [
        ("smollm2", "What is the capital of France?", "Paris"),
        ("gemma", "The capital of Germany is Berlin. The capital of Italy is", "Rome"),
    ],
)
def test_the_other_catalogue_models_answer(name: str, prompt: str, answer: str) -> None:
    done = counterpoint("run", name, "--json", "--temperature", "0", "--max-tokens", "24", prompt)
    assert done.returncode == 0, done.stderr
    assert answer in json.loads(done.stdout)["text"]

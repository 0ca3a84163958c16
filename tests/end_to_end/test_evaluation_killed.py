"""An evaluation that is killed again and again comes to the result of one that was not."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from counterpoint.evaluation.evaluating import load_evaluation
from counterpoint.testing import make_engine

# The fake model with passes that take time, so that there is a middle to be killed in.
PROGRAM = """
import json, sys, time
from counterpoint.evaluation.evaluating import evaluate
from counterpoint.testing import fake, make_engine

forward = fake.FakeBackend.forward
fake.FakeBackend.forward = lambda self, steps: (time.sleep(0.003), forward(self, steps))[1]
job = json.loads(sys.argv[1])
with make_engine() as engine:
    evaluate(job["recipe"], job["data"], engine=engine, out=sys.argv[2], samples=3, in_flight=4, scorers=["distinct_n"])
"""
QUESTIONS = [f"{first} and {second}" for first in ("one", "two", "three", "four", "five") for second in "abcdefghijkl"]
JOB = {
    "recipe": {
        "nodes": {"m": {"kind": "fake", "memory": 30, "end_bias": -3}},
        "output": "m",
        "sampling": {"temperature": 1.0, "max_tokens": 40},
    },
    "data": [{"prompt": text} for text in QUESTIONS],
}


def start(out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, json.dumps(JOB), str(out)])


def lines(out: Path) -> int:
    try:
        return (out / "examples.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def told(out: Path) -> Any:
    with make_engine() as engine:
        result = load_evaluation(out, registry=engine.registry)
        records = [(one.id, one.sample, one.text, one.cost.flops, one.scores) for one in result.records]
        return records, result.figures


@pytest.mark.slow
def test_kill_nine_ten_times(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    chance = random.Random(0)
    kills = 0
    for _ in range(40):
        had = lines(killed)
        process = start(killed)
        while process.poll() is None and lines(killed) <= had:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            kills += 1
        if kills == 10:
            break
    assert kills == 10
    assert 0 < lines(killed) < 3 * len(QUESTIONS), "it was killed in the middle"
    assert start(killed).wait() == 0
    assert lines(killed) == 3 * len(QUESTIONS), "no answer is lost or there twice"
    assert told(killed) == told(whole)

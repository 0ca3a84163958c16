"""A training that is killed again and again has the losses and the weights of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counterpoint.store import files

Recipe = Callable[..., dict[str, Any]]

PROGRAM = """
import json, sys
import counterpoint as cp
with cp.Engine(offline=True) as engine:
    print(engine.train(json.loads(sys.argv[1])).result().text)
"""


def start(recipe: dict[str, Any], home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(recipe)], env={**os.environ, "COUNTERPOINT_HOME": str(home)}
    )


def steps(folder: Path) -> int:
    """How many losses are written."""
    try:
        return (folder / "losses.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_kill_nine_five_times(recipe: Recipe, tmp_path: Path) -> None:
    job = recipe(epochs=60, patience=1000)
    homes = {name: tmp_path / name for name in ("whole", "killed")}
    assert start(job, homes["whole"]).wait() == 0
    partial = homes["killed"] / "artifacts" / ".partial" / "tiny"
    chance, kills = random.Random(0), 0
    while kills < 5:
        had = steps(partial)
        process = start(job, homes["killed"])
        while process.poll() is None and steps(partial) <= had:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was killed in the middle"
        kills += 1
        assert 0 < steps(partial) < 120
    assert start(job, homes["killed"]).wait() == 0
    artifacts = {name: home / "artifacts" / "tiny" for name, home in homes.items()}
    for name in ("losses.jsonl", "model.safetensors"):
        assert files.sha256(artifacts["killed"] / name) == files.sha256(artifacts["whole"] / name)

"""A corrector's training that is killed while candidates are made, and again while it trains, is that of one which was not."""

from __future__ import annotations

import json
import os
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
from pathlib import Path
from counterpoint.store import ModelStore
from counterpoint.testing import make_engine
with make_engine(store=ModelStore(Path(sys.argv[2]))) as engine:
    print(engine.train(json.loads(sys.argv[1])).result().text)
"""


def start(recipe: dict[str, Any], home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(recipe), str(home / "store")],
        env={**os.environ, "COUNTERPOINT_HOME": str(home)},
    )


def lines(folder: Path, pattern: str) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob(pattern))


@pytest.mark.slow
def test_kill_nine_in_both_stages(recipe: Recipe, tmp_path: Path) -> None:
    job = recipe(epochs=60, n=4, candidates={"kind": "fake", "end_bias": -9.0, "cost": 3})
    job = {
        **job,
        "nodes": {name: node for name, node in job["nodes"].items() if name != "told"},
        "sampling": {"max_tokens": 12},
    }
    homes = {name: tmp_path / name for name in ("whole", "killed")}
    assert start(job, homes["whole"]).wait() == 0
    partial = homes["killed"] / "artifacts" / ".partial" / "fixer"
    for pattern, most in (("candidates-*.jsonl", 49), ("candidates-*.jsonl", 49), ("losses.jsonl", 180), ("losses.jsonl", 180)):
        had = lines(partial, pattern)
        process = start(job, homes["killed"])
        while process.poll() is None and lines(partial, pattern) <= had:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was killed in the middle"
        assert had < lines(partial, pattern) <= most
    assert start(job, homes["killed"]).wait() == 0
    artifacts = {name: home / "artifacts" / "fixer" for name, home in homes.items()}
    for name in ("losses.jsonl", "model.safetensors"):
        assert files.sha256(artifacts["killed"] / name) == files.sha256(artifacts["whole"] / name)

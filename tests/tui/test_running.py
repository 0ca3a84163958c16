"""The application as a process: how it ends when its terminal goes."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from counterpoint.testing import save_tiny_model

RECIPE = """\
nodes: {{model: {{kind: huggingface, source: 'path:{model}', dtype: float32}}}}
output: model
sampling: {{max_tokens: 100000, temperature: 1.0, ignore_stop: true}}
prompt: hello
"""


def read_until(end: int, wanted: Callable[[], object], seconds: float = 60.0) -> None:
    """Reads what the program draws until something holds."""
    last = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < last
        if select.select([end], [], [], 0.05)[0]:
            os.read(end, 1 << 16)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("stuck", [False, True], ids=["hears", "waits for ever to write"])
def test_it_ends_when_its_terminal_is_gone_and_nobody_signals_it(stuck: bool, home: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", layers=96)
    recipe = tmp_path / "long.yaml"
    recipe.write_text(RECIPE.format(model=model))
    end, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "counterpoint", "tui", str(recipe)],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,  # the terminal is not its controlling one: no SIGHUP
        env={**os.environ, "COUNTERPOINT_HOME": str(home), "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"},
    )
    os.close(inner)
    try:
        read_until(end, lambda: [one for one in psutil.Process(process.pid).children() if "worker" in " ".join(one.cmdline())])
        (worker,) = psutil.Process(process.pid).children()

        def started() -> list[Path]:
            return [*(home / "runs").glob("*/events.jsonl")]

        for _ in range(60):  # until the screen is there, keys are for nobody
            if started():
                break
            os.write(end, b"\x1b[15~")  # F5
            soon = time.monotonic() + 1
            read_until(end, lambda soon=soon: started() or time.monotonic() > soon)
        if stuck:  # the terminal takes nothing any more, so that what is to be drawn piles up
            time.sleep(2)
        os.close(end)
        assert process.wait(60) == 129
        worker.wait(30)
        (events,) = started()
        last = json.loads(events.read_bytes().splitlines()[-1])
        assert (last["type"], last["completion"]["finish_reason"]) == ("run_finished", "cancelled")
    finally:
        process.kill()
        process.wait()

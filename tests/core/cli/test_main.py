"""The process: what it imports, how it ends, what signals and pipes do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from counterpoint.runstore import RunStore

WITH_FAKES = "import sys; from counterpoint.cli import main; from counterpoint.registry import load_plugins; "
WITH_FAKES += "from counterpoint.testing import fake; sys.exit(main(registry=load_plugins([fake])))"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from counterpoint.cli import main; status = main(['--help']); "
        "print(status, [name for name in ('torch', 'transformers', 'textual', 'numpy', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "Watch a small and a large model" in done.stdout


def test_python_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "counterpoint", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"counterpoint {version('counterpoint')}\n"


def test_nothing_given_is_help(invoke: Any) -> None:
    outcome = invoke()
    assert outcome.status == 2
    assert "Usage: counterpoint" in outcome.err


def test_an_unknown_command(invoke: Any) -> None:
    outcome = invoke("rum")
    assert outcome.status == 2
    assert "error: no such command 'rum'" in outcome.err
    assert "hint: `counterpoint --help`" in outcome.err


def test_what_nobody_expected(invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(RunStore, "list", broken)
    outcome = invoke("runs", "list")
    assert outcome.status == 1
    assert "error: unexpected ZeroDivisionError: oops" in outcome.err
    assert "--debug shows the traceback" in outcome.err
    assert "Traceback" not in outcome.err
    assert "Traceback" in invoke("--debug", "runs", "list").err


def test_an_interrupt_anywhere(invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunStore, "list", interrupted)
    assert invoke("runs", "list").status == 130


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    code = "import sys; from counterpoint.cli import main; sys.exit(main(['schema']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert err == b""


def test_a_terminal_that_is_not_utf_8(recipe: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", WITH_FAKES, "runs", "show"]
    invoked = subprocess.run([*command[:-2], "run", str(recipe)], env=environment, capture_output=True, timeout=60, check=True)
    assert len(invoked.stdout) == 25
    assert subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True).stdout


def _slow(tmp_path: Path, recipe: Path) -> subprocess.Popen[bytes]:
    # slow enough to be caught in the act: a thousand tokens, one pass each
    text = recipe.read_text().replace("max_tokens: 24", "max_tokens: 1900").replace("output: spec", "output: large")
    recipe.write_text(text)
    # unbuffered, since communicate() does not know of what a buffered read has taken
    return subprocess.Popen(
        [sys.executable, "-c", WITH_FAKES, "run", str(recipe)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


def test_ctrl_c_keeps_what_there_is(tmp_path: Path, recipe: Path) -> None:
    process = _slow(tmp_path, recipe)
    assert process.stdout is not None
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"cancelled" in err
    (run,) = RunStore().list()
    assert run.status == "cancelled"
    assert 1 <= run.tokens < 1900
    # a line's end is added where the answer, cut anywhere, does not end in one
    assert RunStore().export(run.id).encode().removesuffix(b"\n") == (first + out).removesuffix(b"\n")


def test_a_killed_run_is_readable(tmp_path: Path, recipe: Path) -> None:
    process = _slow(tmp_path, recipe)
    assert process.stdout is not None
    process.stdout.read(1)
    process.kill()
    process.communicate(timeout=60)
    (run,) = RunStore().list()
    assert run.status == "interrupted"
    assert run.tokens >= 1


def test_the_recipes_own_prompt_needs_no_input(tmp_path: Path, recipe: Path) -> None:
    started = time.monotonic()
    command = [sys.executable, "-c", WITH_FAKES, "run", str(recipe), "-q"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    assert len(done.stdout) == 25
    assert time.monotonic() - started < 55

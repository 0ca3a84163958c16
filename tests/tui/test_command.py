"""`counterpoint tui`, as it is started and as it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counterpoint.cli import main
from counterpoint.registry import Registry


@pytest.fixture
def tui(registry: Registry, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*arguments: str) -> tuple[int, str]:
        return main(["tui", *arguments], registry=registry), capsys.readouterr().err

    return call


def test_it_needs_a_terminal(tui: Any) -> None:
    status, err = tui()
    assert status == 1
    assert err.startswith("error: the terminal application needs a terminal, and standard ")
    assert "hint: `counterpoint run`" in err


class Terminal:
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, f"__{name}__", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.usefixtures("terminal")
def test_what_can_be_said_before_it_starts(tui: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    status, err = tui("no-such-recipe")
    assert status == 1
    assert "error: no recipe named 'no-such-recipe'" in err
    assert tui("--theme", "pink")[0] == 2
    status, err = tui("--compare", "no-such-run")
    assert status == 1
    assert "error: there is no stored run 'no-such-run'" in err
    monkeypatch.setenv("TERM", "dumb")
    status, err = tui()
    assert status == 1
    assert "this terminal (TERM=dumb) cannot be drawn on" in err


HEADLESS = """
import sys
import counterpoint
assert "textual" not in sys.modules, "import counterpoint"
from counterpoint.cli import main
from counterpoint.registry import load_plugins
from counterpoint.testing import fake
registry = load_plugins([fake])
assert main(["recipes", "list"]) == 0
assert main(["run", sys.argv[1], "--max-tokens", "4"], registry=registry) == 0
assert main(["replay", "last"], registry=registry) == 0
import counterpoint_tui, counterpoint_tui.worker.client, counterpoint_tui.worker.serving
loaded = [name for name in sys.modules if name.partition(".")[0] == "textual"]
assert not loaded, loaded
"""


def test_other_commands_load_no_textual(tmp_path: Path, pair_text: str) -> None:
    recipe = tmp_path / "pair.yaml"
    recipe.write_text(pair_text)
    ran = subprocess.run([sys.executable, "-c", HEADLESS, str(recipe)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


CRASH = """
import sys
from counterpoint_tui import app
def broken(self): raise ValueError("a bug of ours")
app.CounterpointApp.on_ready = broken
from counterpoint.cli import main
sys.exit(main(["tui"]))
"""


@pytest.mark.parametrize("how", ["signal", "crash"])
def test_the_terminal_is_given_back(how: str, home: Path) -> None:
    terminal, inner = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(inner)
    try:
        with subprocess.Popen(
            [sys.executable, *(["-c", CRASH] if how == "crash" else ["-m", "counterpoint", "tui"])],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COUNTERPOINT_HOME": str(home)},
        ) as process:
            seen = read_until(terminal, b"error:" if how == "crash" else b"small and large")
            assert b"\x1b[?1049h" in seen  # the alternate screen
            if how == "signal":
                process.terminate()
            seen += read_until(terminal, lambda: process.poll() is not None)
            assert process.wait() == (1 if how == "crash" else 128 + signal.SIGTERM)
        for restored in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?2004l"):
            assert restored in seen
        assert termios.tcgetattr(inner)[3] == before[3]  # echo, and input by lines
        end = seen.split(b"\x1b[?1049l")[1]
        assert (b"unexpected ValueError: a bug of ours" in end) == (how == "crash")
        assert b"Traceback" not in end
    finally:
        os.close(terminal)
        os.close(inner)


@pytest.mark.parametrize(("arguments", "coloured"), [((), True), (("--no-color",), False)])
def test_without_colours(arguments: tuple[str, ...], coloured: bool, home: Path) -> None:
    terminal, inner = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COUNTERPOINT_HOME": str(home)}
    environment.pop("NO_COLOR", None)
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "counterpoint", "tui", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env=environment,
        ) as process:
            seen = read_until(terminal, b"small and large")
            process.terminate()
            read_until(terminal, lambda: process.poll() is not None)
        colours = [one for one in re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", seen) if len(set(one)) > 1]  # no greys
        assert bool(colours) == coloured
    finally:
        os.close(terminal)
        os.close(inner)


def read_until(terminal: int, wanted: bytes | Callable[[], bool], seconds: float = 30.0) -> bytes:
    """What is written to a terminal, up to a text or until something holds."""
    found, end = b"", time.monotonic() + seconds
    while time.monotonic() < end and not (wanted in found if isinstance(wanted, bytes) else wanted()):
        while select.select([terminal], [], [], 0.05)[0]:
            found += os.read(terminal, 65536)
    while select.select([terminal], [], [], 0)[0]:
        found += os.read(terminal, 65536)
    return found

"""The real program in a real terminal (tmux): by keys, by mouse, interrupted, and closed while it runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from counterpoint.testing import save_tiny_model
from counterpoint_tui.keys import ACTIONS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
WIDTH, HEIGHT = 110, 36
SLOW = """\
description: Goes on for a while.
nodes:
  large: {{kind: huggingface, source: 'path:{large}', dtype: float32}}
  small: {{kind: huggingface, source: 'path:{small}', dtype: float32}}
  answer: {{kind: speculative, target: large, draft: small, max_draft: 2, adaptive: false}}
output: answer
sampling: {{max_tokens: {tokens}, temperature: 1.0, ignore_stop: true}}
prompt: hello there
"""
KEYS = {"escape": "Escape", "enter": "Enter", "space": "Space", "slash": "/", "left": "Left", "right": "Right", "home": "Home"}


class Terminal:
    """A shell in a tmux session of its own; what it shows is asked for, keys and the mouse are sent."""

    def __init__(self, home: Path) -> None:
        self.name = f"counterpoint-{uuid.uuid4().hex[:12]}"
        configuration = home / "tmux.conf"
        configuration.write_text(
            "set -g default-terminal screen-256color\nset -s escape-time 0\nset -g status off\nset -g history-limit 0\n"
        )
        environment = {
            name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE", "NO_COLOR", "ENV")
        }
        environment |= {"COUNTERPOINT_HOME": str(home), "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
        start = ["-f", str(configuration), "new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "sh"]
        self.tmux(*start, environment=environment)
        self.type("echo re''ady")
        self.press("Enter")
        self.until(r"\bready\b")

    def tmux(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        command = ["tmux", "-L", self.name, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    @property
    def screen(self) -> str:
        """What is to be seen, as text."""
        return self.tmux("capture-pane", "-p")

    def until(self, wanted: str | Callable[[], object], seconds: float = 60.0) -> str:
        """Waits until a text (a regular expression) is to be seen or something holds, and gives what is to be seen then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen = self.screen
            if re.search(wanted, seen) if isinstance(wanted, str) else wanted():
                return seen
            time.sleep(0.05)  # between two looks; nothing rests on how long it is
        raise AssertionError(f"not to be seen within {seconds} s: {wanted}\n{seen}")

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Presses keys by their names in tmux."""
        self.tmux("send-keys", *keys)

    def do(self, action: str) -> None:
        """Presses the key of one of the application's actions."""
        key = next(one.keys for one in ACTIONS if one.id == action).split(",")[0]
        *modifiers, last = key.split("+")
        named = KEYS.get(last, last.upper() if re.fullmatch(r"f\d+", last) else last)
        self.press("".join(f"{modifier[0].upper()}-" for modifier in modifiers) + named)

    def click(self, text: str, then: str | Callable[[], object]) -> None:
        """Presses and releases the left button on a text that is to be seen, until something is to be seen or holds then.

        (A click may come while the place is being drawn anew, and then hits nothing.)
        """
        for _ in range(6):
            lines = self.until(re.escape(text)).splitlines()
            number, line = next((number, line) for number, line in enumerate(lines, start=1) if text in line)
            column = line.index(text) + len(text) // 2 + 1
            for end in "Mm":  # as a terminal reports it (SGR, 1006)
                self.tmux("send-keys", "-H", *(f"{ord(letter):x}" for letter in f"\x1b[<0;{column};{number}{end}"))
            try:
                self.until(then, 10)
            except AssertionError:
                continue
            return
        raise AssertionError(f"a click on '{text}' does not lead to {then}\n{self.screen}")

    def asks(self, flag: str) -> str:
        """What the program in it has asked of the terminal: a format of tmux, such as ``alternate_on``."""
        return self.tmux("display-message", "-p", f"#{{{flag}}}").strip()

    def restored(self) -> None:
        """Asserts that the shell has its terminal back: screen, cursor, mouse, echo, input by lines."""
        self.until(lambda: self.asks("alternate_on") == "0")
        assert (self.asks("mouse_any_flag"), self.asks("mouse_sgr_flag"), self.asks("cursor_flag")) == ("0", "0", "1")
        self.press("Enter")
        self.type("stty -a | tr ' ;' '\\n\\n' | grep -cxE 'echo|icanon|isig|icrnl' | sed 's/^/modes: /'")
        self.press("Enter")
        self.until(r"sed 's/")  # what is typed is to be seen again
        self.until(r"modes: 4")

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.name, "kill-server"], check=False, capture_output=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models with random weights; the large one takes its time."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "large": save_tiny_model(folder / "large", layers=48, seed=1),
        "small": save_tiny_model(folder / "small", layers=2, seed=2),
    }


@pytest.fixture
def home(tmp_path: Path, models: dict[str, Path]) -> Path:
    """A home with two recipes of the user's own."""
    home = tmp_path / "home"
    (home / "recipes").mkdir(parents=True)
    for name, tokens in {"zz-long": 400, "zz-short": 12}.items():
        (home / "recipes" / f"{name}.yaml").write_text(SLOW.format(tokens=tokens, **models))
    return home


@pytest.fixture
def terminal(home: Path) -> Iterator[Terminal]:
    made = Terminal(home)
    yield made
    made.close()


@pytest.fixture
def begin(terminal: Terminal) -> Callable[[str], None]:
    """Starts the program, finds a recipe and runs it, by keys."""

    def start(recipe: str) -> None:
        terminal.type(f"{shlex.quote(sys.executable)} -m counterpoint tui; echo status $?")
        terminal.press("Enter")
        terminal.until("speculative-across")
        find(terminal, recipe)
        terminal.do("recipe.run")

    return start


def find(terminal: Terminal, recipe: str) -> None:
    """Opens one of the user's own recipes from home, by typing its name."""
    terminal.type(recipe)
    terminal.until(f"(?m)^ {recipe} *$")  # in the search field
    terminal.until(f"▌.?{recipe}")  # under the cursor
    terminal.press("Enter")
    terminal.until("Graph.*Plan.*YAML")
    terminal.until(f"(?m)^ {recipe}  Goes on")


def stored(home: Path) -> list[dict[str, object]]:
    """What ``result.json`` says of each run, oldest first."""
    files = sorted((home / "runs").glob("*/result.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def growing(home: Path) -> bool:
    """Whether a run is in the middle of its answer, with some drafts behind it that did not stand."""
    return any(file.read_bytes().count(b'"type":"verified"') > 4 for file in (home / "runs").glob("*/events.jsonl"))


def workers(home: Path) -> list[psutil.Process]:
    """Engines that belong to this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if "counterpoint_tui" in " ".join(process.cmdline()) and process.environ().get("COUNTERPOINT_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_closing_the_terminal_during_a_run_stores_it(terminal: Terminal, begin: Callable[[str], None], home: Path) -> None:
    begin("zz-long")
    terminal.until(lambda: growing(home))
    assert workers(home)
    terminal.tmux("kill-session")
    end = time.monotonic() + 60
    while workers(home) and time.monotonic() < end:
        time.sleep(0.05)
    assert not workers(home)
    (run,) = stored(home)
    assert run["status"] == "cancelled"
    assert run["tokens"]


def test_ctrl_c_twice_during_a_run_stores_it(terminal: Terminal, begin: Callable[[str], None], home: Path) -> None:
    begin("zz-long")
    terminal.until(lambda: growing(home))
    terminal.press("C-c")
    terminal.until("once more quits")
    terminal.press("C-c", "C-c")  # the first word may have been too long ago
    terminal.until(r"\bstatus 0\b")
    terminal.restored()
    assert not workers(home)
    (run,) = stored(home)
    assert run["status"] == "cancelled"


def test_by_keys(terminal: Terminal, begin: Callable[[str], None], home: Path) -> None:
    # run, and cancel
    begin("zz-long")
    terminal.until(lambda: growing(home))
    terminal.until("x Cancel")
    terminal.do("run.cancel")
    terminal.until("cancelled")
    terminal.until(lambda: [run["status"] for run in stored(home)] == ["cancelled"])
    # another one, to its end
    terminal.until("r Rerun")
    terminal.do("run.back")
    terminal.until("Graph.*Plan.*YAML")
    terminal.do("recipe.back")
    terminal.until("Recipes [0-9]+")
    terminal.do("home.clear_search")
    terminal.until("search recipes")
    find(terminal, "zz-short")
    terminal.do("recipe.run")
    terminal.until(lambda: [run["status"] for run in stored(home)] == ["cancelled", "finished"])
    # inspect it
    terminal.until("i Inspect")
    terminal.do("run.inspect")
    terminal.until(r" event ([\d,]+) of \1\b")
    terminal.do("stored.first")
    terminal.until("event 0 of")
    terminal.do("stored.step_forward")
    terminal.until("event 1 of")
    terminal.do("stored.next_rejection")
    terminal.until("event (?![01] )[0-9]+ of")
    terminal.do("stored.back")
    terminal.until("r Rerun")
    terminal.do("run.back")
    terminal.until("Graph.*Plan.*YAML")
    terminal.do("recipe.back")
    # compare the two
    terminal.until("Recipes [0-9]+")
    terminal.do("home.clear_search")
    terminal.until("search recipes.*\\n.*Runs 2")
    terminal.do("home.next_section")
    terminal.until("zz-short +finished")
    terminal.do("home.mark")
    terminal.until("Marked")
    terminal.press("Down")
    terminal.until("▌.*zz-long +cancelled")
    terminal.do("home.compare")
    terminal.until("(?s)Answers.*Figures.*Prompt.*f8|n Difference")
    terminal.do("compare.next_part")
    terminal.until("FLOPs")
    terminal.do("compare.back")
    terminal.until("Runs 2")
    terminal.do("app.quit")
    terminal.until(r"\bstatus 0\b")
    terminal.restored()
    assert not workers(home)


def test_by_mouse(terminal: Terminal, home: Path) -> None:
    terminal.type(f"{shlex.quote(sys.executable)} -m counterpoint tui; echo status $?")
    terminal.press("Enter")
    terminal.click("zz-long", "Graph.*Plan.*YAML")
    terminal.click("Plan", "of weights.*this machine has")
    terminal.click("YAML", "max_draft: 2")
    terminal.click("f5 Run", "x Cancel")
    terminal.until(lambda: growing(home))
    terminal.click("x Cancel", lambda: [run["status"] for run in stored(home)] == ["cancelled"])
    terminal.click("i Inspect", r" event ([\d,]+) of \1\b")
    terminal.click("━━━━", r" event (?!([\d,]+) of \1\b)[\d,]+ of")  # in the middle of the scrubber
    terminal.click("Timeline", "answer  speculative")
    terminal.click("esc Back", "r Rerun")
    terminal.click("esc Back", "Graph.*Plan.*YAML")
    terminal.click("^q Quit", r"\bstatus 0\b")
    terminal.restored()

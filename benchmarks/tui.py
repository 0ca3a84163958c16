"""The terminal application while models work: how soon a key shows, what watching a run costs it, and a trace of 100,000 events.

    python benchmarks/tui.py [--rounds 5] [--keys 200]     # about twenty minutes; goes on where it was stopped
    python benchmarks/tui.py --quick                       # the fake model, few keys, no results: does it still work?

The real program (`counterpoint tui`) runs in a pseudo-terminal; a minimal terminal at its other end reads what it draws.

*Keys.* From the write of a key's bytes to the moment at which what it changes has been read: letters in the prompt field of a recipe,
lines of a long answer scrolled, while the worker decodes on all cores; and the same when the run is over. Letters come 60 to 200 ms
apart, as from a quick hand. *Speed.* Tokens per second of a run by its trace (first to last token) under `counterpoint run` and
followed in the application, in turn. *Trace.* From the key that opens a stored run to its last event on the screen, then keys as above.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import os
import pty
import random
import re
import select
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

SMALL, LARGER = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
WIDE, NARROW = (160, 48), (80, 24)
PROMPT = "Count from 1 to 1000. Write one number a line, and nothing else."
UP, DOWN, LEFT, RIGHT, PAGE_UP, PAGE_DOWN = b"\x1b[A", b"\x1b[B", b"\x1b[D", b"\x1b[C", b"\x1b[5~", b"\x1b[6~"
HOME, ENTER, ESCAPE, QUIT = b"\x1b[H", b"\r", b"\x1b", b"\x11"
F5, OPEN_RECIPE, CANCEL = b"\x1b[15~", b"o", b"x"
LETTERS = "".join(chr(code) for code in range(0x100, 0x180) if chr(code).isalpha())
"""Letters that are nowhere on the screen before they are typed."""
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[P^_].*?\x1b\\|[@-Z\\-_=>])", re.DOTALL)
_PATIENCE = 120.0
PROGRAM = [sys.executable, "-m", "counterpoint"]
WITH_FAKE = "--with-fake"
"""The first argument with which this script is the program, with the fake model installed."""


class Terminal:
    """A program in a pseudo-terminal, and what is to be seen of it. (Every character is taken for one column wide.)"""

    def __init__(self, command: list[str], size: tuple[int, int], home: Path) -> None:
        self.lines = [" " * size[0]] * size[1]
        self.changed = threading.Condition()
        self._rest, self._row, self._column = "", 0, 0
        self._end, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        environment = {**os.environ, "COUNTERPOINT_HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner, start_new_session=True, env=environment
        )
        os.close(inner)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                select.select([self._end], [], [])
                data = os.read(self._end, 1 << 16)
            except OSError:  # it has ended
                return
            with self.changed:
                self._draw(self._rest + data.decode(errors="replace"))
                self.changed.notify_all()

    def _draw(self, text: str) -> None:
        whole = text.rfind("\x1b")  # a sequence may have come in part
        self._rest = "" if whole < 0 or _SEQUENCE.match(text, whole) else text[whole:]
        text = text[: len(text) - len(self._rest)]
        place = 0
        for found in _SEQUENCE.finditer(text):
            self._write(text[place : found.start()])
            place, sequence = found.end(), found.group()
            if sequence.startswith("\x1b[") and sequence.endswith("H"):
                row, _, column = sequence[2:-1].partition(";")
                self._row, self._column = int(row or 1) - 1, int(column or 1) - 1
        self._write(text[place:])

    def _write(self, text: str) -> None:
        for number, part in enumerate(text.split("\n")):
            if number:
                self._row, self._column = self._row + 1, 0
            part = part.replace("\r", "")
            if part and self._row < len(self.lines):
                line = self.lines[self._row]
                self.lines[self._row] = line[: self._column] + part + line[self._column + len(part) :]
                self._column += len(part)

    def send(self, key: bytes) -> None:
        os.write(self._end, key)

    def until(self, holds: str | Callable[[], object], patience: float = _PATIENCE) -> float:
        """Waits until a text (a regular expression) is to be seen or something holds, and gives the time when it did.

        Raises:
            TimeoutError: it never does.
        """
        wanted = (lambda: re.search(holds, self.seen)) if isinstance(holds, str) else holds
        with self.changed:
            if self.changed.wait_for(lambda: wanted() or self.process.poll() is not None, patience) and wanted():
                return time.perf_counter()
        raise TimeoutError(f"not to be seen: {holds}\n{self.seen}")

    @property
    def seen(self) -> str:
        return "\n".join(self.lines)

    def close(self) -> None:
        """Quits it as its user would."""
        self.send(QUIT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._reader.join(5)
        os.close(self._end)


@contextmanager
def application(home: Path, size: tuple[int, int], *arguments: str) -> Iterator[Terminal]:
    """`counterpoint tui` in a terminal."""
    terminal = Terminal([*PROGRAM, "tui", *arguments], size, home)
    try:
        yield terminal
    finally:
        terminal.close()


# --- keys -------------------------------------------------------------------------------------------------------------------


def milliseconds(terminal: Terminal, keys: Iterable[bytes], shown: Callable[[bytes], object]) -> list[float]:
    """How long each key took to change what it changes.

    Args:
        terminal: where they are pressed.
        keys: the keys.
        shown: what is to be seen of a key; when that is another thing than before, the key has had its effect.
    """
    draw, taken = random.Random(7), []
    for key in keys:
        time.sleep(draw.uniform(0.06, 0.2))
        before = shown(key)
        began = time.perf_counter()
        terminal.send(key)
        taken.append(1000 * (terminal.until(lambda key=key, before=before: shown(key) != before, 30) - began))
    return taken


def figures(taken: list[float]) -> dict[str, float]:
    """Median, 95th percentile and most."""
    ordered = sorted(taken)
    late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {
        "p50": round(statistics.median(ordered), 1),
        "p95": round(late, 1),
        "most": round(ordered[-1], 1),
        "n": len(ordered),
    }


def letters(terminal: Terminal, count: int) -> list[float]:
    """Letters typed into the field that has the focus."""
    typed = [LETTERS[number % len(LETTERS)].encode() for number in range(count)]
    return milliseconds(terminal, typed, lambda key: terminal.seen.count(key.decode()))


def moves(terminal: Terminal, keys: Iterable[bytes], rows: slice, columns: slice) -> list[float]:
    """Keys that change a part of the screen."""
    return milliseconds(terminal, keys, lambda _: [line[columns] for line in terminal.lines[rows]])


def back_and_forth(key: bytes, other: bytes, stretch: int, count: int) -> list[bytes]:
    """So many keys: some in one direction, as many in the other."""
    return [key if number // stretch % 2 == 0 else other for number in range(count)]


def while_decoding(home: Path, size: tuple[int, int], count: int) -> dict[str, Any]:
    """Latencies of letters and of scrolling during a run, and after it."""
    width, height = size
    band, columns = slice(6, height // 2 - 3), slice(2, width // 2 - 4 if size == WIDE else width - 4)
    found: dict[str, Any] = {}

    def scroll() -> list[float]:
        for _ in range(3):  # away from the end, which grows
            terminal.send(PAGE_UP)
            time.sleep(0.5)
        return moves(terminal, back_and_forth(DOWN, UP, 4, count), band, columns)

    def type_in_recipe() -> list[float]:
        terminal.send(OPEN_RECIPE)
        terminal.until("\\^s Save")
        terminal.until("max tokens")
        time.sleep(2)  # plan and form are made meanwhile
        taken = letters(terminal, count)
        terminal.send(ESCAPE)
        terminal.until("Inspect|Cancel")
        return taken

    shutil.rmtree(home / "runs", ignore_errors=True)
    (home / "tui").mkdir(exist_ok=True)
    (home / "tui" / "state.json").write_text('{"recipe_part": "ask"}')  # recipes open at their prompt
    with application(home, size, "watched") as terminal:
        terminal.until("\\^s Save")
        terminal.until("max tokens")
        terminal.send(F5)
        terminal.until("running")
        longest = height + 30 if size == WIDE else height + 10
        deadline = time.monotonic() + _PATIENCE
        while tokens_of(home) < 5 * longest:
            if time.monotonic() > deadline:
                raise TimeoutError("the answer does not grow")
            time.sleep(0.2)
        psutil.cpu_percent()
        found["scrolling, decoding"] = figures(scroll())
        found["typing, decoding"] = figures(type_in_recipe())
        found["cores busy"] = round(psutil.cpu_percent() / 100, 2)  # since it was last asked
        terminal.until("Cancel")  # it still goes on: all this was while it decoded
        terminal.send(CANCEL)
        terminal.until("cancelled")
        terminal.until("Inspect")
        found["scrolling, idle"] = figures(scroll())
        found["typing, idle"] = figures(type_in_recipe())
    return found


# --- speed ------------------------------------------------------------------------------------------------------------------


def tokens_of(home: Path) -> int:
    """Pieces of the answer that the latest run has recorded."""
    events = latest(home)
    return events.read_bytes().count(b'"type":"emitted"') if events is not None else 0


def latest(home: Path) -> Path | None:
    """The trace of the latest run."""
    runs = sorted((home / "runs").glob("*/events.jsonl"))
    return runs[-1] if runs else None


def rate(home: Path) -> float:
    """Tokens per second of the latest run, from its first token to its last."""
    events = latest(home)
    assert events is not None
    made = [event for line in events.read_bytes().splitlines() if (event := json.loads(line))["type"] == "emitted"]
    return float(sum(len(event["ids"]) for event in made[1:]) / (made[-1]["t"] - made[0]["t"]))


def headless(home: Path) -> float:
    """Tokens per second of a run that nobody watches."""
    command = [*PROGRAM, "run", "measured", "--quiet", "--offline"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "COUNTERPOINT_HOME": str(home)})
    return rate(home)


def followed(home: Path) -> float:
    """Tokens per second of a run that is followed in the application."""
    with application(home, WIDE, "measured") as terminal:
        terminal.until("this machine has|Graph.*Prompt")
        terminal.until("Run")
        terminal.send(F5)
        terminal.until("Inspect")
    return rate(home)


def speed(home: Path, rounds: int) -> dict[str, Any]:
    """Tokens per second without the application and in it, in turn."""
    alone, watched = [], []
    for number in range(rounds):
        pair = [("alone", headless), ("watched", followed)]
        for name, run in pair if number % 2 == 0 else reversed(pair):
            (alone if name == "alone" else watched).append(round(run(home), 3))
    ratio = statistics.median(watched) / statistics.median(alone)
    return {"alone": alone, "watched": watched, "watched over alone": round(ratio, 3)}


# --- a long trace -----------------------------------------------------------------------------------------------------------


def long_trace(home: Path, events: int, count: int) -> dict[str, Any]:
    """Opens a stored run, and looks around in it."""
    from traces import write

    (home / "runs").mkdir(exist_ok=True)
    folder = home / "runs" / "29990101-000000-000000"
    write(folder, events)
    shown = f"{sum(1 for _ in (folder / 'events.jsonl').open('rb')):,}"
    with application(home, WIDE) as terminal:
        terminal.until("small and large")
        terminal.send(RIGHT)
        terminal.until("Runs 1")
        terminal.until("▌.*long")
        began = time.perf_counter()
        terminal.send(ENTER)
        opened = terminal.until(f"event {shown} of {shown}") - began
        memory = psutil.Process(terminal.process.pid).memory_info().rss / 2**20
        answer, line = (slice(3, 40), slice(0, 76)), (slice(40, 48), slice(0, 80))
        found = {
            "scrolling by lines": figures(moves(terminal, back_and_forth(UP, DOWN, 10, count), *answer)),
            "stepping by events": figures(moves(terminal, back_and_forth(LEFT, RIGHT, 10, count), *line)),
        }
        terminal.send(HOME)
        terminal.until("event 0 of")
        found["to the next rejection"] = figures(moves(terminal, [b"r"] * (count // 2), *line))
    return {"events": shown, "opened, seconds": round(opened, 2), "memory, MiB": round(memory), "milliseconds": found}


# --- all of it --------------------------------------------------------------------------------------------------------------


def home_for(folder: Path, model: dict[str, Any], tokens: int, longest: int) -> Path:
    """A home with the user's models, and recipes on one of them: one to be watched for long, one to be measured."""
    from counterpoint import paths

    home = folder / "home"
    (home / "recipes").mkdir(parents=True)
    for kept in (paths.models(), paths.artifacts(), paths.bridges()):
        if kept.exists():
            (home / kept.name).symlink_to(kept)
    # many short lines, no two alike for long, so that scrolling is to be seen
    form = {"kind": "grammar", "regex": "([A-Za-z]{3,12}\\n){600,}"}
    held = {} if model["kind"] == "fake" else {"lines": {"kind": "constrained", "model": "model", "constraints": form}}
    for name, most, others in (("watched", longest, held), ("measured", tokens, {})):
        nodes = {"model": model, **others}
        sampling = {"max_tokens": most, "ignore_stop": not others, "temperature": 1.0}
        recipe = {"nodes": nodes, "output": [*nodes][-1], "sampling": sampling, "prompt": PROMPT}
        (home / "recipes" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return home


def with_fake(arguments: list[str]) -> int:
    """The program, with the fake model among its plugins."""
    from counterpoint.cli import main as program
    from counterpoint.registry import load_plugins
    from counterpoint.testing import fake

    registry = load_plugins([fake])
    if arguments[0] != "tui":
        return program(arguments, registry=registry)
    from counterpoint_tui.app import CounterpointApp
    from counterpoint_tui.library import recipe_entry

    entry = recipe_entry(arguments[1], registry) if arguments[1:] else None
    CounterpointApp(registry, entry=entry, plugins=[fake.__name__]).run()
    return 0


def held(summary: dict[str, Any]) -> dict[str, bool]:
    """Whether what was asked for holds: keys within 50 ms at the 95th percentile, 5 % of speed, a long trace open within 2 s."""
    trace = summary["a long trace"]
    keys = [
        value["p95"]
        for part in (*summary.values(), trace["milliseconds"])
        if isinstance(part, dict)
        for value in part.values()
        if isinstance(value, dict) and "p95" in value
    ]
    losses = [
        part["watched over alone"] for part in summary.values() if isinstance(part, dict) and "watched over alone" in part
    ]
    return {
        f"{len(keys)} sorts of keys within 50 ms": max(keys) <= 50,
        "at least 0.95 of the speed": min(losses) >= 0.95,
        "open within 2 s": trace["opened, seconds"] < 2,
    }


def main() -> None:
    """Measures all of it."""
    if sys.argv[1:2] == [WITH_FAKE]:
        sys.exit(with_fake(sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="Runs on either side of the comparison of speed.")
    parser.add_argument("--keys", type=int, default=200, help="Keys of each sort.")
    parser.add_argument("--tokens", type=int, default=200, help="Length of the runs whose speed is compared.")
    parser.add_argument("--events", type=int, default=100_000, help="Of the long trace.")
    parser.add_argument("--quick", action="store_true", help="The fake model and few keys; nothing is written.")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.keys, options.tokens, options.events = 1, 8, 40, 5_000
    from common import Results

    results = Results("tui")
    summary: dict[str, Any] = {"unit": "milliseconds, but where another is named"}

    def part(name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """A part of it, measured where it has not been."""
        found = {"part": name, **measure()} if options.quick else results.once({"part": name}, measure)
        summary[name] = {key: value for key, value in found.items() if key != "part"}
        print(json.dumps(found), file=sys.stderr)

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        models = {name: {"kind": "huggingface", "source": name} for name in (SMALL, LARGER)}
        if options.quick:
            models = {"fake": {"kind": "fake", "context": 1_000_000, "end_bias": -50}}
            PROGRAM[1:] = [__file__, WITH_FAKE]
        for name, model in models.items():
            home = home_for(folder / name, model, options.tokens, 900_000 if options.quick else 1900)
            for size in (NARROW, WIDE):
                keys = functools.partial(while_decoding, home, size, options.keys)
                part(f"{name}, {size[0]} × {size[1]}", keys)
            part(f"{name}, tokens per second", functools.partial(speed, home, options.rounds))
            shutil.rmtree(home / "runs", ignore_errors=True)
        part("a long trace", functools.partial(long_trace, home, options.events, options.keys))
    summary["holds"] = held(summary)
    if options.quick:
        print(json.dumps(summary, indent=1))
        return
    results.summarize(summary)


if __name__ == "__main__":
    main()

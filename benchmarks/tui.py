"""The terminal application while models work: how soon a key shows, what watching a run costs it, and a trace of 100,000 events.

    python benchmarks/tui.py [--windows 32] [--keys 200]   # about twenty minutes; goes on where it was stopped
    python benchmarks/tui.py --quick                       # the fake model, few keys, no results: does it still work?

The real program (`counterpoint tui`) runs in a pseudo-terminal; a minimal terminal at its other end reads what it draws.

*Keys.* From the write of a key's bytes to the moment at which what it changes has been read: letters in the prompt field of a recipe,
lines of a long answer scrolled, while the worker decodes on all cores; and the same when the run is over. Letters come 60 to 200 ms
apart, as from a quick hand. *Speed.* Of one run that is followed: tokens per second by its trace while the application is let work and
while it is stopped (SIGSTOP), in windows of two seconds in turn, for a machine's speed drifts by more than a run between two runs.
*Trace.* From the key that opens a stored run to its last event on the screen, then keys as above.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import math
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
from datetime import datetime
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
_WINDOW, _SETTLING = 2.0, 0.3
"""Seconds in which tokens are counted, and between that and a change."""
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


def moments(home: Path) -> list[float]:
    """When each token of the latest run was written, by the clock of the wall."""
    events = latest(home)
    assert events is not None
    first, *others = [json.loads(line) for line in events.read_bytes().splitlines()]
    began = datetime.fromisoformat(first["started"]).timestamp()
    return [began + event["t"] for event in others if event["type"] == "emitted"]


def followed(home: Path, windows: int) -> tuple[list[float], list[float], float]:
    """Tokens per second of a run that is followed, while the application works and while it is stopped, and the former's processor time.

    Args:
        home: where the recipe is.
        windows: of each sort; in the order work, stop, stop, work, so that a drift counts for neither.
    """
    spans: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    busy = 0.0
    shutil.rmtree(home / "runs", ignore_errors=True)
    with application(home, WIDE, "measured") as terminal:
        terminal.until("this machine has|Graph.*Prompt")
        terminal.until("Run")
        terminal.send(F5)
        terminal.until("running")
        while tokens_of(home) < 60:
            time.sleep(0.2)
        program = psutil.Process(terminal.process.pid)
        for number in range(2 * windows):
            works = number % 4 in (0, 3)
            if not works:
                program.suspend()
            time.sleep(_SETTLING)
            began, before = time.time(), sum(program.cpu_times()[:2])
            time.sleep(_WINDOW)
            spans[works].append((began, time.time()))
            busy += sum(program.cpu_times()[:2]) - before
            program.resume()
        terminal.until("Cancel")  # it still goes on
        terminal.send(CANCEL)
        terminal.until("cancelled")
    made = moments(home)
    work, stop = ([rate(made, *span) for span in spans[works]] for works in (True, False))
    return work, stop, busy


def speed(home: Path, windows: int) -> dict[str, Any]:
    """What following a run costs it, from so many windows of each sort in two runs: a context holds no longer ones."""
    runs = [followed(home, windows // 2) for _ in range(2)]
    work, stop = ([rate for run in runs for rate in run[sort]] for sort in (0, 1))
    ratios = [math.log(one / other) for one, other in zip(work, stop, strict=True)]
    ratio, error = statistics.fmean(ratios), statistics.stdev(ratios) / math.sqrt(len(ratios))
    return {
        "at work": [round(one, 2) for one in work],
        "stopped": [round(one, 2) for one in stop],
        "at work over stopped": round(math.exp(ratio), 3),
        "95 % interval": [round(math.exp(ratio + sign * 2 * error), 3) for sign in (-1, 1)],
        "of a core, at work": round(sum(run[2] for run in runs) / (len(work) * _WINDOW), 3),
    }


def rate(made: list[float], begin: float, end: float) -> float:
    """Tokens per second between two moments."""
    there = [moment for moment in made if begin <= moment <= end]
    return (len(there) - 1) / (there[-1] - there[0])


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


def home_for(folder: Path, model: dict[str, Any], longest: int) -> Path:
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
    for name, others in (("watched", held), ("measured", {})):
        nodes = {"model": model, **others}
        sampling = {"max_tokens": longest, "ignore_stop": not others, "temperature": 1.0}
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
        part["at work over stopped"] for part in summary.values() if isinstance(part, dict) and "at work over stopped" in part
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
    parser.add_argument(
        "--windows", type=int, default=32, help="Stretches of two seconds on either side of the comparison of speed."
    )
    parser.add_argument("--keys", type=int, default=200, help="Keys of each sort.")
    parser.add_argument("--events", type=int, default=100_000, help="Of the long trace.")
    parser.add_argument("--quick", action="store_true", help="The fake model and few keys; nothing is written.")
    options = parser.parse_args()
    if options.quick:
        options.windows, options.keys, options.events = 4, 8, 5_000
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
            home = home_for(folder / name, model, 900_000 if options.quick else 1900)
            for size in (NARROW, WIDE):
                keys = functools.partial(while_decoding, home, size, options.keys)
                part(f"{name}, {size[0]} × {size[1]}", keys)
            part(f"{name}, tokens per second", functools.partial(speed, home, options.windows))
            shutil.rmtree(home / "runs", ignore_errors=True)
        part("a long trace", functools.partial(long_trace, home, options.events, options.keys))
    summary["holds"] = held(summary)
    if options.quick:
        print(json.dumps(summary, indent=1))
        return
    results.summarize(summary)


if __name__ == "__main__":
    main()

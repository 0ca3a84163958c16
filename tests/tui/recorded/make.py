"""Records a run of every shipped recipe on the real models, and two evaluations, for tests that show them with no model loaded.

    python tests/tui/recorded/make.py              # all of them: minutes, and models of 1.6 GB
    python tests/tui/recorded/make.py --missing    # those that are not there
    python tests/tui/recorded/make.py judged json  # these runs
    python tests/tui/recorded/make.py evaluations  # these

A recipe is run as it is, but for few tokens and candidates, so that its trace stays small. README.md is written at the end.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import counterpoint as cp
from counterpoint.engine import Engine
from counterpoint.errors import CounterpointError
from counterpoint.events import Event, RunStarted
from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe, load_recipe
from counterpoint.recording import EVENTS
from counterpoint.registry import Registry, load_plugins
from counterpoint.runstore import RunStore
from counterpoint.store import ModelStore
from counterpoint_tui.library import does, recipes, sources

HERE = Path(__file__).parent
RUNS, EVALUATIONS, QUESTIONS = HERE / "runs", HERE / "evaluations", HERE / "questions.jsonl"
MOST = 100_000
"""Bytes that a recording may have."""
_FUNCTION = '''\
def second(values: list[int]) -> int | None:
    """The second largest of the different values, or None."""
'''
_PROGRAM = Prompt(
    text="Complete the Python function below. Reply with one Python code block that holds the whole function.\n\n"
    f"```python\n{_FUNCTION}```\n",
    prefix="```python\n",
    fields={
        "prompt": _FUNCTION,
        "entry_point": "second",
        "test": "def check(candidate):\n    assert candidate([3, 1, 3]) == 1\n    assert candidate([5]) is None\n"
        "    assert candidate([]) is None\n",
    },
)
_LIST = Prompt(text="Name the seven days of the week in order, and say which of them are working days.")
README = """\
# Recorded runs

A real run of every shipped recipe that answers, so that tests and pictures show real runs with no model loaded. Made by `make.py`:

    .venv/bin/python tests/tui/recorded/make.py              # all of them
    .venv/bin/python tests/tui/recorded/make.py --missing    # those that are not there
    .venv/bin/python tests/tui/recorded/make.py judged json  # these
    .venv/bin/python tests/tui/recorded/make.py evaluations  # and these

Each folder in `runs` is a stored run as `counterpoint run RECIPE` leaves it ([docs/traces.md](../../../docs/traces.md)), but that
its id is the recipe's name. Nothing is written by hand. Recipes that train (`counterpoint train`) or score a file
(`counterpoint score`) have no recording: these commands store no run.

The recipes were run as they are but for the settings below, which keep traces small. Where a recipe loads an artifact that takes long
to train, the one of the recipe `train-…-smoke` stands in for it (`counterpoint train train-cross-model-control-smoke`,
`counterpoint train train-corrector-smoke`): the trace is as real, the answer is worth less.

Machine: {machine}. Times in the traces are of a machine that did other work besides.
Versions: {versions}.

`evaluations` are those of `small` and `sample` on `questions.jsonl`, as `counterpoint eval` leaves them.

| recipe | events | settings other than the recipe's |
|---|---|---|
{rows}
"""


@dataclass(frozen=True)
class Short:
    """What is other than in the recipe."""

    tokens: int = 48
    changes: dict[str, Any] = field(default_factory=dict)
    prompt: Prompt | None = None


SHORT = {
    "best-of-n": Short(64, {"best.n": 4}, _PROGRAM),
    "contrastive": Short(32, {"record": "full"}),
    "corrector": Short(48, {"answer.n": 3}),
    "ensemble": Short(40, {"record": "full"}),
    "fusion": Short(40, {"answer.n": 3}),
    "json": Short(96),
    "judged": Short(32, {"best.n": 4}),
    "majority": Short(144, {"majority.n": 3}),
    "proxy-tuning": Short(40),
    "ranked": Short(56, {"best.n": 3}),
    "small-first": Short(56, {"tries.n": 2}, _PROGRAM),
    "speculative": Short(72),
    "weak-to-strong": Short(72, {}, _LIST),
    "written-tests": Short(64, {"best.n": 2, "best.verifiers.tests": 3, "best.verifiers.max_tokens": 96}, _PROGRAM),
}
"""By recipe; the others get :class:`Short` as it is."""


def answering(registry: Registry) -> dict[str, Recipe]:
    """The shipped recipes that give answers. (Those that train, or score a file's answers, are not stored as runs by any command.)"""
    shipped = [entry.name for entry in recipes(registry) if entry.origin == "shipped"]
    found = {name: load_recipe(name, registry=registry) for name in sorted(shipped)}
    return {name: recipe for name, recipe in found.items() if does(recipe) == "answers"}


def renamed(events: Iterable[Event], name: str) -> Iterator[Event]:
    """The events of a run under another id."""
    for event in events:
        yield event.model_copy(update={"run_id": name}) if isinstance(event, RunStarted) else event


def with_small_artifacts(recipe: Recipe) -> dict[str, Any]:
    """Settings that name the artifacts of the `-smoke` recipes in the place of those that nobody has trained on this machine."""
    store = ModelStore()
    wanted = [source for source in sources(recipe) if source.startswith("artifact:") and store.locate(source) is None]
    nodes = recipe.to_dict()["nodes"]
    return {f"{node}.source": f"{data['source']}-smoke" for node, data in nodes.items() if data.get("source") in wanted}


def record(name: str, registry: Registry) -> Path:
    """Runs a recipe and keeps its run in its folder, in the place of one that is there.

    Raises:
        CounterpointError: it failed, or its trace is too long.
    """
    short = SHORT.get(name, Short())
    with tempfile.TemporaryDirectory(dir=HERE) as made, Engine(registry=registry) as engine:
        changes = {"sampling.max_tokens": short.tokens, **short.changes, **with_small_artifacts(engine.recipe(name))}
        store = RunStore(Path(made))
        stream = engine.stream(engine.recipe(name, changes.items()), short.prompt)
        for _ in store.record(renamed(stream, name)):
            pass
        result = stream.wait()
        if result.error is not None:
            raise result.error
        if store.problems:
            raise CounterpointError("; ".join(store.problems))
        size = sum(file.stat().st_size for file in store.path(name).iterdir())
        if size > MOST:
            raise CounterpointError(f"{name}: its trace has {size:,} bytes, more than {MOST:,}", hint="give it fewer tokens")
        shutil.rmtree(RUNS / name, ignore_errors=True)
        RUNS.mkdir(exist_ok=True)
        return store.path(name).rename(RUNS / name)


def evaluate(registry: Registry) -> Path:
    """Two models' answers to eight questions, and which of them are right."""
    shutil.rmtree(EVALUATIONS, ignore_errors=True)
    with Engine(registry=registry) as engine:
        for name in ("small", "sample"):
            recipe = engine.recipe(name, [("sampling.max_tokens", 192)])
            cp.evaluate(recipe, QUESTIONS, engine=engine, out=EVALUATIONS / name, name=name)
            (EVALUATIONS / name / ".lock").unlink(missing_ok=True)
    return EVALUATIONS


def machine() -> str:
    """The machine in words."""
    kind = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    return f"{os.cpu_count()} cores ({kind or platform.processor()}), {platform.system()}, no GPU"


def describe(registry: Registry) -> None:
    """Writes README.md from what is there."""
    rows, versions = [], {}
    for name, recipe in sorted(answering(registry).items()):
        if not (RUNS / name).is_dir():
            continue
        events = list(RunStore(RUNS).replay(name))
        started = events[0]
        assert isinstance(started, RunStarted)
        versions = dict(started.versions)
        differs = [f"`{key}: {value}`" for key, value in changed(recipe.to_dict(), started.recipe)]
        differs += ["another prompt"] if started.prompt != recipe.prompt else []
        rows.append(f"| `{name}` | {len(events)} | {', '.join(differs)} |")
    made_with = ", ".join(f"{package} {version}" for package, version in versions.items() if package != "machine")
    text = README.format(machine=machine(), versions=made_with, rows="\n".join(rows))
    (HERE / "README.md").write_text(text, encoding="utf-8")


def changed(own: Any, run: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Settings in which a recipe that was run differs from the shipped one."""
    if isinstance(own, dict) and isinstance(run, dict):
        for key in run:
            yield from changed(own.get(key), run[key], f"{path}.{key}" if path else key)
    elif own != run:
        yield path, run


def main() -> int:
    """Records what was asked for; a recipe that fails stops none of the others."""
    registry = load_plugins()
    known = answering(registry)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Recipes; by default all of {', '.join(known)}.")
    parser.add_argument("--missing", action="store_true", help="Only those that have no recording.")
    parser.add_argument("--describe", action="store_true", help="Record nothing, write README.md anew.")
    options = parser.parse_args()
    if unknown := set(options.names) - {*known, "evaluations"}:
        parser.error(f"no such recipe that answers: {', '.join(sorted(unknown))}")
    names = [] if options.describe else options.names or [*known, "evaluations"]
    failed = []
    for name in names:
        if options.missing and (EVALUATIONS.is_dir() if name == "evaluations" else (RUNS / name / EVENTS).is_file()):
            continue
        began = time.monotonic()
        try:
            folder = evaluate(registry) if name == "evaluations" else record(name, registry)
        except CounterpointError as error:
            print(f"{name}: {error.message}\n  hint: {error.hint}", file=sys.stderr, flush=True)
            failed.append(name)
        except Exception:  # noqa: BLE001 (the rest is recorded all the same)
            traceback.print_exc()
            failed.append(name)
        else:
            size = sum(file.stat().st_size for file in folder.rglob("*"))
            print(f"{name}: {size:,} bytes in {time.monotonic() - began:.0f} s", flush=True)
    describe(registry)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Hostile programs: none passes, none outlives its limit, none leaves anything behind or changes anything outside."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from counterpoint.sandbox import IsolationKind, Limits, Verdict, filtering, run_checks
from counterpoint.sandbox.isolation import _KINDS, problem

HOSTILE = runpy.run_path(str(Path(__file__).with_name("hostile.py")))
CHECKS, PRELUDE, PROGRAMS = HOSTILE["CHECKS"], HOSTILE["PRELUDE"], HOSTILE["PROGRAMS"]
REPOSITORY = Path(__file__).parents[3]
SEPARATE = [isolation for isolation in _KINDS if isolation.separate]
SECCOMP = {
    "events_of_asynchronous_input",
    "hypervisor_socket",
    "lists_the_machines_mounts",
    "memory_outside_of_the_limit",
    "watches_what_others_read",
    "writes_out_the_machines_memory",
}
"""What only the system call filter prevents."""

# A value that no other session has; it stands in the command line of every process of a sandbox.
FILE_MB = 100_000 + os.getpid() % 900_000


def isolations() -> list[Any]:
    found = []
    for isolation in SEPARATE:
        reason = problem(isolation)
        found.append(pytest.param(isolation.kind, marks=pytest.mark.skipif(bool(reason), reason=f"{isolation.kind}: {reason}")))
    return found


def sandboxed() -> list[str]:
    """Processes of this session's sandboxes."""
    found, mark = [], f'"file_bytes": {FILE_MB * 2**20}'.encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                found.append(path.parent.name)
    return found


@dataclass
class World:
    """What an attack may try to reach."""

    values: dict[str, str]
    victim: subprocess.Popen[bytes]
    folder: Path
    secret: Path

    def judge(self, program: Any, isolation: IsolationKind) -> Verdict:
        source = PRELUDE + program.source
        for name, value in self.values.items():
            source = source.replace(f"{{{name}!r}}", repr(value)).replace(f"{{{name}}}", value)
        given = {"wall_seconds": 6.0, "memory_mb": 256, "tmp_mb": 2, "file_mb": FILE_MB, **dict(program.limits)}
        return run_checks(
            source,
            "f",
            CHECKS,
            limits=Limits.model_validate(given),
            isolation=isolation,
            unsafe_run_without_isolation=isolation == "none",
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    folder = tmp_path / "outside"
    folder.mkdir()
    secret = folder / "secret.txt"
    secret.write_text("a secret")
    monkeypatch.setenv("COUNTERPOINT_SECRET", "a secret")
    home_file = next((path for path in Path.home().iterdir() if path.is_file() and os.access(path, os.R_OK)), secret)
    abstract = f"counterpoint-{os.getpid()}"
    victim = subprocess.Popen(["sleep", "100"])
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(f"\0{abstract}")
        local.listen()
        values = {
            "abstract": abstract,
            "folder": str(folder),
            "home_file": str(home_file),
            "io_setup": "206" if os.uname().machine == "x86_64" else "0",
            "port": str(server.getsockname()[1]),
            "repository": str(REPOSITORY),
            "secret": str(secret),
            "victim": str(victim.pid),
        }
        try:
            yield World(values, victim, folder, secret)
        finally:
            victim.kill()
            victim.wait()


def name(program: Any) -> str:
    return str(program.name)


def pairs() -> list[Any]:
    """Every program in every isolation; the attacks on the judge in one are quick, and in the others slow."""
    made = []
    quick = next((isolation.kind for isolation in SEPARATE if not problem(isolation)), "")
    for program in PROGRAMS:
        for param in isolations():
            repeats = program in HOSTILE["ON_THE_JUDGE"] and param.values[0] != quick
            marks = [*param.marks, *([pytest.mark.slow] if repeats else [])]
            made.append(pytest.param(program, param.values[0], marks=marks, id=f"{program.name}-{param.values[0]}"))
    return made


@pytest.mark.parametrize(("program", "isolation"), pairs())
def test_a_hostile_program(program: Any, isolation: IsolationKind, world: World) -> None:
    if program.name in SECCOMP and not filtering.program():
        pytest.skip("pyseccomp is not installed")
    started = time.monotonic()
    verdict = world.judge(program, isolation)
    took = time.monotonic() - started

    assert not verdict.passed
    assert verdict.kind == program.kind
    assert re.search(program.says, verdict.detail), verdict.detail
    assert took < dict(program.limits).get("wall_seconds", 6.0) + 2
    assert sandboxed() == []
    assert world.victim.poll() is None, "it reached a process outside"
    assert [path.name for path in world.folder.iterdir()] == ["secret.txt"]
    assert world.secret.read_text() == "a secret"


@pytest.mark.parametrize("program", [program for program in PROGRAMS if program.control], ids=name)
def test_without_isolation_it_would_have_had_its_way(program: Any, world: World) -> None:
    if program.name == "reads_the_home_folder" and world.values["home_file"] == str(world.secret):
        pytest.skip("no file in the home folder")
    assert "REACHED" in world.judge(program, "none").detail


@pytest.mark.parametrize("isolation", isolations())
@pytest.mark.parametrize("wanted", ["user_namespace", "mounts", "traces_its_init", "changes_its_root"])
def test_without_the_system_call_filter_the_kernel_refuses_as_well(
    wanted: str, isolation: IsolationKind, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("counterpoint.sandbox.isolation.program", lambda: b"")
    (program,) = [program for program in PROGRAMS if program.name == wanted]
    assert re.search(program.says, world.judge(program, isolation).detail)


def test_there_are_enough_of_them() -> None:
    assert len(PROGRAMS) >= 30
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)


def test_an_iteration_cannot_be_cut_short() -> None:
    """all() of nothing is true: an exception that ends `map` must not be had from a candidate."""
    checks = "def check(candidate):\n    assert all(map(lambda n: candidate(n) == n * n, range(3)))\n"
    for raised in ("StopIteration", "StopAsyncIteration", "GeneratorExit"):
        verdict = run_checks(f"def f(x):\n    raise {raised}\n", "f", checks)
        assert verdict.kind == "failed"
        assert f"RuntimeError: {raised}" in verdict.detail


def test_checks_that_catch_everything_do_not_help() -> None:
    checks = "def check(candidate):\n    for n in range(3):\n        try:\n            candidate(n)\n        except:\n            pass\n"
    for body in ("return object()", "import os; os._exit(0)"):
        assert run_checks(f"def f(x):\n    {body}\n", "f", checks).kind == "failed"
    assert run_checks("def f(x):\n    return 1\n", "f", checks).passed


@pytest.mark.parametrize("isolation", isolations())
def test_its_processes_would_be_seen(isolation: IsolationKind, world: World) -> None:
    """The tests above look for processes that are left: while a program runs, they find them."""
    (waits,) = [program for program in PROGRAMS if program.name == "waits_at_import"]
    judging = threading.Thread(target=world.judge, args=(waits, isolation))
    judging.start()
    seen = 0
    while judging.is_alive():
        seen = max(seen, len(sandboxed()))
    judging.join()
    assert seen >= 4
    assert sandboxed() == []

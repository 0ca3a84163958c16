"""Verdicts of honest programs and of the mistakes that models make; what a judgment leaves behind."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import psutil
import pytest

from counterpoint.errors import RunError
from counterpoint.sandbox import Limits, Verdict, run_checks
from counterpoint.sandbox import judging as judging_module
from counterpoint.sandbox.isolation import _KINDS, NoIsolation, problem

CHECKS = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate([1], b=(2,)) == {3: {4}}\n"
RIGHT = "def f(a, b=None):\n    print('passed')\n    return {3: {4}} if b == (2,) and a == [1] else a + 1\n"
KINDS = [
    pytest.param(
        isolation.kind, marks=pytest.mark.skipif(bool(problem(isolation)), reason=f"{isolation.kind}: {problem(isolation)}")
    )
    for isolation in _KINDS
]
SEPARATE = [param for param in KINDS if param.values[0] != "none"]

pytestmark = pytest.mark.skipif(all(problem(one) for one in _KINDS if one.separate), reason="nothing can be isolated here")


def judge(source: str, checks: str = CHECKS, **options: Any) -> Verdict:
    return run_checks(textwrap.dedent(source), "f", textwrap.dedent(checks), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_program_passes(kind: Any) -> None:
    verdict = judge(RIGHT, isolation=kind, unsafe_run_without_isolation=kind == "none")
    assert verdict.passed
    assert verdict == Verdict("passed", "", verdict.seconds)
    assert 0 < verdict.seconds < 10


@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_says_what_is_wrong(kind: Any) -> None:
    verdict = judge("def f(a):\n    return a\n", isolation=kind, unsafe_run_without_isolation=kind == "none")
    assert (verdict.kind, verdict.passed) == ("failed", False)
    assert verdict.detail == "AssertionError in check, line 2: assert candidate(1) == 2"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def g(a):\n    return 2\n", "no function called f"),
        ("f = 3\n", "no function called f"),
        ("x = 1\n\ndef f(a:\n", "SyntaxError: '(' was never closed, line 3"),
        ("def f(a):\n\treturn 1\n        return 2\n", "TabError: inconsistent use of tabs"),
        ("x = \0\n", "source code string cannot contain null bytes"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError when the program was loaded: No module named"),
        ("def f(a):\n    raise ValueError('no')\n", "ValueError: no in check, line 2"),
        ("class Mine(KeyError): pass\ndef f(a):\n    raise Mine('no')\n", "KeyError: 'no' in check"),
        ("class Mine(Exception): pass\ndef f(a):\n    raise Mine('no')\n", "Exception: no in check"),
        ("def f(a):\n    b'\\xff'.decode()\n", "RuntimeError: UnicodeDecodeError"),
        ("def f(a):\n    yield 2\n", "returned something that is not plain data: a value of type generator"),
        ("def f():\n    return 2\n", "TypeError: f() takes 0 positional arguments but 1 was given"),
    ],
)
def test_mistakes_are_named(source: str, says: str) -> None:
    verdict = judge(source)
    assert verdict.kind == "failed"
    assert says in verdict.detail


@pytest.mark.parametrize("raised", ["ValueError", "ZeroDivisionError", "KeyError", "RecursionError"])
def test_exceptions_that_tests_expect_arrive_as_themselves(raised: str) -> None:
    checks = f"""
        def check(candidate):
            try:
                candidate(0)
            except {raised} as error:
                assert "why" in str(error)
            else:
                raise AssertionError("nothing was raised")
    """
    assert judge(f"def f(x):\n    raise {raised}('why')\n", checks).passed
    assert not judge("def f(x):\n    return 1\n", checks).passed


def test_programs_have_the_standard_library_and_a_private_tmp() -> None:
    source = """
        from __future__ import annotations
        import asyncio, dataclasses, datetime, decimal, fractions, hashlib, json, math, random, re, sqlite3, ssl, zlib
        import multiprocessing, subprocess, tempfile, threading, typing, unicodedata, uuid, zoneinfo
        from concurrent.futures import ThreadPoolExecutor

        @dataclasses.dataclass
        class Point:
            x: int

        async def later(x):
            await asyncio.sleep(0)
            return x

        def f(n):
            with tempfile.TemporaryFile() as file, ThreadPoolExecutor(2) as pool:
                file.write(b"abc")
                file.seek(0)
                total = sum(pool.map(len, ["a", "bc"])) + len(file.read())
            multiprocessing.Lock()
            zoneinfo.ZoneInfo("Europe/Berlin")
            return [asyncio.run(later(Point(n).x)), total, hashlib.sha256(b"").hexdigest()[:4], datetime.date(2024, 1, 1).year]
    """
    verdict = judge(source, "def check(candidate):\n    assert candidate(3) == [3, 6, 'e3b0', 2024], candidate(3)\n")
    assert verdict.passed, verdict.detail


def test_helpers_are_there_for_the_checks() -> None:
    checks = "def check(candidate):\n    assert double(candidate(2)) == 8\n    assert f(2) == 4\n"
    assert judge("def f(x):\n    return 2 * x\n", checks, helpers="def double(x):\n    return 2 * x\n").passed


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ("def check(candidate)\n", "SyntaxError"),
        ("x = 1\n", "KeyError: 'check'"),
        ("assert 1 == 2\ndef check(candidate): pass\n", "AssertionError in <module>, line 1: assert 1 == 2"),
        ("f(1)\ndef check(candidate): pass\n", "outside of check()"),
        ("import os\nos._exit(0)\n", "ended while they were loaded"),
        ("while True: pass\n", "were not loaded after 0.7 s"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E\n", "do not load: E in <module>, line 3: raise E"),
        (
            "def check(candidate):\n    try:\n        candidate(object())\n    except TypeError:\n        pass\n",
            "a value of type object",
        ),
        ("def check(candidate):\n    candidate(list(range(10**6)))\n", "too many items"),
        ("def check(candidate):\n    assert candidate(1) == 3\n    yield\n", "check() returned a generator"),
        ("async def check(candidate):\n    assert candidate(1) == 3\n", "check() returned a coroutine"),
    ],
)
def test_broken_checks_are_not_the_programs_fault(checks: str, says: str) -> None:
    verdict = judge(RIGHT, checks, limits=Limits(wall_seconds=0.7 if "while" in checks else 10))
    assert says in verdict.detail
    assert verdict.kind == "error"


def test_a_program_cannot_make_the_checks_look_broken() -> None:
    """What it returns may become an argument, which is then too large: that is not the checks' fault."""
    verdict = judge(
        "def f(x):\n    return 'x' * 8_388_500\n", "def check(candidate):\n    candidate(candidate(1) + 'x' * 200)\n"
    )
    assert (verdict.kind, "too large" in verdict.detail) == ("failed", True)


def test_a_failure_that_cannot_be_put_into_words() -> None:
    checks = "class E(Exception):\n    def __str__(self): return 1 / 0\ndef check(candidate):\n    raise E\n"
    assert judge(RIGHT, checks) == Verdict("failed", "E in check, line 4: raise E", ANY)


@pytest.mark.parametrize(
    "rest", ["This function adds.\n", "\nprint(f(1, ", "x = [\n    1,\n", "```\nIt works:\n\n1. so\n2. and so\n"]
)
def test_what_follows_the_program_and_is_none_is_cut_off(rest: str) -> None:
    assert judge(f"import math\n{RIGHT}{rest}").passed


def test_what_is_cut_inside_the_function_is_a_mistake() -> None:
    verdict = judge(f"{RIGHT}\n    return (\n\nDone, I hope.\n")
    assert (verdict.kind, verdict.detail) == ("failed", "SyntaxError: '(' was never closed, line 5")


def test_sets_have_the_same_order_every_time() -> None:
    source = "def f(x):\n    return ''.join({chr(n) for n in range(97, 123)})\n"
    seen = {judge(source, "def check(candidate):\n    raise ValueError(candidate(1))\n").detail for _ in range(4)}
    assert len(seen) == 1


def test_a_long_program_arrives() -> None:
    source = "".join(f"x{n} = {n}\n" for n in range(30_000)) + "def f(x):\n    return x29999\n"
    assert len(source) > 3 * 2**17
    verdict = judge(source, "def check(candidate):\n    assert candidate(0) == 29999\n", limits=Limits(wall_seconds=30))
    assert verdict.passed, verdict.detail


def test_checks_that_never_end_run_out_of_time() -> None:
    verdict = judge(RIGHT, "def check(candidate):\n    while True:\n        pass\n", limits=Limits(wall_seconds=0.4))
    assert (verdict.kind, verdict.detail) == ("timeout", "timed out after 0.4 s")


def test_what_a_program_says_can_be_printed() -> None:
    verdict = judge("def f(x):\n    raise ValueError(chr(27) + '[31m' + chr(0xD800) + chr(10))\n")
    assert verdict.detail.startswith(r"ValueError: \x1b[31m\ud800\n in check")


def test_it_does_not_matter_how_many_files_we_have_open() -> None:
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(300)]
    try:
        assert judge(RIGHT).passed
    finally:
        for fd in opened:
            os.close(fd)


def test_starting_takes_of_the_wall_time(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return popen(*args, **options)

    judge(RIGHT)
    monkeypatch.setattr(subprocess, "Popen", slow)
    verdict = judge("import time\ntime.sleep(9)\n", limits=Limits(wall_seconds=0.9))
    assert (verdict.kind, 0.9 <= verdict.seconds < 1.2) == ("timeout", True)


# --- nothing stays --------------------------------------------------------------------------------------------------------


def state() -> tuple[int, int, set[str]]:
    me = psutil.Process()
    return me.num_fds(), len(me.children(recursive=True)), {path.name for path in Path(tempfile.gettempdir()).iterdir()}


def judge_in_a_row(n: int, kind: Any) -> None:
    judge(RIGHT, isolation=kind, unsafe_run_without_isolation=True)
    before = state()
    for index in range(n):
        source = (RIGHT, "def f(x):\n    return 0\n", "import os\nos._exit(0)\n", "def f(:\n")[index % 4]
        assert judge(source, isolation=kind, unsafe_run_without_isolation=True).passed == (index % 4 == 0)
    fds, children, files = state()
    assert (fds, children) == before[:2]
    assert not {name for name in files - before[2] if name.startswith("counterpoint")}


@pytest.fixture
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So that what others put into the common folder is not taken for ours."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not [path.name for path in tmp_path.iterdir() if path.name != "counterpoint-home"]


@pytest.mark.usefixtures("own_tmp")
@pytest.mark.parametrize("kind", KINDS)
def test_20_in_a_row_leave_nothing(kind: Any) -> None:
    judge_in_a_row(20, kind)


@pytest.mark.slow
@pytest.mark.usefixtures("own_tmp")
@pytest.mark.parametrize("kind", KINDS)
def test_200_in_a_row_leave_nothing(kind: Any) -> None:
    judge_in_a_row(200, kind)


def test_several_at_once_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()
    judging = judging_module._judge

    def counted(*args: Any) -> Verdict:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return judging(*args)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(judging_module, "_judge", counted)
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(judge, f"def f(x):\n    return {n}\n", "def check(candidate):\n    raise ValueError(candidate(0))\n")
            for n in range(16)
        ]
        details = [job.result().detail for job in jobs]
    assert [detail.split(" ")[1] for detail in details] == [str(n) for n in range(16)]
    assert 1 <= most <= (os.cpu_count() or 1)


@pytest.mark.parametrize("kind", SEPARATE)
def test_sandboxes_end_with_the_process_that_made_them(kind: str) -> None:
    mark = 1_000_000 + os.getpid() % 40_000
    program = textwrap.dedent(f"""
        from counterpoint.sandbox import Limits, run_checks
        source = "import os, time\\nif os.fork() == 0:\\n    os.setsid()\\ndef f(x):\\n    time.sleep(100)\\ntime.sleep(100)"
        run_checks(source, "f", "def check(c): c(1)", limits=Limits(file_mb={mark}), isolation={kind!r})
    """)

    def alive() -> int:
        return len(processes_of(mark))

    with subprocess.Popen([sys.executable, "-c", program]) as judge_process:
        assert eventually(lambda: alive() >= 5), "the program never ran"
        judge_process.send_signal(signal.SIGKILL)
    assert eventually(lambda: alive() == 0), f"{alive()} processes outlive their judge"


def processes_of(mark: int) -> list[psutil.Process]:
    """Processes of the sandboxes that have this limit ``file_mb``, which stands in their command lines."""
    limit = f'"file_bytes": {mark * 2**20}'
    return [p for p in psutil.process_iter(["cmdline"]) if limit in " ".join(p.info["cmdline"] or ())]


@pytest.mark.parametrize("kind", SEPARATE)
def test_running_out_of_time_while_it_is_set_up_leaves_nothing_and_takes_no_longer(kind: Any) -> None:
    mark = 800_000 - os.getpid() % 40_000
    source = "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.2: pass\ntime.sleep(1000)\n"
    judge(RIGHT, isolation=kind)
    over = []
    for index in range(48):
        limits = Limits(wall_seconds=0.004 + index * 0.001, file_mb=mark)
        started = time.monotonic()
        assert judge(source, isolation=kind, limits=limits).kind in ("timeout", "error")
        over.append(time.monotonic() - started - limits.wall_seconds)
    eventually(lambda: not processes_of(mark), 1)
    left = processes_of(mark)
    for process in left:
        process.kill()
    assert not left
    assert max(over) < 1


@pytest.mark.parametrize("kind", SEPARATE)
def test_its_processes_are_the_first_that_a_lack_of_memory_ends(kind: Any) -> None:
    mark = 900_000 - os.getpid() % 40_000
    source = "import os, time\nif os.fork() == 0: time.sleep(9)\ntime.sleep(9)\n"
    limits = Limits(wall_seconds=2.5, file_mb=mark)
    judging = threading.Thread(target=judge, args=(source,), kwargs={"isolation": kind, "limits": limits})
    judging.start()

    def all_say_so() -> bool:
        found = processes_of(mark)
        with contextlib.suppress(OSError):  # one of them has just ended
            scores = {Path(f"/proc/{p.pid}/oom_score_adj").read_text().strip() for p in found}
            return len(found) >= 5 and scores == {"1000"}
        return False

    assert eventually(all_say_so)  # a process is there a moment before it has said so
    judging.join()


def eventually(condition: Any, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


# --- when the sandbox itself fails -----------------------------------------------------------------------------------------


def test_a_sandbox_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoIsolation, "command", lambda *_: ["/no/such/program"])
    before = psutil.Process().num_fds()
    with pytest.raises(RunError, match=r"the sandbox cannot be started: .*No such file") as caught:
        judge(RIGHT, isolation="none", unsafe_run_without_isolation=True)
    assert caught.value.hint
    assert psutil.Process().num_fds() == before


def test_a_sandbox_that_cannot_be_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "plain", lambda _: {})
    with pytest.raises(RunError, match="the sandbox could not be set up: KeyError: 'cpu_seconds'"):
        judge(RIGHT, isolation="none", unsafe_run_without_isolation=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lack_of_file_descriptors(kind: Any) -> None:
    """At whatever step they run out: it is said, and nothing leaks."""
    unsafe = kind == "none"
    judge(RIGHT, isolation=kind, unsafe_run_without_isolation=unsafe)
    me = psutil.Process()
    before = me.num_fds()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = set()
    for free in range(22):
        padding: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, limit[1]))
        try:
            with contextlib.suppress(OSError):
                while True:
                    padding.append(os.dup(0))
            for fd in padding[len(padding) - free :]:
                os.close(fd)
            del padding[len(padding) - free :]
            said.add(judge(RIGHT, isolation=kind, unsafe_run_without_isolation=unsafe).kind)
        except RunError as error:
            said.add("RunError" if error.hint else "no hint")
        finally:
            for fd in padding:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert me.num_fds() == before, f"with {free} to spare"
    assert said == {"RunError", "passed"}

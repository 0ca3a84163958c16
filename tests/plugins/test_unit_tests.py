"""Programs in answers: which code is meant, and what its tests say of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import counterpoint as cp
from counterpoint import paths
from counterpoint.errors import CounterpointError
from counterpoint.sandbox import choose
from counterpoint.testing import assert_verifier_laws, make_engine
from counterpoint_plugins.unit_tests import UnitTests
from counterpoint_plugins.unit_tests.extraction import preamble, program

try:
    choose()
    ISOLATED = ""
except CounterpointError as error:
    ISOLATED = error.message
isolated = pytest.mark.skipif(bool(ISOLATED), reason=ISOLATED)

HEAD = 'import math\n\n\ndef helper(x):\n    return x\n\n\ndef area(r):\n    """Area of a circle."""\n'
BEFORE = "import math\n\n\ndef helper(x):\n    return x\n\n\n"
TEST = "def check(candidate):\n    assert abs(candidate(1) - 3.14159) < 1e-3\n    assert helper(1) == 1\n"
FIELDS = {"prompt": HEAD, "test": TEST, "entry_point": "area"}
RIGHT = "def area(r):\n    return math.pi * r * r\n"


def test_the_preamble_is_what_stands_before_the_function() -> None:
    assert preamble(HEAD, "area") == BEFORE
    assert preamble(HEAD, "helper") == "import math\n\n\n"
    assert preamble(HEAD, "are") == ""
    assert preamble("import functools\n\n@functools.cache\n@other\ndef f(x):\n", "f") == "import functools\n\n"
    assert preamble("x = 'def f(x):'\nasync def f(x):\n", "f") == "x = 'def f(x):'\n"
    assert (
        preamble("import functools\n\n@functools.lru_cache(\n    maxsize=None,\n)\n@other\ndef f(x):\n", "f")
        == "import functools\n\n"
    )
    assert (
        preamble('def g(x):\n    """So:\ndef f(x)\n    """\n\ndef f(x):\n', "f")
        == 'def g(x):\n    """So:\ndef f(x)\n    """\n\n'
    )


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        f"```python\n{RIGHT}```",
        f"Here it is:\n\n```py\n{RIGHT}```\n\nIt multiplies.",
        f"```python\n{RIGHT}",
        f"~~~\n{RIGHT}~~~\n",
        f"````markdown\n{RIGHT}````",
        f"First:\n```sh\n# a longer block than the program itself, by far and on purpose\n```\n```python\n{RIGHT}```\n",
        f"1. So:\n\n   ```python\n   {RIGHT.replace(chr(10), chr(10) + '   ').rstrip()}\n   ```\n",
    ],
)
def test_a_program_that_defines_the_function(answer: str) -> None:
    made = program(answer, HEAD, "area")
    assert made.startswith(BEFORE.rstrip())
    assert made.endswith(RIGHT)
    assert "```" not in made


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ("    return math.pi * r * r\n", "    return math.pi * r * r\n"),
        ("return math.pi * r * r", "    return math.pi * r * r"),
        ("\n    return math.pi * r * r", "\n    return math.pi * r * r"),
        ("x = r * r\n    return math.pi * x\n", "    x = r * r\n    return math.pi * x\n"),
        ("x = r * r\nreturn math.pi * x\n", "    x = r * r\n    return math.pi * x\n"),
        ("if r:\n    return 1\n", "    if r:\n        return 1\n"),
        ("if r:\n        return 1\n    return 2\n", "    if r:\n        return 1\n    return 2\n"),
        ("```python\n    return 1\n```", "    return 1\n"),
        ("    return 1\n```\n\nThat is all.", "    return 1\n"),
        ("", ""),
    ],
)
def test_the_rest_of_the_prompts_function(answer: str, body: str) -> None:
    assert program(answer, HEAD, "area") == HEAD + body


@pytest.mark.parametrize("names", ["annotations", "(\n    annotations,\n)", "\\\n    annotations"])
def test_future_imports_stay_in_front(names: str) -> None:
    made = program(f"from __future__ import {names}\nimport re\n{RIGHT}", HEAD, "area")
    assert made.startswith(f"from __future__ import {names}\nimport math\n")
    assert made.count("__future__") == 1


def test_hostile_answers_take_no_long_time() -> None:
    for answer in (
        "```\n" * 20_000,
        "`" * 200_000 + "\n" + "`\n" * 50_000,
        "@a\n" * 50_000,
        "def area" * 20_000,
        " " * 200_000,
        "(" * 200_000,
        "<|a|>" * 50_000,
        "</think>" * 50_000,
        f"{RIGHT}x = 1\n{'from __future__ import (' * 9000}",
        f"{RIGHT}{'from __future__ import (a' * 9000}",
        f"{RIGHT}from __future__ import \\\n" * 9000 + "(",
        f"```\n{'import a, b(' * 20_000}\n```\n```\n{'from a import (b, ' * 9000}\n```\n```\n{RIGHT}```\n",
        f"```\n{RIGHT}```\n" * 9000,
        f"a\n{'    ```' * 9000}\n{RIGHT}" * 9,
    ):
        started = time.process_time()
        program(answer, HEAD, "area")
        assert time.process_time() - started < 2


WRONG = "def area(r):\n    return r\n"
NESTED = RIGHT.replace("\n", '\n    """Area.\n\n    ```python\n    area(1)\n    ```\n    """\n', 1)
HONEST = {
    "a fence in a docstring": f"```python\n{NESTED}```\nDone.",
    "a fence in a docstring, unfenced": NESTED,
    "a fence in a string of a body": '    s = """\n    ```\n    x\n    ```\n    """\n    return math.pi * r * r\n',
    "a longer closing fence": f"```python\n{RIGHT}````\nDone.",
    "a fence in a sentence": f"```python``` it is.\n\n```python\n{RIGHT}```\n",
    "a fence in a list": "1. So:\n\n    ```python\n    def area(r):\n        return math.pi * r * r\n    ```\n",
    "thoughts": f"<think>\nLet me see.\n```python\n{WRONG}```\nNo.\n</think>\n\n{RIGHT}",
    "the prompt, then the answer": f"The task:\n```python\n{HEAD}```\n```python\n{RIGHT}```\n",
    "the answer, then the prompt": f"```python\n{RIGHT}```\nIt completes\n```python\n{HEAD}    pass\n```\n",
    "a stub": f"```python\n{RIGHT}```\nin place of\n```python\ndef area(r):\n    ...\n```\n",
    "a draft, then the answer": f"```python\n{WRONG}```\nThat forgets pi.\n```python\n{RIGHT}```\n",
    "the answer, then something cut short": f"```python\n{RIGHT}```\nOr:\n```python\ndef area(r):\n    return r",
    "the answer, then a use of it": f"```python\n{RIGHT}```\n```python\narea = area(1)\nprint(area)\n```\n",
    "imports apart": "```python\nfrom math import (\n    pi,\n)\nimport operator as o, re  # for mul\n```\n"
    "```python\ndef area(r):\n    return o.mul(pi, r * r)\n```\n",
    "imports that a draft needed": f"```python\nimport nothing_of_this_name\n{WRONG}```\nNo:\n```python\n{RIGHT}```\n",
    "an annotated name": "```python\nfrom typing import Callable\narea: Callable = lambda r: math.pi * r * r\n```\n",
    "prose before and after code": f"Here is the code:\n\nTWO = 2\n\n{RIGHT.replace('r * r', 'r ** TWO')}\nThis function uses pi.\nDone.",
    "prose before a name": "Here:\narea = lambda r: math.pi * r * r\n",
    "prose after a body": "    return math.pi * r * r\n\nThis function uses pi.\n",
    "cut short after the function": f"```python\n{RIGHT}\nprint(area(1), ",
    "a mark of byte order": f"\ufeff{RIGHT}",
    "a special token": f"{RIGHT}<|im_end|>\n",
    "line ends of Windows": f"So:\r\n```python\r\n{RIGHT}```\r\n".replace("\n", "\r\n").replace("\r\r", "\r"),
    "a future import over several lines": f"```python\nfrom __future__ import (\n    annotations,\n)\n{RIGHT}```\n",
}


@isolated
@pytest.mark.parametrize("answer", HONEST.values(), ids=HONEST.keys())
def test_honest_answers_pass(answer: str) -> None:
    verdict = UnitTests()._judge(FIELDS, answer)
    assert verdict.passed, verdict.detail


def recipe(**fields: Any) -> dict[str, Any]:
    return {"nodes": {"v": {"kind": "unit_tests", **fields}}, "output": "v"}


@isolated
def test_the_laws_hold() -> None:
    texts = [RIGHT, "def area(r):\n    return 0\n", "nonsense", "", RIGHT]
    assert_verifier_laws(recipe(), texts, prompt={"text": "write area", "fields": FIELDS})


@isolated
def test_scores_say_why(stage: Any, engine: Any) -> None:
    scores: list[Any] = []

    @stage.action
    async def judge(node: Any, run: Any, prompt: Any) -> None:
        completions = [cp.Completion(text=text, finish_reason="stop") for text in TEXTS]
        scores.extend(await run.verify(node.verifier, prompt, completions))

    TEXTS = ["    return math.pi * r * r\n```\nDone.", "    return r\n```", "    return (\n"]
    nodes = {"s": {"kind": "script", "action": "judge", "verifier": "v"}, **recipe()["nodes"]}
    engine.run(
        {"nodes": nodes, "output": "s"},
        {"text": "write area", "prefix": "```python\ndef area(r):\n", "fields": FIELDS},
    )
    assert [float(score) for score in scores] == [1.0, 0.0, 0.0]
    assert scores[1].detail == "AssertionError in check, line 2: assert abs(candidate(1) - 3.14159) < 1e-3"
    assert scores[2].detail.startswith("SyntaxError")


@isolated
def test_broken_tests_abstain(stage: Any, engine: Any) -> None:
    scores: list[Any] = []

    @stage.action
    async def judge(node: Any, run: Any, prompt: Any) -> None:
        scores.extend(await run.verify(node.verifier, prompt, [cp.Completion(text=RIGHT, finish_reason="stop")]))

    nodes = {"s": {"kind": "script", "action": "judge", "verifier": "v"}, **recipe()["nodes"]}
    engine.run({"nodes": nodes, "output": "s"}, {"text": "x", "fields": {**FIELDS, "test": "def check(candidate:"}})
    assert math.isnan(scores[0])
    assert "do not load" in scores[0].detail


def findings(**fields: Any) -> list[Any]:
    with make_engine() as engine:
        planned = engine.plan(recipe(**fields), prompt={"text": "x", "fields": FIELDS})
        return list(planned.findings)


@isolated
def test_plan_accepts_what_works() -> None:
    assert not [finding for finding in findings() if finding.level == "error"]


def test_plan_refuses_where_nothing_is_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoint.sandbox.isolation._probed", {"bubblewrap": "no", "namespaces": "no"})
    (error,) = [finding for finding in findings() if finding.level == "error"]
    assert error.node == "v"
    assert "cannot be isolated" in error.message
    assert "bubblewrap" in error.hint


def test_plan_wants_the_risk_named() -> None:
    (error,) = [finding for finding in findings(isolation="none") if finding.level == "error"]
    assert "unsafe_run_without_isolation" in error.hint
    (warning,) = [
        finding for finding in findings(isolation="none", unsafe_run_without_isolation=True) if finding.level != "info"
    ]
    assert (warning.level, warning.message) == ("warning", "model-written code runs without isolation")


def test_limits_have_bounds() -> None:
    with pytest.raises(ValueError, match="wall_seconds"):
        UnitTests.model_validate({"limits": {"wall_seconds": 0}})
    assert UnitTests.model_validate({"limits": {"memory_mb": 128}}).limits.memory_mb == 128


def test_importing_it_is_light() -> None:
    code = "import sys, counterpoint_plugins.unit_tests; print(*{'torch', 'transformers', 'ctypes', 'pyseccomp'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


# --- HumanEval -------------------------------------------------------------------------------------------------------------


def humaneval() -> list[dict[str, str]]:
    path = paths.data() / "humaneval.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judge_all(answers: list[tuple[dict[str, str], str]]) -> list[Any]:
    node = UnitTests()
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda pair: node._judge(pair[0], pair[1]), answers))


@isolated
@pytest.mark.parametrize("task", ["HumanEval/32", "HumanEval/33", "HumanEval/38", "HumanEval/50"])
def test_humaneval_tasks_whose_tests_need_more_than_the_function(task: str) -> None:
    (row,) = [row for row in humaneval() if row["task_id"] == task]
    (right, wrong) = judge_all([(row, row["canonical_solution"]), (row, "    return None\n")])
    assert right.passed, right.detail
    assert wrong.kind == "failed"


@isolated
@pytest.mark.slow
def test_every_canonical_solution_of_humaneval_passes_and_nothing_does_not() -> None:
    rows = humaneval()
    assert len(rows) == 164
    bodies = judge_all([(row, row["canonical_solution"]) for row in rows])
    assert {row["task_id"]: verdict.detail for row, verdict in zip(rows, bodies, strict=True) if not verdict.passed} == {}
    fenced = [(row, f"Sure!\n```python\n{row['prompt']}{row['canonical_solution']}```\nDone.") for row in rows]
    assert all(verdict.passed for verdict in judge_all(fenced))
    for wrong in ("    return None\n", "    pass\n", "    import os; os._exit(0)\n", "    raise StopIteration\n", ""):
        assert {verdict.kind for verdict in judge_all([(row, wrong) for row in rows])} == {"failed"}

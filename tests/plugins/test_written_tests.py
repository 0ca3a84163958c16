"""Tests that a model writes: which of them are used, that they are written once, and what programs score by them."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.plugin import Completion, Emitted, Prompt, Run
from counterpoint.sandbox import choose
from counterpoint.testing import assert_verifier_laws
from counterpoint_plugins.unit_tests.extraction import asserts

try:
    choose()
    ISOLATED = ""
except CounterpointError as error:
    ISOLATED = error.message
isolated = pytest.mark.skipif(bool(ISOLATED), reason=ISOLATED)

HEAD = 'import math\n\n\ndef double(x):\n    """Twice x."""\n'
FIELDS = {"prompt": HEAD, "entry_point": "double", "test": "def check(candidate):\n    secret_of_the_reference\n"}
PROMPT = {"text": "write double", "fields": FIELDS}
RIGHT = "def double(x):\n    return 2 * x\n"
WRONG = "def double(x):\n    return x + 2\n"
WRITTEN = """Here they are:

```python
assert double(1) == 2
assert double(2) == 4  # both agree
assert double('a') == 'aa'
assert double([1]) == [1, 1]
assert double(0) == 1
```
"""


def test_which_lines_are_tests() -> None:
    assert asserts(WRITTEN, "double") == [line for line in WRITTEN.splitlines() if line.startswith("assert")]
    bare = "assert double(1) == 2\n  assert double(2) == 4\nassert redouble(1) == 1\nassert x.double(3)\nassert double (3)\nassert double"
    assert asserts(bare, "double") == ["assert double(1) == 2", "assert double (3)"], "at the margin, and of calls"
    assert asserts("assert f(1)\nassert f(1)\n", "f") == ["assert f(1)"], "each once"
    assert asserts("1. So:\n\n   ```\n   assert f(1)\n   ```\nassert f(2)", "f") == ["assert f(1)"], (
        "of the blocks, where there are"
    )
    assert asserts("<think>assert f(0)</think>assert f(1) == '\u2028'", "f") == ["assert f(1) == '\u2028'"]
    assert asserts("assertion f(1)\nasserts f(2)", "f") == []
    started = time.process_time()
    for hostile in ("assert " + "f" * 200_000, "assert f" * 50_000, "assert\n" * 50_000, "```\nassert f(1)\n" * 20_000):
        asserts(hostile, "f")
    assert time.process_time() - started < 5


def writer(stage: Any, text: str = WRITTEN) -> list[tuple[Prompt, Run]]:
    """A writer that says `text`; returns what it was asked, and in which run."""
    asked: list[tuple[Prompt, Run]] = []

    async def write(node: Any, run: Run, prompt: Prompt) -> Completion:
        asked.append((prompt, run))
        run.emit(Emitted(text=text, ids=(), proposer=run.path, decider=run.path))
        return run.completion("stop")

    stage.actions["write"] = write
    return asked


def recipe(**fields: Any) -> dict[str, Any]:
    return {"nodes": {"v": {"kind": "written_tests", "writer": {"kind": "script", "action": "write"}, **fields}}, "output": "v"}


@isolated
def test_a_score_is_the_share_of_tests_that_pass(stage: Any, engine: Any) -> None:
    asked = writer(stage)
    answers = [RIGHT, f"```python\n{WRONG}```", "nonsense", RIGHT, "    return x * 2\n"]
    result = engine.verify(recipe(), PROMPT, answers).result()
    right, wrong, nothing, again, body = result.scores
    assert (right, wrong, nothing, again, body) == (0.8, 0.2, 0, 0.8, 0.8)
    assert right.detail == "4 of 5 tests pass"
    assert right.data == {"passed": 4, "tests": 5}
    ((prompt, run),) = asked
    assert prompt.fields == {}
    assert prompt.text is not None
    assert HEAD.rstrip() in prompt.text
    assert "Write 5 tests for the Python function `double`" in prompt.text
    assert "secret" not in prompt.text
    assert run.sampling.greedy
    (note,) = [event for event in result.trace if event.type == "note"]
    assert note.data == {"tests": asserts(WRITTEN, "double"), "broken": 0}


@isolated
def test_tests_are_written_once_in_a_run(stage: Any, engine: Any) -> None:
    asked = writer(stage)

    @stage.action
    async def judge(node: Any, run: Run, prompt: Prompt) -> None:
        completions = [Completion(text=text, finish_reason="stop") for text in (RIGHT, WRONG)]
        together = await run.gather(*(run.verify(node.verifier, prompt, [one]) for one in completions))
        assert together == [[0.8], [0.2]]
        assert await run.verify(node.verifier, prompt, []) == []

    nodes = {**recipe()["nodes"], "s": {"kind": "script", "action": "judge", "verifier": "v"}}
    engine.run({"nodes": nodes, "output": "s"}, PROMPT)
    assert len(asked) == 1


@isolated
def test_tests_that_do_not_load_are_left_out(stage: Any, engine: Any) -> None:
    broken = "assert double(1) ==\nassert double('\nassert (double(1)\nassert double((yield)) == 2\nassert double(lambda: 1)\n"
    writer(stage, broken + "assert double(1) == 2\nassert double(3) == 6\nassert double(5) == 10\n")
    result = engine.verify(recipe(tests=2), PROMPT, [RIGHT, WRONG]).result()
    assert list(result.scores) == [1, 0]
    (note,) = [event for event in result.trace if event.type == "note"]
    assert note.data == {"tests": ["assert double(1) == 2", "assert double(3) == 6"], "broken": 5}


@isolated
@pytest.mark.parametrize("text", ["I cannot.", "", "assert double(\nassert double(1) =="])
def test_without_a_usable_test_it_abstains(text: str, stage: Any, engine: Any) -> None:
    writer(stage, text)
    found = engine.verify(recipe(), PROMPT, [RIGHT, WRONG]).result().scores
    assert all(map(math.isnan, found))
    assert found[0].detail == "the writer wrote no test that can be run"


@isolated
def test_a_program_that_hangs_or_ends_on_one_test_has_the_others(stage: Any, engine: Any) -> None:
    writer(stage, "assert double(1) == 2\nassert double(2) == 4\nassert double(3) == 6\n")
    hangs = "def double(x):\n    while x == 2:\n        pass\n    return 2 * x\n"
    ends = "import os\ndef double(x):\n    x == 2 and os._exit(0)\n    return 2 * x\n"
    found = engine.verify(recipe(limits={"wall_seconds": 1}), PROMPT, [hangs, ends]).result().scores
    assert list(found) == [pytest.approx(2 / 3)] * 2


@isolated
def test_a_program_cannot_forge_a_share(stage: Any, engine: Any) -> None:
    writer(stage)
    liar = "class Yes:\n    def __eq__(self, other):\n        return True\ndef double(x):\n    return Yes()\n"
    shouts = "def double(x):\n    raise AssertionError('5 of 5 tests pass')\n"
    ends = 'import os\nprint(\'{"kind": "passed", "detail": ""}\', flush=True)\nos._exit(0)\ndef double(x): pass\n'
    assert list(engine.verify(recipe(), PROMPT, [liar, shouts, ends]).result().scores) == [0, 0, 0]


@isolated
def test_a_writer_may_have_sampling_settings_of_its_own(stage: Any, engine: Any) -> None:
    asked = writer(stage)
    node = {"kind": "script", "action": "write", "sampling": {"temperature": 0.7}}
    engine.verify({**recipe(writer=node, max_tokens=99), "sampling": {"temperature": 0.2}}, PROMPT, [RIGHT]).result()
    ((_, run),) = asked
    assert (run.sampling.temperature, run.sampling.max_tokens) == (0.7, 99)


def test_plan_refuses_where_nothing_is_isolated(stage: Any, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writer(stage)
    monkeypatch.setattr("counterpoint.sandbox.isolation._probed", {"bubblewrap": "no", "namespaces": "no"})
    with pytest.raises(CounterpointError, match="cannot be isolated"):
        engine.plan(recipe(), prompt=PROMPT).check()


@isolated
def test_the_laws_hold(stage: Any) -> None:
    writer(stage)
    assert_verifier_laws(recipe(tests=2), [RIGHT, WRONG, "", RIGHT], prompt=PROMPT, plugins=[stage.plugin])


@isolated
def test_a_run_that_brings_several_tasks_has_tests_for_each(stage: Any, engine: Any) -> None:
    """A trainer verifies answers to all its problems in one run."""

    async def write(node: Any, run: Run, prompt: Prompt) -> None:
        name = "half" if "`half`" in (prompt.text or "") else "double"
        run.emit(Emitted(text=f"assert {name}(4) == {2 if name == 'half' else 8}"))

    async def outer(node: Any, run: Run, prompt: Prompt) -> None:
        for name, body in (("double", "2 * x"), ("half", "x // 2")):
            program = Completion(text=f"def {name}(x):\n    return {body}\n", finish_reason="stop")
            fields = {"prompt": f"def {name}(x):\n", "entry_point": name}
            scores.extend(await run.verify(node.verifier, prompt, [program], fields=fields))

    scores: list[float] = []
    stage.actions |= {"write": write, "outer": outer}
    script = {"kind": "script", "action": "outer", "verifier": "v"}
    given = recipe()
    engine.run({"nodes": {**given["nodes"], "s": script}, "output": "s"}, PROMPT)
    assert scores == [1.0, 1.0]

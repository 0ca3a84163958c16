"""The `python_names` monitor: where it looks, what it finds, what it forbids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import counterpoint as cp
from counterpoint.plugin import ConstraintState, Prompt, Sampling
from counterpoint.testing import CharTokenizer, assert_generator_laws, assert_session_laws, make_engine
from counterpoint.testing.constraint_laws import assert_constraint_laws
from counterpoint_plugins.python_names import PythonNames
from counterpoint_plugins.python_names.places import Place, code_before, code_in, place_of

CODE = "abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:()[]{}='\"#\n`+-"


class Pieces(CharTokenizer):
    """Characters, and some tokens of several."""

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__(CODE)
        self.pieces = [*CODE, *pieces]

    @property
    def size(self) -> int:
        return len(self.pieces) + 1

    @property
    def special_ids(self) -> frozenset[int]:
        return frozenset({len(self.pieces)})

    @property
    def fingerprint(self) -> str:
        return repr(self.pieces)

    def token(self, token_id: int) -> str:
        return self.pieces[token_id] if token_id < len(self.pieces) else "<end>"

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        return [CODE.index(char) for char in text]


PIECES = Pieces(
    [
        ".append",
        ".app",
        ".push",
        ".sort()",
        ".sorted(",
        ".pop().x",
        "append(",
        "app",
        "apply",
        "end",
        "end(",
        "ending",
        " = ",
        "...",
        ").",
    ]
)
END = PIECES.size - 1


def after(text: str, prompt: str = "Write it.", **fields: Any) -> ConstraintState:
    state: ConstraintState | None = PythonNames(**{"code": "all", "context": "none", **fields}).begin(
        PIECES, frozenset({END}), Prompt(text=prompt)
    )
    for token_id in PIECES.encode(text):
        assert state is not None, "the beginning is allowed"
        state = state.advance(token_id)
    assert state is not None
    return state


def allowed(state: ConstraintState) -> set[str]:
    mask = state.mask()
    assert mask is not None
    return {PIECES.token(token_id) for token_id in mask.nonzero()[:, 0].tolist()}


# --- places ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expression", "partial"),
    [
        ("x.", "x", ""),
        ("x.app", "x", "app"),
        ("f(x)", "f(x)", None),
        ("'a'.jo", "'a'", "jo"),
        ('"""a\n"b"""', '"""a\n"b"""', None),
        ("x = [1][0].", "x = [1][0]", ""),
        ("self.items.", "self.items", ""),
        ("# a comment\nx.", "# a comment\nx", ""),
        ("s = 'it # is'\ns.", "s = 'it # is'\ns", ""),
        ("s = 'open\nx.", "s = 'open\nx", ""),
        ("None", "None", None),
    ],
)
def test_an_attribute_is_written(code: str, expression: str, partial: str | None) -> None:
    assert place_of(code) == Place(expression, partial)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "x = ",
        "3.",
        "x = 10",
        "# see x.",
        "'x.",
        "s = 'it''s x.",
        '"""a "b" x.',
        "return",
        "self.",
        "cls.it",
        "from .",
        "x[...",
        "r'\\'.",
        "x. ",
    ],
)
def test_no_attribute_is_written(code: str) -> None:
    assert place_of(code) is None


def test_code_is_in_the_open_block() -> None:
    assert code_in("Use list.append", whole=True) == "Use list.append"
    assert code_in("Use list.append", whole=False) is None
    assert code_in("Here:\n```python\nx.", whole=False) == "x."
    assert code_in("```python", whole=False) is None
    assert code_in("```sh\nx.", whole=False) is None
    assert code_in("```python\nx = 1\n```\nNow x.", whole=False) is None
    assert code_in("```python\nx = 1\n```\n```sh\nls\n```\n ```py\ny.", whole=False) == "y."


def test_code_before() -> None:
    chat = Prompt(text="Go on:\n```python\nimport os\n```\nwith\n```\nnothing\n```\n```py\nx = []\n```")
    assert code_before(chat, whole=False) == "import os\n\nx = []\n\n"
    assert code_before(Prompt(text="def f(x):\n    "), whole=True) == "def f(x):\n    "
    assert code_before(Prompt(text="def f(x):\n    "), whole=False) == ""


# --- what may follow ------------------------------------------------------------------------------------------------------


def test_after_a_dot_only_names_that_exist() -> None:
    names = allowed(after("x = []\nx."))
    assert {"a", "p", "s", "_", "app", "append("} <= names
    assert not {"z", "apply", "end", ".", " ", "(", "\n", "<end>", "..."} & names


def test_a_name_goes_on_or_is_complete() -> None:
    assert allowed(after("x = []\nx.app")) == {"e", "end", "end("}
    complete = allowed(after("x = []\nx.append"))
    assert {"(", " ", "\n", ".", "<end>", ")", " = "} <= complete
    assert not {"e", "s", "_", "end"} & complete
    assert {"a", "d", "s"} <= allowed(after("x = ''\nx.is"))


def test_a_dot_and_a_name_in_one_token() -> None:
    state = after("x = []\nx")
    names = allowed(state)
    assert {".append", ".app", ".sort()", ".pop().x", ".", "y", " ", "<end>"} <= names
    assert not {".push", ".sorted(", "..."} & names
    for token_id in range(PIECES.size - 1):
        assert (state.advance(token_id) is not None) == (PIECES.token(token_id) in names)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x = unknown\nx.",
        "x = []\n# x.",
        "x = []\ns = 'x.",
        "class A:\n    def f(self):\n        self.",
        "class A:\n    pass\nA().",
        "1.",
    ],
)
def test_nothing_is_forbidden_where_nothing_is_known(text: str) -> None:
    assert after(text).mask() is None


def test_what_came_in_with_another_token_is_let_be() -> None:
    state = after("x = [[]]\nx").advance(PIECES.pieces.index(".pop().x"))
    assert state is not None
    assert state.mask() is None


def test_the_prompt_is_read() -> None:
    code = "```python\nx = []\n```"
    assert "z" not in allowed(after("```python\nx.", code, code="fence", context="prompt"))
    assert after("```python\nx.", code, code="fence", context="none").mask() is None
    assert "z" not in allowed(after("x.", "x = []\n", context="prompt"))
    assert after("Then x.", "x = []\n", code="fence", context="prompt").mask() is None


def test_what_is_imported_is_looked_for_in_the_environment_only(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_alone.py").write_text("thing = 1\n")
    monkeypatch.chdir(tmp_path)
    assert after("import mine_alone\nmine_alone.").mask() is None
    assert {"p", "n"} <= allowed(after("import os\nos."))


@pytest.mark.parametrize("prompt", ["x = []\nx.", "import json\njson", "s = 'a'\n"])
def test_constraint_laws(prompt: str) -> None:
    assert_constraint_laws(
        PythonNames(code="all"), PIECES, {END}, prompt=Prompt(text=prompt), length=6, seeds=range(2), tries=10
    )


# --- as part of a model ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Iterator[cp.Engine]:
    with make_engine() as made:
        yield made


MODEL = {"kind": "fake", "alphabet": "abcdefghijklmnopqrstuvwxyz_.()\n", "end_bias": -9.0, "memory": 2}
MONITOR = {"kind": "python_names", "code": "all"}
RECIPE: dict[str, Any] = {
    "nodes": {
        "m": MODEL,
        "c": {"kind": "constrained", "model": "m", "constraints": MONITOR},
        "s": {"kind": "speculative", "target": "c", "draft": "m", "adaptive": False, "max_draft": 4},
    },
    "output": "c",
}
PROMPT = {"text": "x = []\n", "prefix": "x."}


def test_session_laws(engine: cp.Engine) -> None:
    alphabet = str(MODEL["alphabet"])
    for text in ("append(x.pop", "zappend", "sort()\nx.z"):
        assert_session_laws(RECIPE, [alphabet.index(char) for char in text], prompt=PROMPT, engine=engine)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=6)
def test_the_model_writes_names_that_exist(engine: cp.Engine, seed: int) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=12)
    text = engine.run(RECIPE, PROMPT, seed=seed, sampling=sampling).text
    name = re.match(r"\w*", text)
    assert name is not None
    known = dir(list)
    assert name[0] in known if name.end() < len(text) else any(one.startswith(name[0]) for one in known)
    fast = engine.run(RECIPE | {"output": "s"}, PROMPT, seed=seed, sampling=sampling)
    assert fast.text == text


def test_generator_laws(engine: cp.Engine) -> None:
    assert_generator_laws(RECIPE, prompts=[PROMPT, "import os\n"], engine=engine, max_tokens=8)


def test_a_missing_package_is_told_by_the_plan(engine: cp.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "jedi" else found(name, *rest))
    with pytest.raises(cp.RecipeError, match=r"c\.constraints: needs the package jedi") as caught:
        engine.plan(RECIPE).check()
    assert caught.value.hint == "pip install 'counterpoint[python-monitor]'"


def test_a_monitor_that_raises(engine: cp.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import jedi

    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("jedi has lost its way")

    monkeypatch.setattr(jedi, "Script", broken)
    with pytest.raises(cp.RunError, match=r"c: the constraint 'c.constraints' \(python_names\) failed: RuntimeError: jedi has"):
        engine.run(RECIPE, PROMPT, sampling=Sampling(max_tokens=3))

"""The `constrained` language model on the fake one, with constraints of the test's own and with grammars."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import counterpoint as cp
from counterpoint.errors import ModelError, RecipeError, RunError
from counterpoint.plugin import Constraint, ConstraintState, Node, Prompt, Sampling, Tokenizer, hookimpl
from counterpoint.testing import assert_generator_laws, assert_session_laws, make_engine
from counterpoint.testing.constraint_laws import assert_constraint_laws
from counterpoint.testing.fake import ALPHABET, END, CharTokenizer

VOWELS = "aeiou"


class Singing(ConstraintState):
    """No consonant after a consonant, and an even number of letters."""

    def __init__(self, node: Odd, size: int, text: str = "") -> None:
        self.node, self.size, self.text = node, size, text

    def mask(self) -> torch.Tensor | None:
        if len(self.text) == self.node.at:
            if self.node.does == "raise":
                raise KeyError("no such note")
            if self.node.does == "shape":
                return torch.ones(3, dtype=torch.bool)
            if self.node.does == "nothing":
                return torch.zeros(self.size, dtype=torch.bool)
            if self.node.does == "everything":
                return None
        last = self.text[-1:]
        may = [char in VOWELS or (char.isalpha() and (not last or last in VOWELS)) for char in ALPHABET]
        return torch.tensor([*may, len(self.text) % 2 == 0])

    def advance(self, token_id: int) -> Singing | None:
        mask = self.mask()
        if mask is not None and not mask[token_id]:
            return None
        return Singing(self.node, self.size, self.text + ALPHABET[token_id])


class Odd(Constraint):
    """Text that can be sung; at one length it does something else."""

    kind: Literal["test_singing"] = "test_singing"
    at: int = -1
    does: Literal["raise", "shape", "nothing", "everything"] = "everything"

    def begin(self, tokenizer: Tokenizer, stop_ids: frozenset[int], prompt: Prompt) -> ConstraintState:
        return Singing(self, tokenizer.size)


class Nodes:
    @staticmethod
    @hookimpl
    def counterpoint_nodes() -> list[type[Node]]:
        return [Odd]


SINGING = {"kind": "test_singing"}
LONG_WORDS = {"kind": "grammar", "regex": "[a-m]{4,30}"}
FREE = {"kind": "grammar", "regex": "(.|\\n)*"}


def recipe(*constraints: Any, **model: Any) -> dict[str, Any]:
    answer = {"kind": "constrained", "model": "m", "constraints": list(constraints)}
    return {"nodes": {"m": {"kind": "fake", **model}, "c": answer}, "output": "c"}


@pytest.fixture(scope="module")
def engine() -> Iterator[cp.Engine]:
    with make_engine([Nodes]) as made:
        yield made
        assert all(host.slots == 0 and host.pending == 0 for host in made.hosts())


def answer(engine: cp.Engine, given: dict[str, Any], seed: int = 0, prompt: Any = "hello", **sampling: Any) -> cp.RunResult:
    return engine.run(given, prompt, seed=seed, sampling=Sampling(**{"temperature": 1.0, "max_tokens": 40, **sampling}))


def ids(text: str) -> list[int]:
    return CharTokenizer().encode(text)


# --- laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "abe"])
@pytest.mark.parametrize("text", ["ababab", "banana", "abxxab", "aeio.ua", "xxxxxxx"])
@pytest.mark.parametrize("constraints", [[SINGING], [LONG_WORDS], [SINGING, LONG_WORDS], [FREE]])
def test_session_laws(engine: cp.Engine, constraints: list[Any], text: str, prefix: str) -> None:
    assert_session_laws(recipe(*constraints), ids(text), prompt={"text": "hello", "prefix": prefix}, engine=engine)


def test_session_laws_after_the_end(engine: cp.Engine) -> None:
    assert_session_laws(recipe(SINGING), [*ids("abab"), END, *ids("ab"), END], engine=engine)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_generator_laws(engine: cp.Engine, temperature: float) -> None:
    assert_generator_laws(recipe(SINGING, LONG_WORDS), engine=engine, temperature=temperature)


@pytest.mark.parametrize(
    "constraint",
    [{"regex": "(a|ab|abc)*\\."}, {"regex": "[a-z]{2,4}( [a-z]{2,4})?"}, {"lark": 'start: "(" start ")" | /[a-c]/'}],
)
def test_constraint_laws_of_grammars(engine: cp.Engine, constraint: dict[str, Any]) -> None:
    tokenizer = CharTokenizer("abcdefgh().,é ")
    node = engine.registry.kind("grammar").node.model_validate({"kind": "grammar", **constraint})
    assert isinstance(node, Constraint)
    assert_constraint_laws(node, tokenizer, {tokenizer.size - 1})


def test_the_laws_tell_a_constraint_that_breaks_them() -> None:
    class Forgetful(Singing):
        def advance(self, token_id: int) -> Singing | None:
            return Singing(self.node, self.size, self.text + ALPHABET[token_id])

    class Broken(Odd):
        def begin(self, tokenizer: Tokenizer, stop_ids: frozenset[int], prompt: Prompt) -> ConstraintState:
            return Forgetful(self, tokenizer.size)

    assert_constraint_laws(Odd(), CharTokenizer(), {END})
    with pytest.raises(AssertionError, match="the mask excludes what is refused"):
        assert_constraint_laws(Broken(), CharTokenizer(), {END})


# --- what comes out -------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([0.0, 0.7, 2.0]))
@settings(max_examples=25)
def test_an_answer_keeps_to_all_its_constraints(engine: cp.Engine, seed: int, temperature: float) -> None:
    result = answer(engine, recipe(SINGING, {"kind": "grammar", "regex": "[a-z]{4,8}"}), seed, temperature=temperature)
    assert result.completion.finish_reason == "stop"
    assert re.fullmatch("[a-z]{4,8}", result.text)
    assert len(result.text) % 2 == 0
    assert not re.search(f"[^{VOWELS}]{{2}}", result.text)


def test_what_everybody_allows_is_the_models_own(engine: cp.Engine) -> None:
    given = recipe(FREE)
    alone = {**given, "output": "m"}
    for seed in range(5):
        assert answer(engine, given, seed).text == answer(engine, alone, seed).text
    wide = recipe(SINGING | {"at": 0})
    assert answer(engine, wide, max_tokens=1).text == answer(engine, {**wide, "output": "m"}, max_tokens=1).text


def test_an_answer_may_end_where_the_constraint_says_and_nowhere_else(engine: cp.Engine) -> None:
    given = recipe({"kind": "grammar", "regex": "(abc)*"}, end_bias=50.0)
    assert answer(engine, given).text == ""
    assert answer(engine, given, prompt={"text": "hello", "prefix": "ab"}).text == "c"
    assert answer(engine, recipe({"kind": "grammar", "regex": "abc"}, end_bias=-50.0)).completion.finish_reason == "stop"


def test_rows_of_a_dead_response_allow_only_the_end(stage: Any) -> None:
    seen: list[torch.Tensor] = []

    @stage.action
    async def look(node: Any, run: Any, prompt: Prompt) -> None:
        session = await run.open(node.model, prompt)
        seen.append(await session.extend(ids("abxxe"), rows="all"))
        session.rollback(2)
        seen.append(await session.extend(ids("e")))
        control = await run.open(node.model, prompt)
        seen.append(await control.extend([*ids("ab"), END, *ids("a")], rows="last"))

    given = recipe(SINGING)
    given["nodes"]["s"] = {"kind": "script", "action": "look", "model": "c"}
    with make_engine([stage.plugin, Nodes]) as own:
        own.run(given | {"output": "s"}, "hello")
    dead, back, ended = seen
    possible = dead.isfinite()
    assert not dead.isnan().any()
    assert possible[0, ids("e")].all()
    assert possible[2:].sum(dim=-1).tolist() == [1, 1, 1]
    assert possible[2:, END].all()
    assert back.isfinite()[0, ids("aeioubcd")].all()
    assert ended.isfinite().nonzero().tolist() == [[0, END]]


@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.text("abcde.", max_size=5)), max_size=12))
@settings(max_examples=30)
def test_any_walk_of_forks_and_rollbacks_is_that_of_fresh_states(engine: cp.Engine, steps: list[tuple[int, int, str]]) -> None:
    node = engine.registry.kind("grammar").node.model_validate({"kind": "grammar", "regex": "(ab|abc|b[^.]{0,4}e|cd)*\\."})
    assert isinstance(node, Constraint)
    tokenizer = CharTokenizer()
    begin = node.begin(tokenizer, frozenset({END}), Prompt(text="hello"))
    lines: list[list[tuple[str, ConstraintState]]] = [[("", begin)] for _ in range(4)]
    for line, length, text in steps:
        del lines[line][max(1, length) :]
        for char in text:
            before, state = lines[line][-1]
            after = state.advance(ids(char)[0])
            if after is None:
                break
            lines[line].append((before + char, after))
        lines[(line + 1) % 4] = list(lines[line]) if length % 3 == 0 else lines[(line + 1) % 4]
    for text, state in [place for line in lines for place in line][::3]:
        fresh: ConstraintState | None = node.begin(tokenizer, frozenset({END}), Prompt(text="hello"))
        for char in text:
            assert fresh is not None
            fresh = fresh.advance(ids(char)[0])
        assert fresh is not None
        ours, theirs = state.mask(), fresh.mask()
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)


def test_forks_far_apart_are_exact(engine: cp.Engine) -> None:
    node = engine.registry.kind("grammar").node.model_validate({"kind": "grammar", "regex": "(a{60,}b|c{60,}d)"})
    assert isinstance(node, Constraint)
    begin = node.begin(CharTokenizer(), frozenset({END}), Prompt(text="hello"))
    left: ConstraintState | None = begin
    right: ConstraintState | None = begin
    for index in range(70):  # in turn, as rows that share passes are
        assert left is not None
        assert right is not None
        for state, first, last in ((left, "a", "b"), (right, "c", "d")):
            mask = state.mask()
            assert mask is not None
            allowed = {ALPHABET[token] for token in mask.nonzero()[:, 0].tolist()}
            assert allowed == ({"a", "c"} if index == 0 else {first, last} if index >= 60 else {first})
        left, right = left.advance(ids("a")[0]), right.advance(ids("c")[0])


@pytest.mark.parametrize("rule", ["invariant", "rejection"])
@pytest.mark.parametrize("draft", [{"kind": "fake", "blur": 2.0}, {"kind": "prompt_lookup", "min_ngram": 1}, "c"])
def test_inside_speculative(engine: cp.Engine, draft: Any, rule: str) -> None:
    given = recipe(SINGING, {"kind": "grammar", "regex": "[a-z]{20,38}"})
    given["nodes"]["s"] = {
        "kind": "speculative",
        "target": "c",
        "draft": draft,
        "rule": rule,
        "adaptive": False,
        "max_draft": 4,
    }
    fast = {**given, "output": "s"}
    for seed in range(4):
        made = answer(engine, fast, seed)
        assert re.fullmatch("[a-z]{20,38}", made.text)
        if rule == "invariant":
            assert made.completion.ids == answer(engine, given, seed).completion.ids
        assert answer(engine, fast, seed, temperature=0).text == answer(engine, given, seed, temperature=0).text
    if rule == "invariant":
        assert_generator_laws(fast, engine=engine)


def test_many_samples_at_once_are_those_of_one_at_a_time(engine: cp.Engine) -> None:
    given = recipe(SINGING, LONG_WORDS)
    prompts = ["hello", "there", "a fugue", "hello"]
    sampling = Sampling(temperature=1.0, max_tokens=30)
    together = engine.run_many(given, prompts, seed=3, sampling=sampling)
    for one, prompt in zip(together, prompts, strict=True):
        assert one.text == engine.run(given, prompt, seed=3, sampling=sampling).text


# --- what goes wrong ------------------------------------------------------------------------------------------------------


def refused(call: Callable[[], object], error: type[cp.CounterpointError], *parts: str) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("constraint", "parts"),
    [
        ({"regex": "(a"}, ["c.constraints[0]", "the regular expression cannot be compiled", "unclosed group"]),
        ({"regex": "a(?=b)"}, ["look-around", "Rust's regex"]),
        ({"json_schema": {"type": "strin"}}, ["the JSON schema cannot be compiled", "Invalid type: strin", "keywords"]),
        ({"json_schema": '{"type": "string", "not": {}}'}, ["the JSON schema cannot be compiled", "not"]),
        ({"json_schema": {"type": "string", "minLength": 5, "maxLength": 2}}, ["minLength (5) is greater"]),
        ({"lark": "start: foo"}, ["the grammar cannot be compiled", 'unknown name: "foo"', "Lark"]),
    ],
)
def test_a_grammar_that_cannot_be_compiled_is_refused_by_the_plan(
    engine: cp.Engine, constraint: dict[str, Any], parts: list[str]
) -> None:
    refused(lambda: engine.plan(recipe({"kind": "grammar", **constraint})).check(), RecipeError, *parts)


@pytest.mark.parametrize(
    ("constraint", "part"),
    [
        ({}, "exactly one of regex, json_schema and lark, not none"),
        ({"regex": "a", "lark": "start: /a/"}, "not regex and lark"),
        ({"json_schema": "{"}, "json_schema is no JSON text"),
        ({"json_schema": "[1]"}, "json_schema is no JSON object"),
    ],
)
def test_a_grammar_says_one_thing(engine: cp.Engine, constraint: dict[str, Any], part: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(part)):
        engine.plan(recipe({"kind": "grammar", **constraint}))


def test_no_constraint_at_all(engine: cp.Engine) -> None:
    with pytest.raises(RecipeError, match="c: needs at least one constraint"):
        engine.plan(recipe())


def test_what_is_no_constraint(engine: cp.Engine) -> None:
    refused(lambda: engine.plan(recipe("m")), RecipeError, "'m' (fake) is a LanguageModel, but a Constraint is wanted here")


@pytest.mark.parametrize("sampling", [{"min_tokens": 3}, {"ignore_stop": True}])
def test_sampling_that_forbids_the_end(engine: cp.Engine, sampling: dict[str, Any]) -> None:
    (name,) = sampling
    refused(lambda: engine.plan(recipe(SINGING) | {"sampling": sampling}).check(), RecipeError, name, "forbids the end")
    inner = recipe(SINGING)
    inner["nodes"]["s"] = {"kind": "sample", "model": "c", "sampling": sampling}
    refused(lambda: engine.run(inner | {"output": "s"}, "hello"), RecipeError, name, "forbids the end")


def test_constrained_twice(engine: cp.Engine) -> None:
    given = recipe(SINGING)
    given["nodes"]["outer"] = {"kind": "constrained", "model": "c", "constraints": LONG_WORDS}
    refused(lambda: engine.plan(given | {"output": "outer"}).check(), RecipeError, "'c' is constrained already", "one node")


def test_a_prefix_that_breaks_the_constraint(engine: cp.Engine) -> None:
    for prefix in ("abxx", "ab.", "x" * 200):
        refused(
            lambda prefix=prefix: answer(engine, recipe(FREE, SINGING), prompt={"text": "hello", "prefix": prefix}),
            ModelError,
            "c: the answer's beginning",
            prefix[:60],
            "'c.constraints[1]' (test_singing)",
        )


def test_a_constraint_that_forbids_everything(engine: cp.Engine) -> None:
    given = recipe(SINGING | {"at": 2, "does": "nothing"})
    refused(lambda: answer(engine, given), RunError, "c: the constraint 'c.constraints[0]' (test_singing) allows nothing after")


def test_constraints_that_have_nothing_in_common(engine: cp.Engine) -> None:
    given = recipe(SINGING, {"kind": "grammar", "regex": "bbbb"})
    refused(
        lambda: answer(engine, given), RunError, "(test_singing) and 'c.constraints[1]' (grammar) have nothing in common", "'b'"
    )


def test_a_model_that_gives_no_chance_to_what_is_allowed(stage: Any) -> None:
    @stage.action
    async def stubborn(node: Any, run: Any, prompt: Prompt) -> Any:
        session = await run.open(node.models[0], prompt)
        row = torch.full((session.tokenizer.size,), -torch.inf)
        row[3] = 0.0

        async def logits() -> torch.Tensor:
            return row

        session.logits = logits
        return session

    given = recipe({"kind": "grammar", "regex": "e+"})
    given["nodes"]["x"] = {"kind": "script_model", "action": "stubborn", "models": ["m"]}
    given["nodes"]["c"]["model"] = "x"
    with make_engine([stage.plugin, Nodes]) as own:
        refused(lambda: answer(own, given), RunError, "c: its model gives no chance", "at the beginning", "inside")


@pytest.mark.parametrize(("does", "part"), [("raise", "KeyError: 'no such note'"), ("shape", "shape (3,) instead of (31,)")])
@pytest.mark.parametrize("at", [0, 3])
def test_a_constraint_that_raises(engine: cp.Engine, does: str, part: str, at: int) -> None:
    given = recipe(SINGING | {"at": at, "does": does})
    refused(lambda: answer(engine, given), RunError, "c: the constraint 'c.constraints[0]' (test_singing) failed", part)


def test_a_control_token_is_never_allowed(engine: cp.Engine) -> None:
    given = recipe({"kind": "grammar", "lark": "start: <[3]> | start start"})
    assert answer(engine, given).text  # a token by its number, which is text
    control = recipe({"kind": "grammar", "lark": f"start: <[{END}]>"})
    refused(lambda: answer(engine, control), RunError, "allows nothing at the beginning")


def test_a_missing_package_is_told_by_the_plan(engine: cp.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "llguidance" else found(name, *rest))
    refused(lambda: engine.plan(recipe(FREE)).check(), RecipeError, "llguidance", "pip install 'counterpoint[constrained]'")
    refused(lambda: answer(engine, recipe(FREE)), cp.CounterpointError, "llguidance", "pip install 'counterpoint[constrained]'")


def test_importing_the_plugin_is_quick() -> None:
    import subprocess
    import sys

    code = (
        "import sys, counterpoint_plugins.constrained, counterpoint_plugins.python_names; "
        "assert not {'torch', 'transformers', 'textual', 'llguidance', 'jedi'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_text_too_much_for_the_engine(engine: cp.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from llguidance import LLMatcher, LLParserLimits

    from counterpoint_plugins.constrained import engine as made

    limits = LLParserLimits(step_max_items=40)
    monkeypatch.setattr(made, "LLMatcher", lambda *given, **options: LLMatcher(*given, **options, limits=limits))
    monkeypatch.setattr(made, "problems", lambda grammar: ("", []))
    given = recipe({"kind": "grammar", "lark": 'start: e\ne: e e e | e e | "x"'}, end_bias=-50.0)
    parts = ["c: the constraint 'c.constraints[0]' (grammar): ", "Too many items (limit 40", "simplify the grammar"]
    refused(lambda: answer(engine, given), RunError, *parts)

"""A recipe's text: its problems on their lines, and changes that leave the rest alone."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.registry import Registry
from counterpoint_tui.recipe_text import UNSET, check, line_of, set_value

from .conftest import PAIR


def problems(text: str, registry: Registry) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.message) for problem in check(text, "mine", registry).problems]


def test_a_recipe_that_is_right(registry: Registry) -> None:
    checked = check(PAIR, "mine", registry)
    assert not checked.problems
    assert checked.recipe is not None
    assert checked.graph is not None
    assert checked.recipe.name == "mine"
    assert check("name: own\n" + PAIR, "mine", registry).recipe.name == "own"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("blur: 2", "blur: -1", 4, "nodes.small.blur: Input should be greater than or equal to 0"),
        ("blur: 2", "blurr: 2", 4, "nodes.small.blurr: no such field; fake has: "),
        (
            "kind: speculative",
            "kind: speculativ",
            5,
            "nodes.spec.kind: unknown node kind 'speculativ' (did you mean 'speculative'?",
        ),
        ("max_tokens: 24", "max_tokens: 0", 7, "sampling.max_tokens: Input should be greater than or equal to 1"),
        ("output: spec", "output: {a", 7, "expected ',' or '}', but got ':'"),
        ("target: large", "target: larg", 5, "spec.target: no node is called 'larg'"),
        ("target: large", "target: spec", 5, "spec.target: circular reference spec → spec"),
        ("draft: [small]", "draft: [small, smal]", 5, "spec.draft[1]: no node is called 'smal'"),
        ("output: spec", "output: nobody", 6, "output: no node is called 'nobody'"),
        ("output: spec", "output: spec\noutput: large", 7, "'output' is given twice"),
        (PAIR, "", None, "a recipe is a mapping, this is empty"),
        (PAIR, "- a\n- b", None, "a recipe is a mapping, this is a list"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, line: int | None, message: str, registry: Registry) -> None:
    found = problems(PAIR.replace(old, new), registry)
    assert [place for place, _ in found] == [line]
    assert found[0][1].startswith(message)


def test_several_problems(registry: Registry) -> None:
    text = PAIR.replace("blur: 2", "blur: -1").replace("max_tokens: 24", "max_tokens: x")
    assert [line for line, _ in problems(text, registry)] == [4, 7]


def test_the_hint_comes_along(registry: Registry) -> None:
    assert check(PAIR.replace("target: large", "target: larg"), "m", registry).hint.startswith("did you mean 'large'?")


def test_lines_of_places() -> None:
    assert line_of(PAIR, ("nodes", "small", "blur")) == 4
    assert line_of(PAIR, ("nodes", "spec", "nothing")) == 5
    assert line_of("a:\n  - b\n  - c\n", ("a", 1)) == 2
    assert line_of("[", ("a",)) is None


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("nodes", "small", "blur"), 3, "blur: 2", "blur: 3"),
        (("nodes", "large", "seed"), 7, "{kind: fake, seed: 1, cost", "{kind: fake, seed: 7, cost"),
        (("nodes", "spec", "draft"), ["small", "large"], "draft: [small]", "draft: [small, large]"),
        (("nodes", "spec", "draft", 0), "large", "draft: [small]", "draft: [large]"),
        (("nodes", "small", "sharpness"), 4.5, "blur: 2}", "blur: 2, sharpness: 4.5}"),
        (("nodes", "spec", "sampling", "top_k"), 5, "max_draft: 3}", "max_draft: 3, sampling: {top_k: 5}}"),
        (("seed",), 3, "prompt: hello there", "prompt: hello there\nseed: 3"),
        (("prompt",), UNSET, "prompt: hello there\n", ""),
        (("description",), "two: fakes", "A fake pair.", "'two: fakes'"),
        (("prompt",), "two\nlines", "prompt: hello there", 'prompt: "two\\nlines"'),
    ],
)
def test_a_change_leaves_the_rest_alone(path: tuple[str, ...], value: Any, old: str, new: str) -> None:
    edited = set_value(PAIR, path, value)
    assert edited.text == PAIR.replace(old, new)
    assert not edited.rewritten


def test_a_change_in_a_block() -> None:
    text = "nodes:\n  m:\n    kind: fake  # a comment\n\n    # above\n    stop: [a]\noutput: m\n"
    assert set_value(text, ("nodes", "m", "seed"), 1).text == text.replace("stop: [a]", "stop: [a]\n    seed: 1")
    assert set_value(text, ("nodes", "m", "stop"), UNSET).text == text.replace("    stop: [a]\n", "")
    folded = "prompt: |\n  one\n  two\n\n# end\nseed: 1\n"
    assert set_value(folded, ("prompt",), "three").text == "prompt: three\n\n# end\nseed: 1\n"


def test_what_cannot_be_done_in_place_is_written_anew_and_said() -> None:
    edited = set_value(PAIR, ("nodes", "small", "blur"), UNSET)
    assert edited.rewritten
    assert "#" not in edited.text
    assert "blur" not in edited.text
    assert not set_value("{a: 1, b: 2}", ("a",), UNSET).rewritten  # there was no comment to lose


def test_what_changes_nothing() -> None:
    assert set_value(PAIR, ("seed",), UNSET).text == PAIR
    assert set_value(PAIR, ("output",), "spec").text == PAIR


@pytest.mark.parametrize("text", ["", "- a", "{", "a: 1"])
def test_a_place_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match="no mapping"):
        set_value(text, ("a", "b"), 1)


KEYS = st.sampled_from(["a", "b", "c d", "#e", "yes", "1", "é: f"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 10**9) | st.floats(-9, 9) | st.text("ab #:'\"\n{}[],-é", max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
MAPPINGS = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3) | VALUES, max_size=4)


@settings(max_examples=60)
@given(data=MAPPINGS, flow=st.sampled_from([None, True, False]), path=st.lists(KEYS, min_size=1, max_size=3), value=VALUES)
def test_only_what_was_changed_is_different(data: dict[str, Any], flow: bool | None, path: list[str], value: Any) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True)
    expected = at = yaml.safe_load(text)
    for step in path[:-1]:
        if at.get(step) is None:
            at[step] = {}
        at = at[step]
        if not isinstance(at, dict):
            with pytest.raises(ValueError, match="no mapping"):
                set_value(text, tuple(path), value)
            return
    at[path[-1]] = value
    assert yaml.safe_load(set_value(text, tuple(path), value).text) == expected

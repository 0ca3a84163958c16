"""Sampling settings and budgets."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from counterpoint import Budget, BudgetError, RecipeError, Sampling, load_recipe
from counterpoint.engine import parse_budget


@pytest.mark.parametrize("name", ["top_k", "top_p", "min_p"])
def test_truncation_contradicts_greedy_decoding(name: str) -> None:
    message = f"temperature 0 is greedy decoding, which {name} contradict"
    with pytest.raises(ValidationError, match=message):
        Sampling(temperature=0, **{name: 1})
    with pytest.raises(ValidationError, match=message):
        Sampling().merged(Sampling(**{name: 1}))
    with pytest.raises(RecipeError, match=f"sampling: {message}"):
        load_recipe({"nodes": {"m": {"kind": "sample", "model": "m"}}, "output": "m", "sampling": {name: 1}})
    assert getattr(Sampling(temperature=1, **{name: 1}), name) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": -0.1}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.1},
        {"min_p": -0.1}, {"min_p": 1.1}, {"repetition_penalty": 0}, {"max_tokens": 0}, {"min_tokens": -1}, {"temprature": 1},
        {"min_tokens": 3, "max_tokens": 2}, {"stop": ["a", ""]}, {"stop": "a"}, {"top_p": math.nan},
    ],
)  # fmt: skip
def test_settings_out_of_bounds_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Sampling(temperature=fields.pop("temperature", 1.0), **fields)  # type: ignore[arg-type]


def test_merging_keeps_what_was_set() -> None:
    base = Sampling(temperature=0.8, top_p=0.9, max_tokens=100)
    assert base.merged(None) is base
    assert base.merged(Sampling(max_tokens=5)) == Sampling(temperature=0.8, top_p=0.9, max_tokens=5)
    assert base.merged(Sampling(temperature=0)) == Sampling(max_tokens=100), "0 is set as well"
    assert base.merged(Sampling()) == base
    assert base.merged(Sampling(temperature=0.5)).merged(Sampling(min_tokens=3)) == Sampling(
        temperature=0.5, top_p=0.9, min_tokens=3, max_tokens=100
    )


def test_settings_over_others_may_set_truncation_alone() -> None:
    """As a node's `sampling: {top_k: 3}` over the recipe's temperature."""
    assert Sampling(temperature=0.8).merged(Sampling(top_k=3)) == Sampling(temperature=0.8, top_k=3)
    assert Sampling(max_tokens=1000).merged(Sampling(min_tokens=600)) == Sampling(max_tokens=1000, min_tokens=600)


def test_greedy_over_truncation_lifts_it() -> None:
    """As `--temperature 0` over a recipe's top_p."""
    assert Sampling(temperature=0.8, top_p=0.9, max_tokens=9).merged(Sampling(temperature=0)) == Sampling(max_tokens=9)


def test_merged_settings_may_contradict() -> None:
    with pytest.raises(ValidationError, match="top_p"):
        Sampling(temperature=0).merged(Sampling(top_p=0.9))
    with pytest.raises(ValidationError, match=r"min_tokens \(50\) is above max_tokens \(9\)"):
        Sampling(min_tokens=50).merged(Sampling(max_tokens=9))


def test_budgets_of_text() -> None:
    assert parse_budget("tokens=5") == Budget(tokens=5)
    assert parse_budget(" flops=1e12, seconds = 0.5 ") == Budget(flops=1e12, seconds=0.5)
    given = Budget(tokens=1)
    assert parse_budget(given) is given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokens=0", "tokens: Input should be greater than 0"),
        ("tokens=-3", "tokens: Input should be greater than 0"),
        ("seconds=0", "seconds: Input should be greater than 0"),
        ("flops=-1e3", "flops: Input should be greater than 0"),
        ("seconds=nan", "seconds: "),
        ("tokens=1.5", "tokens: "),
        ("tokens=many", "tokens: "),
        ("tokens=", "tokens: "),
        ("tokens", "'tokens' is not NAME=AMOUNT"),
        ("", "'' is not NAME=AMOUNT"),
        ("token=3", "token: "),
        ("tokens=3,", "'' is not NAME=AMOUNT"),
        ("tokens=3,tokens=5", "tokens"),
    ],
)
def test_budgets_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(BudgetError) as caught:
        parse_budget(text)
    assert caught.value.message.startswith(f"budget '{text}': ")
    assert message in caught.value.message
    assert "flops=1e12,seconds=30,tokens=200; each above 0" in caught.value.hint


def test_a_budget_limits_something() -> None:
    with pytest.raises(ValidationError, match="at least one of flops, seconds, tokens"):
        Budget()

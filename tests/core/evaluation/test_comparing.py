"""Comparisons through the engine: equal budgets, what was answered before, and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

import counterpoint as cp
from counterpoint.engine import Engine
from counterpoint.errors import BudgetError, EvaluationError
from counterpoint.plugin import Completion, Node, Prompt, Run, Verifier, hookimpl
from counterpoint.testing import make_engine


def variant(recipe: Any, name: str, **fields: Any) -> Any:
    return {**recipe, "name": name, "nodes": {"m": {**recipe["nodes"]["m"], **fields}}}


def test_a_comparison(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    both = [variant(recipe, "small"), variant(recipe, "large", cost=10, seed=3)]
    seen: list[tuple[str, int]] = []
    comparison = cp.compare(
        both,
        questions,
        engine=engine,
        scorers=["distinct_n"],
        out=tmp_path,
        progress=lambda label, state: seen.append((label, state.done)),
    )
    assert [one.name for one in comparison.recipes] == ["small", "large"]
    assert len(comparison.examples) == 12
    assert len(comparison.verdicts) == 1
    small, large = comparison.recipes
    assert large.costs.flops > 5 * small.costs.flops
    assert (seen[0], seen[-1]) == (("small", 0), ("large", 12))

    seen.clear()
    again = cp.compare(
        both,
        questions,
        engine=engine,
        scorers=["distinct_n"],
        out=tmp_path,
        progress=lambda label, state: seen.append((label, state.done)),
    )
    assert seen == [("small", 12), ("large", 12)], "nothing is answered again"
    assert again.as_dict() == comparison.as_dict()
    folders = sorted(folder for folder in tmp_path.iterdir())
    assert cp.compare(folders, engine=engine).as_dict()["pairs"][0]["p"] == comparison.pairs[0].p


def test_the_cost_of_another_recipe_as_budget(engine: Engine, recipe: Any, questions: Any) -> None:
    small = variant(recipe, "small", end_bias=-50)
    large = variant(recipe, "large", cost=3, seed=3)
    free = cp.evaluate(large, questions, engine=engine, scorers=["distinct_n"])
    mean = sum(record.cost.flops for record in free.records) / 12
    comparison = cp.compare([small, large], questions, engine=engine, scorers=["distinct_n"], budget="flops=large", in_flight=1)
    (budget,) = {one.configuration.budget["flops"] for one in comparison.recipes if one.configuration.budget}
    assert budget == pytest.approx(mean, rel=1e-5)
    few, many = comparison.recipes
    assert all(record.cost.flops <= budget for records in few.groups.values() for record in records)
    assert many.costs.flops == pytest.approx(budget, rel=1e-5), "the yardstick's own answers stand as they are"
    with pytest.raises(BudgetError, match="'huge' is neither a number nor one of the recipes"):
        cp.compare([small, large], questions, engine=engine, budget="flops=huge")


class Longer(Verifier):
    """Prefers the longer of two answers."""

    kind: Literal["longer"] = "longer"
    compares: ClassVar[bool] = True

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        lengths = [len(one.text) for one in completions]
        return [sum((one > other) + (one == other) / 2 for other in lengths) / len(lengths) for one in lengths]


class Plugin:
    @staticmethod
    @hookimpl
    def counterpoint_nodes() -> list[type[Node]]:
        return [Longer]


def test_a_scorer_that_sees_answers_side_by_side(recipe: Any, questions: Any, tmp_path: Path) -> None:
    both = [variant(recipe, "short", end_bias=3), variant(recipe, "long", end_bias=-50)]
    with make_engine([Plugin()]) as engine:
        options: dict[str, Any] = {"engine": engine, "out": tmp_path, "scorers": ["numeric_match", "longer"]}
        comparison = cp.compare(both, questions, **options)
        short, long = (one.figures["longer"].estimate.value for one in comparison.recipes)
        assert short + long == pytest.approx(1.0)
        assert long > short
        (pair,) = [pair for pair in comparison.pairs if pair.scorer == "longer"]
        assert (pair.wins, pair.losses, pair.better) == (0, 12, "long")
        folders = sorted(folder for folder in tmp_path.iterdir())
        assert not any("longer" in (folder / "examples.jsonl").read_text() for folder in folders), "it hangs on the company"
        stored = cp.compare(folders, questions, engine=engine, scorers=["longer"])
        assert {pair.scorer for pair in stored.pairs} == {"numeric_match", "longer"}
        with pytest.raises(EvaluationError, match="no data set was given for the scorer longer"):
            cp.compare(folders, engine=engine, scorers=["longer"])
        with pytest.raises(EvaluationError, match="is not the data set that the recipes have answered"):
            cp.compare(folders, questions[:5], engine=engine, scorers=["longer"])


def test_names_of_finished_evaluations(engine: Engine, recipe: Any, questions: Any) -> None:
    done = [
        cp.evaluate(variant(recipe, "fake", seed=seed), questions, engine=engine, scorers=["distinct_n"]) for seed in (1, 2)
    ]
    comparison = cp.compare(done, engine=engine, names=["one", "two"], baseline="one")
    assert [one.name for one in comparison.recipes] == ["one", "two"]
    (pair,) = comparison.pairs
    assert (pair.a, pair.b) == ("two", "one")


def test_a_budget_that_nothing_can_meet(engine: Engine, recipe: Any, questions: Any) -> None:
    both = [variant(recipe, "small"), variant(recipe, "large", cost=10)]
    with pytest.raises(BudgetError, match="no recipe can answer anything within the budget flops=10") as error:
        cp.compare(both, questions, engine=engine, budget="flops=10", scorers=["distinct_n"])
    assert "raise it" in error.value.hint


def test_what_cannot_be_compared(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    one = cp.evaluate(recipe, questions, engine=engine, scorers=["distinct_n"])
    other = cp.evaluate(recipe, questions, engine=engine, scorers=["distinct_n"], limit=5)
    with pytest.raises(EvaluationError):
        cp.compare([one, other], engine=engine)
    part = cp.evaluate(recipe, questions, engine=engine, scorers=["distinct_n"], shard=(1, 2), out=tmp_path / "e")
    assert part.complete
    lines = (tmp_path / "e" / "examples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "e" / "examples.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(EvaluationError, match="has answered 5 of 6 examples"):
        cp.compare([one, tmp_path / "e"], engine=engine)
    with pytest.raises(EvaluationError, match="no data set was given"):
        cp.compare([one, recipe], engine=engine)
    with pytest.raises(EvaluationError, match="1 names for 2 recipes"):
        cp.compare([recipe, recipe], questions, engine=engine, names=["a"])

"""Comparisons: figures, verdicts in words, and what is refused."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import pytest

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.comparison import compare
from counterpoint.evaluation.figures import Settings
from counterpoint.evaluation.outcomes import Measure
from counterpoint.evaluation.records import DataDescription

TESTS = Measure("tests", verdicts=True)
QUICK = Settings(resamples=199)
GOOD = [1.0] * 30 + [0.0] * 10
BAD = [1.0] * 12 + [0.0] * 28


@pytest.fixture
def pair(invented: Any) -> list[Any]:
    """Two recipes, the better of which costs a quarter."""
    return [
        (invented.configuration("large"), invented.records(BAD, flops=400, seconds=2.0)),
        (invented.configuration("small"), invented.records(GOOD, flops=100, seconds=1.0)),
    ]


def test_the_better_one_is_named_with_how_much_how_sure_and_at_what_cost(pair: list[Any]) -> None:
    found = compare(pair, [TESTS], settings=QUICK)
    (one,) = found.pairs
    assert (one.a, one.b, one.better) == ("large", "small", "small")
    assert one.difference.value == pytest.approx(-0.45)
    assert (one.wins, one.losses, one.ties) == (0, 18, 22)
    assert one.verdict == (
        "small is better than large by 45.0 points on tests (95 % interval 30.7 to 60.2; exact McNemar p < 0.001), "
        "at 0.25 × the FLOPs and 0.5 × the time."
    )
    assert found.recipes[1].figures["tests"].estimate.value == 0.75
    assert found.recipes[1].costs.seconds == 1


def test_no_difference_shown_is_not_no_difference(invented: Any) -> None:
    found = compare(
        [
            (invented.configuration("a"), invented.records(GOOD)),
            (invented.configuration("b"), invented.records([0.0, *GOOD[1:]], flops=103)),
        ],
        [TESTS],
        settings=QUICK,
    )
    assert found.pairs[0].better is None
    assert found.verdicts == (
        "No difference shown between a and b on tests (a ahead by 2.5 points, 95 % interval −6.5 to 12.9; "
        "exact McNemar p = 1); a took about the same FLOPs.",
    )
    assert not found.warnings


def test_lower_can_be_better(invented: Any) -> None:
    rng = random.Random(0)
    a = [rng.uniform(1, 1.2) for _ in range(40)]
    found = compare(
        [
            (invented.configuration("a", "bits"), invented.records(a, "bits")),
            (invented.configuration("b", "bits"), invented.records([x + rng.uniform(0, 0.4) for x in a], "bits")),
        ],
        [Measure("bits", lower_is_better=True)],
        settings=QUICK,
    )
    (one,) = found.pairs
    assert one.difference.value < 0
    assert one.better == "a"
    assert one.wins == 40
    assert one.verdict.startswith("a is better than b by 0.2")
    assert "lower is better" in one.verdict
    assert "by −" not in one.verdict


def test_order_of_recipes_and_of_records_changes_nothing_but_the_sign(pair: list[Any]) -> None:
    forth, back = compare(pair, [TESTS], settings=QUICK), compare(pair[::-1], [TESTS], settings=QUICK)
    (one,), (other,) = forth.pairs, back.pairs
    assert one.difference.value == -other.difference.value
    assert (one.p, one.wins, one.losses) == (other.p, other.losses, other.wins)
    assert one.verdict == other.verdict
    shuffled = [(configuration, random.Random(1).sample(records, len(records))) for configuration, records in pair]
    assert compare(shuffled, [TESTS], settings=QUICK).as_dict() == forth.as_dict()


def test_several_pairs_are_corrected_and_it_is_said(pair: list[Any], invented: Any) -> None:
    third = (invented.configuration("third"), invented.records([1.0] * 22 + [0.0] * 18))
    found = compare([*pair, third], [TESTS], settings=QUICK)
    assert [(one.a, one.b) for one in found.pairs] == [("large", "small"), ("large", "third"), ("small", "third")]
    assert all(one.adjusted >= one.p for one in found.pairs)
    assert "after Holm’s correction for 3 pairs" in found.verdicts[0]
    assert any("Holm" in note for note in found.notes)
    against = compare([*pair, third], [TESTS], baseline="small", settings=QUICK)
    assert [(one.a, one.b) for one in against.pairs] == [("large", "small"), ("third", "small")]
    with pytest.raises(EvaluationError, match="no recipe is called 'none'") as caught:
        compare(pair, [TESTS], baseline="none", settings=QUICK)
    assert "large, small" in caught.value.hint


def test_one_evaluation_alone_has_figures_and_no_pairs(pair: list[Any]) -> None:
    found = compare(pair[:1], [TESTS], settings=QUICK)
    assert not found.pairs
    assert found.recipes[0].figures["tests"].estimate.value == 0.3


def test_samples_are_compared_by_their_means_and_at_equal_budget(invented: Any) -> None:
    rng = random.Random(2)
    many = [[float(rng.random() < 0.5) for _ in range(8)] for _ in range(40)]
    found = compare(
        [
            (invented.configuration("large"), invented.records(GOOD, flops=400)),
            (invented.configuration("small", samples=8), invented.records(many, flops=100)),
        ],
        [TESTS],
        settings=QUICK,
    )
    assert found.pairs[0].test == "paired permutation"
    assert found.pairs[0].seconds_ratio is None
    assert [k for k, _ in found.recipes[1].passes["tests"]] == [1, 2, 4, 8]
    (row,) = found.budgets
    assert (row.reference, row.k, row.flops) == ("large", 1, 400)
    assert row.values["large"] == 0.75
    assert row.values["small"] == pytest.approx(dict(found.recipes[1].passes["tests"])[4].value)
    assert row.bounds == frozenset()
    assert any("one observation" in note for note in found.notes)


def test_a_measure_of_all_answers_is_resampled_as_a_whole(invented: Any) -> None:
    def distinct(scores: Any, texts: Any) -> float:
        words = [word for text in texts for word in text.split()]
        return len(set(words)) / len(words)

    found = compare(
        [
            (invented.configuration("a", "distinct"), invented.records([1.0] * 20, "distinct")),
            (invented.configuration("b", "distinct"), invented.records([1.0] * 20, "distinct", text="the same again")),
        ],
        [Measure("distinct", overall=distinct)],
        settings=Settings(resamples=990),
    )
    assert found.recipes[1].figures["distinct"].estimate.value == pytest.approx(3 / 60)
    assert found.pairs[0].test == "approximate randomisation"
    assert found.pairs[0].p <= 0.02
    assert found.pairs[0].better == "a"


# --- what readers are told ---


def test_failures_budgets_and_verifiers_that_read_references_are_warned_of(invented: Any) -> None:
    records = invented.records(GOOD[:-1])
    records[0] = records[0].model_copy(update={"finish_reason": "budget"})
    records[1] = records[1].model_copy(update={"finish_reason": "length"})
    budget = {"flops": 1000.0}
    found = compare(
        [
            (
                invented.configuration("a", budget=budget, reads_references={"judge": ["tests"]}),
                [*records, invented.failed(39)],
            ),
            (invented.configuration("b", budget=budget, samples=2), invented.records(GOOD, flops=10)),
        ],
        [TESTS],
        settings=QUICK,
    )
    text = "\n".join(found.warnings)
    assert text.startswith("a: its verifier judge reads tests, which a scorer reads too")
    assert "a: 1 of 40 answers failed or could not be scored; they count as wrong for tests" in text
    assert "a: the budget ended 1 of 40 answers early" in text
    assert "a: 1 of 40 answers were cut at the limit of tokens" in text
    assert "b: 40 samples are missing" in text
    assert "costs under the same budget differ: a took 9.8 × the FLOPs of b" in text
    assert any("other settings than a: samples" in note for note in found.notes)


def test_what_not_all_have_is_left_out_and_it_is_said(invented: Any) -> None:
    found = compare(
        [
            (invented.configuration("a"), invented.records(GOOD)),
            (invented.configuration("a", seed=1), invented.records(GOOD[:15], first=5)),
        ],
        [TESTS],
        settings=QUICK,
    )
    assert len(found.examples) == 15
    assert [one.name for one in found.recipes] == ["a #1", "a #2"]
    assert "a #1: 25 of its 40 examples are left out, for not all others have them" in found.notes
    assert "a #2 differs from a #1 in: seed" in found.notes
    assert any("15 examples only" in note for note in found.notes)


def test_scorers_that_measure_the_output_are_alike_whatever_it_is_called(invented: Any) -> None:
    def measured(name: str, model: str) -> Any:
        recipe = {"name": name, "nodes": {name: {"kind": "fake"}, "other": {"kind": "fake"}}, "output": name}
        return invented.configuration(name, recipe=recipe, scorers={"tests": {"kind": "tests", "model": model}})

    records = invented.records(GOOD)
    assert compare([(measured("a", "a"), records), (measured("b", "b"), records)], [TESTS], settings=QUICK).pairs
    assert compare([(measured("a", "a"), records), (measured("tests", "tests"), records)], [TESTS], settings=QUICK).pairs
    with pytest.raises(EvaluationError, match="different settings of 'tests'"):
        compare([(measured("a", "a"), records), (measured("b", "other"), records)], [TESTS], settings=QUICK)


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "other"}, "are of different tasks: code and other"),
        ({"data": DataDescription(name="large", sha256="00" * 32, examples=4)}, "are of different data: small"),
        ({"scorers": {"tests": {"kind": "tests"}, "more": {"kind": "more"}}}, "more only in one of them"),
        ({"scorers": {"tests": {"kind": "tests", "timeout": 3}}}, "different settings of 'tests'"),
    ],
)
def test_evaluations_of_different_things_are_refused(change: Any, message: str, pair: list[Any], invented: Any) -> None:
    other = (invented.configuration("other", **change), invented.records(GOOD))
    with pytest.raises(EvaluationError, match=message) as caught:
        compare([pair[0], other], [TESTS], settings=QUICK)
    assert "'large' and 'other'" in caught.value.message
    assert caught.value.hint


def test_evaluations_without_anything_in_common_are_refused(pair: list[Any], invented: Any) -> None:
    configuration = invented.configuration("other")
    for evaluations, measures, message in (
        ([pair[0], (configuration, [])], [TESTS], "'other' has no answers"),
        ([pair[0], (configuration, invented.records(GOOD, first=100))], [TESTS], "no example in common"),
        ([], [TESTS], "no evaluations"),
        (pair, [], "no scorer"),
        (pair, [Measure("rouge")], "no scorer is called 'rouge'"),
        ([pair[0], (configuration, invented.records([None] * 40))], [TESTS], "'tests' has scored no example"),
    ):
        with pytest.raises(EvaluationError, match=message) as caught:
            compare(evaluations, measures, settings=QUICK)
        assert caught.value.hint


# --- plain data ---


def test_a_comparison_is_plain_data(pair: list[Any]) -> None:
    found = compare(pair, [TESTS], settings=QUICK)
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert data["verdicts"] == list(found.verdicts)
    assert data["recipes"][0]["figures"]["tests"]["value"] == 0.3
    assert data["pairs"][0]["difference"]["method"] == "Tango"


def test_frames_need_pandas(pair: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = compare(pair, [TESTS], settings=QUICK)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EvaluationError, match="data frames need pandas"):
        found.to_frame()

    class Pandas:
        DataFrame = staticmethod(list)

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    assert [row["recipe"] for row in found.to_frame()] == ["large", "small"]
    (row,) = found.pairs_to_frame()
    assert row["value"] == pytest.approx(-0.45)
    assert "difference" not in row

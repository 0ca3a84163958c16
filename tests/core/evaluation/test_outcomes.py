"""Records by example: what counts, and what it cost."""

from __future__ import annotations

import math
from typing import Any

import pytest

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.estimators import Attempts
from counterpoint.evaluation.figures import Settings, figure, passes
from counterpoint.evaluation.outcomes import Measure, attempts, by_example, costs, frontier, scored, values
from counterpoint.evaluation.records import Cost, Record, ScoreRecord
from counterpoint.node import Score, Verifier

TESTS = Measure("tests", verdicts=True)
ROUGE = Measure("rouge")
QUICK = Settings(resamples=99)


def test_a_measure_is_what_its_verifier_says() -> None:
    class Plain(Verifier):
        kind: str = "plain"
        verdicts = True

        async def verify(self, prompt: Any, completions: Any, run: Any) -> Any: ...

    class Corpus(Plain):
        lower_is_better = True

        def overall(self, scores: Any, texts: Any) -> float:
            return 0.25

    assert Measure.of("a", Plain()) == Measure("a", verdicts=True)
    corpus = Measure.of("b", Corpus())
    assert corpus.lower_is_better
    assert corpus.overall is not None
    assert corpus.overall([Score(1)], [""]) == 0.25


def test_the_order_of_records_changes_nothing_and_of_two_answers_the_later_counts(invented: Any) -> None:
    records = invented.records([1.0, 0.0, [1.0, 0.0]])
    groups = by_example(records)
    assert by_example(records[::-1]) == groups
    assert list(groups) == ["e000", "e001", "e002"]
    assert [record.sample for record in groups["e002"]] == [0, 1]
    again = by_example([*records, *invented.records([0.0])])
    assert values(again, TESTS) == {"e000": 0.0, "e001": 0.0, "e002": 0.5}


def test_a_failed_answer_is_wrong_for_verdicts_and_left_out_of_others(invented: Any) -> None:
    groups = by_example([*invented.records([1.0]), invented.failed(1)])
    assert values(groups, TESTS) == {"e000": 1.0, "e001": 0.0}
    shown = figure(groups, TESTS, QUICK)
    assert (shown.estimate.value, shown.answers, shown.failed, shown.abstained) == (0.5, 2, 1, 0)
    other = by_example([*invented.records([0.4], "rouge"), invented.failed(1)])
    assert values(other, ROUGE) == {"e000": 0.4}
    shown = figure(other, ROUGE, QUICK)
    assert (shown.answers, shown.failed, shown.abstained) == (1, 1, 0)


def test_a_scorer_that_failed_on_an_answer_does_not_undo_what_another_said(invented: Any) -> None:
    record = invented.records([1.0])[0].model_copy(update={"error": "rouge broke"})
    assert values(by_example([record]), TESTS) == {"e000": 1.0}


def test_abstentions_are_left_out(invented: Any) -> None:
    groups = by_example(invented.records([1.0, None, math.nan, [0.0, None]]))
    assert values(groups, TESTS) == {"e000": 1.0, "e003": 0.0}
    shown = figure(groups, TESTS, QUICK)
    assert (shown.estimate.n, shown.answers, shown.abstained) == (2, 2, 3)
    silent = figure(by_example(invented.records([None])), TESTS, QUICK)
    assert (silent.estimate.n, silent.answers, silent.abstained) == (0, 0, 1)
    assert math.isnan(silent.estimate.value)


def test_the_prompt_is_shared_by_samples_and_charged_once(invented: Any) -> None:
    records = invented.records([[1.0, 0.0, 0.0]], flops=10.0)
    records[0] = records[0].model_copy(update={"cost": Cost(flops=40, prefill_flops=30)})
    groups = by_example(records)
    assert attempts(groups, TESTS) == {"e000": Attempts(3, 1, shared=30, each=10)}
    assert costs(groups).flops == 40  # what one answer alone would cost
    assert costs(groups).flops_in_all == 60
    points = frontier(records, TESTS)
    assert [(point.k, point.cost) for point in points] == [(1, 40), (2, 50), (3, 60)]
    assert [point.value for point in points] == pytest.approx([1 / 3, 2 / 3, 1])


def test_seconds_are_those_of_all_samples_and_known_only_if_every_example_has_them(invented: Any) -> None:
    records = invented.records([[1.0, 0.0], [1.0, 1.0]], seconds=3.0)
    assert costs(by_example(records)).seconds == 1.5
    assert [point.cost for point in frontier(records, TESTS, "seconds")] == [1.5, 3]
    untimed = [*records, *invented.records([1.0], first=2)]
    assert costs(by_example(untimed)).seconds is None
    with pytest.raises(EvaluationError, match="'e002' has no wall time of its own") as caught:
        frontier(untimed, TESTS, "seconds")
    assert "in flight" in caught.value.hint
    with pytest.raises(EvaluationError, match="no wall time"):
        frontier(invented.records([1.0]), TESTS, "seconds")


def test_the_frontier_of_one_answer_each_is_a_point(invented: Any) -> None:
    (point,) = frontier(invented.records([1.0, 0.0]), TESTS)
    assert (point.k, point.cost, point.value) == (1, 100, 0.5)
    (point,) = frontier(invented.records([0.2, [0.4, 0.6]], "rouge"), ROUGE)
    assert point.value == pytest.approx(0.35)  # samples of an example first
    with pytest.raises(EvaluationError, match="no verdicts"):
        attempts(by_example(invented.records([0.2], "rouge")), ROUGE)


def test_a_measure_of_all_answers_gets_scores_with_their_data() -> None:
    def overall(scores: Any, texts: Any) -> float:
        return sum(score.data for score in scores) / sum(map(len, texts))

    measure = Measure("gleu", overall=overall)
    records = [
        Record(id="a", text="xx", scores={"gleu": ScoreRecord(value=0.5, data=1, detail="why")}),
        Record(id="b", text="xxxx", scores={"gleu": ScoreRecord(value=0.1, data=2)}),
        Record(id="c", text="none", scores={"gleu": ScoreRecord(value=None)}),
    ]
    groups = by_example(records)
    assert scored(groups, measure)["a"][0][0].detail == "why"
    shown = figure(groups, measure, QUICK)
    assert shown.estimate.value == 0.5
    assert shown.estimate.n == 2
    assert frontier(records, measure)[0].value == 0.5


def test_pass_at_k_is_tabled_in_doublings_up_to_what_every_example_has(invented: Any) -> None:
    groups = by_example(invented.records([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 0.0]]))
    assert [k for k, _ in passes(groups, TESTS, QUICK)] == [1, 2, 3]
    assert passes(by_example(invented.records([1.0])), TESTS, QUICK) == ()
    assert passes(groups, ROUGE, QUICK) == ()


def test_infinite_scores_are_no_reason_to_break(invented: Any) -> None:
    groups = by_example(invented.records([[math.inf, 1.0], -math.inf], "rouge"))
    assert values(groups, ROUGE)["e000"] == math.inf
    assert math.isnan(figure(groups, ROUGE, QUICK).estimate.value)

"""Evaluations through the engine: deterministic, resumable, and honest about what fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from counterpoint.engine import Engine
from counterpoint.errors import CounterpointError, EvaluationError
from counterpoint.evaluation.driver import Progress
from counterpoint.evaluation.evaluating import evaluate, load_evaluation, score_again
from counterpoint.evaluation.merging import merge
from counterpoint.plugin import Completion, Node, Prompt, Run, Score, Verifier, hookimpl
from counterpoint.settings import Sampling
from counterpoint.testing import make_engine

SAMPLED = Sampling(temperature=1.0, max_tokens=20)


class Vowels(Verifier):
    """Share of vowels; fails on one question, abstains on another."""

    kind: Literal["vowels"] = "vowels"
    requires: ClassVar[tuple[str, ...]] = ("question",)
    fails_on: str = ""

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        question = str(prompt.fields["question"])
        assert set(prompt.fields) == {"question"}, "a scorer sees the columns it requires and no others"
        if self.fails_on and self.fails_on in question:
            raise ValueError("this one is beyond me")
        return [Score(sum(c in "aeiou" for c in one.text) / max(1, len(one.text)), detail="vowels") for one in completions]


class Plugin:
    @staticmethod
    @hookimpl
    def counterpoint_nodes() -> list[type[Node]]:
        return [Vowels, Answerless, Picky, Even]


@pytest.fixture
def engine() -> Any:
    with make_engine([Plugin()]) as made:
        yield made


def texts(result: Any) -> dict[tuple[str, int], str]:
    return {(record.id, record.sample): record.text for record in result.records}


def test_an_evaluation(engine: Engine, recipe: Any, questions: Any) -> None:
    seen: list[tuple[int, int]] = []
    result = evaluate(
        recipe, questions, engine=engine, scorers=["vowels", "numeric_match"], progress=lambda p: seen.append((p.done, p.total))
    )
    assert [record.id for record in result.records] == [str(n) for n in range(12)]
    assert seen == [(n, 12) for n in range(13)]
    assert (result.complete, result.failed) == (True, 0)
    mean = sum(record.scores["vowels"].value or 0 for record in result.records) / 12
    assert result.figures["vowels"].estimate.value == pytest.approx(mean)
    assert result.figures["numeric_match"].estimate.value == 0, "the fake model cannot add"
    for record in result.records:
        assert record.cost.flops > record.cost.prefill_flops > 0
        assert record.cost.tokens >= record.cost.answer_tokens > 0
        assert record.cost.seconds is None, "others were in flight"


def test_the_default_scorer_is_the_tasks(engine: Engine, recipe: Any, questions: Any) -> None:
    result = evaluate(recipe, questions, engine=engine, limit=2)
    assert list(result.figures) == ["numeric_match"]
    assert result.configuration.template == "{{ question }}", "in the recipe's words"


@pytest.mark.parametrize("in_flight", [1, 3, 16])
def test_company_changes_no_answer(engine: Engine, recipe: Any, questions: Any, in_flight: int) -> None:
    options: dict[str, Any] = {"engine": engine, "sampling": SAMPLED, "samples": 3, "seed": 5, "scorers": ["vowels"]}
    alone = evaluate(recipe, questions, in_flight=1, **options)
    together = evaluate(recipe, questions, in_flight=in_flight, **options)
    assert texts(together) == texts(alone)
    assert [one.cost.flops for one in together.records] == [one.cost.flops for one in alone.records], "nor what it costs"
    assert len(set(texts(alone).values())) > 30, "samples, and examples, do not share their noise"
    assert (together.records[0].cost.seconds is not None) == (in_flight == 1)
    other = evaluate(recipe, questions, **{**options, "seed": 6})
    assert texts(other) != texts(alone)


def test_samples_of_an_example_share_its_prompt(engine: Engine, recipe: Any, questions: Any) -> None:
    result = evaluate(recipe, questions, engine=engine, samples=4, sampling=SAMPLED, scorers=[], limit=3)
    for number in range(3):
        costs = [record.cost for record in result.records if record.id == str(number)]
        assert sum(cost.prefill_flops > 0 for cost in costs) == 1, "the prompt was processed once"


def test_a_budget_is_that_of_one_answer(engine: Engine, recipe: Any, questions: Any) -> None:
    result = evaluate(recipe, questions, engine=engine, budget="tokens=5", scorers=["vowels"])
    assert {record.cost.tokens for record in result.records} == {5}
    assert {record.finish_reason for record in result.records} == {"budget"}
    assert result.failed == 0, "a budget that ends an answer is no failure"


def test_what_fails_is_recorded_and_counted(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    scorer = {"kind": "vowels", "fails_on": "three and three"}
    result = evaluate(recipe, questions, engine=engine, scorers=[scorer], out=tmp_path / "e")
    (failed,) = [record for record in result.records if record.failed]
    assert (failed.id, failed.scores["vowels"].value) == ("2", None)
    assert failed.problem == "scorer 'vowels': ValueError: this one is beyond me"
    assert not failed.error, "the recipe has done its part"
    assert failed.text, "its answer is kept"
    assert result.figures["vowels"].estimate.n == 11
    assert result.summary()["failed"] == 1

    broken = {**recipe, "nodes": {"m": {"kind": "fake", "context": 135}}}
    result = evaluate(broken, [*questions, {"question": "long " * 30, "answer": "1"}], engine=engine, scorers=["vowels"])
    assert [record.id for record in result.records if record.failed] == ["12"]
    assert "context" in result.records[-1].error


def test_a_second_start_answers_nothing_again(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    whole = evaluate(recipe, questions, engine=engine, scorers=["vowels"], out=tmp_path / "whole", sampling=SAMPLED)
    written = (tmp_path / "whole" / "examples.jsonl").read_bytes()
    evaluate(recipe, questions, engine=engine, scorers=["vowels"], out=tmp_path / "whole", sampling=SAMPLED)
    assert (tmp_path / "whole" / "examples.jsonl").read_bytes() == written
    assert load_evaluation(tmp_path / "whole", registry=engine.registry).figures == whole.figures


def test_cancelled_and_gone_on_with(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    stop = threading.Event()

    def progress(state: Progress) -> None:
        if state.done == 4:
            stop.set()

    options: dict[str, Any] = {"engine": engine, "scorers": ["vowels"], "in_flight": 2, "sampling": SAMPLED, "samples": 2}
    part = evaluate(recipe, questions, out=tmp_path / "e", progress=progress, cancelled=stop, **options)
    assert 4 <= part.examples < 12
    assert not part.complete
    assert not (tmp_path / "e" / "summary.json").exists()
    seen: list[int] = []
    rest = evaluate(recipe, questions, out=tmp_path / "e", progress=lambda p: seen.append(p.done), **options)
    assert seen[0] == part.examples, "what was answered is counted from the start"
    whole = evaluate(recipe, questions, **options)
    assert rest.complete
    assert texts(rest) == texts(whole)
    lines = (tmp_path / "e" / "examples.jsonl").read_text().splitlines()
    assert len(lines) == 24, "nothing is lost or done twice"


def test_a_cancellation_does_not_wait_for_answers(engine: Engine, recipe: Any, questions: Any) -> None:
    endless = {
        **recipe,
        "nodes": {"m": {"kind": "fake", "end_bias": -100, "context": 10**9}},
        "sampling": {"max_tokens": 10**8},
    }
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    result = evaluate(endless, questions, engine=engine, scorers=["vowels"], cancelled=stop)
    assert (result.examples, result.complete) == (0, False)


def test_failed_ones_can_be_answered_again(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    scorer = {"kind": "vowels", "fails_on": "three and three"}
    options: dict[str, Any] = {"engine": engine, "scorers": [scorer], "out": tmp_path / "e"}
    evaluate(recipe, questions, **options)
    seen: list[int] = []
    evaluate(recipe, questions, progress=lambda p: seen.append(p.done), **options)
    assert seen == [12]
    again = evaluate(recipe, questions, retry_failed=True, progress=lambda p: seen.append(p.done), **options)
    assert seen == [12, 11, 12]
    assert len((tmp_path / "e" / "examples.jsonl").read_text().splitlines()) == len(again.records) == 12


def test_shards_make_the_whole(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"engine": engine, "scorers": ["vowels"], "sampling": SAMPLED}
    whole = evaluate(recipe, questions, **options)
    folders = [tmp_path / f"s{i}" for i in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        evaluate(recipe, questions, shard=(number, 3), out=folder, **options)
    merged = merge(folders, tmp_path / "all", registry=engine.registry)
    assert texts(merged) == texts(whole)
    assert merged.figures == whole.figures
    assert merged.configuration.differences(whole.configuration) == []

    for wrong, says in (
        (folders[:2], r"shard\(s\) 3 of 3 are missing"),
        ([*folders, folders[0]], "is shard 1, and so is"),
        ([], "nothing to merge"),
        ([tmp_path / "all"], "is no shard"),
    ):
        with pytest.raises(EvaluationError, match=says):
            merge(wrong, tmp_path / "wrong", registry=engine.registry)
    evaluate(recipe, questions, shard=(2, 3), out=tmp_path / "seeded", seed=9, **options)
    with pytest.raises(EvaluationError, match="differs in recipe, seed"):
        merge([folders[0], tmp_path / "seeded", folders[2]], tmp_path / "wrong", registry=engine.registry)
    assert not (tmp_path / "wrong").exists()


def test_scored_later_and_anew(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    evaluate(recipe, questions, engine=engine, scorers=[], out=tmp_path / "e", sampling=SAMPLED)
    scored = score_again(tmp_path / "e", questions, engine=engine, scorers=["vowels"])
    whole = evaluate(recipe, questions, engine=engine, scorers=["vowels"], sampling=SAMPLED)
    assert scored.figures == whole.figures
    failing = score_again(tmp_path / "e", questions, engine=engine, scorers=[{"kind": "vowels", "fails_on": "three and three"}])
    assert failing.failed == 1
    good = score_again(tmp_path / "e", questions, engine=engine, scorers=["vowels", "distinct_n"])
    assert good.failed == 0, "what a scorer said before is gone"
    loaded = load_evaluation(tmp_path / "e", registry=engine.registry)
    assert list(loaded.figures) == ["vowels", "distinct_n"]
    assert list(loaded.configuration.scorers) == ["vowels", "distinct_n"]


@pytest.mark.parametrize(
    ("options", "says", "hint"),
    [
        ({"scorers": ["gleu"]}, "reads source, which examples of task 'math' do not have", "numeric_match"),
        ({"scorers": ["sample"]}, "does not score anything", "numeric_match"),
        ({"scorers": ["nothing"]}, "unknown node kind 'nothing'", "valid kinds"),
        ({"scorers": [{"kind": "vowels", "fail": 1}]}, "fail: no such field", "counterpoint nodes show vowels"),
        ({"scorers": ["{"]}, "is no YAML", "{kind: KIND"),
        ({"scorers": ["[1]"]}, "has no kind", "{kind: KIND"),
        ({"samples": 0}, "have to be 1 or more", "samples=4"),
        ({"shard": (3, 2)}, "there is no such part", "2/4"),
        ({"shard": (13, 13)}, "this part holds no example", "fewer shards"),
        ({"scorers": ["{kind: preference, judge: m}"]}, "compares the answers of several recipes", "counterpoint compare"),
        ({"budget": "seconds=5", "samples": 2}, "holds for one answer at a time", "samples=1"),
        ({"budget": "seconds=5", "in_flight": 2}, "holds for one example in flight, not 2", "leave in_flight out"),
        ({"budget": "flops=1"}, "no recipe can answer anything within the budget flops=1", "raise it"),
        ({"budget": "flops=lots"}, "unable to parse", "flops=1e12"),
    ],
)
def test_bad_input(engine: Engine, recipe: Any, questions: Any, options: Any, says: str, hint: str) -> None:
    with pytest.raises(CounterpointError) as error:
        evaluate(recipe, questions, engine=engine, **options)
    assert says in error.value.message
    assert hint in error.value.hint


def test_a_scorer_of_models_measures_the_output(engine: Engine, recipe: Any, questions: Any) -> None:
    result = evaluate(recipe, questions, engine=engine, scorers=["bits_per_byte"], limit=2)
    assert result.configuration.scorers["bits_per_byte"]["model"] == "m"
    generator = {**recipe, "nodes": {**recipe["nodes"], "s": {"kind": "sample", "model": "m"}}, "output": "s"}
    with pytest.raises(EvaluationError, match="measures a language model, and output 's'") as error:
        evaluate(generator, questions, engine=engine, scorers=["bits_per_byte"])
    assert "{kind: bits_per_byte, model: NODE}" in error.value.hint
    named = evaluate(generator, questions, engine=engine, scorers=["{kind: bits_per_byte, model: m}"], limit=2)
    assert named.figures["bits_per_byte"].estimate == result.figures["bits_per_byte"].estimate


def test_a_scorer_that_abstains_from_all(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    one_word = {**recipe, "sampling": {"max_tokens": 1}}
    result = evaluate(one_word, questions, engine=engine, scorers=["distinct_n", "vowels"], out=tmp_path / "e")
    figure = result.figures["distinct_n"]
    assert (figure.estimate.n, figure.abstained) == (0, 12)
    assert result.summary()["figures"]["distinct_n"]["value"] is None
    assert result.figures["vowels"].estimate.n == 12


def test_a_verifier_that_reads_what_a_scorer_reads_is_told(engine: Engine, recipe: Any, questions: Any) -> None:
    from counterpoint.evaluation.dataset import load_dataset
    from counterpoint.evaluation.evaluating import EvaluationOptions, make_job
    from counterpoint.evaluation.job import configuration_of

    cheating = {**recipe, "nodes": {**recipe["nodes"], "check": {"kind": "numeric_match"}, "polite": {"kind": "vowels"}}}
    data = load_dataset(questions, registry=engine.registry)
    job = make_job(engine, cheating, data, EvaluationOptions(scorers=["numeric_match", "vowels"]))
    assert configuration_of(job).reads_references == {"check": ["answer"]}, "the question itself may be read"
    copied = {**recipe, "nodes": {**recipe["nodes"], "check": {"kind": "rouge_l"}}}
    job = make_job(engine, copied, data, EvaluationOptions(scorers=["numeric_match"]))
    assert configuration_of(job).reads_references == {"check": ["references"]}, "the worked solution holds the answer"
    job = make_job(engine, cheating, data, EvaluationOptions(scorers=["vowels"]))
    assert configuration_of(job).reads_references == {}, "nothing is scored by what it reads"


class Answerless(Vowels):
    """A verifier whose class says that it reads no answers."""

    kind: Literal["answerless"] = "answerless"  # type: ignore[assignment]
    reads_answers: ClassVar[bool] = False

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        assert [one.text for one in completions] == [""]
        return [float(len(str(prompt.fields["question"])))]


def test_no_answers_are_made_where_none_is_read(engine: Engine, recipe: Any, questions: Any) -> None:
    result = evaluate(recipe, questions, engine=engine, scorers=["answerless"])
    assert result.figures["answerless"].estimate.value > 10
    assert {record.cost.tokens for record in result.records} == {0}
    assert not engine.hosts(), "no model was loaded"


def test_loading_is_part_of_no_seconds(engine: Engine, recipe: Any, questions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoint.testing import fake

    load = fake.FakeModel.load
    monkeypatch.setattr(fake.FakeModel, "load", lambda self, resources: (time.sleep(1.0), load(self, resources))[1])
    result = evaluate(recipe, questions, engine=engine, scorers=["vowels"], in_flight=1, samples=3, limit=2)
    assert max(record.cost.seconds or 0.0 for record in result.records) < 0.9
    other = {**recipe, "nodes": {"m": {**recipe["nodes"]["m"], "seed": 5}}}
    result = evaluate(other, questions, engine=engine, scorers=["vowels"], budget="seconds=0.9", limit=2)
    assert {record.finish_reason for record in result.records} <= {"stop", "length"}


def test_every_sample_has_the_same_budget(engine: Engine, recipe: Any, questions: Any) -> None:
    whole = evaluate(recipe, questions, engine=engine, scorers=[], limit=1).records[0].cost
    budget = whole.prefill_flops + 0.4 * (whole.flops - whole.prefill_flops)
    result = evaluate(recipe, questions, engine=engine, scorers=[], limit=1, samples=4, budget=f"flops={budget}")
    assert len({record.cost.tokens for record in result.records}) == 1, "greedy samples are cut alike"
    assert {record.finish_reason for record in result.records} == {"budget"}


def test_a_scorers_failure_is_that_of_one_answer(engine: Engine, recipe: Any, questions: Any) -> None:
    picky = {"kind": "picky"}
    result = evaluate(recipe, questions, engine=engine, scorers=[picky, "vowels"], samples=3, sampling=SAMPLED, limit=4)
    failed = [record for record in result.records if record.scores["picky"].error]
    assert 0 < len(failed) < len(result.records)
    assert all(("a" in record.text) == bool(record.scores["picky"].error) for record in result.records)
    figure = result.figures["picky"]
    assert figure.estimate.value == 1, "a scorer's failure does not make an answer wrong"
    assert (figure.failed, figure.answers) == (len(failed), len(result.records) - len(failed))
    assert all(record.scores["vowels"].value is not None for record in failed)


class Picky(Verifier):
    """Fails on answers with an a, and passes all others."""

    kind: Literal["picky"] = "picky"
    verdicts: ClassVar[bool] = True

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        if any("a" in one.text for one in completions):
            raise ValueError("I dislike that letter")
        return [1.0] * len(completions)


def test_budget_reallocation(engine: Engine, recipe: Any, questions: Any) -> None:
    result = evaluate(recipe, questions, engine=engine, scorers=["even", "vowels"], samples=4, sampling=SAMPLED, limit=6)
    passes = dict(result.passes["even"])
    assert result.pass_at("even", 1e30) == pytest.approx(passes[4].value)
    assert result.pass_at("even", 1) == 0, "not one sample fits"
    ranked = result.rank_scores("even", "even", ks=(1, 2, 4, 8))
    assert list(ranked) == [1, 2, 4], "for eight there are not enough"
    assert ranked[1] == pytest.approx(passes[1].value)
    assert ranked[4] == pytest.approx(passes[4].value), "who ranks by the verdict finds what passes"
    assert result.rank_scores("even", "vowels")[4] <= ranked[4]
    with pytest.raises(EvaluationError, match="has no scorer 'odd'") as error:
        result.pass_at("odd", 1)
    assert "even, vowels" in error.value.hint
    with pytest.raises(EvaluationError, match="has no wall time of its own"):
        result.pass_at("even", 1, "seconds")


class Even(Verifier):
    """Passes answers of an even length."""

    kind: Literal["even"] = "even"
    verdicts: ClassVar[bool] = True

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[float]:
        return [float(len(one.text) % 2 == 0) for one in completions]


def test_a_torn_example_is_not_complete(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    evaluate(recipe, questions, engine=engine, scorers=["vowels"], samples=3, out=tmp_path / "e")
    file = tmp_path / "e" / "examples.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert not load_evaluation(tmp_path / "e", registry=engine.registry).complete
    whole = evaluate(recipe, questions, engine=engine, scorers=["vowels"], samples=3, out=tmp_path / "e")
    assert whole.complete
    assert len(file.read_text().splitlines()) == 36


def test_answers_are_scored_against_their_own_data(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    evaluate(recipe, questions, engine=engine, scorers=[], out=tmp_path / "e", limit=3)
    before = (tmp_path / "e" / "examples.jsonl").read_bytes()
    other = [{**row, "question": row["question"] + " or so"} for row in questions[:3]]
    with pytest.raises(EvaluationError, match="is not the data set that"):
        score_again(tmp_path / "e", other, engine=engine, scorers=["vowels"])
    assert (tmp_path / "e" / "examples.jsonl").read_bytes() == before
    assert score_again(tmp_path / "e", questions, engine=engine, scorers=["vowels"]).complete, "the first three of them"


def test_the_first_examples_may_be_left_out(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    whole = evaluate(recipe, questions, engine=engine, scorers=["vowels"])
    rest = evaluate(recipe, questions, engine=engine, scorers=[], out=tmp_path / "e", skip=9, limit=2)
    assert [record.id for record in rest.records] == ["9", "10"]
    assert [record.text for record in rest.records] == [record.text for record in whole.records[9:11]]
    data = rest.configuration.data
    assert (data.skipped, data.examples) == (9, 2)
    assert load_evaluation(tmp_path / "e", registry=engine.registry).configuration.data == data
    again = score_again(tmp_path / "e", questions, engine=engine, scorers=["vowels"])
    assert [record.scores["vowels"] for record in again.records] == [record.scores["vowels"] for record in whole.records[9:11]]
    with pytest.raises(EvaluationError, match="differs in data"):
        evaluate(recipe, questions, engine=engine, scorers=["vowels"], out=tmp_path / "e", skip=8, limit=2)
    with pytest.raises(EvaluationError, match="has 12 examples, and 12 are skipped"):
        evaluate(recipe, questions, engine=engine, skip=12)
    with pytest.raises(EvaluationError, match="-1 examples cannot be skipped"):
        evaluate(recipe, questions, engine=engine, skip=-1)


def test_stop_strings_are_part_of_what_is_evaluated(engine: Engine, recipe: Any, questions: Any, tmp_path: Path) -> None:
    from counterpoint.tasks import Words

    evaluate(recipe, questions, engine=engine, scorers=[], out=tmp_path / "e")
    with pytest.raises(EvaluationError, match="differs in stop"):
        evaluate(recipe, questions, engine=engine, scorers=[], out=tmp_path / "e", words=Words(stop=("a",)))


def test_values_that_are_no_plain_data(engine: Engine, recipe: Any, questions: Any) -> None:
    with pytest.raises(EvaluationError, match="example 2: holds a value that is no plain data"):
        evaluate(recipe, [questions[0], {**questions[1], "n": object()}], engine=engine)


def test_a_frame(engine: Engine, recipe: Any, questions: Any) -> None:
    result = evaluate(recipe, questions, engine=engine, scorers=["vowels"], limit=2)
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(EvaluationError, match="pandas"):
            result.to_frame()
    else:
        assert list(result.to_frame()["id"]) == ["0", "1"]


def test_a_recipe_that_gives_no_answers_is_refused_early(engine: Engine, questions: Any) -> None:
    scoring = {"nodes": {"v": {"kind": "numeric_match"}}, "output": "v"}
    with pytest.raises(EvaluationError, match="'v' \\(numeric_match\\) scores answers and gives none") as refused:
        evaluate(scoring, questions, engine=engine)
    assert "counterpoint score" in refused.value.hint

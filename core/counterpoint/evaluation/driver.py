"""Runs a recipe over a data set: many examples in flight through the engine, every answer scored and kept."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from counterpoint.engine import Engine
from counterpoint.errors import CounterpointError, EvaluationError
from counterpoint.evaluation.dataset import Example
from counterpoint.evaluation.folder import EvaluationFolder
from counterpoint.evaluation.job import Job
from counterpoint.evaluation.records import Cost, Record, ScoreRecord
from counterpoint.evaluation.scoring import Scorer
from counterpoint.node import Trainer, Verifier
from counterpoint.prompt import Completion
from counterpoint.streaming import RunResult, RunStream

_PATIENCE = 0.2  # seconds until a cancellation is noticed


@dataclass
class Progress:
    """How far an evaluation is."""

    total: int
    """Examples to answer in all."""
    done: int = 0
    """Examples answered, those of earlier starts included."""
    failed: int = 0
    """Answers that failed."""
    answers: int = 0
    """Answers made since this start."""
    tokens: int = 0
    """Tokens generated since this start."""
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Per scorer: sum and number of the scores so far."""

    def add(self, records: Sequence[Record], *, earlier: bool = False) -> None:
        """Counts the answers to one example."""
        self.done += 1
        for record in records:
            self.failed += record.failed
            if not earlier:
                self.answers += 1
                self.tokens += record.cost.tokens
            for name, score in record.scores.items():
                if score.value is not None:
                    total, number = self.sums.get(name, (0.0, 0))
                    self.sums[name] = total + score.value, number + 1


class Driver:
    """Answers the examples of a job.

    Args:
        engine: what runs the recipe.
        job: what is answered.
        cancelled: set by somebody else to stop; what is complete is kept.
    """

    def __init__(self, engine: Engine, job: Job, *, cancelled: threading.Event | None = None) -> None:
        self._engine = engine
        self._job = job
        self._asked = cancelled or threading.Event()  # the caller's: it is read, never set
        self._cancelled = threading.Event()
        self._live: set[RunStream] = set()
        self._scope = secrets.token_hex(8)  # no example is cheaper for what was answered before it
        self._lock = threading.Lock()

    def check(self) -> None:
        """Refuses, before any weights load, what cannot work.

        Raises:
            EvaluationError: the recipe gives no answers.
            RecipeError: it cannot run, or a scorer cannot.
        """
        recipe = self._job.recipe
        output = recipe.nodes.get(recipe.output)
        if isinstance(output, (Verifier, Trainer)):
            does = "scores answers and gives none" if isinstance(output, Verifier) else "trains a model and gives no answer"
            raise EvaluationError(
                f"{recipe.name}: output '{recipe.output}' ({output.kind}) {does}",
                hint="name a node that generates as the output; `counterpoint score RECIPE --data FILE` scores a file",
            )
        prompt = next(iter(self._job.prompts.values()))
        for recipe in (self._job.recipe, *(scorer.recipe for scorer in self._job.scorers.values())):
            self._engine.plan(recipe, prompt).check()

    def run(
        self,
        known: Sequence[Record],
        keep: Callable[[Sequence[Record]], None],
        progress: Callable[[Progress], None] | None = None,
        *,
        make: Callable[[Example], list[Record]] | None = None,
    ) -> list[Record]:
        """Answers what is not known yet.

        Args:
            known: answers of earlier starts, those that are to stand.
            keep: takes the answers to one example, together.
            progress: hears how far it is.
            make: what is done with an example, in a thread of its own; by default it is answered and scored.

        Returns:
            All answers, in the order of the data set.
        """
        found: dict[str, list[Record]] = {}
        for record in known:
            found.setdefault(record.id, []).append(record)
        state = Progress(len(self._job.examples))
        waiting = []
        for example in self._job.examples:
            if example.id in found and make is None:
                state.add(found[example.id], earlier=True)
            else:
                waiting.append(example)
        waiting.reverse()
        if progress is not None:
            progress(state)
        if waiting and make is None and self._wants_answers:
            self._engine.load(self._job.recipe)  # no example pays for it, neither in seconds nor from a budget of them
        with ThreadPoolExecutor(self._job.in_flight, thread_name_prefix="example") as pool:
            under_way: set[Future[list[Record]]] = set()
            try:
                while (waiting and not self._cancelled.is_set()) or under_way:
                    while waiting and len(under_way) < self._job.in_flight and not self._cancelled.is_set():
                        under_way.add(pool.submit(make or self.answer, waiting.pop()))
                    ended, under_way = wait(under_way, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
                    if self._asked.is_set():
                        self.cancel()
                    for future in ended:
                        if records := future.result():
                            keep(records)
                            found[records[0].id] = records
                            state.add(records)
                            if progress is not None:
                                progress(state)
            except BaseException:
                self.cancel()
                raise
        return [record for example in self._job.examples for record in found.get(example.id, ())]

    def cancel(self) -> None:
        """Stops, from any thread; examples that are not complete are not kept."""
        with self._lock:
            if self._cancelled.is_set():
                return
            self._cancelled.set()
            for stream in self._live:
                stream.cancel()

    @property
    def _wants_answers(self) -> bool:
        """Whether answers are needed: not where every scorer measures the model itself."""
        scorers = self._job.scorers.values()
        return not scorers or any(scorer.node.reads_answers for scorer in scorers)

    def answer(self, example: Example) -> list[Record]:
        """The answers to one example, scored; none when it was cancelled."""
        job = self._job
        if not self._wants_answers:
            return self.score(example, [Record(id=example.id)])
        prompt, scope, started = job.prompts[example.id], self._scope + example.id, time.perf_counter()
        settings: dict[str, Any] = {"seed": job.seed(example), "sampling": job.sampling}
        if job.recipe.budget is not None and job.recipe.budget.flops is not None:
            # every sample pays for the prompt, or the budget of the first would be smaller than that of the others
            streams = [
                self._engine.stream(job.recipe, prompt, row=row, scope=f"{scope}/{row}", **settings)
                for row in range(job.samples)
            ]
        else:
            streams = self._engine.samples(job.recipe, prompt, job.samples, scope=scope, **settings)
        results = self._wait(streams)
        took = time.perf_counter() - started - max(result.summary.preparing_seconds for result in results)
        if self._cancelled.is_set():
            return []
        return self.score(example, [self._record(example, row, result, took) for row, result in enumerate(results)])

    def _record(self, example: Example, row: int, result: RunResult, took: float) -> Record:
        summary, error = result.summary, result.error
        cost = Cost(
            flops=summary.flops,
            prefill_flops=summary.prefill_flops,
            tokens=summary.generated_tokens,
            answer_tokens=summary.answer_tokens,
            seconds=max(0.0, took) if self._job.in_flight == 1 else None,
            share=summary.share,
        )
        return Record(
            id=example.id,
            sample=row,
            text=result.text,
            finish_reason=result.finish_reason,
            error="" if error is None else error.message if isinstance(error, CounterpointError) else str(error),
            hint=error.hint if isinstance(error, CounterpointError) else "",
            cost=cost,
        )

    def score(self, example: Example, records: Sequence[Record]) -> list[Record]:
        """The same answers with the scores of this job; answers that failed are not scored. None when it was cancelled."""
        sound = [record for record in records if record.finish_reason != "failed"]
        scores: dict[str, list[ScoreRecord]] = {}
        for name, scorer in self._job.scorers.items() if sound else ():
            scores[name] = self._scores(example, scorer, sound)
            if self._cancelled.is_set():
                return []
        scored = {
            record.sample: record.model_copy(update={"scores": {name: found[index] for name, found in scores.items()}})
            for index, record in enumerate(sound)
        }
        return [scored.get(record.sample, record.model_copy(update={"scores": {}})) for record in records]

    def _scores(self, example: Example, scorer: Scorer, records: Sequence[Record]) -> list[ScoreRecord]:
        """One score per answer; where the scorer fails on all together, each answer alone."""
        job = self._job
        completions = [Completion(text=record.text, finish_reason="stop") for record in records]
        (result,) = self._wait(
            [
                self._engine.verify(
                    scorer.recipe,
                    job.prompts[example.id],
                    completions,
                    seed=job.seed(example),
                    scope=self._scope + example.id,
                )
            ]
        )
        alone = len(records) > 1 and not scorer.node.compares
        if result.error is not None and alone and not self._cancelled.is_set():
            return [score for record in records for score in self._scores(example, scorer, [record])]
        return scorer.records(result, len(records))

    def _wait(self, streams: Sequence[RunStream]) -> list[RunResult]:
        with self._lock:
            self._live.update(streams)
            if self._cancelled.is_set():
                for stream in streams:
                    stream.cancel()
        try:
            return [stream.wait() for stream in streams]
        finally:
            with self._lock:
                self._live.difference_update(streams)


def answers_in(folder: EvaluationFolder, job: Job, *, retry_failed: bool = False) -> list[Record]:
    """The answers in a folder open for writing that are to stand; what is to be answered again is removed from it."""
    wanted = {example.id for example in job.examples}
    found: dict[str, list[Record]] = {}
    for record in folder.records():
        found.setdefault(record.id, []).append(record)
    kept = [
        record
        for name, records in found.items()
        if name in wanted
        and sorted(record.sample for record in records) == list(range(job.samples))
        and not (retry_failed and any(record.failed for record in records))
        for record in records
    ]
    if len(kept) < sum(map(len, found.values())):
        folder.replace(kept)
    return kept

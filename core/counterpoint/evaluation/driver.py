"""Runs a recipe over a data set: many examples in flight through the engine, every answer scored and kept."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from counterpoint.engine import Engine
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.dataset import Dataset, Example
from counterpoint.evaluation.outcomes import Measure
from counterpoint.evaluation.records import Configuration, Cost, DataDescription, EvaluationFolder, Record
from counterpoint.evaluation.scoring import Scorer, references_read
from counterpoint.life import versions
from counterpoint.prompt import Completion, Prompt
from counterpoint.recipe import Recipe
from counterpoint.settings import Sampling
from counterpoint.streaming import RunResult, RunStream
from counterpoint.tasks import Words

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


@dataclass(frozen=True)
class Job:
    """Everything that decides what is answered and how it is scored."""

    recipe: Recipe
    dataset: Dataset
    scorers: dict[str, Scorer]
    words: Words
    """How examples are asked, complete (:func:`words_of`)."""
    samples: int = 1
    shard: tuple[int, int] | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """What the recipe is called in reports."""
        return self.name or self.recipe.name

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        """The prompt of every example, by id."""
        return self.dataset.prompts(self.words)

    @property
    def examples(self) -> tuple[Example, ...]:
        """The examples of this shard."""
        number, count = self.shard or (1, 1)
        return self.dataset.examples[number - 1 :: count]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """How the scorers are read."""
        return tuple(Measure.of(name, scorer.node) for name, scorer in self.scorers.items())

    @property
    def sampling(self) -> Sampling | None:
        """What the task adds to the recipe's sampling settings."""
        stop = self.words.stop
        return Sampling(stop=(*self.recipe.sampling.stop, *stop)) if stop else None

    def seed(self, example: Example) -> int:
        """The seed of one example's draws: two examples do not share their noise."""
        text = f"{self.recipe.seed}|{example.id}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


class Driver:
    """Answers the examples of a job.

    Args:
        engine: what runs the recipe.
        job: what is answered.
        in_flight: how many examples at once; 1 measures seconds.
        cancelled: set by somebody else to stop; what is complete is kept.
    """

    def __init__(self, engine: Engine, job: Job, *, in_flight: int = 8, cancelled: threading.Event | None = None) -> None:
        self._engine = engine
        self._job = job
        self._in_flight = in_flight
        self._cancelled = cancelled or threading.Event()
        self._live: set[RunStream] = set()
        self._scope = secrets.token_hex(8)  # no example is cheaper for what was answered before it
        self._lock = threading.Lock()

    def check(self) -> None:
        """Refuses, before any weights load, what cannot work.

        Raises:
            RecipeError: the recipe cannot run, or a scorer cannot.
        """
        prompt = next(iter(self._job.prompts.values()))
        for recipe in (self._job.recipe, *(scorer.recipe for scorer in self._job.scorers.values())):
            self._engine.plan(recipe, prompt).check()

    def run(
        self,
        known: Sequence[Record],
        keep: Callable[[Sequence[Record]], None],
        progress: Callable[[Progress], None] | None = None,
    ) -> list[Record]:
        """Answers what is not known yet.

        Args:
            known: answers of earlier starts, those that are to stand.
            keep: takes the answers to one example, together.
            progress: hears how far it is.

        Returns:
            All answers, in the order of the data set.
        """
        found: dict[str, list[Record]] = {}
        for record in known:
            found.setdefault(record.id, []).append(record)
        state = Progress(len(self._job.examples))
        waiting = []
        for example in self._job.examples:
            if example.id in found:
                state.add(found[example.id], earlier=True)
            else:
                waiting.append(example)
        waiting.reverse()
        if progress is not None:
            progress(state)
        with ThreadPoolExecutor(self._in_flight, thread_name_prefix="example") as pool:
            under_way: set[Future[list[Record]]] = set()
            try:
                while (waiting and not self._cancelled.is_set()) or under_way:
                    while waiting and len(under_way) < self._in_flight and not self._cancelled.is_set():
                        under_way.add(pool.submit(self._answer, waiting.pop()))
                    ended, under_way = wait(under_way, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
                    if self._cancelled.is_set():  # by somebody who cannot know what is under way
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
        self._cancelled.set()
        with self._lock:
            for stream in self._live:
                stream.cancel()

    def _answer(self, example: Example) -> list[Record]:
        """The answers to one example, scored; none when it was cancelled."""
        job = self._job
        prompt, started = job.prompts[example.id], time.perf_counter()
        results = self._wait(
            self._engine.samples(
                job.recipe,
                prompt,
                job.samples,
                seed=job.seed(example),
                sampling=job.sampling,
                scope=self._scope + example.id,
            )
        )
        took = time.perf_counter() - started
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
            seconds=max(0.0, took - summary.preparing_seconds) if self._in_flight == 1 else None,
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
        """The same answers with the scores of this job; answers that failed are not scored, none when it was cancelled."""
        job, prompt = self._job, self._job.prompts[example.id]
        sound = [record for record in records if record.finish_reason != "failed"]
        completions = [Completion(text=record.text, finish_reason="stop") for record in sound]
        scored = {record.sample: record.model_copy(update={"scores": {}}) for record in records}
        for record in sound:  # what a scorer said at an earlier time is gone with its scores
            scored[record.sample] = scored[record.sample].model_copy(update={"error": "", "hint": ""})
        for name, scorer in job.scorers.items() if completions else ():
            (result,) = self._wait(
                [
                    self._engine.verify(
                        scorer.recipe, prompt, completions, seed=job.seed(example), scope=self._scope + example.id
                    )
                ]
            )
            if self._cancelled.is_set():
                return []
            scores, problem = scorer.records(result, len(sound))
            for record, score in zip(sound, scores, strict=True):
                now = scored[record.sample]
                update = {"scores": {**now.scores, name: score}, **({"error": problem} if problem else {})}
                scored[record.sample] = now.model_copy(update=update)
        return list(scored.values())

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


def words_of(recipe: Recipe, dataset: Dataset, own: Words | None = None) -> Words:
    """How a recipe is asked the examples of a data set: in the caller's words, or else the recipe's, the data set's, or the
    task type's."""
    task = dataset.task
    last = Words(template=task.template, prefix=task.prefix, stop=task.stop)
    return Words.first(own or Words(), recipe.tasks.get(task.name, Words()), dataset.words, last)


def configuration_of(job: Job, in_flight: int) -> Configuration:
    """What a job evaluates, for its folder."""
    data = job.dataset
    recipe = job.recipe.to_dict()
    recipe.pop("prompt", None)
    return Configuration(
        name=job.label,
        recipe=recipe,
        task=data.task.name,
        data=DataDescription(name=data.name, sha256=data.sha256, examples=len(data.examples)),
        template=job.words.template or "",
        prefix=job.words.prefix or "",
        scorers={name: scorer.node.plain() for name, scorer in job.scorers.items()},
        samples=job.samples,
        seed=job.recipe.seed,
        budget=job.recipe.budget.model_dump(exclude_none=True) if job.recipe.budget else None,
        shard=job.shard,
        reads_references=references_read(job.recipe, job.scorers, data.task),
        in_flight=in_flight,
        started=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        versions=versions(),
    )


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

"""What an evaluation answers: a recipe, a data set, how it is asked, and who scores."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from counterpoint.evaluation.dataset import Dataset, Example
from counterpoint.evaluation.outcomes import Measure
from counterpoint.evaluation.records import Configuration, DataDescription
from counterpoint.evaluation.scoring import Scorer, references_read
from counterpoint.life import versions
from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe
from counterpoint.settings import Sampling
from counterpoint.tasks import Words


@dataclass(frozen=True)
class Job:
    """Everything that decides what is answered and how it is scored."""

    recipe: Recipe
    dataset: Dataset
    scorers: dict[str, Scorer]
    words: Words
    """How examples are asked, complete (:func:`words_of`)."""
    samples: int = 1
    in_flight: int = 8
    """Examples at once; 1 measures seconds."""
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


def words_of(recipe: Recipe, dataset: Dataset, own: Words | None = None) -> Words:
    """How a recipe is asked the examples of a data set: in the caller's words, or else the recipe's, the data set's, or the
    task type's."""
    task = dataset.task
    last = Words(template=task.template, prefix=task.prefix, stop=task.stop)
    return Words.first(own or Words(), recipe.tasks.get(task.name, Words()), dataset.words, last)


def configuration_of(job: Job) -> Configuration:
    """What a job evaluates, for its folder."""
    data = job.dataset
    recipe = job.recipe.to_dict()
    recipe.pop("prompt", None)
    return Configuration(
        name=job.label,
        recipe=recipe,
        task=data.task.name,
        data=DataDescription(name=data.name, sha256=data.sha256, examples=len(data.examples), skipped=data.skipped),
        template=job.words.template or "",
        prefix=job.words.prefix or "",
        stop=job.words.stop or (),
        scorers={name: scorer.node.plain() for name, scorer in job.scorers.items()},
        samples=job.samples,
        seed=job.recipe.seed,
        budget=job.recipe.budget.model_dump(exclude_none=True) if job.recipe.budget else None,
        shard=job.shard,
        reads_references=references_read(job.recipe, job.scorers, data.task),
        in_flight=job.in_flight,
        started=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        versions=versions(),
    )

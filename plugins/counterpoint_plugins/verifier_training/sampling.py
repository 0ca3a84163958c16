"""Answers to learn from: sampled, checked, and kept as they come, so that a kill costs those under way and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from counterpoint.keeping import KeptLines, key_of
from counterpoint.plugin import Completion, Generator, LeafModel, Progress, Prompt, Run, Tokenizer, Verifier
from counterpoint.training import Problems, Workshop, identity, read_problems

if TYPE_CHECKING:
    from counterpoint_plugins.verifier_training import VerifierTraining


@dataclass(frozen=True)
class Problem:
    """A problem, and whether its answers are only measured."""

    place: str
    prompt: Prompt
    stop: tuple[str, ...]
    only_measured: bool


@dataclass(frozen=True)
class Sample:
    """One answer. ``right`` is None where the checker abstained."""

    problem: Problem
    number: int
    text: str
    right: bool | None


class Sampler:
    """All problems of a training, what decides their answers, and the file in which these are kept.

    Args:
        node: the trainer.
        seed: of the run.
        problems: by the field that names their file.
        parts: what makes and checks answers, as plain data.
        settings: of sampling, as plain data.
        workshop: whose folder keeps the answers.
    """

    def __init__(
        self,
        node: VerifierTraining,
        seed: int,
        problems: dict[str, Problems],
        parts: dict[str, Any],
        settings: dict[str, Any],
        workshop: Workshop,
    ) -> None:
        self.node = node
        self.seed = seed
        self.files = {field: problems[field].file if field in problems else None for field in ("data", "held_out_file")}
        self.parts = parts
        self._problems = problems
        header = {
            **parts,
            "sampling": settings,
            "samples": node.samples,
            "temperatures": list(node.temperatures),
            "seed": seed,
        }
        # answers of other settings would have another name
        self.kept = KeptLines(workshop.path / f"samples-{key_of(header)[:12]}.jsonl", header, workshop.node)

    @classmethod
    async def of(cls, node: VerifierTraining, run: Run, workshop: Workshop) -> Sampler:
        """Reads the problems.

        Raises:
            EvaluationError: a file cannot be read, or a line is no problem.
        """
        problems = {"data": await run.thread(read_problems, node.data, node.task, run.recipe, node.limit)}
        if node.held_out_file is not None:
            problems["held_out_file"] = await run.thread(read_problems, node.held_out_file, node.task, run.recipe)
        parts = {
            "generator": _without_weights(await run.identity(node.generator, Generator)),
            "checker": _without_weights(await run.identity(node.checker, Verifier)),
        }
        settings = run.sampling_of(node.generator).model_dump(mode="json", exclude={"temperature"})
        return cls(node, run.seed, problems, parts, settings, workshop)

    def identity(self, model: LeafModel, tokenizer: Tokenizer) -> dict[str, Any]:
        """What two trainings have in common when one can go on from the other's checkpoint."""
        found = identity(self.node, self.seed, models={"model": model}, tokenizer=tokenizer, files=self.files)
        found.pop("in_flight")  # it does not change what is answered
        return {**found, **self.parts, "problems": key_of([_key(problem) for problem in self.problems()])}

    def problems(self) -> Iterator[Problem]:
        """All problems."""
        for field, found in self._problems.items():
            for name, prompt in found.prompts.items():
                yield Problem(f"{found.file}, example '{name}'", prompt, found.stop, field == "held_out_file")

    async def run(self, run: Run) -> list[Sample]:
        """The answers to all problems; those that are not kept yet are made, some problems at a time."""
        problems = list(self.problems())
        found = await run.thread(lambda: {problem.place: self._kept(problem) for problem in problems})
        done = sum(line is not None for line in found.values())
        gate = asyncio.Semaphore(self.node.in_flight)

        def tell() -> None:
            run.emit(Progress(phase="sample", item=self.node.artifact, done=done, total=len(problems), unit="problems"))

        async def answer(problem: Problem) -> None:
            nonlocal done
            async with gate:
                # what a problem's answers draw depends on the problem, and not on which others are kept already
                found[problem.place] = await run.once(_key(problem), partial(self._answer, problem))
            done += 1
            tell()

        tell()
        await run.gather(*(answer(problem) for problem in problems if found[problem.place] is None))
        return [
            Sample(problem, number, answer["text"], answer["right"])
            for problem in problems
            for number, answer in enumerate((found[problem.place] or {})["answers"])
        ]

    def _kept(self, problem: Problem) -> dict[str, Any] | None:
        """What is kept of a problem's answers."""
        line = self.kept.find(_key(problem))
        if line is not None and not _whole(line.get("answers"), self.node.samples):
            raise self.kept.damaged(line)
        return line

    async def _answer(self, problem: Problem, run: Run) -> dict[str, Any]:
        """Samples and checks the answers to one problem, and keeps them."""
        node = self.node
        base = run.sampling_of(node.generator)
        base = base.model_copy(update={"stop": (*base.stop, *problem.stop)})
        made = await run.gather(
            *(
                run.generate(
                    node.generator,
                    problem.prompt,
                    sampling=base.model_copy(update={"temperature": node.temperatures[number % len(node.temperatures)]}),
                )
                for number in range(node.samples)
            )
        )
        verdicts = await self._verdicts(problem, made, run)
        answers = [{"text": one.text, "right": right} for one, right in zip(made, verdicts, strict=True)]
        line = {"place": problem.place, "answers": answers}
        await run.thread(self.kept.add, _key(problem), line)
        return line

    async def _verdicts(self, problem: Problem, made: list[Completion], run: Run) -> list[bool | None]:
        scores = await run.verify(self.node.checker, problem.prompt, made, fields=problem.prompt.fields)
        return [None if score != score else score >= 0.5 for score in scores]


def _key(problem: Problem) -> str:
    return key_of([problem.prompt.model_dump(mode="json"), problem.stop])


def _whole(answers: Any, count: int) -> bool:
    """Whether these are the answers to a problem as they are kept."""
    return isinstance(answers, list) and len(answers) == count and all(map(_is_answer, answers))


def _is_answer(one: Any) -> bool:
    right = one.get("right", "") if isinstance(one, dict) else ""
    return (right is None or isinstance(right, bool)) and isinstance(one.get("text"), str)


def _without_weights(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity by what recipes say: more is known of models' weights once they are fetched, and they are the same."""
    found = {name: value for name, value in identity.items() if name != "weights"}
    if "parts" in found:
        found["parts"] = {field: _without_weights(part) for field, part in found["parts"].items()}
    return found

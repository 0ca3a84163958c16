"""`score`: the answers of a file scored by a verifier, and the lines that are kept."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.engine import Engine, RecipeLike
from counterpoint.errors import EvaluationError, RunError
from counterpoint.evaluation.driver import Progress
from counterpoint.evaluation.evaluating import using
from counterpoint.keeping import KeptLines
from counterpoint.selection.choosing import choose, quantiles
from counterpoint.selection.driving import LineDriver, LineScores
from counterpoint.selection.job import SELECTED, RowsLike, ScoreJob, ScoreOptions, beside, make_score_job
from counterpoint.selection.reading import Line
from counterpoint.store.files import place


@dataclass(frozen=True)
class Scored:
    """The scores of a file, all of them or those there are so far."""

    job: ScoreJob
    scores: Mapping[int, LineScores]
    """By the line's number, from 0."""
    kept: Mapping[int, int | None] = field(default_factory=dict)
    """Numbers of the lines that are kept, and of each the answer that is selected; empty until all are scored."""

    @property
    def complete(self) -> bool:
        """Whether every line has been scored."""
        return len(self.scores) == len(self.job.lines)

    def rows(self) -> list[dict[str, Any]]:
        """The lines that are kept: their columns, and the score.

        A line with several answers has a list of scores, the number of the answer that is selected, and that answer.
        """
        made = []
        for number, chosen in self.kept.items():
            line, values = self.job.lines[number], self.scores[number].values
            row = {**line.columns, self.job.name: list(values) if line.several else values[0]}
            if line.several:
                row |= {SELECTED: chosen, self.job.options.into: None if chosen is None else line.answers[chosen].text}
            made.append(row)
        return made

    def without(self, *, failed: bool) -> list[tuple[Line, str]]:
        """Lines of which an answer has no score, and why: because the verifier failed, or because it abstained."""
        return [
            (self.job.lines[number], self.scores[number].problem)
            for number in sorted(self.scores)
            if None in self.scores[number].values and self.scores[number].failed == failed
        ]

    def summary(self) -> dict[str, Any]:
        """Counts and quantiles, as plain data. A line is scored if one of its answers is."""
        values = [scores.values for scores in self.scores.values()]
        scored = sum(any(value is not None for value in line) for line in values)
        failed = sum(scores.failed for scores in self.scores.values())
        return {
            "name": self.job.name,
            "lines": len(self.job.lines),
            "scored": scored,
            "abstained": sum(
                not scores.failed and all(value is None for value in scores.values) for scores in self.scores.values()
            ),
            "failed": failed,
            "kept": len(self.kept),
            "quantiles": quantiles(values),
        }


def score(
    recipe: RecipeLike,
    data: RowsLike,
    *,
    engine: Engine | None = None,
    out: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: threading.Event | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Scores the answers of a file by a recipe whose output is a verifier, and returns the lines that are kept.

        rows = cp.score("superfilter", "pairs.jsonl", keep_below=1, top="10%")

    Args:
        recipe: a name, a path, plain data or a recipe.
        data: a file of JSON lines, or rows as mappings.
        engine: an engine to use and keep; by default one of its own.
        out: a file to write the lines to; scores are then kept beside it as they come, and a restart goes on from them.
        progress: hears how far it is.
        cancelled: set it to stop; nothing is returned then, and what is complete is kept where ``out`` is given.
        options: the fields of :class:`ScoreOptions`.

    Returns:
        In their order, the columns of each and a column of the score: a number, or None where the verifier abstains. Where a line
        may hold several answers it is a list of these, and ``selected`` and ``answer`` (or the column that the option ``into``
        names) are the number and the text of the best.

    Raises:
        EvaluationError: a line lacks what is wanted, or the file cannot be written.
        RecipeError: the recipe cannot run, or scores nothing. Lines on which the verifier fails have no score.
    """
    chosen = ScoreOptions(**options)
    with using(engine) as used:
        return run_score(used, make_score_job(used, recipe, data, chosen, out), out, progress, cancelled).rows()


def run_score(
    engine: Engine,
    job: ScoreJob,
    out: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: threading.Event | None = None,
) -> Scored:
    """Scores what is not scored yet, and writes what is kept when all is.

    Raises:
        EvaluationError: scores of other settings are where these are to be kept, or nothing can be written there.
    """
    partial = None if out is None else KeptLines(beside(Path(out)), job.settings, job.recipe.name)
    scores: dict[int, LineScores] = {}
    state = Progress(len(job.lines))

    def take(number: int, found: LineScores) -> None:
        scores[number] = found
        state.done += 1
        state.failed += found.failed
        known = [value for value in found.values if value is not None]
        total, count = state.sums.get(job.name, (0.0, 0))
        if known:
            state.sums[job.name] = total + sum(known), count + len(known)

    def keep(number: int, found: LineScores) -> None:
        if partial is not None and not found.failed:  # what failed is tried again at a restart
            with _partial_errors(partial):
                partial.add(str(number), {"scores": list(found.values), "problem": found.problem})
        take(number, found)
        if progress is not None:
            progress(state)

    if partial is not None:
        with _partial_errors(partial):
            for number in range(len(job.lines)):
                if (kept := partial.find(str(number))) is not None:
                    take(number, _taken(partial, kept, len(job.lines[number].answers)))
    if progress is not None:
        progress(state)
    if len(scores) < len(job.lines):
        engine.load(job.recipe)  # what keeps models from being loaded is told once, and not for every line
        driver = LineDriver(engine, job.recipe, cancelled or threading.Event(), compares=job.verifier.compares)
        missing = [(number, line) for number, line in enumerate(job.lines) if number not in scores]
        driver.run(missing, job.options.in_flight, keep)
    if len(scores) < len(job.lines):
        return Scored(job, scores)
    values = [scores[number].values for number in range(len(job.lines))]
    kept_lines = choose(values, job.options.wanted, lower_is_better=job.verifier.lower_is_better)
    scored = Scored(job, scores, kept_lines)
    if out is not None and partial is not None:
        _write(Path(out), scored.rows())
        for path in (partial.path, partial.path.with_name(f".{partial.path.name}.lock")):
            path.unlink(missing_ok=True)
    return scored


def _taken(partial: KeptLines, kept: Mapping[str, Any], count: int) -> LineScores:
    """A line's scores as they are kept."""
    scores, problem = kept.get("scores"), kept.get("problem")
    if (
        not isinstance(scores, list)
        or len(scores) != count
        or not all(score is None or isinstance(score, int | float) for score in scores)
        or not isinstance(problem, str)
    ):
        raise partial.damaged(kept)
    return LineScores(tuple(scores), problem)


@contextlib.contextmanager
def _partial_errors(partial: KeptLines) -> Iterator[None]:
    """Its errors in the words of a scoring."""
    try:
        yield
    except RunError as error:
        raise EvaluationError(
            error.message, hint=f"name another file to write to, or remove {partial.path} to score anew"
        ) from None


def json_line(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON, with its line break; characters that UTF-8 cannot hold are escaped."""
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(row)
    return text + "\n"


def _write(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts the lines in place, all at once."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(map(json_line, rows))
        place(temporary, out)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EvaluationError(
            f"{out}: cannot be written: {error.strerror}", hint="the scores are kept: make room, and the same command goes on"
        ) from None

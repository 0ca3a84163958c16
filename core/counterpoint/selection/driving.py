"""Has lines scored: several in flight through the engine, every line's scores kept as they come."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from counterpoint.engine import Engine
from counterpoint.errors import CounterpointError
from counterpoint.node import Score
from counterpoint.prompt import Completion
from counterpoint.recipe import Recipe
from counterpoint.selection.reading import Line
from counterpoint.streaming import RunStream

_PATIENCE = 0.2  # seconds until a cancellation is noticed


@dataclass(frozen=True)
class LineScores:
    """What the answers of one line score."""

    values: tuple[float | None, ...]
    """One per answer; None where the verifier abstains or fails."""
    problem: str = ""
    """Why the first answer without a score has none."""
    failed: bool = False
    """Whether the verifier failed on an answer."""


class LineDriver:
    """Scores lines by a recipe whose output is a verifier.

    Args:
        engine: what runs the recipe.
        recipe: the recipe; every line has draws of its own, from the recipe's seed and the line's number.
        cancelled: set by somebody else to stop; what is complete has been kept.
        compares: whether the verifier compares answers, so that they stay together where it fails.
    """

    def __init__(self, engine: Engine, recipe: Recipe, cancelled: threading.Event, *, compares: bool) -> None:
        self._engine = engine
        self._recipe = recipe
        self._asked = cancelled  # the caller's: it is read, never set
        self._compares = compares
        self._stopping = threading.Event()
        self._live: set[RunStream] = set()
        self._lock = threading.Lock()

    def run(self, lines: Iterable[tuple[int, Line]], in_flight: int, keep: Callable[[int, LineScores], None]) -> None:
        """Scores lines, at most ``in_flight`` at a time.

        Args:
            lines: lines with their numbers.
            in_flight: how many share passes.
            keep: takes the scores of one line, in the caller's thread and in the order in which they come.
        """
        waiting = iter(lines)
        under_way: dict[Future[LineScores | None], int] = {}
        with ThreadPoolExecutor(in_flight, thread_name_prefix="line") as pool:
            try:
                while True:
                    if self._asked.is_set():
                        self._stop()
                    while len(under_way) < in_flight and not self._stopping.is_set() and (one := next(waiting, None)):
                        under_way[pool.submit(self._scored, *one)] = one[0]
                    if not under_way:
                        return
                    ended, _ = wait(under_way, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
                    for future in ended:
                        number = under_way.pop(future)
                        if (scores := future.result()) is not None:
                            keep(number, scores)
            except BaseException:
                self._stop()
                raise

    def _stop(self) -> None:
        with self._lock:
            self._stopping.set()
            for stream in self._live:
                stream.cancel()

    def _scored(self, number: int, line: Line) -> LineScores | None:
        """The scores of a line; None when it was cancelled."""
        seed = hashlib.blake2b(f"{self._recipe.seed}|{number}".encode(), digest_size=8).digest()
        return self._verified(line, line.answers, int.from_bytes(seed) >> 1)

    def _verified(self, line: Line, answers: tuple[Completion, ...], seed: int) -> LineScores | None:
        stream = self._engine.verify(self._recipe, line.prompt, answers, seed=seed)
        with self._lock:
            self._live.add(stream)
            if self._stopping.is_set():
                stream.cancel()
        try:
            result = stream.wait()
        finally:
            with self._lock:
                self._live.discard(stream)
        if result.error is None and len(result.scores) == len(answers):
            return scores_of(result.scores)
        if self._stopping.is_set():
            return None
        if len(answers) > 1 and not self._compares:  # where it fails on all together, each alone
            return _joined([self._verified(line, (answer,), seed) for answer in answers])
        error = result.error
        problem = error.message if isinstance(error, CounterpointError) else str(error)
        return LineScores((None,) * len(answers), problem.split("\n")[0], failed=True)


def scores_of(scores: Iterable[Score]) -> LineScores:
    """A verifier's scores as plain numbers; what is no number that JSON knows has none."""
    values: list[float | None] = []
    problem = ""
    for score in scores:
        known = math.isfinite(score)
        values.append(float(score) if known else None)
        if not known and not problem:
            problem = score.detail or ("the verifier abstains" if math.isnan(score) else f"the score is {float(score)}")
    return LineScores(tuple(values), problem)


def _joined(parts: Iterable[LineScores | None]) -> LineScores | None:
    """The scores of answers that were scored alone."""
    found = list(parts)
    known = [part for part in found if part is not None]
    if len(known) < len(found):
        return None
    values = tuple(value for part in known for value in part.values)
    problem = next((part.problem for part in known if part.problem), "")
    return LineScores(values, problem, any(part.failed for part in known))

"""The figures of one evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.comparison import RecipeResult, compare
from counterpoint.evaluation.estimators import pass_at_budget, rank_score_at_k
from counterpoint.evaluation.extras import data_frame
from counterpoint.evaluation.figures import Figure
from counterpoint.evaluation.outcomes import Measure, Unit, attempts, by_example, score_of
from counterpoint.evaluation.records import Configuration, Record
from counterpoint.evaluation.statistics import Estimate


@dataclass(frozen=True)
class EvaluationResult:
    """What a recipe answered, scored and cost on a data set."""

    configuration: Configuration
    records: tuple[Record, ...] = field(repr=False)
    measures: tuple[Measure, ...]
    """How the scorers are read, the headline first; none when answers were not scored."""
    path: Path | None = None
    """The folder it is kept in."""

    @property
    def name(self) -> str:
        """What the recipe is called in reports."""
        return self.configuration.name

    @property
    def failed(self) -> int:
        """Answers that failed."""
        return sum(record.failed for record in self.records)

    @property
    def examples(self) -> int:
        """Examples that were answered."""
        return len({record.id for record in self.records})

    @property
    def complete(self) -> bool:
        """Whether every example of the data set, or of its shard, has all its answers."""
        wanted = self.configuration.wanted * self.configuration.samples
        return len({(record.id, record.sample) for record in self.records}) >= wanted

    @cached_property
    def analysis(self) -> RecipeResult:
        """Figures, pass@k and costs.

        Raises:
            EvaluationError: there are no answers, or scipy is not installed.
        """
        return compare([(self.configuration, self.records)], self.measures).recipes[0]

    @property
    def figures(self) -> Mapping[str, Figure]:
        """Per scorer, the figure of the whole evaluation with its interval; errors as for :attr:`analysis`."""
        return self.analysis.figures

    @property
    def passes(self) -> Mapping[str, Sequence[tuple[int, Estimate]]]:
        """pass@k by scorer, where verdicts were given on several samples; errors as for :attr:`analysis`."""
        return self.analysis.passes

    def pass_at(self, scorer: str, budget: float, unit: Unit = "flops") -> float:
        """pass_flops@f or pass_time@t (COLM 2024, arXiv 2404.00725): pass@k with, per example, the most samples that fit.

        Args:
            scorer: the name of one that gives verdicts.
            budget: FLOPs, or seconds, of one example.
            unit: which of the two.

        Raises:
            EvaluationError: there is no such scorer, or the seconds of an example are not known.
        """
        tried = attempts(by_example(self.records), self._measure(scorer), unit)
        return pass_at_budget(list(tried.values()), budget)

    def rank_scores(
        self, scorer: str, ranker: str, ks: Sequence[int] = (1, 2, 4, 8, 16), *, drop_cut: bool = False
    ) -> dict[int, float]:
        """rank-score@k (same source): how often the best of k samples by another score passes, for every k there are samples for.

        Args:
            scorer: the name of one that gives verdicts.
            ranker: the name of the score to choose by.
            ks: how many samples to choose among.
            drop_cut: leave out samples cut at the token limit, as the source does.

        Raises:
            EvaluationError: there is no such scorer.
        """
        verdict, rank = self._measure(scorer), self._measure(ranker)
        found: dict[int, list[float]] = {k: [] for k in ks}
        for samples in by_example(self.records).values():
            scored = [
                (float(passed), ranked, record.finish_reason == "length")
                for record in samples
                if (passed := score_of(record, verdict)) is not None and (ranked := score_of(record, rank)) is not None
            ]
            passes, ranks, cut = zip(*scored, strict=True) if scored else ((), (), ())
            for k in ks:
                if len(scored) >= k:
                    value = rank_score_at_k(
                        passes, ranks, k, truncated=cut if drop_cut else None, lower_is_better=rank.lower_is_better
                    )
                    found[k].append(value)
        return {k: sum(values) / len(values) for k, values in found.items() if values}

    def _measure(self, name: str) -> Measure:
        known = {measure.name: measure for measure in self.measures}
        if name not in known:
            raise EvaluationError(f"{self.name}: has no scorer '{name}'", hint=f"scorers: {', '.join(known) or 'none'}")
        return known[name]

    def summary(self) -> dict[str, Any]:
        """Figures and mean costs as plain data for JSON."""
        counts = {"examples": self.examples, "answers": len(self.records), "failed": self.failed, "complete": self.complete}
        if not self.measures or not self.records:
            return {"name": self.name, **counts}
        return {**self.analysis.as_dict(), **counts}

    def to_frame(self) -> Any:
        """A pandas ``DataFrame`` with a row per answer.

        Raises:
            EvaluationError: pandas is not installed.
        """
        return data_frame(
            [
                {
                    "id": record.id,
                    "sample": record.sample,
                    **{name: score.value for name, score in record.scores.items()},
                    **record.cost.model_dump(),
                    "finish_reason": record.finish_reason,
                    "error": record.error,
                    "text": record.text,
                }
                for record in self.records
            ]
        )

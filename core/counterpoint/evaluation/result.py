"""The figures of one evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from counterpoint.evaluation.comparison import RecipeResult, compare
from counterpoint.evaluation.extras import data_frame
from counterpoint.evaluation.figures import Figure
from counterpoint.evaluation.outcomes import Measure
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

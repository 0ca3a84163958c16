"""What a verifier is worth on answers that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from counterpoint_plugins.verifier_training.examples import Labelled


@dataclass(frozen=True)
class Choice:
    """How well scores choose."""

    auc: float | None
    """Probability that a right answer scores higher than a wrong one (area under the ROC curve); None where there are not both, or
    scipy is not installed."""
    problems: int
    chosen: float
    """Share of the problems whose answer with the highest score is right."""
    first: float
    """Share whose first answer is right."""
    oracle: float
    """Share with a right answer among all."""


def measure(examples: Sequence[Labelled], scores: Sequence[float], firsts: Mapping[str, bool]) -> Choice:
    """How well scores choose among the answers to each problem; equal scores leave the first.

    Args:
        examples: answers, those of one problem adjacent.
        scores: one for each.
        firsts: whether the first answer to a problem is right, by the problem's place: it may be none of the examples, for it is too
            long, say.
    """
    groups = [
        [(score, example.right) for example, score in group]
        for _, group in groupby(zip(examples, scores, strict=True), key=lambda pair: pair[0].place)
    ]
    return Choice(
        auc=_auc(
            [s for s, e in zip(scores, examples, strict=True) if e.right],
            [s for s, e in zip(scores, examples, strict=True) if not e.right],
        ),
        problems=len(groups),
        chosen=sum(max(group, key=lambda one: one[0])[1] for group in groups) / len(groups),
        first=sum(firsts[place] for place in dict.fromkeys(one.place for one in examples)) / len(groups),
        oracle=sum(any(right for _, right in group) for group in groups) / len(groups),
    )


def _auc(right: Sequence[float], wrong: Sequence[float]) -> float | None:
    """The Mann–Whitney statistic, as a share of all pairs."""
    if not right or not wrong:
        return None
    try:
        from scipy.stats import mannwhitneyu
    except ImportError:
        return None
    return float(mannwhitneyu(right, wrong).statistic) / (len(right) * len(wrong))

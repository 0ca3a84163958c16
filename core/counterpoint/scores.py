"""What a verifier returns, checked: a plugin may return anything, and whoever asked is told what is wrong with it and whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from counterpoint.errors import RunError
from counterpoint.events import CandidateScored
from counterpoint.node import Score


def checked_scores(given: Iterable[float], count: int, path: str, kind: str) -> list[Score]:
    """What a verifier has returned, as scores.

    Args:
        given: what it returned.
        count: how many completions it was to score.
        path: of the verifier.
        kind: its kind.

    Raises:
        RunError: it is not a number for each completion.
    """
    try:
        scores = [one if isinstance(one, Score) else Score(one) for one in given]
    except (TypeError, ValueError, OverflowError):
        text = repr(given)
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise _fault(path, kind, f"returned {shown} instead of a number for each completion") from None
    if len(scores) != count:
        raise _fault(path, kind, f"scored {len(scores)} completions of {count}")
    return scores


def score_events(scores: Sequence[Score], candidates: Sequence[int], path: str, kind: str) -> list[CandidateScored]:
    """The events that tell of scores.

    Raises:
        RunError: a score's detail is no text, or its data are not plain.
    """
    try:
        return [
            CandidateScored(candidate=number, verifier=path, score=float(score), detail=score.detail, data=score.data)
            for number, score in zip(candidates, scores, strict=True)
        ]
    except ValidationError as error:
        (first, *_) = error.errors()
        raise _fault(path, kind, f"the {first['loc'][0]} of a score cannot be recorded: {first['msg']}") from None


def _fault(path: str, kind: str, what: str) -> RunError:
    return RunError(f"{path}: {what}", hint=f"this is a bug of the plugin that brings '{kind}'")

"""What can be compared, as a person names it, and how it is read. Blocking, and fit for a thread; no Textual."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import EvaluationError, RunError
from counterpoint.evaluation.evaluating import load_evaluation
from counterpoint.registry import Registry
from counterpoint.runstore import RunStore
from counterpoint_tui.answers import Answers, answers_of_runs
from counterpoint_tui.examples import Examples, examples_of_one, examples_of_two
from counterpoint_tui.state.compare import evaluations_in

Subject = str | Path
"""A stored run by its id, or the folder of an evaluation."""


def subjects(named: Sequence[str]) -> tuple[Subject, ...]:
    """What is to be compared, as a person names it: runs by id or by its beginning, evaluations by their folders.

    Raises:
        CounterpointError: there is no such thing, or they cannot be shown beside each other.
    """
    found: list[Subject] = []
    for name in named:
        folder = Path(name).expanduser()
        if folder.is_dir() or "/" in name:
            found += _evaluations(folder)
        else:
            found.append(RunStore().resolve(name))
    runs = [one for one in found if isinstance(one, str)]
    if runs and len(runs) < len(found):
        raise EvaluationError("a run and an evaluation cannot be compared", hint="name two runs, or two evaluations")
    if len(runs) == 1:
        raise RunError("a run is compared with another one", hint=f"--compare {runs[0]} --compare RUN; `last` is the latest")
    if len(found) > 2:
        names = ", ".join(one.name if isinstance(one, Path) else one for one in found)
        raise EvaluationError(f"{len(found)} cannot be shown side by side: {names}", hint="name two of them")
    return tuple(found)


def _evaluations(folder: Path) -> list[Path]:
    found = evaluations_in(folder)
    if not found:
        raise EvaluationError(
            f"{folder}: holds no evaluation",
            hint="`counterpoint eval RECIPE --data FILE --out FOLDER` makes one; a run is named by its id",
        )
    return [one.absolute() for one in found]


def load(subjects: Sequence[Subject], registry: Registry, scorer: str | None = None) -> Answers | Examples:
    """Reads two runs, one evaluation or two.

    Args:
        subjects: what :func:`subjects` found.
        registry: the plugins, which bring scorers.
        scorer: by which evaluations are compared; by default their first.

    Raises:
        CounterpointError: it is gone, damaged, or does not belong together.
    """
    runs = [one for one in subjects if isinstance(one, str)]
    if runs:
        return answers_of_runs(*runs)
    results = [load_evaluation(one, registry=registry) for one in subjects]
    for result in results:
        if not result.records:
            raise EvaluationError(f"{result.path}: has no answers yet", hint="`counterpoint eval` goes on where it was")
    if len(results) == 1:
        return examples_of_one(results[0], registry, scorer)
    return examples_of_two(results[0], results[1], registry, scorer)

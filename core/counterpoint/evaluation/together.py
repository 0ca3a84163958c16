"""Whether evaluations can be compared at all, on which examples, and what to call them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.outcomes import Groups, Measure
from counterpoint.evaluation.records import Configuration

_OUTPUT = ("the recipe's output",)
_SEPARATE = "compare them in separate calls, or evaluate again on the same data"


def check_together(configurations: Sequence[Configuration], measures: Sequence[Measure]) -> None:
    """Refuses evaluations of different things.

    Raises:
        EvaluationError: there is none; or the task, the data, the scorers or a scorer's settings differ.
    """
    if not configurations:
        raise EvaluationError("there are no evaluations to compare", hint="name at least one folder of an evaluation")
    if not measures:
        raise EvaluationError("no scorer is given to compare by", hint="evaluate with at least one scorer")
    first, *others = configurations
    for other in others:
        pair = f"'{first.name}' and '{other.name}'"
        if first.task != other.task:
            raise EvaluationError(f"{pair} are of different tasks: {first.task} and {other.task}", hint=_SEPARATE)
        if first.data.sha256 != other.data.sha256:
            raise EvaluationError(
                f"{pair} are of different data: {_data(first)} and {_data(other)}",
                hint=_SEPARATE,
            )
        if only := set(first.scorers) ^ set(other.scorers):
            raise EvaluationError(
                f"{pair} are not scored by the same scorers: {', '.join(sorted(only))} only in one of them",
                hint="score both with the same scorers",
            )
        for measure in measures:
            if _settings(first, measure.name) != _settings(other, measure.name):
                raise EvaluationError(
                    f"{pair} are scored by different settings of '{measure.name}'", hint="score both with the same settings"
                )
    for measure in measures:
        if measure.name not in first.scorers:
            raise EvaluationError(
                f"no scorer is called '{measure.name}'", hint=f"the evaluations have: {', '.join(first.scorers)}"
            )


def _settings(configuration: Configuration, scorer: str) -> dict[str, Any] | None:
    """A scorer's settings. One that measures the recipe's output does so in every recipe, whatever the output is called."""
    settings = configuration.scorers.get(scorer)
    output = configuration.recipe.get("output")
    return settings and {name: _OUTPUT if name != "kind" and value == output else value for name, value in settings.items()}


def names_of(configurations: Sequence[Configuration]) -> tuple[list[str], list[str]]:
    """A name for every evaluation, numbered where several share one, and notes on what tells these apart."""
    counts = Counter(configuration.name for configuration in configurations)
    taken = set(counts)
    firsts: dict[str, tuple[str, Configuration]] = {}
    names: list[str] = []
    notes: list[str] = []
    for configuration in configurations:
        name = configuration.name
        if counts[name] > 1:
            number = 1
            while f"{name} #{number}" in taken:
                number += 1
            unique = f"{name} #{number}"
            taken.add(unique)
            if name in firsts:
                first, other = firsts[name]
                differences = ", ".join(other.differences(configuration)) or "nothing but the run"
                notes.append(f"{unique} differs from {first} in: {differences}")
            firsts.setdefault(name, (unique, configuration))
            name = unique
        names.append(name)
    return names, notes


def common_examples(names: Sequence[str], grouped: Sequence[Groups]) -> tuple[list[str], list[str]]:
    """The examples that every evaluation has, sorted, and notes on what is left out.

    Raises:
        EvaluationError: an evaluation has no answers, or all together share no example.
    """
    for name, groups in zip(names, grouped, strict=True):
        if not groups:
            raise EvaluationError(
                f"'{name}' has no answers", hint="evaluate it first; an interrupted evaluation can be resumed"
            )
    common = sorted(set(grouped[0]).intersection(*grouped[1:]))
    if not common:
        raise EvaluationError(
            f"{' and '.join(repr(name) for name in names)} have no example in common",
            hint="they are shards or limits of the same data set: evaluate both on the same part",
        )
    notes = [
        f"{name}: {len(groups) - len(common)} of its {len(groups)} examples are left out, for not all others have them"
        for name, groups in zip(names, grouped, strict=True)
        if len(groups) > len(common)
    ]
    return common, notes


def _data(configuration: Configuration) -> str:
    return f"{configuration.data.name} ({configuration.data.sha256[:12]})"

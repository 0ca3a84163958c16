"""Shards of one evaluation, made on several machines, put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.evaluating import load_evaluation
from counterpoint.evaluation.folder import EvaluationFolder
from counterpoint.evaluation.result import EvaluationResult
from counterpoint.registry import Registry

_SHARD = frozenset({"shard"})


def merge(folders: Sequence[str | Path], out: str | Path, *, registry: Registry | None = None) -> EvaluationResult:
    """The whole evaluation from the folders of its shards.

    Args:
        folders: of every shard.
        out: a folder for the whole.
        registry: the plugins that bring its scorers.

    Raises:
        EvaluationError: they are not shards of one evaluation, one is missing, twice there or not finished; or ``out`` holds
            something else.
    """
    if not folders:
        raise EvaluationError("there is nothing to merge", hint="name the folders of all shards")
    parts = [load_evaluation(folder, registry=registry) for folder in folders]
    first = parts[0].configuration
    count = first.shard[1] if first.shard else 1
    seen: dict[int, Path | None] = {}
    for part in parts:
        if differences := first.differences(part.configuration, besides=_SHARD):
            raise EvaluationError(
                f"{part.path}: is not of the same evaluation as {parts[0].path}: it differs in {', '.join(differences)}",
                hint="shards have everything but --shard in common",
            )
        if part.configuration.shard is None or part.configuration.shard[1] != count:
            raise EvaluationError(f"{part.path}: is no shard of {count}", hint="merge what was made with --shard i/n")
        number = part.configuration.shard[0]
        if number in seen:
            raise EvaluationError(f"{part.path}: is shard {number}, and so is {seen[number]}", hint="name each shard once")
        if not part.complete:
            raise EvaluationError(
                f"{part.path}: has answered {part.examples} of {part.configuration.wanted} examples",
                hint="finish it first: the same command goes on",
            )
        seen[number] = part.path
    if missing := [str(number) for number in range(1, count + 1) if number not in seen]:
        raise EvaluationError(f"shard(s) {', '.join(missing)} of {count} are missing", hint="name the folders of all shards")
    configuration = first.model_copy(update={"shard": None})
    records = sorted((record for part in parts for record in part.records), key=lambda one: (one.id, one.sample))
    with EvaluationFolder(Path(out)).writing(configuration) as folder:
        folder.replace(records)
        result = EvaluationResult(configuration, tuple(records), parts[0].measures, folder.path)
        folder.finish(result.summary())
    return result

"""Examples of a training: what is held out, and which of them a step sees, as a pure function of the seed and the step."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence, Sized
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from counterpoint.errors import EvaluationError


class _Placed(Sized, Protocol):
    @property
    def place(self) -> str: ...


T = TypeVar("T")
SizedT = TypeVar("SizedT", bound=Sized)
PlacedT = TypeVar("PlacedT", bound=_Placed)


@dataclass(frozen=True)
class Side(Generic[T]):
    """Examples that a training learns from, or, with a negative weight, unlearns."""

    train: Sequence[T]
    held_out: Sequence[T]
    """Examples that are only measured."""
    name: str = "learn"
    """Key of the order in which examples come."""
    weight: float = 1.0
    """Of this side's mean loss in the sum over all sides."""
    column: str = ""
    """What ``losses.jsonl`` calls this side's own loss; without a name it is not recorded by itself."""


def split(
    examples: Sequence[T],
    share: float,
    seed: int,
    path: str,
    *,
    measured: Sequence[T] | None = None,
    same: Callable[[T], Hashable] | None = None,
    noun: str = "examples",
) -> tuple[list[T], list[T]]:
    """Examples to train on, and those that are held out: ``measured`` if given, else a share drawn by the seed.

    Args:
        examples: all of them.
        share: to be held out.
        seed: of the draw.
        path: of the trainer, for errors.
        measured: what is held out instead.
        same: what examples have in common that are held out together or not at all, as those of one question.
        noun: what the things are called that are drawn.

    Raises:
        EvaluationError: nothing is left to train on.
    """
    if measured is not None:
        return list(examples), list(measured)
    keys: list[Hashable] = [*range(len(examples))] if same is None else [same(example) for example in examples]
    groups = list(dict.fromkeys(keys))
    count = max(1, round(share * len(groups))) if share else 0
    chosen = set(random.Random(f"{seed}|held out").sample(groups, count))
    if len(chosen) == len(groups):
        raise EvaluationError(
            f"{path}: nothing is left to train on: {len(groups)} {noun}, and {count} held out", hint="add data"
        )
    return (
        [example for key, example in zip(keys, examples, strict=True) if key not in chosen],
        [example for key, example in zip(keys, examples, strict=True) if key in chosen],
    )


def fitting(
    examples: Sequence[PlacedT],
    max_length: int,
    too_long: Literal["refuse", "drop"],
    path: str,
    file: object,
    *,
    allow_none: bool = False,
) -> list[PlacedT]:
    """Examples of at most ``max_length`` tokens; longer ones are refused or left out.

    Args:
        examples: their ``len`` is a number of tokens.
        max_length: most tokens.
        too_long: what happens to longer ones.
        path: of the trainer, for errors.
        file: where the examples come from, for errors.
        allow_none: whether all of them may be left out.

    Raises:
        EvaluationError: an example is too long, naming the first, or all of them are.
    """
    kept = [example for example in examples if len(example) <= max_length]
    if len(kept) < len(examples) and too_long == "refuse":
        longest = next(example for example in examples if len(example) > max_length)
        raise EvaluationError(
            f"{longest.place}: prompt and answer have {len(longest)} tokens, and max_length of '{path}' is {max_length} "
            f"({len(examples) - len(kept)} of {len(examples)} examples are too long)",
            hint="raise max_length, or set too_long to drop, which leaves them out",
        )
    if examples and not kept and not allow_none:
        raise EvaluationError(f"{file}: all {len(examples)} examples are too long", hint="raise max_length")
    return kept


def steps_per_epoch(examples: int, batch: int) -> int:
    """How many steps see every example once; the last may be a smaller one."""
    return -(-examples // batch)


def batch_of(examples: Sequence[T], batch: int, step: int, seed: int, purpose: str) -> list[T]:
    """The examples of a step (from 0): a pure function of its arguments, so that a resumed training sees the same."""
    epoch, index = divmod(step, steps_per_epoch(len(examples), batch))
    order = list(range(len(examples)))
    random.Random(f"{seed}|{purpose}|{epoch}").shuffle(order)
    return [examples[at] for at in order[index * batch : (index + 1) * batch]]


def micro_batches(examples: Sequence[SizedT], size: int) -> list[list[SizedT]]:
    """Examples in passes of at most ``size``, those of like length together, so that little is padding."""
    by_length = sorted(examples, key=len)
    return [by_length[at : at + size] for at in range(0, len(by_length), size)]

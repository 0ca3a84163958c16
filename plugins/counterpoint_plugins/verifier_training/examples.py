"""What the head learns from: answers as tokens, with labels and weights, split by problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from counterpoint.plugin import LeafModel, RunError, Tokenizer
from counterpoint.training import Side, encode_prompt, fitting, split
from counterpoint_plugins.verifier_training.sampling import Sample

if TYPE_CHECKING:
    from counterpoint_plugins.verifier_training import VerifierTraining


@dataclass(frozen=True)
class Labelled:
    """An answer as tokens, and whether it is right."""

    place: str
    """Of its problem."""
    prompt: tuple[int, ...]
    response: tuple[int, ...]
    right: bool

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class Examples:
    """All that a training uses."""

    side: Side[Labelled]
    weights: dict[bool, float]
    """What a token of right and of wrong answers counts."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many answers were sampled, right, wrong, and left out for what."""


def make_examples(
    node: VerifierTraining, path: str, seed: int, samples: Sequence[Sample], model: LeafModel, tokenizer: Tokenizer
) -> Examples:
    """Labels, encodes and splits answers; those of one problem stay together.

    Raises:
        EvaluationError: an answer is too long, or nothing is left to train on.
        RunError: all answers to train on are right, or all are wrong.
    """
    counts = Counter(sampled=len(samples), abstained=sum(sample.right is None for sample in samples))
    prompts: dict[str, tuple[int, ...]] = {}
    labelled = []
    for sample in samples:
        place = sample.problem.place
        response = tuple(tokenizer.encode(sample.text))
        if sample.right is None:
            continue
        if not response:
            counts["empty"] += 1
            continue
        if place not in prompts:
            prompts[place] = encode_prompt(sample.problem.prompt, model, tokenizer, path)
        labelled.append(Labelled(place, prompts[place], response, sample.right))
    kept = fitting(labelled, node.max_length, node.too_long, path, path)
    counts["too_long"] = len(labelled) - len(kept)
    counts["right"] = sum(example.right for example in kept)
    counts["wrong"] = len(kept) - counts["right"]
    train, held_out = _by_problem(node, path, seed, kept, {s.problem.place for s in samples if s.problem.only_measured})
    tokens = Counter({right: sum(len(e.response) for e in train if e.right == right) for right in (True, False)})
    if not tokens[True] or not tokens[False]:
        which, remedy = ("wrong", "easier problems or a better generator") if tokens[False] else ("right", "harder problems")
        none = f"all {len(train)} answers to learn from are {which}" if train else "there is no answer to learn from"
        raise RunError(
            f"{path}: {none}, so that there is nothing to tell apart",
            hint=f"sample more answers at a higher temperature, or take {remedy}; and see whether the checker reads answers "
            "as they are written",
        )
    total = tokens[True] + tokens[False]
    weights = {right: total / (2 * tokens[right]) if node.balance else 1.0 for right in (True, False)}
    return Examples(Side(train, held_out), weights, counts)


def _by_problem(
    node: VerifierTraining, path: str, seed: int, examples: Sequence[Labelled], measured: set[str]
) -> tuple[list[Labelled], list[Labelled]]:
    learned = [example for example in examples if example.place not in measured]
    held = [example for example in examples if example.place in measured] if node.held_out_file is not None else None
    if not learned:
        return [], held or []
    return split(learned, node.held_out, seed, path, measured=held, same=lambda one: one.prompt, noun="problems")

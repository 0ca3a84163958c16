"""The laws of constraints, as an assertion for any implementation."""

from __future__ import annotations

import random
from collections.abc import Iterable

from counterpoint.constraint import Constraint, ConstraintState
from counterpoint.prompt import Prompt
from counterpoint.tokenizer import Tokenizer


def assert_constraint_laws(
    constraint: Constraint,
    tokenizer: Tokenizer,
    stop_ids: Iterable[int],
    *,
    prompt: Prompt | None = None,
    length: int = 12,
    seeds: Iterable[int] = range(4),
    tries: int = 24,
) -> None:
    """Asserts the laws of constraints on random walks through what it allows.

    A token is refused exactly when the mask excludes it; a state says the same whatever was made from it before, in whatever order
    it is asked; the same tokens lead to the same state, from a beginning of its own too.

    Args:
        constraint: the constraint.
        tokenizer: a vocabulary.
        stop_ids: its end-of-turn tokens.
        prompt: what is answered.
        length: most tokens of a walk.
        seeds: one walk for each.
        tries: how many other tokens are tried at each step.
    """
    ends = frozenset(stop_ids)
    words = [token for token in range(tokenizer.size) if token not in tokenizer.special_ids | ends]
    begin = constraint.begin(tokenizer, ends, prompt or Prompt(text="hello"))
    for seed in seeds:
        choose = random.Random(seed)
        states, taken = [begin], list[int]()
        said = [_said(begin, tokenizer.size)]
        while len(taken) < length:
            allowed = [token for token in words if token in said[-1]]
            for token in choose.sample(words, min(tries, len(words))):
                assert (states[-1].advance(token) is not None) == (token in said[-1]), "the mask excludes what is refused"
            if not allowed:
                break
            taken.append(choose.choice(allowed))
            state = states[-1].advance(taken[-1])
            assert state is not None, "what the mask allows is taken"
            states.append(state)
            said.append(_said(state, tokenizer.size))
        for index in choose.sample(range(len(states)), len(states)):
            assert _said(states[index], tokenizer.size) == said[index], "a state never changes"
        again: ConstraintState | None = constraint.begin(tokenizer, ends, prompt or Prompt(text="hello"))
        for token in taken:
            assert again is not None
            again = again.advance(token)
        assert again is not None
        assert _said(again, tokenizer.size) == said[-1], "the same tokens lead to the same state"


def _said(state: ConstraintState, size: int) -> frozenset[int]:
    """The tokens that a state allows."""
    mask = state.mask()
    if mask is None:
        return frozenset(range(size))
    assert tuple(mask.shape) == (size,), "a mask has one entry per token of the tokenizer"
    assert not mask.dtype.is_floating_point, "a mask is of bools"
    return frozenset(mask.nonzero()[:, 0].tolist())

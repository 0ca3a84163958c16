"""The session of a constrained model: its rows, without what the constraints forbid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.composition import Component, ComposedSession
from counterpoint.plugin import (
    Constraint,
    ConstraintState,
    CounterpointError,
    LanguageModel,
    ModelError,
    Prompt,
    Run,
    RunError,
    Session,
)


@dataclass(frozen=True)
class Watch:
    """A constraint at work."""

    name: str
    """Its path, and its kind where that says more."""
    begin: ConstraintState


States = tuple[ConstraintState, ...]


async def open_constrained(
    model: str | LanguageModel, constraints: Sequence[str | Constraint], prompt: Prompt, run: Run
) -> ConstrainedSession:
    """Opens the model, and the constraints beside it.

    Raises:
        ModelError: the prompt's prefix breaks a constraint, or the model has no end-of-turn token.
    """
    component = await Component.open(model, prompt, run)
    session = component.session
    if not session.stop_ids:
        raise ModelError(
            f"{run.path}: the model '{session.path}' has no end-of-turn token, so that no answer could end where a constraint says",
            hint="use a model whose configuration names one",
        )
    watches = []
    for reference in constraints:
        constraint = run.node_of(reference, Constraint)
        assert isinstance(constraint, Constraint)
        name = f"'{run.path_of(reference)}' ({constraint.kind})"
        with blaming(run.path, name):
            begin = await run.thread(constraint.begin, session.tokenizer, session.stop_ids, prompt)
        watches.append(Watch(name, begin))
    made = ConstrainedSession(component, watches, run)
    made.check_prefix(prompt.prefix)
    return made


@contextmanager
def blaming(path: str, name: str) -> Iterator[None]:
    """Errors inside say in which node, and of which constraint they are."""
    try:
        yield
    except CounterpointError as error:
        raise type(error)(f"{path}: the constraint {name}: {error.message}", hint=error.hint) from error
    except Exception as error:
        raise RunError(
            f"{path}: the constraint {name} failed: {type(error).__name__}: {error}",
            hint="this is a bug of the plugin that brings it; remove the constraint to go on without it",
        ) from error


class ConstrainedSession(ComposedSession):
    """A model's rows with −inf for what may not follow.

    One tuple of states is kept for each length of the response, made when a row is wanted there; rolling back cuts the list, a fork
    copies it. After a token that was forbidden, the response is dead: its rows allow nothing but the end.
    """

    def __init__(self, component: Component, watches: Sequence[Watch], run: Run) -> None:
        super().__init__(run.path, [component], run)
        self._names = [watch.name for watch in watches]
        self._states: list[States | None] = [tuple(watch.begin for watch in watches)]
        self._words = torch.tensor([spelled is not None for spelled in component.bridge.outer_bytes])
        self._words[sorted(self.stop_ids)] = False
        self._ends = torch.zeros(self.tokenizer.size, dtype=torch.bool)
        self._ends[sorted(self.stop_ids)] = True

    def check_prefix(self, prefix: str) -> None:
        """Raises ModelError when the beginning of the answer breaks a constraint."""
        assert self._states[0] is not None
        for name, begin in zip(self._names, self._states[0], strict=True):
            state: ConstraintState | None = begin
            for token_id in self.prefix_ids:
                with blaming(self.path, name):
                    state = state.advance(token_id) if state is not None and self._words[token_id] else None
            if state is None:
                shown = prefix if len(prefix) <= 60 else f"{prefix[:60]}…"
                raise ModelError(
                    f"{self.path}: the answer's beginning {shown!r} breaks the constraint {name}",
                    hint="leave it out, or let the constraint allow it: it holds for the whole answer, beginning included",
                )

    def combine(self, rows: Sequence[Tensor], first: int) -> Tensor:
        (given,) = rows
        found = [self._states_at(length) for length in range(first, first + len(given))]
        allowed = torch.stack([self._allowed(states) for states in found]).to(given.device)
        made = given.masked_fill(~allowed, -torch.inf)
        for index, states in enumerate(found):
            if states is None:  # whatever the model thinks: it may think the end impossible
                made[index] = torch.where(allowed[index], 0.0, -torch.inf)
        for index in (made.amax(dim=-1) == -torch.inf).nonzero()[:, 0].tolist():
            self._stuck(found[index], first + index)
        return made

    def _states_at(self, length: int) -> States | None:
        """The states after so many tokens; None when one of them was forbidden."""
        while len(self._states) <= length:
            states, token_id = self._states[-1], self.response[len(self._states) - 1]
            self._states.append(self._advanced(states, token_id) if states is not None and self._words[token_id] else None)
        return self._states[length]

    def _advanced(self, states: States, token_id: int) -> States | None:
        made = []
        for name, state in zip(self._names, states, strict=True):
            with blaming(self.path, name):
                after = state.advance(token_id)
            if after is None:
                return None
            made.append(after)
        return tuple(made)

    def _allowed(self, states: States | None) -> Tensor:
        """What may follow, ``[vocabulary]``."""
        if states is None:
            return self._ends
        found = self._words | self._ends
        for mask in self._masks(states):
            if mask is not None:
                found &= mask
        return found

    def _masks(self, states: States) -> Iterator[Tensor | None]:
        for name, state in zip(self._names, states, strict=True):
            with blaming(self.path, name):
                mask = state.mask()
                if mask is not None and mask.shape != self._ends.shape:
                    raise ValueError(f"its mask is of shape {tuple(mask.shape)} instead of {tuple(self._ends.shape)}")
            yield mask

    def _stuck(self, states: States | None, length: int) -> None:
        """Says why nothing may follow."""
        assert states is not None
        text = self.tokenizer.decode(self.response[:length])[-60:]
        where = f"after {text!r}" if text else "at the beginning"
        usable = self._words | self._ends
        for name, mask in zip(self._names, self._masks(states), strict=True):
            if mask is not None and not bool((mask & usable).any()):
                raise RunError(
                    f"{self.path}: the constraint {name} allows nothing {where}, not even the end",
                    hint="change the constraint: as it is, no answer can go on from here",
                )
        names = " and ".join(self._names)
        if not bool(self._allowed(states).any()):
            raise RunError(
                f"{self.path}: the constraints {names} have nothing in common {where}", hint="change or remove one of them"
            )
        raise RunError(
            f"{self.path}: its model gives no chance to anything that {names} allows {where}",
            hint="constrain the model inside the composition rather than what the composition leaves",
        )

    def rollback(self, length: int) -> None:
        super().rollback(length)
        del self._states[length + 1 :]

    def twin(self, components: Sequence[Component]) -> Session:
        twin = super().twin(components)
        assert isinstance(twin, ConstrainedSession)
        twin._states = list(self._states)
        return twin

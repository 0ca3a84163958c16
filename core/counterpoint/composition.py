"""Compositions: sessions whose distribution is made from those of several models.

Torch-facing helpers for plugin authors. A composed session is a pure function of its response, never of how it was fed: each
:class:`Component` keeps its own model's session in step with the response, position by position, so rolling back and forking are
exact, and stretches in which tokens correspond one to one go in one pass. What a composition does with the rows is its own
:meth:`ComposedSession.combine`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from counterpoint.component import Component
from counterpoint.session import KnownRows, Rows, Session, row_count

if TYPE_CHECKING:
    from counterpoint.running import Run

SCORE_CHUNK = 64
"""Most rows over a vocabulary that :meth:`ComposedSession.score` holds at once."""

T = TypeVar("T")

__all__ = ["BridgedSession", "Component", "ComposedSession"]


class ComposedSession(Session):
    """A session whose rows are made from those of its components.

    Args:
        path: path of the node that opens it.
        components: the models; unless ``like`` says otherwise, the first gives the composition its vocabulary.
        run: the node's run.
        like: a session whose vocabulary, prompt and ends the composition has.
        combine: what :meth:`combine` does, for a composition that needs no class of its own.
    """

    def __init__(
        self,
        path: str,
        components: Sequence[Component],
        run: Run,
        *,
        like: Session | None = None,
        combine: Callable[[Sequence[Tensor], int], Tensor] | None = None,
    ) -> None:
        leader = like or components[0].session
        self.path = path
        self.tokenizer = leader.tokenizer
        self.prompt_ids = leader.prompt_ids
        self.prefix_ids = leader.prefix_ids
        self.stop_ids = leader.stop_ids
        self.stop_strings = leader.stop_strings
        # a model of another vocabulary cuts the response otherwise: as many tokens as it has left is a guess
        others = [part.session.room if part.bridge.exact else len(leader.prefix_ids) + part.spare for part in components]
        self.room = min([leader.room, *others])
        self.components = tuple(components)
        self.response = list(leader.prefix_ids)
        """Response tokens so far."""
        self._known = KnownRows()
        self._of_parts: tuple[Sequence[Tensor], int] = (
            (),
            0,
        )  # the parts' rows of the latest pass, and the length of the first
        self._run = run
        self._combine = combine

    def combine(self, rows: Sequence[Tensor], first: int) -> Tensor:
        """The composition's rows, from those of its models.

        Args:
            rows: for each component ``[n, its vocabulary]`` float32, as its model gives them; :meth:`Component.onto` brings
                them into the composition's vocabulary.
            first: length of the response to which the first row belongs.

        Returns:
            ``[n, vocabulary]`` float32, unnormalised.
        """
        if self._combine is None:
            raise NotImplementedError
        return self._combine(rows, first)

    @property
    def length(self) -> int:
        return len(self.response)

    async def logits(self) -> Tensor:
        row = self._known.at(self.length)
        if row is None:
            rows = await self._together([part.logits() for part in self.components])
            found = [one[None] for one in rows]
            row = self.combine(found, self.length)[0]
            self._known.put(row[None], self.length)
            self._of_parts = found, self.length
        return row

    async def extend(self, ids: Sequence[int], rows: Rows = "last") -> Tensor:
        wanted = row_count(rows, len(ids))
        found = await self._together([part.extend(ids, wanted) for part in self.components])
        self.response.extend(ids)
        if wanted == 0:
            return torch.empty(0, self.tokenizer.size)
        first = self.length - wanted + 1
        combined = self.combine(found, first)
        self._known.put(combined, first)
        self._of_parts = found, first
        return combined

    def parts(self, length: int, token_id: int) -> dict[str, float]:
        rows, first = self._of_parts
        found: dict[str, float] = {}
        for part, own in zip(self.components, rows, strict=False):
            if 0 <= length - first < len(own):
                row = part.onto(own[length - first][None])[0]
                found[part.session.path] = float(row[token_id] - row.logsumexp(-1))
            found |= part.parts(length, token_id)
        return found

    async def _together(self, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Calls of all components at once: they share passes with one another and with other rows."""
        return [await calls[0]] if len(calls) == 1 else await self._run.gather(*calls)

    async def score(self, ids: Sequence[int]) -> Tensor:
        scores = [torch.empty(0)]
        for start in range(0, len(ids), SCORE_CHUNK):
            chunk = list(ids[start : start + SCORE_CHUNK])
            before = await self.logits()
            rows = torch.cat([before[None], await self.extend(chunk, rows="all")])
            scores.append(torch.log_softmax(rows[:-1], -1).gather(-1, torch.tensor(chunk, device=rows.device)[:, None])[:, 0])
        return torch.cat([score.cpu() for score in scores])

    def rollback(self, length: int) -> None:
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot roll back to {length}: the session has {self.length} response tokens")
        for part in self.components:
            part.rollback(length)
        del self.response[length:]
        self._known.cut(length)

    async def fork(self, n: int) -> list[Session]:
        parts = await self._together([part.fork(n) for part in self.components])
        return [self.twin(components) for components in zip(*parts, strict=True)]

    def twin(self, components: Sequence[Component]) -> Session:
        """A session equal to this one on forked components; a subclass with a state of its own copies that as well."""
        twin = copy.copy(self)
        twin.components = tuple(components)
        twin.response = list(self.response)
        twin._known = self._known.copy()
        return twin

    def close(self) -> None:
        for part in self.components:
            part.session.close()


class BridgedSession(ComposedSession):
    """A model in another vocabulary: what it thinks of the tokens that the two share; the others are impossible."""

    def combine(self, rows: Sequence[Tensor], first: int) -> Tensor:
        (part,) = self.components
        return part.onto(rows[0])

"""Sessions on leaf models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import ContextFull, PromptTooLong, Unsupported
from counterpoint.host import ModelHost
from counterpoint.passrequest import Meter
from counterpoint.session import Backend, KnownRows, Rows, Session, row_count


def check_context(backend: Backend, prompt_ids: Sequence[int], prefix_ids: Sequence[int], path: str, model: str) -> None:
    """Refuses a prompt, or the beginning of an answer, that leaves no room for one.

    Raises:
        PromptTooLong: it does not fit, naming the node ``path`` and its ``model``.
    """
    prompt, prefix, starts = len(prompt_ids), len(prefix_ids), len(backend.start_ids)
    if starts and prompt > backend.context:
        raise PromptTooLong(
            f"{path}: the prompt has {prompt} tokens, and the encoder of {model} reads at most {backend.context}",
            hint="shorten the prompt, or use a model with a longer context",
        )
    if starts and starts + prefix >= backend.context:
        raise PromptTooLong(
            f"{path}: the answer begins with {prefix} tokens, and the decoder of {model} holds {backend.context} with the rest",
            hint="shorten the prompt's prefix, or use a model with a longer context",
        )
    if not starts and prompt + prefix >= backend.context:
        raise PromptTooLong(
            f"{path}: the prompt has {prompt + prefix} tokens, and the context of {model} holds {backend.context} with its answer",
            hint="shorten the prompt, or use a model with a longer context",
        )


class LeafSession(Session):
    """A session on a leaf model: one slot of its host."""

    def __init__(
        self,
        host: ModelHost,
        path: str,
        prompt_ids: Sequence[int],
        prefix_ids: Sequence[int],
        stop_ids: frozenset[int],
        stop_strings: tuple[str, ...],
        meter: Meter,
        scope: str = "",
    ) -> None:
        self.host = host
        self.path = path
        self.tokenizer = host.backend.tokenizer
        self.prompt_ids = tuple(prompt_ids)
        self.prefix_ids = tuple(prefix_ids)
        self.stop_ids = stop_ids
        self.stop_strings = stop_strings
        starts = host.backend.start_ids
        self.encoded = self.prompt_ids if starts else ()
        """What the model's encoder reads, where it has one."""
        self.before = starts or self.prompt_ids
        """What the slot holds before the response: the prompt, or what a decoder begins with."""
        self.room = host.backend.context - len(self.before)
        self.meter = meter
        self.scope = scope
        self.slot = -1
        self.closed = False
        self._waiting: list[int] = []  # tokens not yet fed, because nobody has wanted a row after them
        self._known = KnownRows()

    @property
    def length(self) -> int:
        return self.host.table.length(self.slot) + len(self._waiting) - len(self.before)

    async def logits(self) -> Tensor:
        row = self._known.at(self.length)
        if row is not None:
            return row
        if not self._waiting:  # the row was never asked for: feed the last token again
            at = self.host.table.length(self.slot) - 1
            last = self.before[at] if at < len(self.before) else None
            if last is None:
                last = self.host.table.tokens(self.slot)[at]
            self.host.table.truncate(self.slot, at)
            self._waiting = [last]
        return (await self._feed((), 1))[-1]

    async def extend(self, ids: Sequence[int], rows: Rows = "last") -> Tensor:
        wanted = row_count(rows, len(ids))
        if wanted == 0:
            self._check_room(len(ids))
            self._waiting.extend(ids)
            return torch.empty(0, self.tokenizer.size)
        return await self._feed(ids, wanted)

    async def score(self, ids: Sequence[int]) -> Tensor:
        if not ids:
            return torch.empty(0)
        first: list[Tensor] = []
        if not self._waiting:
            first = [torch.log_softmax(await self.logits(), dim=-1)[ids[0]].reshape(1)]
        feed = [*self._waiting, *ids]
        self._check_room(len(ids))
        self._waiting = []
        rows, scores = await self.host.submit(self, feed, 1, score=True)
        self.set_rows(rows, self.length)
        assert scores is not None
        return torch.cat([*first, scores[len(scores) - (len(ids) - len(first)) :]])

    async def hidden(self, ids: Sequence[int], rows: Rows = "last") -> Tensor:
        backend = self.host.backend
        if not backend.gives_hidden:
            raise Unsupported(
                f"{self.path}: {type(backend).__name__} gives no hidden states", hint="use a huggingface model here"
            )
        wanted = row_count(rows, len(ids))
        self._check_room(len(ids))
        if wanted == 0:
            self._waiting.extend(ids)
            return torch.empty(0, backend.shape.hidden)
        feed, self._waiting = [*self._waiting, *ids], []
        return (await self.host.submit(self, feed, wanted, hidden=True))[0]

    async def _feed(self, ids: Sequence[int], rows: int) -> Tensor:
        self._check_room(len(ids))
        feed, self._waiting = [*self._waiting, *ids], []
        found, _ = await self.host.submit(self, feed, rows)
        self.set_rows(found, self.length - rows + 1)
        return found

    def _check_room(self, tokens: int) -> None:
        if self.length + tokens > self.room:
            raise ContextFull(
                f"{self.path}: the context of {self.host.backend.context} tokens is full",
                hint="lower max_tokens, shorten the prompt, or use a model with a longer context",
            )

    def set_rows(self, rows: Tensor, at: int) -> None:
        """Remembers the rows of the latest pass; the first is the distribution at length ``at``."""
        self._known.put(rows, at)

    def rollback(self, length: int) -> None:
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot roll back to {length}: the session has {self.length} response tokens")
        unfed = length + len(self.before) - self.host.table.length(self.slot)
        del self._waiting[max(0, unfed) :]
        if unfed < 0:
            self.host.table.truncate(self.slot, length + len(self.before))
        self._known.cut(length)

    async def fork(self, n: int) -> list[Session]:
        twins: list[Session] = []
        for _ in range(n):
            twin = LeafSession(
                self.host,
                self.path,
                self.prompt_ids,
                self.prefix_ids,
                self.stop_ids,
                self.stop_strings,
                self.meter,
                self.scope,
            )
            twin.adopt(self, self.host.table.length(self.slot))
            twin._waiting = list(self._waiting)
            self.meter.keep(twin)
            twins.append(twin)
        return twins

    def adopt(self, donor: LeafSession, tokens: int) -> None:
        """Becomes a copy of the first ``tokens`` tokens of another session's slot."""
        self.slot = self.host.table.copy(donor.slot, tokens)
        row = donor._known.at(tokens - len(self.before))
        if row is not None:
            self.set_rows(row[None], tokens - len(self.before))

    def close(self) -> None:
        if not self.closed and self.slot >= 0:
            row = self._known.at(self.host.table.length(self.slot) - len(self.before))
            self.host.park(self.slot, row[None].clone() if row is not None else None)
        self.closed = True

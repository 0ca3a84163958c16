"""A llama.cpp context as a backend of slots."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import llama_cpp
import numpy as np
import torch

from counterpoint.plugin import Backend, CacheFull, ModelShape, Step, StepResult
from counterpoint_plugins.llama_cpp.library import Model
from counterpoint_plugins.llama_cpp.tokenizer import LlamaCppTokenizer

PASS_OUTPUTS = 64
"""Most rows of logits computed by one call; more follow in turn, so that their buffer stays small."""


class LlamaCppBackend(Backend):
    """Ragged batches over sequences in one cache; a copied sequence shares its cells with the original."""

    def __init__(
        self,
        model: Model,
        context: Any,
        tokenizer: LlamaCppTokenizer,
        shape: ModelShape,
        *,
        row_tokens: int,
        stop_ids: frozenset[int],
    ) -> None:
        self.tokenizer = tokenizer
        self.shape = shape
        self.stop_ids = stop_ids
        self.cache_tokens = int(llama_cpp.llama_n_ctx(context))
        self.context = min(row_tokens, self.cache_tokens)
        self._model = model
        self._context = context
        self._memory = llama_cpp.llama_get_memory(context)
        self._vocabulary = int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model.pointer)))
        self._most = int(llama_cpp.llama_n_batch(context))
        self._batch = _Batch(self._most)
        self._lengths: dict[int, int] = {}
        self._free = list(range(int(llama_cpp.llama_n_seq_max(context)) - 1, -1, -1))

    def new_slot(self) -> int:
        if not self._free:
            raise CacheFull(f"llama.cpp has {len(self._lengths)} sequences at most")
        slot = self._free.pop()
        self._lengths[slot] = 0
        return slot

    def truncate(self, slot: int, length: int) -> None:
        if length < self._lengths[slot]:
            removed = llama_cpp.llama_memory_seq_rm(self._memory, slot, length, -1)
            assert removed, "models whose sequences cannot be cut are refused when they are loaded"
            self._lengths[slot] = length

    def copy(self, slot: int, length: int) -> int:
        new = self.new_slot()
        llama_cpp.llama_memory_seq_cp(self._memory, slot, new, 0, length)
        self._lengths[new] = length
        return new

    def free(self, slot: int) -> None:
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        del self._lengths[slot]
        self._free.append(slot)

    def forward(self, steps: Sequence[Step]) -> list[StepResult]:
        before = {step.slot: self._lengths[step.slot] for step in steps}
        found: list[list[torch.Tensor]] = [[] for _ in steps]
        try:
            for pieces in self._calls(steps):
                rows = self._decode([piece for _, piece in pieces])
                for (index, piece), part in zip(pieces, rows, strict=True):
                    if piece.rows:
                        found[index].append(part)
        except BaseException:
            for slot, length in before.items():
                self.truncate(slot, length)
            raise
        return [_result(step, parts, self.tokenizer.size) for step, parts in zip(steps, found, strict=True)]

    def _calls(self, steps: Sequence[Step]) -> Iterator[list[tuple[int, Step]]]:
        """The pass in pieces that one call takes: the index of a step, and the part of it."""
        pieces: list[tuple[int, Step]] = []
        tokens = outputs = 0
        for index, step in enumerate(steps):
            wanted = len(step.ids) if step.score else step.rows
            first_row = len(step.ids) - wanted
            start = 0
            while start < len(step.ids):
                end = min(len(step.ids), start + self._most - tokens, max(first_row, start) + PASS_OUTPUTS - outputs)
                if end > start:
                    rows = end - max(first_row, start) if end > first_row else 0
                    pieces.append((index, replace(step, ids=step.ids[start:end], rows=rows, score=False)))
                    tokens += end - start
                    outputs += rows
                if end < len(step.ids):  # this call is full
                    yield pieces
                    pieces, tokens, outputs = [], 0, 0
                start = end
        if pieces:
            yield pieces

    def _decode(self, pieces: Sequence[Step]) -> list[torch.Tensor]:
        """One call of llama.cpp; the rows of each piece."""
        self._batch.fill(pieces, self._lengths)
        status = llama_cpp.llama_decode(self._context, self._batch.data)
        if status == 1:
            raise CacheFull(f"the cache of {self.cache_tokens} tokens is full")
        if status != 0:
            raise RuntimeError(f"llama_decode failed with status {status}")
        for piece in pieces:
            self._lengths[piece.slot] += len(piece.ids)
        rows = [piece.rows for piece in pieces]
        table = torch.empty(sum(rows), self._vocabulary)
        if len(table):  # copied, for llama.cpp's own buffer is used again
            ctypes.memmove(table.data_ptr(), llama_cpp.llama_get_logits(self._context), 4 * table.numel())
        table = table[:, : self.tokenizer.size]
        return [table] if len(rows) == 1 else list(table.split(rows))

    def close(self) -> None:
        if self._context:
            self._batch.close()
            llama_cpp.llama_free(self._context)
            self._context = None
            self._model.close()


class _Batch:
    """llama.cpp's batch, filled through arrays."""

    def __init__(self, most: int) -> None:
        self.data = llama_cpp.llama_batch_init(most, 0, 1)
        self._token = np.ctypeslib.as_array(self.data.token, shape=(most,))
        self._position = np.ctypeslib.as_array(self.data.pos, shape=(most,))
        self._wanted = np.ctypeslib.as_array(self.data.logits, shape=(most,))
        np.ctypeslib.as_array(self.data.n_seq_id, shape=(most,))[:] = 1

    def fill(self, pieces: Sequence[Step], lengths: dict[int, int]) -> None:
        """Lays pieces end to end; a slot that stands in several goes on where the one before ends."""
        start = 0
        at = dict(lengths)
        for piece in pieces:
            count = len(piece.ids)
            end = start + count
            self._token[start:end] = piece.ids
            self._position[start:end] = np.arange(at[piece.slot], at[piece.slot] + count)
            self._wanted[start:end] = 0
            self._wanted[end - piece.rows : end] = 1
            for index in range(start, end):
                self.data.seq_id[index][0] = piece.slot
            at[piece.slot] += count
            start = end
        self.data.n_tokens = start

    def close(self) -> None:
        """Frees it."""
        llama_cpp.llama_batch_free(self.data)


def _result(step: Step, parts: Sequence[torch.Tensor], size: int) -> StepResult:
    rows = torch.cat(list(parts)) if len(parts) > 1 else parts[0] if parts else torch.empty(0, size)
    if not step.score:
        return StepResult(rows)
    following = torch.tensor(step.ids[1:], dtype=torch.long)
    logprobs = rows[:-1].gather(-1, following[:, None])[:, 0] - rows[:-1].logsumexp(dim=-1)
    return StepResult(rows[-1:].clone(), logprobs)

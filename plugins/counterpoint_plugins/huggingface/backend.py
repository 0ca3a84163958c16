"""A transformers model as a backend of slots."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from counterpoint.plugin import Backend, ModelShape, Step, StepResult
from counterpoint_plugins.huggingface.attention import SlotCache
from counterpoint_plugins.huggingface.tokenizer import HuggingFaceTokenizer


class HuggingFaceBackend(Backend):
    """Ragged passes of a causal language model over a cache of slots."""

    tokenizer: HuggingFaceTokenizer
    gives_hidden = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: HuggingFaceTokenizer,
        shape: ModelShape,
        *,
        context: int,
        stop_ids: frozenset[int],
        kernel: str,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.shape = shape
        self.context = context
        self.stop_ids = stop_ids
        self._kernel = kernel
        self._cache = SlotCache()
        embeddings = model.get_input_embeddings().weight
        assert isinstance(embeddings, Tensor)
        self._device = embeddings.device

    def new_slot(self) -> int:
        return self._cache.new()

    def truncate(self, slot: int, length: int) -> None:
        self._cache.lengths[slot] = min(length, self._cache.lengths[slot])

    @torch.inference_mode()
    def copy(self, slot: int, length: int) -> int:
        return self._cache.copy(slot, length)

    def free(self, slot: int) -> None:
        self._cache.free(slot)

    @torch.inference_mode()
    def forward(self, steps: Sequence[Step]) -> list[StepResult]:
        rows = [(step.slot, len(step.ids)) for step in steps]
        slot_pass, positions = self._cache.plan(rows, self._kernel, self._device)
        ids: list[int] = []
        wanted: list[int] = []
        for step in steps:
            ids.extend(step.ids)
            count = len(step.ids) if step.score else step.rows
            wanted.extend(range(len(ids) - count, len(ids)))
        with self._head_of(steps) as hidden:
            output = self.model(
                input_ids=torch.tensor([ids], device=self._device),
                position_ids=positions,
                use_cache=False,
                logits_to_keep=torch.tensor(wanted, dtype=torch.long, device=self._device),
                slot_pass=slot_pass,
            )
        for slot, count in rows:
            self._cache.lengths[slot] += count
        return self._split(steps, output.logits[0], hidden)

    @contextlib.contextmanager
    def _head_of(self, steps: Sequence[Step]) -> Iterator[list[Tensor]]:
        """Keeps from the head the rows of steps that want hidden states; in the list are these afterwards, one tensor a step."""
        hidden: list[Tensor] = []
        if not any(step.hidden for step in steps):
            yield hidden
            return

        def keep(head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
            parts = given[0][0].split([len(step.ids) if step.score else step.rows for step in steps])
            hidden.extend(part.float() for part, step in zip(parts, steps, strict=True) if step.hidden)
            others = [part for part, step in zip(parts, steps, strict=True) if not step.hidden]
            return ((torch.cat(others) if others else given[0][0, :0])[None],)

        head = self.model.get_output_embeddings()
        assert head is not None
        hook = head.register_forward_pre_hook(keep)
        try:
            yield hidden
        finally:
            hook.remove()

    def _split(self, steps: Sequence[Step], logits: Tensor, hidden: Sequence[Tensor]) -> list[StepResult]:
        known = self.tokenizer.size
        if logits.shape[-1] > known:
            logits = logits[:, :known]  # ids beyond the tokenizer are padding of the weights
        logits = logits.float()
        results = []
        start = 0
        states = iter(hidden)
        for step in steps:
            if step.hidden:
                results.append(StepResult(next(states)))
                continue
            count = len(step.ids) if step.score else step.rows
            rows = logits[start : start + count]
            start += count
            if step.score:
                following = torch.tensor(step.ids[1:], dtype=torch.long, device=rows.device)
                before = rows[:-1]
                logprobs = before.gather(-1, following[:, None])[:, 0] - before.logsumexp(dim=-1)
                results.append(StepResult(rows[-1:].clone(), logprobs))
            else:
                results.append(StepResult(rows))
        return results

    def module(self) -> nn.Module:
        # The same parameters in modules of their own, so that the attention of slots and the ordinary one do not share a config.
        shared = {id(tensor): tensor for tensor in (*self.model.parameters(), *self.model.buffers())}
        twin = copy.deepcopy(self.model, shared)
        twin.set_attn_implementation("sdpa")
        return twin

    def save_tokenizer(self, folder: Path) -> None:
        self.tokenizer.save(folder)

    def synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        self._cache.clear()
        del self.model
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

"""Attention of models with an encoder and a decoder, registered with transformers as another of its attention implementations.

The encoder reads one prompt at a time, in which every token attends to all. The decoder's tokens go through a pass as those of any
other model do (:mod:`counterpoint_plugins.huggingface.attention`): its self-attention looks at each row's own slot, with T5's bias
of relative positions in the mask. Its cross-attention looks at what the row's prompt became, a :class:`Reading`, whose keys and
values are made once, in the first pass after the encoder's; rows that share a reading attend to it together, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from counterpoint_plugins.huggingface import attention
from counterpoint_plugins.huggingface.attention import SlotPass

NAME = "counterpoint_reading"


@dataclass
class Reading:
    """What the encoder made of a prompt. Slots that share the prompt share it; nothing changes it once it is there."""

    tokens: int
    """Of the prompt."""
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By layer of the decoder: keys and values of its cross-attention, each ``[1, heads, tokens, head_dim]``."""


@dataclass
class ReadingPass:
    """Where the decoder's tokens of one pass belong, and what they read; handed through the model to every attention layer."""

    slots: SlotPass
    rows: Sequence[tuple[Reading, Tensor]]
    """Readings, each with the pass's tokens that attend to it, ``[tokens]``."""
    new: Sequence[Reading]
    """Readings whose keys and values come in this pass, in the order in which their states are laid end to end."""

    _bias: Tensor | None = None
    _masked: set[torch.device] = field(default_factory=set)

    def bias(self, module: Any) -> None:
        """Takes a layer's bias of relative positions, for it and for those after it without one of their own.

        It depends on the distance alone: of a query at the last position, all are seen.
        """
        longest = max(group.keys for group in self.slots.groups)
        self._bias = module.compute_bias(1, longest, past_seen_tokens=longest - 1)[0, :, 0].flip(-1)  # [heads, distances]
        self._masked.clear()

    def on(self, device: torch.device) -> SlotPass:
        """The pass on a device, the bias in its masks."""
        where = self.slots.on(device)
        if self._bias is not None and device not in self._masked:
            self._masked.add(device)
            bias = self._bias.to(device)
            for group in where.groups:
                distance = group.positions[:, :, None] - torch.arange(group.keys, device=device)
                group.masks.clear()
                causal = group.mask(None, 1, bias.dtype)
                group.masks[None, 1] = causal + bias[:, distance.clamp(min=0)].transpose(0, 1)
        return where

    def keep(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Gives each new reading its keys and values in a layer, from those of all laid end to end."""
        sizes = [reading.tokens for reading in self.new]
        for reading, key, value in zip(self.new, keys.split(sizes, dim=2), values.split(sizes, dim=2), strict=True):
            whole = torch.contiguous_format  # copies: a view would keep the others' memory
            reading.layers[layer] = (key.clone(memory_format=whole), value.clone(memory_format=whole))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    kernel: str = "sdpa",
    reading_pass: ReadingPass | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """One layer's attention; shapes as transformers gives them: query ``[1, heads, tokens, head_dim]``."""
    if not module.is_decoder:
        return _all(kernel, query, key, value, position_bias, scaling).transpose(1, 2), None
    assert reading_pass is not None, "this attention of a decoder works only on a pass of slots"
    if module.is_causal:
        if getattr(module, "has_relative_attention_bias", False):
            reading_pass.bias(module)
        return attention.attend(module, query, key, value, None, scaling=scaling, slot_pass=reading_pass.on(query.device))
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    if reading_pass.new:
        reading_pass.keep(layer, key, value)
    found = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
    for reading, tokens in reading_pass.rows:
        at = tokens.to(query.device)
        found[at] = _all(kernel, query[:, :, at], *reading.layers[layer], None, scaling)[0].transpose(0, 1)
    return found[None], None


def _all(kernel: str, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scaling: float | None) -> Tensor:
    """Attention to all keys, ``[1, heads, queries, head_dim]``."""
    if kernel == "sdpa":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scaling)
    scores = query @ key.transpose(2, 3) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype) @ value


AttentionInterface.register(NAME, attend)

"""Attention over a cache of slots, registered with transformers as one of its attention implementations.

A pass carries the new tokens of all its rows end to end, as one sequence ``[1, tokens]`` with explicit positions: linear layers
see no padding. In each attention layer the new keys and values are written to their slots, and each row attends to its own slot.
Keys and values live in one pair of tensors per layer, ``[slots, capacity, kv_heads, head_dim]``; a slot's length is a number, so
rolling back costs nothing, and sliding windows are a matter of the mask, so they are exact under any rollback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "counterpoint_slots"
SHORT = 32
"""Rows with at most this many new tokens attend together, padded to the longest of them; longer ones by themselves."""
_BLOCK = 256
_ROWS_WORTH_A_CALL = 8
_WORTH_SPLITTING = 0.75  # of the padded work: below it, copying the keys of a part costs less than padding them


@dataclass
class _Group:
    """Rows that attend in one kernel call."""

    gather: Tensor
    """``[rows, queries]``: which of the pass's tokens each query is (padding repeats a token; its result is dropped)."""
    scatter: Tensor
    """``[tokens]``: where in the flattened ``[rows, queries]`` each of the group's tokens stands."""
    tokens: Tensor
    """``[tokens]``: which of the pass's tokens they are."""
    positions: Tensor
    """``[rows, queries]``: position of each query in its slot."""
    slots: slice | Tensor
    keys: int
    """Longest slot after the pass: how far to look."""
    masks: dict[tuple[int | None, int], Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, repeats: int, dtype: torch.dtype) -> Tensor:
        """``[rows, 1, repeats · queries, keys]``, added to scores: causal, within the window; made once per pass."""
        mask = self.masks.get((window, repeats))
        if mask is None:
            at = torch.arange(self.keys, device=self.positions.device)
            query = self.positions[:, :, None]
            seen = at <= query
            if window is not None:
                seen &= at > query - window
            mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)[:, None]
            mask = mask.repeat(1, 1, repeats, 1)
            self.masks[window, repeats] = mask
        return mask


@dataclass
class SlotPass:
    """Where the tokens of one pass belong; handed through the model to every attention layer."""

    cache: SlotCache
    place: Tensor
    """``[tokens]``: index of each token in the flattened ``[slots · capacity]`` cache."""
    groups: list[_Group]
    kernel: str
    _moved: dict[torch.device, SlotPass] = field(default_factory=dict)

    def on(self, device: torch.device) -> SlotPass:
        """The same on another device (layers may be spread over several)."""
        if self.place.device == device:
            return self
        if device not in self._moved:
            groups = [
                _Group(
                    group.gather.to(device),
                    group.scatter.to(device),
                    group.tokens.to(device),
                    group.positions.to(device),
                    group.slots if isinstance(group.slots, slice) else group.slots.to(device),
                    group.keys,
                )
                for group in self.groups
            ]
            self._moved[device] = SlotPass(self.cache, self.place.to(device), groups, self.kernel)
        return self._moved[device]


class SlotCache:
    """Keys and values of all slots, grown as needed."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self._free: list[int] = []
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._slots = 0
        self._capacity = 0

    def new(self) -> int:
        """The lowest free slot, empty."""
        if self._free:
            slot = min(self._free)
            self._free.remove(slot)
            self.lengths[slot] = 0
            return slot
        self.lengths.append(0)
        return len(self.lengths) - 1

    def free(self, slot: int) -> None:
        """Gives a slot back; memory is kept for the next, except when all are free."""
        self.lengths[slot] = 0
        self._free.append(slot)
        if len(self._free) == len(self.lengths):
            self.clear()

    def clear(self) -> None:
        """Frees all memory."""
        self.lengths, self._free, self._layers, self._slots, self._capacity = [], [], {}, 0, 0

    def copy(self, slot: int, length: int) -> int:
        """A new slot holding the first ``length`` tokens of this one."""
        new = self.new()
        self._reserve(length)
        for keys, values in self._layers.values():
            keys[new, :length] = keys[slot, :length]
            values[new, :length] = values[slot, :length]
        self.lengths[new] = length
        return new

    def _reserve(self, length: int) -> None:
        """Makes room for all slots at this length."""
        slots, capacity = self._slots, self._capacity
        if len(self.lengths) > slots:
            slots = max(len(self.lengths), min(2 * slots, slots + 16))
        if length > capacity:
            capacity = -(-max(length, capacity * 3 // 2) // _BLOCK) * _BLOCK
        if (slots, capacity) == (self._slots, self._capacity):
            return
        for index, pair in self._layers.items():
            self._layers[index] = (_grown(pair[0], slots, capacity), _grown(pair[1], slots, capacity))
        self._slots, self._capacity = slots, capacity

    def layer(self, index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The tensors of a layer, made like the first keys and values that come (``[1, kv_heads, tokens, head_dim]``)."""
        pair = self._layers.get(index)
        if pair is None:
            pair = (
                keys.new_zeros(self._slots, self._capacity, keys.shape[1], keys.shape[3]),
                values.new_zeros(self._slots, self._capacity, values.shape[1], values.shape[3]),
            )
            self._layers[index] = pair
        return pair

    def plan(self, rows: Sequence[tuple[int, int]], kernel: str, device: torch.device) -> tuple[SlotPass, Tensor]:
        """A pass of (slot, new tokens) rows: its placement, and the position of every token, ``[1, tokens]``."""
        self._reserve(max(self.lengths[slot] + count for slot, count in rows))
        positions: list[int] = []
        places: list[int] = []
        starts: list[int] = []
        for slot, count in rows:
            starts.append(len(positions))
            first = self.lengths[slot]
            positions.extend(range(first, first + count))
            places.extend(range(slot * self._capacity + first, slot * self._capacity + first + count))
        short = [index for index, (_, count) in enumerate(rows) if count <= SHORT]
        members = self._alike(short, rows)
        members += [[index] for index, (_, count) in enumerate(rows) if count > SHORT]
        groups = [self._group([rows[i] for i in some], [starts[i] for i in some], device) for some in members]
        place = torch.tensor(places, device=device)
        return SlotPass(self, place, groups, kernel), torch.tensor([positions], device=device)

    def _alike(self, short: list[int], rows: Sequence[tuple[int, int]]) -> list[list[int]]:
        """Rows with few new tokens, split where padding all to the longest would cost more than separate kernel calls.

        Many rows of one pass differ much in length (a long prompt beside short ones), and a kernel's work is rows times the
        longest of them.
        """
        if not short:
            return []
        held = {index: self.lengths[rows[index][0]] + rows[index][1] for index in short}
        groups: list[list[int]] = []
        for index in sorted(short, key=lambda index: -held[index]):
            longest = held[groups[-1][0]] if groups else 0
            if not groups or (len(groups[-1]) >= _ROWS_WORTH_A_CALL and held[index] < _WORTH_SPLITTING * longest):
                groups.append([])
            groups[-1].append(index)
        padded = sum(held[group[0]] * len(group) for group in groups)
        return groups if padded < _WORTH_SPLITTING * len(short) * max(held.values()) else [short]

    def _group(self, rows: Sequence[tuple[int, int]], starts: Sequence[int], device: torch.device) -> _Group:
        queries = max(count for _, count in rows)
        by_slot = sorted(range(len(rows)), key=lambda index: rows[index][0])
        first, last = rows[by_slot[0]][0], rows[by_slot[-1]][0]
        dense = last - first + 1 <= len(rows) + len(rows) // 2  # a view with a few idle slots beats a copy without them
        gather: list[list[int]] = []
        positions: list[list[int]] = []
        scatter: list[int] = []
        tokens: list[int] = []
        slots = list(range(first, last + 1)) if dense else [rows[index][0] for index in by_slot]
        members = {rows[index][0]: index for index in by_slot}
        keys = 0
        for line, slot in enumerate(slots):
            if slot not in members:
                gather.append([starts[0]] * queries)
                positions.append([0] * queries)
                continue
            index = members[slot]
            count, start, length = rows[index][1], starts[index], self.lengths[slot]
            padding = queries - count
            gather.append([*range(start, start + count), *[start] * padding])
            positions.append([*range(length, length + count), *[length] * padding])
            scatter.extend(range(line * queries, line * queries + count))
            tokens.extend(range(start, start + count))
            keys = max(keys, length + count)
        return _Group(
            torch.tensor(gather, device=device),
            torch.tensor(scatter, device=device),
            torch.tensor(tokens, device=device),
            torch.tensor(positions, device=device),
            slice(first, last + 1) if dense else torch.tensor(slots, device=device),
            keys,
        )


def _grown(tensor: Tensor, slots: int, capacity: int) -> Tensor:
    larger = tensor.new_zeros(slots, capacity, *tensor.shape[2:])
    larger[: tensor.shape[0], : tensor.shape[1]] = tensor
    return larger


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    slot_pass: SlotPass | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """One layer's attention in a pass; shapes as transformers gives them: query ``[1, heads, tokens, head_dim]``."""
    assert slot_pass is not None, "this attention works only on a pass of slots"
    where = slot_pass.on(query.device)
    keys, values = slot_pass.cache.layer(int(module.layer_idx), key, value)  # type: ignore[arg-type]
    keys.flatten(0, 1).index_copy_(0, where.place, key[0].transpose(0, 1))
    values.flatten(0, 1).index_copy_(0, where.place, value[0].transpose(0, 1))
    heads, tokens = query.shape[1], query.shape[2]
    kv_heads = key.shape[1]
    result = query.new_empty(tokens, heads, value.shape[3])
    for group in where.groups:
        rows, queries = group.gather.shape
        # query heads that share keys become further queries on them: no key is repeated in memory
        asked = query[0].transpose(0, 1)[group.gather]  # [rows, queries, heads, head_dim]
        asked = asked.view(rows, queries, kv_heads, heads // kv_heads, -1).permute(0, 2, 3, 1, 4).flatten(2, 3)
        mask = group.mask(sliding_window, heads // kv_heads, query.dtype)
        found = _kernel(
            slot_pass.kernel,
            asked,
            keys[group.slots, : group.keys].transpose(1, 2),
            values[group.slots, : group.keys].transpose(1, 2),
            mask,
            scaling,
            softcap,
        )
        found = found.unflatten(2, (heads // kv_heads, queries)).permute(0, 3, 1, 2, 4).reshape(rows * queries, heads, -1)
        result[group.tokens] = found[group.scatter]
    return result[None], None


def _kernel(
    kernel: str, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None, softcap: float | None
) -> Tensor:
    if kernel == "sdpa" and softcap is None:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    scores = query @ key.transpose(2, 3) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    return torch.softmax(scores + mask, dim=-1, dtype=torch.float32).to(query.dtype) @ value


AttentionInterface.register(NAME, attend)

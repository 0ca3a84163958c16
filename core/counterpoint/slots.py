"""What a loaded model's cache holds: the tokens of every session, closed sessions worth resuming, and who gives way when it is full.

A session keeps its slot's number for life. Where the backend has no room for all, a slot may be without a place in it for a
while; its tokens are then fed again when its turn comes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from counterpoint.session import Backend, CacheFull

if TYPE_CHECKING:
    from torch import Tensor

PARKED_TOKENS = 32_768
"""Tokens of one scope that are kept in the cache for its sessions that are closed, oldest given back first. What a scope keeps does
not hang on what others are in flight, unless the cache is too small for all of them."""
PARKED_SLOTS = 16
"""Slots of one scope, likewise."""
PARKED_IN_ALL = 65_536
"""Places for tokens of all scopes together, as many for each slot as the longest one has, for so a cache is laid out. Beyond this what
is oldest goes, of scopes that are over mostly."""
_SLOTS_IN_ALL = 256
_WORTH_COPYING = 8
"""Shortest common beginning that is not simply processed again."""


@dataclass
class _Slot:
    tokens: list[int] = field(default_factory=list)
    place: int | None = None
    """The backend's slot; None while it has none."""
    filled: int = 0
    """How many of the tokens the backend holds: all of them, unless the slot had to give way."""
    gave_way: int = -1
    """How often room had been made when this slot had to give way."""
    scope: str = ""
    """Sessions of one scope share beginnings."""
    prompt: tuple[int, ...] = ()
    """What the model's encoder reads; only with an equal one are beginnings alike. Empty where there is no encoder."""
    read: bool = False
    """Whether the place holds what the encoder made of it."""

    @property
    def size(self) -> int:
        """Tokens that take memory."""
        return len(self.tokens) + len(self.prompt)


class SlotTable:
    """The slots of one backend. Numbers go up, so that a smaller one is an older session."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._slots: dict[int, _Slot] = {}
        self._parked: OrderedDict[int, Tensor | None] = OrderedDict()  # closed sessions' slots → their last row
        self._next = 0
        self._room_made = 0

    @property
    def open(self) -> int:
        """Slots of open sessions."""
        return len(self._slots) - len(self._parked)

    @property
    def parked(self) -> tuple[int, ...]:
        """Slots of closed sessions, oldest first."""
        return tuple(self._parked)

    def tokens(self, slot: int) -> Sequence[int]:
        """The tokens a slot stands for."""
        return self._slots[slot].tokens

    def length(self, slot: int) -> int:
        """How many they are."""
        return len(self._slots[slot].tokens)

    def open_on(self, ids: Sequence[int], scope: str = "", prompt: tuple[int, ...] = ()) -> tuple[int, Tensor | None]:
        """A slot that holds the longest beginning of ``ids`` known in its scope, and the row after it if that is all of them.

        Args:
            ids: the tokens it is to begin with.
            scope: of the session.
            prompt: what the model's encoder reads; another slot serves only if it has read the same.
        """
        best, length = None, 0
        for number, slot in self._slots.items():
            if slot.scope != scope or slot.prompt != prompt:
                continue
            common = _common_prefix(slot.tokens[: slot.filled], ids)
            if common > length or (common == length and common and number in self._parked):
                best, length = number, common
        if best is None or (length < min(_WORTH_COPYING, len(ids)) and not prompt):
            return self._add(_Slot(scope=scope, prompt=prompt)), None
        if best in self._parked and 2 * length >= self.length(best):
            row = self._parked.pop(best)
            complete = length == len(ids) == self.length(best)
            slot = self._slots.pop(best)
            number = self._add(slot)  # as young as the session it is for now
            self.truncate(number, length)
            return number, row if complete else None
        return self.copy(best, length), None

    def _add(self, slot: _Slot) -> int:
        self._next += 1
        self._slots[self._next] = slot
        return self._next

    def truncate(self, slot: int, length: int) -> None:
        """Drops a slot's tokens beyond ``length``."""
        found = self._slots[slot]
        del found.tokens[length:]
        if found.filled > length:
            found.filled = length
            self._reset(found)

    def _reset(self, slot: _Slot) -> None:
        if slot.place is not None:
            self._backend.truncate(slot.place, slot.filled)

    def copy(self, slot: int, length: int) -> int:
        """A new slot with the first ``length`` tokens of another."""
        found = self._slots[slot]
        twin = _Slot(found.tokens[:length], scope=found.scope, prompt=found.prompt)
        held = min(length, found.filled)
        if found.place is not None and (held or found.read):
            while True:
                try:
                    twin.place, twin.filled, twin.read = self._backend.copy(found.place, held), held, found.read
                    break
                except CacheFull:
                    if not self.give_back_oldest(besides=slot):
                        break  # it will be filled when its turn comes
        return self._add(twin)

    def park(self, slot: int, row: Tensor | None) -> None:
        """Keeps a closed session's slot for who opens the same beginning again, as long as there is room."""
        self._room_made += 1
        found = self._slots[slot]
        if found.filled < len(found.tokens):
            self.free(slot)
            return
        self._parked[slot] = row
        limit, slots = PARKED_TOKENS, _SLOTS_IN_ALL
        if self._backend.cache_tokens is not None:  # one cache for all
            limit = min(limit, self._backend.cache_tokens // 2)
        else:
            longest = max(slot.size for slot in self._slots.values())
            slots = min(slots, PARKED_IN_ALL // max(1, longest))
        while self._beyond(limit, PARKED_SLOTS, found.scope):
            self.give_back_oldest(scope=found.scope)
        while self._beyond(limit if self._backend.cache_tokens is not None else PARKED_IN_ALL, slots):
            self.give_back_oldest()

    def _beyond(self, tokens: int, slots: int, scope: str | None = None) -> bool:
        """Whether what is parked, of one scope or of all, is more than may be."""
        sizes = [slot.size for slot in map(self._slots.__getitem__, self._parked) if scope in (None, slot.scope)]
        return sum(sizes) > tokens or len(sizes) > slots

    def give_back_oldest(self, *, besides: int | None = None, scope: str | None = None) -> bool:
        """Frees the slot that has been parked longest, of one scope or of all; False when none is."""
        parked = (number for number in self._parked if number != besides)
        oldest = next((number for number in parked if scope in (None, self._slots[number].scope)), None)
        if oldest is not None:
            self.free(oldest)
        return oldest is not None

    def free(self, slot: int) -> None:
        """Gives a slot back to the backend."""
        self._parked.pop(slot, None)
        found = self._slots.pop(slot)
        if found.place is not None:
            self._backend.free(found.place)
            self._room_made += 1

    # --- passes -----------------------------------------------------------------------------------------------------

    def waits(self, slot: int) -> bool:
        """Whether a slot had to give way, and no room has been made since."""
        return self._slots[slot].gave_way == self._room_made

    def place(self, slot: int) -> int:
        """The backend's slot, taken now if there is none.

        Raises:
            CacheFull: all are taken.
        """
        found = self._slots[slot]
        if found.place is None:
            found.place, found.filled, found.read = self._backend.new_slot(), 0, False
        return found.place

    def filled(self, slot: int) -> int:
        """How many of its tokens the backend holds."""
        return self._slots[slot].filled

    def missing(self, slot: int) -> Sequence[int]:
        """Tokens that have to be fed again, before any new ones."""
        found = self._slots[slot]
        return found.tokens[found.filled :]

    def prompt(self, slot: int) -> tuple[int, ...]:
        """What the model's encoder reads for a slot."""
        return self._slots[slot].prompt

    def unread(self, slot: int) -> tuple[int, ...]:
        """The same, where the encoder still has to read it before the slot is fed."""
        found = self._slots[slot]
        return () if found.read else found.prompt

    def fed(self, slot: int, ids: Sequence[int], *, again: bool) -> None:
        """Notes what a pass has fed: missing tokens, or new ones; the prompt has been read with the first."""
        found = self._slots[slot]
        found.read = bool(found.prompt)
        if not again:
            found.tokens.extend(ids)
        found.filled += len(ids)

    def undo(self, slot: int) -> None:
        """Makes a place hold what it did before a pass that failed."""
        self._reset(self._slots[slot])

    def give_way(self, *, besides: int) -> int | None:
        """Takes the place of the youngest open session but one, when nothing is parked any more; None when there is none.

        Returns:
            The slot that is now without a place.
        """
        for number in sorted(self._slots, reverse=True):
            slot = self._slots[number]
            if slot.place is not None and number != besides and number not in self._parked:
                self._backend.free(slot.place)
                slot.place, slot.filled, slot.read, slot.gave_way = None, 0, False, self._room_made
                return number
        return None

    def wait(self, slot: int) -> None:
        """Lets a slot without a place wait until room is made."""
        self._slots[slot].gave_way = self._room_made

    def clear(self) -> None:
        """Forgets everything."""
        self._slots.clear()
        self._parked.clear()


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))

"""The monitor's states: what may be written after a dot, by the names that jedi finds there."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import jedi
import numpy as np
import torch
from jedi.api.environment import SameEnvironment
from numpy.typing import NDArray
from torch import Tensor

from counterpoint.plugin import ConstraintState, Tokenizer, token_bytes
from counterpoint_plugins.python_names.places import Place, code_in, place_of

_NAME = re.compile(rb"[A-Za-z0-9_\x80-\xff]*")
Ids: TypeAlias = NDArray[np.int64]
_REMEMBERED = 256
"""Places whose names a session remembers: forks and rejected drafts come back to them."""


class Spellings:
    """A vocabulary by what its tokens begin with: a piece of a name, and something after it or nothing.

    Args:
        spelled: the bytes of every token; None for control tokens.
        skip: bytes that a token has to begin with, which are left out.
    """

    def __init__(self, spelled: list[bytes | None], skip: bytes = b"") -> None:
        whole: dict[bytes, list[int]] = {}
        followed: dict[bytes, list[int]] = {}
        for token_id, own in enumerate(spelled):
            if not own or not own.startswith(skip):
                continue
            rest = own[len(skip) :]
            name = _NAME.match(rest)
            assert name is not None
            (whole if name.end() == len(rest) else followed).setdefault(name[0], []).append(token_id)
        self._whole = {name: np.array(ids) for name, ids in whole.items()}
        self._followed = {name: np.array(ids) for name, ids in followed.items()}
        self.ids: Ids = np.array(sorted(itertools.chain(*whole.values(), *followed.values())), dtype=np.int64)
        """All tokens that are sorted here."""

    def fitting(self, remainders: Iterable[bytes]) -> list[Ids]:
        """Ids of the tokens that begin a remainder or are one, and of those that complete one and go on with something else."""
        remainders = set(remainders)
        begun = {remainder[:length] for remainder in remainders for length in range(len(remainder) + 1)}
        groups = [self._whole[piece] for piece in begun if piece in self._whole]
        return groups + [self._followed[piece] for piece in remainders if piece in self._followed]


@dataclass(frozen=True)
class _Vocabulary:
    """A tokenizer, equal to others of the same vocabulary."""

    fingerprint: str
    tokenizer: Tokenizer = field(compare=False)


@functools.lru_cache(maxsize=4)
def _spellings(vocabulary: _Vocabulary) -> tuple[list[bytes | None], Spellings, Spellings]:
    """The bytes of every token, and the tokens by their beginnings: all, and those that begin with a dot."""
    spelled = token_bytes(vocabulary.tokenizer)
    return spelled, Spellings(spelled), Spellings(spelled, b".")


class Monitor:
    """What the states of one session share: the vocabulary, and what is known of places."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: frozenset[int], before: str, *, whole: bool) -> None:
        self.spelled, self.after_dot, self.with_dot = _spellings(_Vocabulary(tokenizer.fingerprint, tokenizer))
        self.size = tokenizer.size
        self.stop_ids = sorted(stop_ids)
        self._before = before
        self._whole = whole
        # a project of no folder: what code imports is looked for in the environment only, and in none of the user's files
        self._project = jedi.Project("/", smart_sys_path=False)
        self._environment = SameEnvironment()
        self.names = functools.lru_cache(_REMEMBERED)(self._names)

    def place(self, text: bytes) -> Place | None:
        """The attribute that a response is at."""
        code = code_in(text.decode(errors="replace"), whole=self._whole)
        return None if code is None else place_of(self._before + code)

    def _names(self, code: str) -> frozenset[str]:
        """The attributes of the expression that code ends with; none where jedi knows only what every object has."""
        found = jedi.Script(f"{code}.", project=self._project, environment=self._environment).complete()
        names = frozenset(completion.name for completion in found)
        return names if any(not name.startswith("__") for name in names) else frozenset()


def begin(tokenizer: Tokenizer, stop_ids: frozenset[int], before: str, *, whole: bool) -> NamesState:
    """The state before the first token; jedi reads what it always needs (a second or two, the first time)."""
    monitor = Monitor(tokenizer, stop_ids, before, whole=whole)
    monitor.names("''")
    return NamesState(monitor, b"")


class NamesState(ConstraintState):
    """A text, and what may follow it."""

    __slots__ = ("_monitor", "_place", "_text")

    def __init__(self, monitor: Monitor, text: bytes) -> None:
        self._monitor = monitor
        self._text = text
        self._place = monitor.place(text)

    def mask(self) -> Tensor | None:
        place, remainders = self._place, self._remainders()
        if place is None or remainders is None:
            return None
        monitor = self._monitor
        if place.partial is None:
            found = np.ones(monitor.size, dtype=np.bool_)
            found[monitor.with_dot.ids] = False
            groups = monitor.with_dot.fitting(remainders)
        else:
            found = np.zeros(monitor.size, dtype=np.bool_)
            found[monitor.stop_ids] = b"" in remainders
            groups = monitor.after_dot.fitting(remainders)
        for group in groups:
            found[group] = True
        return torch.from_numpy(found)

    def advance(self, token_id: int) -> NamesState | None:
        own = self._monitor.spelled[token_id] or b""
        return NamesState(self._monitor, self._text + own) if self._allows(own) else None

    def _allows(self, own: bytes) -> bool:
        """Whether a token may follow; jedi is asked only where that decides it."""
        if self._place is None:
            return True
        if self._place.partial is None:
            if not own.startswith(b"."):
                return True
            own = own[1:]
        elif not own:
            return self._remainders() is None
        remainders = self._remainders()
        if remainders is None:
            return True
        name = _NAME.match(own)
        assert name is not None
        if name.end() < len(own):
            return name[0] in remainders
        return any(remainder.startswith(own) for remainder in remainders)

    def _remainders(self) -> frozenset[bytes] | None:
        """What may follow of a name; None where nothing is known, or where a token that holds more than a name and
        what follows it has already brought something else."""
        if self._place is None:
            return None
        partial = self._place.partial or ""
        names = self._monitor.names(self._place.code)
        return frozenset(name[len(partial) :].encode() for name in names if name.startswith(partial)) or None

"""Two tokenizers: which tokens of one stand for which of the other, and one's ids for a text that is spelled in the other's.

This is the one place that knows two tokenizers. A bridge is built once per ordered pair and kept on disk. Distributions go through
it by an *image*, which names for every token of the outer vocabulary a token of the inner one:

- ``same``: the two are the same mapping (by fingerprint, not merely of one size), and nothing is lost;
- ``shared``: tokens of equal bytes; the others have none;
- ``pm_mined``: PM-MinED of cross-model control (NeurIPS 2024): an equal token, else the prefix-related one of least edit distance.

Responses go through it as text, by :class:`counterpoint.alignment.Alignment`.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from counterpoint import paths
from counterpoint.errors import BridgeError
from counterpoint.spelling import byte_ids, token_bytes
from counterpoint.tokenizer import Tokenizer
from counterpoint.writing import write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Mapping = Literal["auto", "same", "shared", "pm_mined"]
"""How tokens find their image; ``auto`` is ``same`` where that holds, and what the node that asks thinks best elsewhere."""

Image: TypeAlias = "NDArray[np.int32]"

_FORMAT = 2
"""Changes when images are made differently, so that those on disk are made anew."""
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class TokenizerBridge:
    """From an outer tokenizer, in whose vocabulary tokens are chosen, to an inner one.

    Attributes:
        outer: whose tokens have images.
        inner: whose tokens are images.
        shared: ``[outer.size]`` int32: the inner token of equal bytes, or −1.
        pm_mined: ``[outer.size]`` int32: the inner token by PM-MinED, or −1.
    """

    outer: Tokenizer
    inner: Tokenizer
    shared: Image
    pm_mined: Image

    @cached_property
    def exact(self) -> bool:
        """Whether both are the same mapping, token for token."""
        return self.outer.fingerprint == self.inner.fingerprint

    @cached_property
    def words(self) -> int:
        """Tokens of the outer vocabulary that are text."""
        return len(self.outer.mapping()) - len(self.outer.special_ids)

    @cached_property
    def coverage(self) -> float:
        """Share of the outer tokens that have an equal one in the inner vocabulary, control tokens left out."""
        return 1.0 if self.exact else float((self.shared >= 0).sum() / max(1, self.words))

    @cached_property
    def outer_bytes(self) -> list[bytes | None]:
        """The bytes of every outer token; None for control tokens."""
        return token_bytes(self.outer)

    def image(self, mapping: Mapping) -> Image:
        """The image of every outer token under a mapping, ``[outer.size]``; −1 for none.

        Raises:
            BridgeError: the vocabularies do not allow the mapping.
        """
        import numpy as np

        if mapping in ("auto", "same") and self.exact:
            return np.arange(self.outer.size, dtype=np.int32)
        if mapping == "same":
            raise BridgeError(
                f"the vocabularies differ ({self.outer.size} and {self.inner.size} tokens, {self.coverage:.0%} shared)",
                hint="use models of one family, or the mapping shared or pm_mined",
            )
        found = self.pm_mined if mapping == "pm_mined" else self.shared
        if not (found >= 0).any():
            raise BridgeError(
                f"the vocabularies ({self.outer.size} and {self.inner.size} tokens) have no token in common",
                hint="use models whose tokenizers spell the same texts",
            )
        return found

    def covered(self, mapping: Mapping) -> float:
        """Share of the outer tokens that have an image under a mapping, control tokens left out."""
        return 1.0 if self.exact else float((self.image(mapping) >= 0).sum() / max(1, self.words))


class Bridges:
    """Bridges by pair, each made once; their images are kept on disk.

    Args:
        folder: where; by default beside the model store.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], TokenizerBridge] = {}
        self._lock = threading.Lock()  # runs that start together ask for the same pair from several threads

    def between(self, outer: Tokenizer, inner: Tokenizer) -> TokenizerBridge:
        """The bridge of an ordered pair (blocking; a second or two for large vocabularies seen for the first time)."""
        import numpy as np

        key = (outer.fingerprint, inner.fingerprint)
        with self._lock:
            if key not in self._made:
                if key[0] == key[1]:
                    same: Image = np.arange(outer.size, dtype=np.int32)
                    self._made[key] = TokenizerBridge(outer, inner, same, same)
                else:
                    self._made[key] = TokenizerBridge(outer, inner, *self._images(outer, inner))
            return self._made[key]

    def _images(self, outer: Tokenizer, inner: Tokenizer) -> tuple[Image, Image]:
        import numpy as np

        name = hashlib.sha256(f"{_FORMAT}|{outer.fingerprint}|{inner.fingerprint}".encode()).hexdigest()[:24]
        path = (self._folder or paths.bridges()) / f"{name}.images"
        found = _read(path, outer.size)
        if found is None:
            spelled = token_bytes(outer), token_bytes(inner)
            found = np.stack(make_images(*spelled, outer_fallback=byte_ids(outer), inner_fallback=byte_ids(inner)))
            _write(path, found)
        return found[0], found[1]


def _read(path: Path, size: int) -> Image | None:
    """Images from disk; None when there are none, or they are not as they were written."""
    import numpy as np

    try:
        held = path.read_bytes()
    except OSError:
        return None
    digest, data = held[:_DIGEST_BYTES], held[_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest or len(data) != 2 * 4 * size:
        return None
    return np.frombuffer(data, dtype="<i4").astype(np.int32).reshape(2, size)


def _write(path: Path, images: Image) -> None:
    data = images.astype("<i4").tobytes()
    with contextlib.suppress(OSError):  # images that cannot be kept are made again next time
        write_whole(path, hashlib.sha256(data).digest() + data)


def make_images(
    outer: Sequence[bytes | None],
    inner: Sequence[bytes | None],
    *,
    outer_fallback: Collection[int] = frozenset(),
    inner_fallback: Collection[int] = frozenset(),
) -> tuple[Image, Image]:
    """The ``shared`` and the ``pm_mined`` image of every outer token, from the bytes of both vocabularies.

    PM-MinED (cross-model control, NeurIPS 2024): an equal token wins; else, among inner tokens of which one is a prefix of the
    other, that of least Levenshtein distance, which for such pairs is the difference of their lengths; ties go to the lowest id.
    A bare space stands for spaces only. Tokens that are no text by themselves (part of a character) have equal ones or none.

    Args:
        outer: bytes of every outer token; None for control tokens.
        inner: those of the inner ones.
        outer_fallback: outer tokens that stand for a byte by its number; where another token spells the same byte, the model
            never uses them, and they have no image.
        inner_fallback: the inner ones; where another token spells the same byte, they are no image.
    """
    import numpy as np

    by_bytes: dict[bytes, int] = {}
    by_text: dict[str, int] = {}
    for token_id in sorted(range(len(inner)), key=inner_fallback.__contains__):
        spelled = inner[token_id]
        if spelled is None or spelled in by_bytes:
            continue
        by_bytes[spelled] = token_id
        if (text := _text(spelled)) is not None:
            by_text[text] = token_id
    extensions = _extensions(by_text)
    used = {spelled for token_id, spelled in enumerate(outer) if token_id not in outer_fallback}
    shared: Image = np.full(len(outer), -1, dtype=np.int32)
    mined: Image = np.full(len(outer), -1, dtype=np.int32)
    for token_id, spelled in enumerate(outer):
        if spelled is None or (token_id in outer_fallback and spelled in used):
            continue
        equal = by_bytes.get(spelled)
        if equal is not None:
            shared[token_id] = mined[token_id] = equal
        elif (text := _text(spelled)) is not None:
            mined[token_id] = _nearest(text, by_text, extensions)
    return shared, mined


def _text(spelled: bytes) -> str | None:
    """A token's text; None for one that ends or begins inside a character, or is empty."""
    try:
        return spelled.decode() or None
    except UnicodeDecodeError:
        return None


def _extensions(by_text: dict[str, int]) -> dict[str, tuple[int, int]]:
    """For every proper prefix of a token: length and id of the shortest token that it begins."""
    found: dict[str, tuple[int, int]] = {}
    for text, token_id in by_text.items():
        candidate = (len(text), token_id)
        for length in range(1, len(text)):
            prefix = text[:length]
            if prefix not in found or candidate < found[prefix]:
                found[prefix] = candidate
    return found


def _nearest(text: str, by_text: dict[str, int], extensions: dict[str, tuple[int, int]]) -> int:
    """The inner token nearest to a text that has no equal one; −1 when none is related to it."""
    best: tuple[int, int] | None = None
    if text in extensions:
        length, token_id = extensions[text]
        best = (length - len(text), token_id)
    spaces = not text.strip(" ")
    for length in range(len(text) - 1, 0, -1):
        if best is not None and len(text) - length > best[0]:
            break
        prefix = text[:length]
        if (found := by_text.get(prefix)) is not None and (prefix != " " or spaces):
            candidate = (len(text) - length, found)
            best = candidate if best is None else min(best, candidate)
            break
    return -1 if best is None else best[1]

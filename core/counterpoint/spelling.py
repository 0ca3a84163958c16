"""How tokenizers spell: the bytes of every token, whatever alphabet its vocabulary is written in.

Three ways are known: byte-level vocabularies (GPT-2's printable stand-ins for bytes), SentencePiece's (``▁`` for a space, ``<0x0A>``
for a byte), and plain ones, whose tokens are written as they are.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection

from counterpoint.tokenizer import Tokenizer

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE_MARKER = "▁"


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """The 256 characters in which byte-level vocabularies spell bytes (GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


def token_bytes(tokenizer: Tokenizer) -> list[bytes | None]:
    """The bytes of every id, ``[tokenizer.size]``; None for control tokens, and for ids that no token has.

    The bytes of some ids, joined, are the text that they decode to, but for characters that are not complete.
    """
    mapping = tokenizer.mapping()
    spell = _speller(mapping)
    special = tokenizer.special_ids
    found: list[bytes | None] = [None] * tokenizer.size
    for token, token_id in mapping.items():
        if token_id not in special and token_id < len(found):
            found[token_id] = spell(token)
    return found


def token_texts(tokenizer: Tokenizer) -> Callable[[int], str]:
    """What every token is as text by itself; control tokens by their names, `�` for bytes that are no whole character."""
    spell, special = _speller(tokenizer.mapping()), tokenizer.special_ids

    def text(token_id: int) -> str:
        name = tokenizer.token(token_id)
        return name if token_id in special else spell(name).decode(errors="replace")

    return text


def byte_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids of the tokens that stand for a byte by its number (``<0x0A>``).

    A vocabulary has them for what no other token spells; one whose byte has a token of its own is never used.
    """
    return frozenset(token_id for token, token_id in tokenizer.mapping().items() if _BYTE_TOKEN.fullmatch(token))


def _speller(vocabulary: Collection[str]) -> Callable[[str], bytes]:
    if _SPACE_MARKER in vocabulary or "<0x0A>" in vocabulary:
        return _sentencepiece
    if sum(char in vocabulary for char in byte_alphabet()) > 128:
        return _byte_level
    return str.encode


def _byte_level(token: str) -> bytes:
    alphabet = byte_alphabet()
    try:
        return bytes(alphabet[char] for char in token)
    except KeyError:  # an added token, which is written as it is
        return token.encode()


def _sentencepiece(token: str) -> bytes:
    if byte := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(byte[1], 16)])
    return token.replace(_SPACE_MARKER, " ").encode()

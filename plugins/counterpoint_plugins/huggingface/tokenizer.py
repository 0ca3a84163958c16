"""Tokenizers of the transformers library behind the engine's protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class HuggingFaceTokenizer:
    """A fast tokenizer of transformers."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def _mapping(self) -> dict[str, int]:
        return dict(self._tokenizer.get_vocab())

    def mapping(self) -> Mapping[str, int]:
        return self._mapping

    @cached_property
    def _tokens(self) -> dict[int, str]:
        return {token_id: token for token, token_id in self._mapping.items()}

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for token_id in sorted(self._tokens):
            digest.update(f"{token_id}\t{token_id in self.special_ids}\t{self._tokens[token_id]}\n".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def size(self) -> int:
        return max(self._tokens) + 1

    @cached_property
    def special_ids(self) -> frozenset[int]:
        added = self._tokenizer.added_tokens_decoder.items()
        return frozenset(self._tokenizer.all_special_ids) | {index for index, token in added if token.special}

    def token(self, token_id: int) -> str:
        return self._tokens.get(token_id, "")

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        bos = self._tokenizer.bos_token
        if add_special and bos and text.startswith(bos):
            add_special = False  # the text brings its own
        return list(self._tokenizer(text, add_special_tokens=add_special, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def render_chat(self, messages: Sequence[Mapping[str, str]]) -> str | None:
        if not self._tokenizer.chat_template:
            return None
        rendered = self._tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
        )
        return str(rendered)

    def save(self, folder: Path) -> None:
        """Writes its files, the chat template included."""
        self._tokenizer.save_pretrained(folder)

    @property
    def has_chat_template(self) -> bool:
        """Whether the model brings a chat template."""
        return bool(self._tokenizer.chat_template)

    @property
    def eos_id(self) -> int | None:
        """The tokenizer's own end-of-text token."""
        eos = self._tokenizer.eos_token_id
        return eos if isinstance(eos, int) else None

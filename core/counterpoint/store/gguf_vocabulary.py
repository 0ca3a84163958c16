"""What a GGUF file says of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

CONTROL: Final = 3
USER_DEFINED: Final = 4
UNUSED: Final = 5

NFC: Final = frozenset({"qwen2", "deepseek-r1-qwen"})
"""Pre-tokenizers whose models expect text in Unicode's normal form C."""

# Names under which models publish a second end token beside the one GGUF has a key for (llama.cpp stops at them too).
_END_NAMES: Final = frozenset(
    {"<|im_end|>", "<|endoftext|>", "<end_of_turn>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "</s>"}
)


@dataclass(frozen=True)
class GgufVocabulary:
    """The tokens of a GGUF file.

    Attributes:
        tokens: the string of every row of the embedding matrix.
        size: how many of them are tokens; what follows only pads the matrix.
        special_ids: control tokens.
        added_ids: tokens matched whole before any merge, though they are text.
        end_ids: tokens that end an answer.
        bos_token: the token that begins a text; empty when there is none.
        eos_token: the token that ends one; empty when there is none.
        chat_template: Jinja text; empty when there is none.
        normalizes_nfc: whether text is brought to Unicode's normal form C first.
    """

    tokens: tuple[str, ...] = field(repr=False)
    size: int
    special_ids: frozenset[int]
    added_ids: frozenset[int]
    end_ids: frozenset[int]
    bos_token: str
    eos_token: str
    chat_template: str
    normalizes_nfc: bool

    @property
    def rows(self) -> int:
        """Rows of the embedding matrix."""
        return len(self.tokens)

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> GgufVocabulary:
        """The vocabulary in a header that was read with its strings."""
        tokens = tuple(metadata["tokenizer.ggml.tokens"])
        if metadata.get("tokenizer.ggml.model") == "llama":  # SentencePiece, where some files spell runs of spaces as such
            tokens = tuple(token.replace(" ", "\u2581") for token in tokens)
        types = metadata.get("tokenizer.ggml.token_type", [])

        def named(key: str) -> str:
            number = metadata.get(f"tokenizer.ggml.{key}_token_id")
            return tokens[number] if number is not None and number < len(tokens) else ""

        return cls(
            tokens=tokens,
            size=used_tokens(metadata),
            special_ids=frozenset(number for number, kind in enumerate(types) if kind == CONTROL),
            added_ids=frozenset(number for number, kind in enumerate(types) if kind == USER_DEFINED),
            end_ids=frozenset(end_ids(metadata)),
            bos_token=named("bos"),
            eos_token=named("eos"),
            chat_template=str(metadata.get("tokenizer.chat_template", "")),
            normalizes_nfc=metadata.get("tokenizer.ggml.pre") in NFC,
        )


def end_ids(metadata: Mapping[str, Any]) -> list[int]:
    """Ids that end an answer: the file's end token first, then other control tokens with an end token's name."""
    prefix = "tokenizer.ggml."
    stated = [metadata.get(f"{prefix}{key}_token_id") for key in ("eos", "eot", "eom")]
    types = metadata.get(f"{prefix}token_type", [])
    named = [
        number
        for number, (token, kind) in enumerate(zip(metadata[f"{prefix}tokens"], types, strict=False))
        if kind == CONTROL and token in _END_NAMES
    ]
    return list(dict.fromkeys([number for number in stated if number is not None] + sorted(named, reverse=True)))


def used_tokens(metadata: Mapping[str, Any]) -> int:
    """Number of tokens, without the unused ones at the end of the vocabulary."""
    count = len(metadata["tokenizer.ggml.tokens"])
    types = metadata.get("tokenizer.ggml.token_type", [])
    while 0 < count <= len(types) and types[count - 1] == UNUSED:
        count -= 1
    return count

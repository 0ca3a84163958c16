"""The tokenizer that a GGUF file describes, as a ``tokenizers`` file and its settings.

transformers rebuilds a tokenizer from GGUF metadata, but not always the one the model was trained with. What is put
right here was found by comparing with the metadata and with the published rules of each tokenizer (docs/models.md):

- the StarCoder family of pre-tokenizers (``smollm`` among them) splits digits before anything else;
- the Qwen 2 family normalises text to NFC;
- rows that only pad the embedding matrix (``[PAD151665]`` …, type *unused*) are no tokens;
- Gemma's runs of spaces are matched whole before any merge, as its runs of newlines are;
- begin and end tokens are added exactly when the file says so (right already for the models tried; made explicit).

Imported by the conversion process only: it needs transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import ModelError, Unsupported
from counterpoint.store.gguf_vocabulary import CONTROL, NFC, USER_DEFINED, used_tokens

_GPT2: Final = frozenset({"gpt-2", "mpt", "olmo", "jais", "phi-2"})
_DIGITS_FIRST: Final = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"})


def correct(backend: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """The ``tokenizer.json`` that transformers made of a file, put right (the module docstring says where and why).

    Raises:
        Unsupported: the file names a byte-level pre-tokenizer whose rules are not known here.
    """
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    kind = metadata.get("tokenizer.ggml.model")
    pre = metadata.get("tokenizer.ggml.pre")
    if kind == "gpt2":
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        if pre in _DIGITS_FIRST:
            digits = {"type": "Digits", "individual_digits": True}
            backend["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, byte_level]}
        elif pre not in GGUF_PRE_TOKENIZER_SPLITS and pre not in _GPT2:
            # A wrong rule would give plausible but wrong ids: better no model than a subtly broken one.
            raise Unsupported(
                f"the GGUF file names the pre-tokenizer {pre!r}, whose rules Counterpoint does not know",
                hint="use the model's safetensors form (hf:org/name, or path: and its folder)",
            )
        if pre in NFC:
            backend["normalizer"] = {"type": "NFC"}
    _drop_unused(backend, used_tokens(metadata))
    if str(metadata.get("general.architecture", "")).startswith("gemma"):
        _match_spaces_whole(backend, metadata)
    backend["post_processor"] = _post_processor(metadata, default_bos=kind == "llama")
    return backend


def _drop_unused(backend: dict[str, Any], count: int) -> None:
    vocabulary = backend["model"].get("vocab")
    if isinstance(vocabulary, dict):
        backend["model"]["vocab"] = {token: number for token, number in vocabulary.items() if number < count}
    backend["added_tokens"] = [token for token in backend["added_tokens"] if token["id"] < count]


def _match_spaces_whole(backend: dict[str, Any], metadata: dict[str, Any]) -> None:
    present = {token["id"] for token in backend["added_tokens"]}
    types = metadata["tokenizer.ggml.token_type"]
    for number, token in enumerate(metadata["tokenizer.ggml.tokens"]):
        if types[number] == USER_DEFINED and number not in present and not token.strip(" "):
            # normalized: by then a space is spelt U+2581, as in the vocabulary
            entry = {"id": number, "content": "\u2581" * len(token), "normalized": True, "special": False}
            backend["added_tokens"].append(entry | {"single_word": False, "lstrip": False, "rstrip": False})
    backend["added_tokens"].sort(key=lambda token: token["id"])


def _post_processor(metadata: dict[str, Any], *, default_bos: bool) -> dict[str, Any] | None:
    tokens = metadata["tokenizer.ggml.tokens"]
    bos, eos = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
    before = [bos] if bos is not None and metadata.get("tokenizer.ggml.add_bos_token", default_bos) else []
    after = [eos] if eos is not None and metadata.get("tokenizer.ggml.add_eos_token", False) else []
    if not before and not after:
        return None

    def template(*names: str) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for type_id, name in enumerate(names):
            parts += [{"SpecialToken": {"id": tokens[number], "type_id": type_id}} for number in before]
            parts.append({"Sequence": {"id": name, "type_id": type_id}})
            parts += [{"SpecialToken": {"id": tokens[number], "type_id": type_id}} for number in after]
        return parts

    return {
        "type": "TemplateProcessing",
        "single": template("A"),
        "pair": template("A", "B"),
        "special_tokens": {
            tokens[number]: {"id": tokens[number], "ids": [number], "tokens": [tokens[number]]}
            for number in dict.fromkeys(before + after)
        },
    }


def settings(metadata: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the transformers tokenizer: special tokens, chat template, longest input (tokens)."""
    tokens = metadata["tokenizer.ggml.tokens"]
    architecture = metadata["general.architecture"]
    result: dict[str, Any] = {"clean_up_tokenization_spaces": False, "padding_side": "left"}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        number = metadata.get(f"tokenizer.ggml.{key}_token_id")
        result[f"{name}_token"] = tokens[number] if number is not None else None
    if (length := metadata.get(f"{architecture}.context_length")) is not None:
        result["model_max_length"] = length
    if template := metadata.get("tokenizer.chat_template"):
        result["chat_template"] = template
    return result


def check(tokenizer_json: Path, metadata: dict[str, Any]) -> None:
    """Compare a written ``tokenizer.json`` with the file it came from: every id's string, every special token.

    Raises:
        ModelError: they differ; the message names the first differences.
    """
    from tokenizers import Tokenizer

    written = Tokenizer.from_file(str(tokenizer_json))
    tokens = metadata["tokenizer.ggml.tokens"]
    types = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    count = used_tokens(metadata)
    added = {token["id"]: token["special"] for token in json.loads(written.to_str())["added_tokens"]}
    wrong = [
        f"id {number}: {tokens[number]!r} became {written.id_to_token(number)!r}"
        for number in range(count)
        if (written.id_to_token(number) or "") not in (tokens[number], tokens[number].replace(" ", "\u2581"))
    ]
    wrong += [
        f"id {number} ({tokens[number]!r}) should {'' if kind == CONTROL else 'not '}be special"
        for number, kind in enumerate(types[:count])
        if (kind == CONTROL) != added.get(number, False)
    ]
    if size := written.get_vocab_size(with_added_tokens=True) - count:
        wrong.append(f"{size:+d} tokens")
    if wrong:
        raise ModelError(
            "the tokenizer rebuilt from the GGUF file differs from it: " + "; ".join(wrong[:5]),
            hint="use the model's safetensors form; please report this file",
        )

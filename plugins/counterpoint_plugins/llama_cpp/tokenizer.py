"""The tokenizer inside a GGUF file, by llama.cpp's own code, behind the engine's protocol."""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

import jinja2
import llama_cpp
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from counterpoint_plugins.llama_cpp.library import Model


class LlamaCppTokenizer:
    """A vocabulary loaded by llama.cpp.

    Args:
        model: a loaded model, or its vocabulary alone; it is kept.
        vocabulary: what the file says of its tokens (a `GgufVocabulary` of the model store).
    """

    def __init__(self, model: Model, vocabulary: Any) -> None:
        self._model = model
        self._vocab = llama_cpp.llama_model_get_vocab(model.pointer)
        self._about = vocabulary

    @property
    def size(self) -> int:
        return int(self._about.size)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self._about.special_ids)

    def token(self, token_id: int) -> str:
        return str(self._about.tokens[token_id]) if 0 <= token_id < self.size else ""

    @cached_property
    def _mapping(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self._about.tokens[: self.size])}

    def mapping(self) -> Mapping[str, int]:
        return self._mapping

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for number, token in enumerate(self._about.tokens[: self.size]):
            digest.update(f"{number}\t{number in self.special_ids}\t{token}\n".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def _special(self) -> re.Pattern[str]:
        """Finds special tokens in a text. llama.cpp takes some for special that the file does not say are, by their names
        (`</s>` in Qwen's vocabulary and in Gemma's), so that this is not left to it."""
        mistaken = {number for number in self._about.added_ids if llama_cpp.llama_vocab_is_control(self._vocab, number)}
        tokens = sorted((self.token(number) for number in self.special_ids | mistaken), key=len, reverse=True)
        return re.compile("|".join(re.escape(token) for token in tokens if token) or "(?!)")

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        bos = self._about.bos_token
        if add_special and bos and text.startswith(bos):
            add_special = False  # the text brings its own
        ids = [self._mapping[bos]] if add_special and bos and llama_cpp.llama_vocab_get_add_bos(self._vocab) else []
        start = 0
        for match in self._special.finditer(text):
            ids += self._encode_plain(text[start : match.start()])
            ids.append(self._mapping[match.group()])
            start = match.end()
        ids += self._encode_plain(text[start:])
        eos = self._about.eos_token
        if add_special and eos and llama_cpp.llama_vocab_get_add_eos(self._vocab):
            ids.append(self._mapping[eos])
        return ids

    def _encode_plain(self, text: str) -> list[int]:
        if not text:
            return []
        if self._about.normalizes_nfc:
            text = unicodedata.normalize("NFC", text)
        data = text.encode("utf-8", errors="replace")
        room = len(data) + 8
        while True:
            ids = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self._vocab, data, len(data), ids, room, False, False)
            if count >= 0:
                return list(ids[:count])
            room = -count

    def decode(self, ids: Sequence[int]) -> str:
        kept = [number for number in ids if number not in self.special_ids and 0 <= number < self.size]
        if not kept:
            return ""
        tokens = (llama_cpp.llama_token * len(kept))(*kept)
        room = 16 * len(kept) + 16
        while True:
            text = ctypes.create_string_buffer(room)
            count = llama_cpp.llama_detokenize(self._vocab, tokens, len(kept), text, room, False, True)
            if count >= 0:
                return text.raw[:count].decode("utf-8", errors="replace")
            room = -count

    @property
    def has_chat_template(self) -> bool:
        """Whether the file brings a chat template."""
        return bool(self._about.chat_template)

    def render_chat(self, messages: Sequence[Mapping[str, str]]) -> str | None:
        if not self._about.chat_template:
            return None
        return _template(self._about.chat_template).render(
            messages=[dict(message) for message in messages],
            add_generation_prompt=True,
            tools=None,
            documents=None,
            bos_token=self._about.bos_token,
            eos_token=self._about.eos_token,
        )


@lru_cache(maxsize=16)
def _template(text: str) -> jinja2.Template:
    """A chat template in the environment that such templates are written for (that of transformers), sandboxed."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005 (as transformers has it)
    return environment.from_string(text)

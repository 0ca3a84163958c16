"""The tokenizer of a GGUF file is the same on both backends."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint import paths
from counterpoint.store import ModelStore
from counterpoint.testing import save_tiny_gguf

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (pip install 'counterpoint[llama-cpp]')")

MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": " Hi <b>there</b>\n"}]
TRICKY = [
    "",
    " ",
    " " * 40,
    "\n\n\n\t",
    "a  1",
    "1234567890 3.14 1,000",
    "don't I'LL we've",
    "naïve café e\u0301",
    "日本語テキスト",
    "👩‍👩‍👧‍👦 👍🏽",
    "שלום عليكم",
    "a\u00a0b\u200bc\r\n\x00\ufeff",
    "ﬁ ﷺ Å ①",
    "x</s>y <s> <unk> </s>",
    "<|im_start|>user\nhi<|im_end|>",
    "<bos>hi<end_of_turn><eos>",
    "<|endoftext|><|fim_prefix|>",
]
SCRAPS = [
    "abc ABC  \n",
    "0123456789 ",
    " \t\n\r",
    "éèüñ e\u0301\u0308",
    "日本語中文한국어",
    "😀🎉👍🏽\u200d❤️",
    "אבגד هو",
    "(){}[];:=+-*/<>_.,'\"\\",
]


def both(source: str, store: ModelStore) -> tuple[Any, Any]:
    """The tokenizers of both backends."""
    from transformers import AutoTokenizer

    from counterpoint_plugins.huggingface.tokenizer import HuggingFaceTokenizer
    from counterpoint_plugins.llama_cpp.library import Model
    from counterpoint_plugins.llama_cpp.tokenizer import LlamaCppTokenizer

    files = store.ensure(source, formats=("safetensors", "gguf"))
    assert files.gguf is not None
    own = LlamaCppTokenizer(Model(files.gguf, vocabulary_only=True), store.gguf_header(files.gguf).vocabulary)
    return own, HuggingFaceTokenizer(AutoTokenizer.from_pretrained(files.directory))


def assert_same(own: Any, other: Any, texts: list[str]) -> None:
    for text in texts:
        for add_special in (False, True):
            ids = own.encode(text, add_special=add_special)
            assert ids == other.encode(text, add_special=add_special), text
        assert own.decode(ids) == other.decode(ids), text


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    root = tmp_path_factory.mktemp("tokenizers")
    return both(f"path:{save_tiny_gguf(root / 'tiny.gguf')}", ModelStore(root / "store"))


@given(text=st.text(max_size=40))
@settings(max_examples=200)
def test_any_text(tiny: tuple[Any, Any], text: str) -> None:
    own, other = tiny
    assert own.encode(text) == other.encode(text)
    assert own.decode(own.encode(text)) == other.decode(other.encode(text))


def test_a_tiny_one(tiny: tuple[Any, Any]) -> None:
    own, other = tiny
    assert own.fingerprint == other.fingerprint
    assert own.special_ids == other.special_ids
    assert own.mapping() == other.mapping()
    assert_same(own, other, [*TRICKY, *own.mapping()])
    assert own.render_chat(MESSAGES) == other.render_chat(MESSAGES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", ["smollm2-135m-instruct", "gemma-3-270m", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"]
)
def test_the_catalogues_models(source: str) -> None:
    own, other = both(source, ModelStore())
    assert own.fingerprint == other.fingerprint
    assert own.special_ids == other.special_ids
    assert own.size == other.size
    assert own.mapping() == other.mapping()
    assert [own.decode([number]) for number in range(own.size)] == [other.decode([number]) for number in range(own.size)]
    chance = random.Random(0)
    texts = list(TRICKY)
    for _ in range(3000):
        scraps = "".join(chance.sample(SCRAPS, chance.randint(1, 4)))
        texts.append("".join(chance.choice(scraps) for _ in range(chance.randint(1, 60))))
    texts += [path.read_text(encoding="utf-8") for path in Path(__file__).parents[3].glob("core/**/*.py")]
    for file in sorted(paths.data().rglob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines()[:100]:
            texts += [value for value in json.loads(line).values() if isinstance(value, str)]
    assert_same(own, other, texts)
    assert own.render_chat(MESSAGES) == other.render_chat(MESSAGES)

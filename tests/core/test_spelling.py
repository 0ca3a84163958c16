"""The bytes of every token."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, pre_tokenizers

import counterpoint as cp
from counterpoint.spelling import byte_alphabet, byte_ids, token_bytes, token_texts
from counterpoint.testing import CharTokenizer

TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=" \t\n\r\u00a0\u3000", max_size=20),
    st.text(alphabet="👩\u200d🔬🏽🇫🇷é\u0301אבגشمس漢字", max_size=20),
    st.sampled_from(
        ["def f(x):\n    return x ** 2  # ⟂\n", "שלום עולם", "مرحبا", "a   b\n\n\n  c", "<|im_end|>", "<0x0A>", "▁"]
    ),
)
"""Any Unicode, runs of whitespace, emoji and combining characters, right-to-left, code, and what looks like a token."""


class Vocabulary:
    """Of a tokenizer, as much as spelling needs."""

    def __init__(self, table: Mapping[str, int], special: Sequence[str] = ()) -> None:
        self._table = dict(table)
        self.size = max(table.values()) + 1
        self.special_ids = frozenset(table[name] for name in special)

    def mapping(self) -> Mapping[str, int]:
        return self._table

    def token(self, token_id: int) -> str:
        return next(name for name, known in self._table.items() if known == token_id)


Table: Any = Vocabulary


def sentencepiece(*pieces: str) -> Any:
    """Spaces as ``▁``, all bytes by number first, as in Gemma's and Llama's vocabularies."""
    names = ["<end>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdehlnort.", "\n", *pieces]
    return Table({name: index for index, name in enumerate(names)}, ["<end>"])


def byte_level(*words: str) -> Any:
    """GPT-2's characters for bytes, then tokens of several."""
    letter = {byte: char for char, byte in byte_alphabet().items()}
    names = [*byte_alphabet(), *("".join(letter[byte] for byte in word.encode()) for word in words), "<|im_end|>"]
    return Table({name: index for index, name in enumerate(names)}, ["<|im_end|>"])


def test_the_byte_alphabet_is_that_of_gpt2() -> None:
    alphabet = byte_alphabet()
    assert sorted(alphabet.values()) == list(range(256))
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    assert alphabet["Ġ"] == ord(" ")
    assert alphabet["Ċ"] == ord("\n")


def test_three_ways_to_spell() -> None:
    pieces = sentencepiece("▁the", "▁▁")
    assert [token_bytes(pieces)[pieces.mapping()[name]] for name in ("<0x0A>", "<0xE2>", "▁the", "▁▁", "\n")] == [
        b"\n",
        b"\xe2",
        b" the",
        b"  ",
        b"\n",
    ]
    levels = byte_level(" the", "é", "\n\n")
    assert token_bytes(levels)[256:] == [b" the", "é".encode(), b"\n\n", None]
    assert token_bytes(CharTokenizer("ab é", ["ab"])) == [b"a", b"b", b" ", "é".encode(), b"ab", None]


def test_byte_level_tokens_that_were_added_are_written_as_they_are() -> None:
    table = {**byte_level().mapping(), "<think> now": 300, "漢": 301}
    assert token_bytes(Table(table, ["<|im_end|>"]))[300:] == [b"<think> now", "漢".encode()]


def test_ids_without_a_token_and_control_tokens_have_no_bytes() -> None:
    table = Table({"a": 0, "<s>": 1, "b": 4}, ["<s>"])
    assert token_bytes(table) == [b"a", None, None, None, b"b"]


def test_tokens_as_text_by_themselves() -> None:
    for table in (byte_level(" the", "\n\n"), sentencepiece("▁the", "\n\n")):
        names = table.mapping()
        text = token_texts(table)
        the = next(name for name in names if name.endswith("the"))
        assert text(names[the]) == " the"
        last = next(token_id for name, token_id in reversed(names.items()) if name in ("\n\n", "ĊĊ"))
        assert text(last) == "\n\n"
        (end,) = table.special_ids
        assert text(end) in ("<end>", "<|im_end|>")
    assert token_texts(byte_level())(0xE2) == "\ufffd", "a byte that is no character"


def test_tokens_for_bytes_by_number() -> None:
    pieces = sentencepiece()
    assert len(byte_ids(pieces)) == 256
    assert pieces.mapping()["<0x0A>"] in byte_ids(pieces)
    assert not byte_ids(Table({"<0x0a": 0, "0x0A": 1, "<0x0A>>": 2, "<0xG1>": 3}))


@given(ids=st.lists(st.integers(1, 272), max_size=12))
def test_the_bytes_of_ids_joined_are_what_the_library_decodes(ids: list[int]) -> None:
    levels, pieces = (
        byte_level(" the", "é", "\n\n", "👩", *(2 * char for char in "abcdefghijklm")),
        sentencepiece("▁the", "▁▁", "é"),
    )
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    for table, library in ((levels, decoders.ByteLevel()), (pieces, decoder)):
        names = {token_id: token for token, token_id in table.mapping().items()}
        known = token_bytes(table)
        assert {known[token_id] is None for token_id in ids} <= {False}
        spelled = b"".join(known[token_id] or b"" for token_id in ids).decode(errors="replace")
        if "\ufffd" not in spelled:  # of broken bytes, either library makes as many replacement characters as it likes
            assert library.decode([names[token_id] for token_id in ids]) == spelled


# --- of real tokenizers -----------------------------------------------------------------------------------------------------

REAL = ("smollm2-135m-instruct", "gemma-3-270m", "qwen2.5-coder-0.5b-instruct")


@functools.cache
def real(source: str) -> Any:
    """The tokenizer of a model in the store, without its weights."""
    with cp.Engine(offline=True) as engine:
        plan = engine.plan({"nodes": {"m": {"kind": "huggingface", "source": source}}, "output": "m"})
    found = plan.facts["m"].tokenizer if "m" in plan.facts else None
    if found is None:
        pytest.skip(f"{source} is not in the model store")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("source", REAL)
def test_every_token_is_spelled_as_it_is_decoded(source: str) -> None:
    tokenizer = real(source)
    known = token_bytes(tokenizer)
    special = tokenizer.special_ids
    wrong = []
    for token_id in tokenizer.mapping().values():
        spelled = known[token_id]
        assert (spelled is None) == (token_id in special)
        if spelled is not None and spelled.decode(errors="replace") != tokenizer.decode([token_id]):
            wrong.append((token_id, spelled, tokenizer.decode([token_id])))
    # a run of broken bytes is one replacement character in one library, and several in another
    wrong = [entry for entry in wrong if set(entry[1].decode(errors="replace")) != set(entry[2])]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("source", REAL)
@settings(max_examples=200)
@given(text=TEXTS)
def test_the_bytes_of_real_ids_joined_are_their_text(source: str, text: str) -> None:
    tokenizer = real(source)
    known = token_bytes(tokenizer)
    ids = [token_id for token_id in tokenizer.encode(text) if token_id not in tokenizer.special_ids]
    # SmolLM2 has no token for some bytes (0xF1, say) and leaves them out
    assert b"".join(known[token_id] or b"" for token_id in ids).decode(errors="replace") == tokenizer.decode(ids)


@pytest.mark.slow
@pytest.mark.parametrize("source", REAL)
@given(data=st.data())
def test_the_bytes_of_any_real_ids_joined_are_their_text(source: str, data: st.DataObject) -> None:
    """Also of those that no text is cut into; where they do not make characters, the libraries differ in how they say so."""
    tokenizer = real(source)
    known = token_bytes(tokenizer)
    ids = data.draw(st.lists(st.sampled_from(sorted(set(tokenizer.mapping().values()) - tokenizer.special_ids)), max_size=8))
    try:
        text = b"".join(known[token_id] or b"" for token_id in ids).decode()
    except UnicodeDecodeError:
        return
    assert tokenizer.decode(ids) == text

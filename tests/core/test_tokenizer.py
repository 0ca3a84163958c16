"""Incremental text: whatever the tokens are, the pieces joined are the text of all of them, up to a stop string."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from counterpoint.testing import CharTokenizer
from counterpoint.tokenizer import IncrementalText


class ByteLevel:
    """Every byte a token, and a few tokens of several bytes that begin or end inside a character."""

    def __init__(self) -> None:
        letter = {byte: bytes_to_letters()[byte] for byte in range(256)}
        vocabulary = {letter[byte]: byte for byte in range(256)}
        merges = []
        for pair in (b"\xe2\x82", b"\xacx", b"\xc3\xa9", b"\xf0\x9f", b"ab", b"\xe2\x82\xac", b"ab\xc3"):
            left, right = (pair[:-1], pair[-1:]) if pair != b"\xacx" else (b"\xac", b"x")
            merges.append(tuple("".join(letter[byte] for byte in part) for part in (left, right)))
            vocabulary["".join(letter[byte] for byte in pair)] = len(vocabulary)
        self._inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        self._inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._inner.decoder = decoders.ByteLevel()
        self.size = len(vocabulary)

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        return self._inner.encode(text).ids

    def decode(self, ids: list[int]) -> str:
        return self._inner.decode(list(ids), skip_special_tokens=True)

    def token(self, token_id: int) -> str:
        return self._inner.id_to_token(token_id)

    fingerprint = "bytes"


@cache
def bytes_to_letters() -> dict[int, str]:
    """GPT-2's mapping of bytes to printable characters."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + index) for index, byte in enumerate(others)}


@cache
def byte_level() -> ByteLevel:
    return ByteLevel()


TEXTS = st.text(
    st.sampled_from("abcxyz .\n€é𝄞漢\u200d👩🏽\u0301\ufeff\u00a0") | st.characters(exclude_categories=["Cs"]), max_size=30
)
IDS = st.lists(st.integers(0, 255 + 7), max_size=30)
STOPS = st.text("ab€é.x", min_size=1, max_size=4)


def pieces(ids: list[int], stop: tuple[str, ...] = ()) -> tuple[list[str], IncrementalText]:
    text = IncrementalText(byte_level(), stop)
    return [*(text.push(token) for token in ids), text.finish()], text


def test_the_tokenizer_of_this_test_cuts_characters() -> None:
    tokenizer = byte_level()
    assert len(tokenizer.encode("𝄞")) > 1
    assert tokenizer.decode(tokenizer.encode("€xab𝄞")) == "€xab𝄞"
    assert tokenizer.decode([0xFF, ord("a")]) == "\ufffda"


@given(TEXTS)
@example("€€€")
@example("\ufffd")
@example("a\ufffdb\ufffd")
def test_pieces_of_any_text_joined_are_the_text(text: str) -> None:
    ids = byte_level().encode(text)
    found, _ = pieces(ids)
    assert "".join(found) == text == byte_level().decode(ids)


@given(IDS)
@example([0xE2, 0x82, 0xE2, 0x82])
@example([0xF0, 0x9F, 0x61])
@example([0xFF])
@example([0xFF, 0x61, 0xFF, 0xEF, 0xBF, 0xBD, 0x62])
def test_pieces_of_any_tokens_joined_are_their_text(ids: list[int]) -> None:
    found, _ = pieces(ids)
    assert "".join(found) == byte_level().decode(ids)


@given(IDS)
def test_a_piece_is_final_whatever_follows(ids: list[int]) -> None:
    """What has been given out is the beginning of the text of all tokens, after every token."""
    whole = byte_level().decode(ids)
    text = IncrementalText(byte_level())
    out = ""
    for token in ids:
        out += text.push(token)
        assert whole.startswith(out)


@given(TEXTS, STOPS)
@example("xx€yy", "€")
@example("aab", "ab")
@example("éa€é", "a€")
@example("ababab", "abac")
def test_text_ends_before_the_first_stop_string(text: str, stop: str) -> None:
    found, state = pieces(byte_level().encode(text), (stop,))
    assert "".join(found) == text.partition(stop)[0]
    assert state.stopped == (stop in text)


@given(IDS, STOPS)
def test_text_of_any_tokens_ends_before_the_first_stop_string(ids: list[int], stop: str) -> None:
    found, state = pieces(ids, (stop,))
    whole = byte_level().decode(ids)
    assert "".join(found) == whole.partition(stop)[0]
    assert state.stopped == (stop in whole)


@given(TEXTS, st.lists(STOPS, min_size=1, max_size=4))
def test_of_several_stop_strings_the_one_completed_first_ends_the_text(text: str, stops: list[str]) -> None:
    """A stop string that would begin earlier, but is not complete when another one is, never comes to be."""
    tokenizer = byte_level()
    ids = tokenizer.encode(text)
    expected, stopped = text, False
    for count in range(1, len(ids) + 1):
        known = tokenizer.decode(ids[:count])
        if known.endswith("\ufffd") and count < len(ids):
            continue
        places = [known.find(stop) for stop in stops if stop in known]
        if places:
            expected, stopped = known[: min(places)], True
            break
    found, state = pieces(ids, tuple(stops))
    assert "".join(found) == expected
    assert state.stopped == stopped


@given(TEXTS, STOPS)
def test_nothing_is_held_back_without_need(text: str, stop: str) -> None:
    """What is held back is a beginning of the stop string, or part of a character."""
    tokenizer = byte_level()
    state = IncrementalText(tokenizer, (stop,))
    out, ids = "", []
    for token in tokenizer.encode(text):
        ids.append(token)
        out += state.push(token)
        if state.stopped:
            break
        known = tokenizer.decode(ids).rstrip("\ufffd")
        held = known.removeprefix(out)
        longest = max((size for size in range(len(stop)) if known.endswith(stop[:size])), default=0)
        assert len(held) <= longest or "\ufffd" in text or tokenizer.decode(ids).endswith("\ufffd")


@pytest.mark.parametrize("after", ["push", "finish"])
def test_after_a_stop_string_nothing_comes(after: str) -> None:
    text = IncrementalText(CharTokenizer(), ("bc",))
    assert [text.push(token) for token in CharTokenizer().encode("abcd")] == ["a", "", "", ""]
    assert text.stopped
    assert (text.push(0) if after == "push" else text.finish()) == ""


def test_a_beginning_of_a_stop_string_is_given_out_at_the_end() -> None:
    text = IncrementalText(CharTokenizer(), ("bcd",))
    assert [text.push(token) for token in CharTokenizer().encode("abc")] == ["a", "", ""]
    assert text.finish() == "bc"
    assert not text.stopped


def test_control_tokens_are_no_text() -> None:
    text = IncrementalText(CharTokenizer("ab"))
    assert [text.push(token) for token in (0, 2, 1)] == ["a", "", "b"]

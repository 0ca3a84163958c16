"""Draft text as tokens of the target while it grows: never a token that the whole text would not have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from counterpoint import Engine
from counterpoint.testing import CharTokenizer
from counterpoint_plugins.weak_to_strong.retokenised import RetokenisedText

PROSE = (
    "The quick brown fox doesn't jump; it'll rest.\n\nWe're told: <p> </p> 'tis so. 12 345 6789 times!\n"
    "def f(x):\n    return x  # don't\n\n\n\tTabs, too...   and spaces. «Ça» naïve 東京 is 東京都. 🙂 ok 🙂🙂\n"
) * 4
_QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


class Trained:
    """A tokenizer of the `tokenizers` library, trained on the spot."""

    def __init__(self, core: Tokenizer, size: int) -> None:
        trainer = trainers.BpeTrainer(
            vocab_size=size, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
        )
        core.train_from_iterator([PROSE], trainer)
        self.core = core

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        return list(self.core.encode(text).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return self.core.decode(list(ids))


def byte_level(split: str | None) -> Trained:
    """As GPT-2's, or with the pattern of a later family."""
    core = Tokenizer(models.BPE())
    if split is None:
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        core.normalizer = normalizers.NFC()
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(split), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    core.decoder = decoders.ByteLevel()
    return Trained(core, 500)


def without_words() -> Trained:
    """As Gemma's: merges over the whole text, learnt within words (and one token across them)."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?=[▁\n\t])"), "isolated")
    trained.decoder = decoders.Replace("▁", " ")
    made = Trained(trained, 500)
    state = json.loads(made.core.to_str())
    state["pre_tokenizer"] = None
    vocab, merges = state["model"]["vocab"], state["model"]["merges"]
    vocab["<unk>"] = len(vocab)
    for left, right in ((">", "▁"), ("<", "/"), (">▁", "</")):
        for token in (left, right, left + right):
            vocab.setdefault(token, len(vocab))
    state["model"]["merges"] = [[">", "▁"], ["<", "/"], [">▁", "</"], *merges]
    made.core = Tokenizer.from_str(json.dumps(state))
    return made


TOKENIZERS: dict[str, Any] = {
    "characters": CharTokenizer("abc de.\n<>/'🙂"),
    "GPT-2": byte_level(None),
    "Qwen": byte_level(_QWEN),
    "Gemma": without_words(),
}
HARD = ["> </", ">", " ", "  ", "\n", "\n\n", " \n", "'", "l", "ll", "'s", "don't", ".", ".\n", "1", "23", "the", " quick", "<p>",
        "</", "\t", "\xa0", "東", "é", "e\u0301", "🙂", "\ufffd", "fox", "\r\n", "\u2028", "\x1c"]  # fmt: skip
texts = st.lists(st.sampled_from(HARD) | st.text(max_size=4), max_size=40)


def read(tokenizer: Any, pieces: list[str], takes: set[int], keep_start: bool) -> tuple[list[int], RetokenisedText]:
    """What is given out, asked for after some of the pieces."""
    text = RetokenisedText(tokenizer, keep_start=keep_start)
    found: list[int] = []
    for index, piece in enumerate(pieces):
        text.push(piece)
        if index in takes:
            found += text.take()
            assert text.take() == [], "nothing is given out twice"
    return found + text.finish(), text


def whole(text: str, keep_start: bool) -> str:
    text = text.rstrip().rstrip("\ufffd").rstrip()
    return text if keep_start else text.lstrip()


def check(tokenizer: Any, pieces: list[str], takes: set[int], keep_start: bool) -> None:
    found, text = read(tokenizer, pieces, takes, keep_start)
    expected = whole("".join(pieces), keep_start)
    assert found == (tokenizer.encode(expected) if expected else [])
    assert not text.recut


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150)
@given(pieces=texts, takes=st.sets(st.integers(0, 40)), keep_start=st.booleans())
def test_the_tokens_are_those_of_the_whole_text(name: str, pieces: list[str], takes: set[int], keep_start: bool) -> None:
    check(TOKENIZERS[name], pieces, takes, keep_start)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_prose_character_by_character(name: str) -> None:
    check(TOKENIZERS[name], list(PROSE[:330]), set(range(1000)), keep_start=False)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["smollm2-135m-instruct", "gemma-3-270m", "qwen2.5-coder-0.5b-instruct"])
def test_real_vocabularies(source: str) -> None:
    with Engine(offline=True) as engine:
        node: Any = engine.registry.build({"kind": "huggingface", "source": source})
        tokenizer = node.inspect(engine.pool.resources()).tokenizer
    if tokenizer is None:
        pytest.skip(f"{source} is not here: counterpoint models pull {source}")
    check(tokenizer, list(PROSE[:330]), set(range(1000)), keep_start=False)

    @settings(max_examples=1500)
    @given(pieces=texts, takes=st.sets(st.integers(0, 40)), keep_start=st.booleans())
    def always(pieces: list[str], takes: set[int], keep_start: bool) -> None:
        check(tokenizer, pieces, takes, keep_start)

    always()


def test_the_last_two_words_are_held_back() -> None:
    text = RetokenisedText(CharTokenizer())
    given_out = []
    for piece in ("  one two", " ", "three ", "\n ", "four", ""):
        text.push(piece)
        given_out.append((text.waiting, "".join(CharTokenizer().decode(text.take()))))
    assert given_out == [(0, ""), (0, ""), (3, "one"), (0, ""), (4, " two"), (0, "")]
    assert CharTokenizer().decode(text.finish()) == " three \n four"


def test_a_token_across_white_space() -> None:
    """It is seen only once the whole next word is there, so that the word before waits for it."""
    tokenizer = TOKENIZERS["Gemma"]
    assert [tokenizer.core.id_to_token(token) for token in tokenizer.encode("x> </")] == ["x", ">▁</"]
    check(tokenizer, ["x>", " ", "<", "/", "p>", " q", " r", " s"], set(range(8)), keep_start=False)
    text = RetokenisedText(tokenizer)
    given_out = []
    for piece in ("x> ", "</", "p> q", " r", " s t"):
        text.push(piece)
        given_out.append(tokenizer.decode(text.take()))
    assert given_out == ["", "", "", "", "x> </p> q r"], "another one begins at the end of </p>"


def test_white_space_at_the_start_is_kept_where_it_continues_a_text() -> None:
    for keep_start, expected in ((False, "a b"), (True, " a b")):
        found, _ = read(CharTokenizer(), [" ", "a b", " \n"], {0, 1, 2}, keep_start)
        assert CharTokenizer().decode(found) == expected


class Fickle(CharTokenizer):
    """Cuts the beginning otherwise when the text is longer, as no known tokenizer does."""

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        ids = super().encode(text)
        return [ids[0], 25, *ids[1:]] if len(text) > 15 else ids


def test_tokens_that_would_have_been_others_stay_and_it_is_told() -> None:
    text = RetokenisedText(Fickle())
    text.push("one two three ")
    first = text.take()
    assert Fickle().decode(first) == "one"
    text.push("four five six seven")
    assert text.take() == []
    assert CharTokenizer().decode([*first, *text.finish()]).replace("z", "") == "one two three four five six seven"
    assert text.recut

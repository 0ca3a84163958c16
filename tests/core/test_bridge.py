"""Bridges between tokenizers: images of tokens, and a response in the other's ids."""

from __future__ import annotations

import functools
import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import counterpoint as cp
from counterpoint import bridge as bridges
from counterpoint import paths
from counterpoint.alignment import Alignment, encode_text, match_ends
from counterpoint.bridge import Bridges, TokenizerBridge, make_images
from counterpoint.errors import BridgeError
from counterpoint.spelling import byte_alphabet, byte_ids, token_bytes
from counterpoint.testing import CharTokenizer

# --- tokenizers -------------------------------------------------------------------------------------------------------------

LETTER = {byte: char for char, byte in byte_alphabet().items()}


class TableTokenizer:
    """A tokenizer given by its tokens alone, which cuts bytes from left to right into the longest ones.

    Args:
        names: its tokens, in the order of their ids.
        special: names of control tokens; one that is spelled out in a text becomes the token, as in real tokenizers.
    """

    def __init__(self, names: Sequence[str], special: Sequence[str] = ("<end>",)) -> None:
        self.names = list(dict.fromkeys([*names, *special]))
        self.size = len(self.names)
        self.special_ids = frozenset(self.names.index(name) for name in special)
        self.fingerprint = repr((self.names, special))
        self._bytes = token_bytes(self)
        numbered = byte_ids(self)
        self._by_bytes: dict[bytes, int] = {self.names[index].encode(): index for index in self.special_ids}
        for index in sorted(range(self.size), key=numbered.__contains__):
            if spelled := self._bytes[index]:
                self._by_bytes.setdefault(spelled, index)
        self._longest = max(map(len, self._by_bytes))

    def mapping(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def token(self, token_id: int) -> str:
        return self.names[token_id]

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        ids, data, at = [], text.encode(), 0
        while at < len(data):
            pieces = (data[at : at + length] for length in range(self._longest, 0, -1))
            found = next(piece for piece in pieces if piece in self._by_bytes)
            ids.append(self._by_bytes[found])
            at += len(found)
        return ids

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        return b"".join(self._bytes[token_id] or b"" for token_id in ids)

    def decode(self, ids: Sequence[int]) -> str:
        return self.bytes_of(ids).decode(errors="replace")

    def render_chat(self, messages: Any) -> None:
        return None


def sentencepiece(*pieces: str, end: str = "<eos>") -> TableTokenizer:
    """Spaces as ``▁``, a byte of each number first: as Gemma's vocabulary and Llama's."""
    return TableTokenizer([*(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdehlnort.", "\n", *pieces], [end, "<pad>"])


def byte_level(*words: str, end: str = "<|im_end|>") -> TableTokenizer:
    """GPT-2's characters for bytes, and tokens of several."""
    spelled = ("".join(LETTER[byte] for byte in word.encode()) for word in words)
    return TableTokenizer([*sorted(byte_alphabet()), *spelled], ["<|pad|>", end])


SMALL: dict[str, TableTokenizer] = {
    "bytes": byte_level(),
    "words": byte_level("the", " the", "here", "  ", "\n\n", "é", "漢字", "👩\u200d", "<|im", end="<|end|>"),
    "other words": byte_level("th", "he", " there", "   ", "漢", "é", "\u200d👩", "|im_", "ab"),
    "pieces": sentencepiece("▁the", "he", "▁▁", "é", "漢字", "rt", "<|"),
}
PAIRS = [(outer, inner) for outer in SMALL for inner in SMALL if outer != inner]

TEXTS = st.one_of(
    st.text(alphabet="theabr <|im_end>.", max_size=24),
    st.text(max_size=16),
    st.text(alphabet=" \t\n\r\u00a0\u3000", max_size=16),
    st.text(alphabet="👩\u200d🔬🏽🇫🇷é\u0301אבגشمس漢字", max_size=16),
    st.sampled_from(
        ["def f(x):\n    return x ** 2  # ⟂\n", "שלום עולם there", "<|im_end|>", "<|im_end|><|end|><eos>", "a<eos>"]
    ),
)


def bridge_of(outer: Any, inner: Any) -> TokenizerBridge:
    shared, mined = make_images(
        token_bytes(outer), token_bytes(inner), outer_fallback=byte_ids(outer), inner_fallback=byte_ids(inner)
    )
    return TokenizerBridge(outer, inner, shared, mined)


@functools.cache
def small(outer: str, inner: str) -> TokenizerBridge:
    return bridge_of(SMALL[outer], SMALL[inner])


def ends_of(tokenizer: Any) -> list[int]:
    return [max(tokenizer.special_ids)]


def alignment_of(bridge: TokenizerBridge) -> Alignment:
    return Alignment(bridge, match_ends(bridge, ends_of(bridge.outer), ends_of(bridge.inner)))


def fresh(bridge: TokenizerBridge, ids: Sequence[int]) -> list[int]:
    alignment = alignment_of(bridge)
    for token_id in ids:
        alignment.push(token_id)
    return alignment.ids


# --- images -----------------------------------------------------------------------------------------------------------------


def levenshtein(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


def pm_mined_by_force(text: str, inner: Sequence[str | None]) -> int:
    """PM-MinED as it is defined: an equal one, else of the prefix-related ones that of least edit distance, the first of equals."""
    if text in inner:
        return inner.index(text)
    related = [
        (levenshtein(text, other), index)
        for index, other in enumerate(inner)
        if other and (text.startswith(other) or other.startswith(text)) and (other != " " or not text.strip(" "))
    ]
    return min(related, default=(0, -1))[1]


VOCABULARIES = st.lists(st.one_of(st.none(), st.text(alphabet="ab é", min_size=1, max_size=5)), max_size=14)


@settings(max_examples=300)
@given(outer=VOCABULARIES, inner=VOCABULARIES)
def test_pm_mined_is_what_its_definition_gives(outer: list[str | None], inner: list[str | None]) -> None:
    spelled = [[None if token is None else token.encode() for token in tokens] for tokens in (outer, inner)]
    shared, mined = make_images(*spelled)
    assert shared.tolist() == [-1 if token is None or token not in inner else inner.index(token) for token in outer]
    assert mined.tolist() == [-1 if token is None else pm_mined_by_force(token, inner) for token in outer]


def test_a_part_of_a_character_has_an_equal_token_or_none() -> None:
    shared, mined = make_images([b"\xc3", b"\xc3\xa9", b"\xe2\x82"], [b"\xc3", b"\xc3\xa9x", b"\xe2"])
    assert shared.tolist() == [0, -1, -1]
    assert mined.tolist() == [0, 1, -1]


def test_a_byte_by_its_number_is_no_image_where_a_token_spells_it() -> None:
    """Gemma's and Llama's vocabularies number all bytes before their letters, and use the numbers of the others only."""
    pieces, words = sentencepiece(), byte_level()
    there = bridge_of(words, pieces)
    assert there.shared[words.names.index("a")] == pieces.names.index("a")
    assert there.shared[words.names.index(LETTER[ord(" ")])] == pieces.names.index("▁")
    assert there.shared[words.names.index("z")] == pieces.names.index("<0x7A>")
    back = bridge_of(pieces, words)
    assert back.shared[pieces.names.index("a")] == words.names.index("a")
    assert back.shared[pieces.names.index("<0x61>")] == -1
    assert back.pm_mined[pieces.names.index("<0x61>")] == -1
    assert back.shared[pieces.names.index("<0x7A>")] == words.names.index("z")


def test_control_tokens_have_no_image_and_are_none() -> None:
    for outer, inner in PAIRS:
        bridge = small(outer, inner)
        for image in (bridge.shared, bridge.pm_mined):
            assert not set(image.tolist()) & bridge.inner.special_ids
            assert all(image[token_id] == -1 for token_id in bridge.outer.special_ids)


@pytest.mark.parametrize("pair", PAIRS, ids=" to ".join)
def test_what_is_covered_is_counted(pair: tuple[str, str]) -> None:
    bridge = small(*pair)
    text = [token_id for token_id, spelled in enumerate(bridge.outer_bytes) if spelled is not None]
    assert bridge.words == len(text)
    assert bridge.coverage == bridge.covered("auto") == sum(bridge.shared[text] >= 0) / len(text)
    assert bridge.covered("pm_mined") == sum(bridge.pm_mined[text] >= 0) / len(text) >= bridge.coverage
    with pytest.raises(BridgeError, match=f"{bridge.outer.size} and {bridge.inner.size} tokens") as caught:
        bridge.image("same")
    assert "shared" in caught.value.hint


def test_one_mapping_is_covered_whole() -> None:
    tokenizer, twin = CharTokenizer("abc"), CharTokenizer("abc")
    bridge = Bridges().between(tokenizer, twin)
    assert bridge.exact
    assert bridge.coverage == bridge.covered("shared") == 1.0
    for mapping in ("auto", "same", "shared", "pm_mined"):
        assert bridge.image(mapping).tolist() == [0, 1, 2, 3]


def test_vocabularies_of_one_size_are_not_one() -> None:
    bridge = Bridges().between(CharTokenizer("abc"), CharTokenizer("acb"))
    assert not bridge.exact
    assert bridge.image("auto").tolist() == [0, 2, 1, -1]


def test_nothing_in_common_is_said() -> None:
    bridge = Bridges().between(CharTokenizer("abc"), CharTokenizer("xyz"))
    for mapping in ("auto", "shared", "pm_mined"):
        with pytest.raises(BridgeError, match="no token in common"):
            bridge.image(mapping)


# --- on disk ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how often images are made."""
    calls: list[int] = []

    def counting(*given: Any, **options: Any) -> Any:
        calls.append(1)
        return make_images(*given, **options)

    monkeypatch.setattr(bridges, "make_images", counting)
    return calls


def test_images_are_made_once_and_kept(made: list[int]) -> None:
    outer, inner = SMALL["words"], SMALL["pieces"]
    first = Bridges()
    bridge = first.between(outer, inner)
    assert first.between(outer, inner) is bridge
    again = Bridges().between(outer, inner)
    assert len(made) == 1
    for name in ("shared", "pm_mined"):
        assert np.array_equal(getattr(again, name), getattr(small("words", "pieces"), name))
        assert getattr(again, name).flags.writeable, "torch takes no array that is not"
    Bridges().between(inner, outer)
    assert len(made) == 2
    assert [path.suffix for path in paths.bridges().iterdir()] == [".images"] * 2


@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "foreign", "longer"])
def test_a_damaged_file_is_made_anew(made: list[int], damage: str) -> None:
    outer, inner = SMALL["words"], SMALL["pieces"]
    Bridges().between(outer, inner)
    (path,) = paths.bridges().iterdir()
    whole = path.read_bytes()
    bit = bytearray(whole)
    bit[-3] ^= 1
    damages = {"empty": b"", "cut": whole[:-8], "one bit": bytes(bit), "foreign": b"\x93NUMPY\x01", "longer": whole + whole}
    path.write_bytes(damages[damage])
    bridge = Bridges().between(outer, inner)
    assert len(made) == 2
    assert np.array_equal(bridge.shared, small("words", "pieces").shared)
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_does_no_harm(made: list[int], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        bridge = Bridges(folder).between(SMALL["words"], SMALL["pieces"])
        assert np.array_equal(bridge.shared, small("words", "pieces").shared)
    assert len(made) == 2


def test_runs_that_start_together_make_a_bridge_once(made: list[int]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    mine = Bridges()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: mine.between(SMALL["words"], SMALL["pieces"]), range(16)))
    assert len(set(map(id, found))) == 1
    assert len(made) == 1


# --- ends of turns ----------------------------------------------------------------------------------------------------------


def test_ends_match_by_name_then_by_role() -> None:
    outer = TableTokenizer(["a"], ["<|end|>", "<eos>"])
    inner = TableTokenizer(["x", "a"], ["<eos>", "<turn>"])
    bridge = bridge_of(outer, inner)
    assert match_ends(bridge, [1, 2], [2, 3]) == {1: 2, 2: 2}
    assert match_ends(bridge, [1, 2], [3]) == {1: 3, 2: 3}
    assert match_ends(bridge, [1], []) == {1: None}
    assert match_ends(bridge, [], [2]) == {}


# --- text -------------------------------------------------------------------------------------------------------------------


@given(text=TEXTS)
def test_a_text_never_becomes_a_control_token(text: str) -> None:
    for tokenizer in SMALL.values():
        ids = encode_text(tokenizer, text)
        assert tokenizer.special_ids.isdisjoint(ids)
        assert tokenizer.bytes_of(ids) == text.encode()


def test_control_tokens_within_one_another_are_cut_all() -> None:
    tokenizer = TableTokenizer([*"<ab>"], ["<a>", "<<a>>", "a><", "ab"])
    assert encode_text(tokenizer, "<<a>><a>ab") == [tokenizer.names.index(char) for char in "<<a>><a>ab"]


# --- alignments -------------------------------------------------------------------------------------------------------------

STEPS = st.lists(st.one_of(st.integers(0, 10_000), st.tuples(st.integers(0, 9)), st.just("copy")), max_size=30)


@settings(max_examples=150)
@given(pair=st.sampled_from([*PAIRS, ("words", "words")]), steps=STEPS)
def test_an_alignment_is_a_function_of_its_ids(pair: tuple[str, str], steps: list[Any]) -> None:
    """Whatever was pushed and taken back before, and whatever became of its copies."""
    bridge = small(*pair)
    alignment, ids, left = alignment_of(bridge), list[int](), list[tuple[Alignment, list[int]]]()
    for step in steps:
        before = list(alignment.ids)
        if step == "copy":
            left.append((alignment, list(ids)))
            alignment = alignment.copy()
        elif isinstance(step, tuple):
            length = max(0, len(ids) - step[0])
            kept = alignment.rollback(length)
            del ids[length:]
            assert alignment.ids[:kept] == before[:kept]
        else:
            ids.append(step % bridge.outer.size)
            held = alignment.ids
            kept = alignment.push(ids[-1])
            assert alignment.ids[:kept] == before[:kept]
            assert (alignment.ids is held) == (kept == len(before)), "another list whenever some are replaced"
        assert alignment.length == len(ids)
        assert alignment.ids == fresh(bridge, ids)
    for other, its in left:
        assert other.ids == fresh(bridge, its)


@settings(max_examples=150)
@given(pair=st.sampled_from(PAIRS), text=TEXTS, cut=st.integers(0, 20))
def test_inner_ids_spell_the_complete_text(pair: tuple[str, str], text: str, cut: int) -> None:
    bridge = small(*pair)
    ids = encode_text(bridge.outer, text)
    ids = ids[: max(0, len(ids) - cut)]
    inner: Any = bridge.inner
    spelled = inner.bytes_of(fresh(bridge, ids))
    wanted = b"".join(bridge.outer_bytes[token_id] or b"" for token_id in ids)
    assert wanted.startswith(spelled)
    assert spelled.decode(errors="ignore") == wanted.decode(errors="ignore"), "at most part of a character is held back"


@settings(max_examples=150)
@given(pair=st.sampled_from(PAIRS), ids=st.lists(st.integers(0, 10_000), max_size=20))
def test_control_tokens_are_ends_of_turns_only(pair: tuple[str, str], ids: list[int]) -> None:
    """As many as were pushed; no other control token leaves a trace, not even as text."""
    bridge = small(*pair)
    ids = [token_id % bridge.outer.size for token_id in ids]
    found = fresh(bridge, ids)
    (outer_end,), (inner_end,) = ends_of(bridge.outer), ends_of(bridge.inner)
    assert [token_id for token_id in found if token_id in bridge.inner.special_ids] == [inner_end] * ids.count(outer_end)
    plain = [token_id for token_id in ids if token_id == outer_end or token_id not in bridge.outer.special_ids]
    assert found == fresh(bridge, plain)


def test_equal_tokens_keep_their_cuts() -> None:
    outer, inner = SMALL["words"], SMALL["other words"]
    bridge = small("words", "other words")
    ids = [outer.names.index(name) for name in ("t", "h", "e")]
    assert " ".join(inner.names[token_id] for token_id in fresh(bridge, ids)) == "t h e"
    ids.append(outer.names.index("here"))  # has no equal
    assert " ".join(inner.names[token_id] for token_id in fresh(bridge, ids)) == "th e he r e"


def test_after_an_end_a_text_is_cut_by_itself() -> None:
    outer, inner = SMALL["words"], SMALL["pieces"]
    bridge = small("words", "pieces")
    end, here = max(outer.special_ids), outer.names.index("here")
    found = fresh(bridge, [here, end, here, end, end, here])
    alone, inner_end = fresh(bridge, [here]), max(inner.special_ids)
    assert found == [*alone, inner_end, *alone, inner_end, inner_end, *alone]


def test_a_character_in_parts_appears_when_it_is_complete() -> None:
    bridge = small("bytes", "words")
    inner: Any = bridge.inner
    alignment = alignment_of(bridge)
    seen = []
    for byte in "a👩\u200db".encode():
        alignment.push(bridge.outer.mapping()[LETTER[byte]])
        seen.append(inner.decode(alignment.ids).rstrip("\ufffd"))
    assert seen[0] == "a"
    assert seen[4] == "a👩"
    assert seen[-1] == "a👩\u200db"


def test_a_long_response_takes_memory_once() -> None:
    """What is kept to take a token back does not grow with the response."""
    import tracemalloc

    bridge = small("bytes", "words")
    ids = bridge.outer.encode("the here " * 400)
    tracemalloc.start()
    try:
        fresh(bridge, ids)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 700 * len(ids)


# --- real tokenizers --------------------------------------------------------------------------------------------------------

SOURCES = ("smollm2-135m-instruct", "gemma-3-270m", "qwen2.5-coder-0.5b-instruct")
REAL_PAIRS = [(outer, inner) for outer in SOURCES for inner in SOURCES if outer != inner]


@functools.cache
def real(source: str) -> Any:
    """The tokenizer of a model in the store, without its weights."""
    with cp.Engine(offline=True) as engine:
        plan = engine.plan({"nodes": {"m": {"kind": "huggingface", "source": source}}, "output": "m"})
    found = plan.facts["m"].tokenizer if "m" in plan.facts else None
    if found is None:
        pytest.skip(f"{source} is not in the model store")
    return found


@functools.cache
def real_bridge(outer: str, inner: str) -> TokenizerBridge:
    return Bridges().between(real(outer), real(inner))


@pytest.mark.slow
@pytest.mark.parametrize("pair", REAL_PAIRS, ids=" to ".join)
@settings(max_examples=60)
@given(text=TEXTS, seed=st.integers(0, 99))
def test_real_inner_ids_are_the_text(pair: tuple[str, str], text: str, seed: int) -> None:
    bridge = real_bridge(*pair)
    ids = encode_text(bridge.outer, text)
    alignment = alignment_of(bridge)
    noise = random.Random(seed)
    for token_id in ids:
        at = alignment.length
        for _ in range(noise.randrange(4)):  # astray, and back
            alignment.push(noise.randrange(bridge.outer.size))
        alignment.rollback(at)
        alignment.push(token_id)
    assert alignment.ids == fresh(bridge, ids)
    assert bridge.inner.special_ids.isdisjoint(alignment.ids)
    told = bridge.outer.decode(ids)
    whole = bridge.inner.decode(encode_text(bridge.inner, told))
    if "\ufffd" not in whole + told and unicodedata.normalize("NFC", told) == told:
        assert bridge.inner.decode(alignment.ids) == whole

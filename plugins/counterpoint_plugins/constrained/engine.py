"""llguidance: grammars, and immutable states over its mutable matcher.

A matcher holds the tokens it has consumed and can take them back; a copy costs as much as it has consumed. So the states of one
line of text share a matcher, which is moved to whichever state is asked: a token forward or some back in the usual case, some
microseconds. A state far from where the matcher is (another fork was asked) takes a copy of its own once.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import threading
from dataclasses import dataclass, field

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from torch import Tensor

from counterpoint.plugin import ConstraintState, RunError, Tokenizer, token_bytes

_EVERY_SPELLING = '\n%llguidance { "no_forcing": true }\n'
"""Without it, text that is certain may follow in one spelling only, and a draft that spells it otherwise would be refused."""
_FAR = 32
"""Tokens that are consumed again rather than copying a matcher."""
_PICTURE = re.compile(r"\s*(\d+ )?\|")
_LOCK = threading.Lock()
_NUMBERS = itertools.count()


def from_lark(text: str) -> str:
    """A grammar in Lark as the engine takes it."""
    return text + _EVERY_SPELLING


def from_regex(pattern: str) -> str:
    """A regular expression as a grammar."""
    made = json.loads(LLMatcher.grammar_from_regex(pattern))
    return from_lark(made["grammars"][0]["lark_grammar"])


def from_json_schema(schema: dict[str, object] | str) -> str:
    """A JSON schema as a grammar."""
    return from_lark(f"start: %json {schema if isinstance(schema, str) else json.dumps(schema)}")


def problems(grammar: str) -> tuple[str, list[str]]:
    """Why a grammar cannot be compiled (empty when it can), and what is doubtful about it."""
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    return (_plain(messages[0]), []) if failed else ("", messages)


def _plain(message: str) -> str:
    """A message of the engine in one line, without its pictures of grammar and state, and the place where all of ours begin."""
    lines = [line.strip(" ^") for line in message.partition("\n<state>")[0].splitlines() if not _PICTURE.match(line)]
    return "; ".join(dict.fromkeys(line for line in lines if line)).removeprefix("at 1(8): ")


@dataclass(frozen=True)
class _Vocabulary:
    """A tokenizer, equal to others of the same vocabulary."""

    fingerprint: str
    tokenizer: Tokenizer = field(compare=False)


@functools.lru_cache(maxsize=4)
def _engine_tokenizer(vocabulary: _Vocabulary) -> LLTokenizer:
    """The vocabulary as a trie (half a second for 150,000 tokens)."""
    tokenizer = vocabulary.tokenizer
    spelled = token_bytes(tokenizer)

    class Spelling:
        eos_token_id = len(spelled)  # an end of our own: whether the text may end is asked separately, and models have several
        bos_token_id = None
        special_token_ids = [index for index, own in enumerate(spelled) if own is None] + [len(spelled)]
        tokens = [f"<{index}>".encode() if own is None else own for index, own in enumerate(spelled)] + [b"<end>"]

        def __call__(self, text: str | bytes) -> list[int]:
            return tokenizer.encode(text if isinstance(text, str) else text.decode())

    return LLTokenizer(TokenizerWrapper(Spelling()), eos_token=len(spelled))


@functools.lru_cache(maxsize=16)
def _compiled(grammar: str, vocabulary: _Vocabulary) -> LLMatcher:
    matcher = LLMatcher(_engine_tokenizer(vocabulary), grammar, log_level=0)
    if matcher.is_error():
        raise ValueError(_plain(matcher.get_error()))
    return matcher


def begin(grammar: str, tokenizer: Tokenizer, stop_ids: frozenset[int]) -> GrammarState:
    """The state before the first token.

    Raises:
        ValueError: the grammar cannot be compiled for this vocabulary.
    """
    with _LOCK:  # of several sessions opened at once, one does the work
        matcher = _compiled(grammar, _Vocabulary(tokenizer.fingerprint, tokenizer)).deep_copy()
    state = GrammarState(_Head(matcher), None, -1, 0, _Setting(tokenizer.size, sorted(stop_ids)))
    state._head.trail.append(state.number)
    return state


@dataclass(frozen=True)
class _Setting:
    size: int
    stop_ids: list[int]


class _Head:
    """A matcher, and the numbers of the states it has come through: the last is where it is."""

    def __init__(self, matcher: LLMatcher, trail: list[int] | None = None) -> None:
        self.matcher = matcher
        self.trail: list[int] = trail or []

    def copy(self) -> _Head:
        return _Head(self.matcher.deep_copy(), list(self.trail))


class GrammarState(ConstraintState):
    """A place in a grammar: the tokens that lead to it, and a matcher that can be moved there."""

    __slots__ = ("_depth", "_head", "_parent", "_setting", "_token", "number")

    def __init__(self, head: _Head, parent: GrammarState | None, token: int, depth: int, setting: _Setting) -> None:
        self.number = next(_NUMBERS)
        self._head = head
        self._parent = parent
        self._token = token
        self._depth = depth
        self._setting = setting

    def mask(self) -> Tensor:
        matcher = self._moved().matcher
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        if matcher.is_error():
            raise RunError(_plain(matcher.get_error()), hint="simplify the grammar: this text is too much for its limits")
        found = torch.from_numpy(np.unpackbits(bits, count=self._setting.size, bitorder="little").view(np.bool_))
        found[self._setting.stop_ids] = matcher.is_accepting()
        return found

    def advance(self, token_id: int) -> GrammarState | None:
        head = self._moved()
        if head.matcher.try_consume_tokens([token_id]) != 1:
            if head.matcher.is_error():
                raise RunError(_plain(head.matcher.get_error()), hint="simplify the grammar: this text is too much for it")
            return None
        state = GrammarState(head, self, token_id, self._depth + 1, self._setting)
        head.trail.append(state.number)
        return state

    def _moved(self) -> _Head:
        """The matcher, brought here."""
        head, state, missing = self._head, self, list[GrammarState]()
        while state._depth >= len(head.trail) or head.trail[state._depth] != state.number:
            missing.append(state)
            assert state._parent is not None, "a matcher has come through the beginning"
            state = state._parent
        if len(missing) > _FAR:
            self._head = head = head.copy()
        if excess := len(head.trail) - 1 - state._depth:
            head.matcher.rollback(excess)
            del head.trail[state._depth + 1 :]
        for one in reversed(missing):
            head.matcher.consume_token(one._token)
            head.trail.append(one.number)
        return head

"""A fake language model: a table of next-token distributions, no weights, every capability of a real backend."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from counterpoint.costs import PassCosts
from counterpoint.hooks import hookimpl
from counterpoint.node import LeafModel, Node
from counterpoint.planning import ModelFacts, Resources
from counterpoint.session import Backend, CacheFull, Step, StepResult
from counterpoint.shape import ModelShape

if TYPE_CHECKING:
    from torch import Tensor

ALPHABET = "abcdefghijklmnopqrstuvwxyz .,\n"
END = len(ALPHABET)
"""Id of the end-of-turn token."""


class CharTokenizer:
    """One token per character of an alphabet, tokens of several characters if wanted, and one end-of-turn token.

    A text is cut from left to right into the longest tokens, so that what follows a character changes its token.
    """

    def __init__(self, alphabet: str = ALPHABET, words: Sequence[str] = ()) -> None:
        self.alphabet = alphabet
        self._tokens = [*alphabet, *words]
        self._words = sorted(words, key=len, reverse=True)

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join([self.alphabet, *self._tokens[len(self.alphabet) :]]).encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        return len(self._tokens) + 1

    @property
    def special_ids(self) -> frozenset[int]:
        return frozenset({len(self._tokens)})

    def mapping(self) -> Mapping[str, int]:
        return {self.token(index): index for index in range(self.size)}

    def token(self, token_id: int) -> str:
        return self._tokens[token_id] if token_id < len(self._tokens) else "<end>"

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        ids, text, at = [], text.lower(), 0
        while at < len(text):
            token = next((word for word in self._words if text.startswith(word, at)), text[at])
            ids.append(self._tokens.index(token) if token in self._tokens else 0)
            at += len(token)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._tokens[index] for index in ids if index < len(self._tokens))

    def render_chat(self, messages: Sequence[Mapping[str, str]]) -> str | None:
        return "".join(f"{message['role']}. {message['content']}\n" for message in messages)


class FakeBackend(Backend):
    """Distributions, and hidden states, that depend on the last ``memory`` tokens by a hash: deterministic, and different after
    every text."""

    gives_hidden = True

    def __init__(self, node: FakeModel) -> None:
        self.tokenizer = CharTokenizer(node.alphabet, node.words)
        size = self.tokenizer.size
        self.shape = ModelShape(1000 * node.cost, 1, 1, 8, 8, size, 16)
        self.context = node.context
        self.stop_ids = frozenset({size - 1})
        self.cache_tokens = node.cache
        self._node = node
        self._slots: dict[int, list[int]] = {}
        self._next = 0
        self.passes = 0
        """Forward passes so far."""
        self.fed = 0
        """Tokens fed so far."""

    def new_slot(self) -> int:
        if self._node.rows is not None and len(self._slots) >= self._node.rows:
            raise CacheFull(f"the fake model has {self._node.rows} slots")
        self._next += 1
        self._slots[self._next] = []
        return self._next

    def forward(self, steps: Sequence[Step]) -> list[StepResult]:
        import torch

        if self._node.fails_after and self.passes >= self._node.fails_after:
            raise RuntimeError("the fake model was told to fail")
        assert len({step.slot for step in steps}) == len(steps), "one step per slot and pass"
        self._want_room(sum(len(step.ids) for step in steps))
        self.passes += 1
        results = []
        for step in steps:
            held = self._slots[step.slot]
            start = len(held)
            held.extend(step.ids)
            self.fed += len(step.ids)
            count = len(step.ids) if step.score else step.rows
            row, width = (self._hidden, self.shape.hidden) if step.hidden else (self._row, self.tokenizer.size)
            rows = [row(held[: end + 1]) for end in range(len(held) - count, len(held))]
            table = torch.stack(rows) if rows else torch.empty(0, width)
            if step.score:
                normal = torch.log_softmax(table, dim=-1)
                scores = [normal[i, token] for i, token in enumerate(held[start + 1 :])]
                results.append(StepResult(table[-1:], torch.stack(scores) if scores else torch.empty(0)))
            else:
                results.append(StepResult(table))
        return results

    def _want_room(self, tokens: int) -> None:
        if self.cache_tokens is not None and sum(map(len, self._slots.values())) + tokens > self.cache_tokens:
            raise CacheFull(f"the fake model's cache holds {self.cache_tokens} tokens")

    def _row(self, tokens: Sequence[int]) -> Tensor:
        import torch

        text = f"{self._node.seed}|{list(tokens[-self._node.memory :])}"
        noise = hashlib.shake_128(text.encode()).digest(2 * self.tokenizer.size)
        words = torch.tensor(list(noise), dtype=torch.float32).view(-1, 2)
        row = (words[:, 0] * 256 + words[:, 1]) / 65536 * self._node.sharpness
        row[-1] += self._node.end_bias
        if self._node.blur:
            own = hashlib.shake_128(f"blur{self._node.blur}|{text}".encode()).digest(self.tokenizer.size)
            row += torch.tensor(list(own), dtype=torch.float32) / 256 * self._node.blur
        return row

    def _hidden(self, tokens: Sequence[int]) -> Tensor:
        import torch

        text = f"hidden|{self._node.seed}|{list(tokens[-self._node.memory :])}"
        return torch.tensor(list(hashlib.shake_128(text.encode()).digest(self.shape.hidden)), dtype=torch.float32) / 128 - 1

    def pass_costs(self) -> PassCosts:
        return PassCosts(((1, float(self._node.cost)), (8, 1.1 * self._node.cost), (32, 2.0 * self._node.cost)))

    def truncate(self, slot: int, length: int) -> None:
        del self._slots[slot][length:]

    def copy(self, slot: int, length: int) -> int:
        self._want_room(length)
        new = self.new_slot()
        self._slots[new] = self._slots[slot][:length]
        return new

    def free(self, slot: int) -> None:
        del self._slots[slot]

    @property
    def live_slots(self) -> int:
        """Slots not given back."""
        return len(self._slots)


class FakeModel(LeafModel):
    """A table-driven model for tests: its next-token distribution is a hash of its last few tokens."""

    has_hidden: ClassVar[bool] = True
    kind: Literal["fake"] = "fake"
    seed: int = Field(default=0, description="Models with equal seeds have equal distributions.")
    sharpness: float = Field(default=8.0, gt=0, description="Spread of the logits: higher is surer.")
    blur: float = Field(default=0.0, ge=0, description="Noise of its own upon the seed's distribution: a worse twin of it.")
    memory: int = Field(default=3, ge=1, description="How many tokens the distribution depends on.")
    end_bias: float = Field(default=-2.0, description="Added to the end-of-turn token's logit.")
    context: int = Field(default=2048, ge=1, description="Longest prompt and response together, in tokens.")
    cost: int = Field(default=1, ge=1, description="Relative cost of a pass.")
    alphabet: str = Field(default=ALPHABET, min_length=2, description="The characters that are tokens.")
    words: tuple[str, ...] = Field(default=(), description="Tokens of several characters beside them.")
    cache: int | None = Field(default=None, ge=1, description="Most tokens that all slots hold together.")
    rows: int | None = Field(default=None, ge=1, description="Most slots.")
    fails_after: int | None = Field(default=None, description="Fails at the pass after so many.")

    def inspect(self, resources: Resources) -> ModelFacts:
        backend = FakeBackend(self)
        return ModelFacts(
            key=f"fake|{self.model_dump_json(exclude={'prompt_format', 'stop'})}",
            source="fake",
            weight_bytes=0,
            shape=backend.shape,
            context=self.context,
            has_chat_template=True,
            tokenizer=backend.tokenizer,
        )

    def load(self, resources: Resources) -> Backend:
        return FakeBackend(self)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `fake` node."""
    return [FakeModel]

"""Sessions and what stands under them: one row of one model, or of a composition of models.

Laws, shipped as assertions in :mod:`counterpoint.testing`: extend-then-rollback equals never-extended; chunked equals one-shot;
forked and batched equal separate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from counterpoint.draws import Purpose
from counterpoint.errors import Unsupported
from counterpoint.shape import ModelShape
from counterpoint.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from counterpoint.costs import PassCosts

Rows = Literal["all", "last", "none"] | int
"""Which rows of logits a call wants: after every new token, the last, none, or the last so many."""


def row_count(rows: Rows, tokens: int) -> int:
    """How many rows ``rows`` asks of a call with so many tokens."""
    if isinstance(rows, int):
        return min(rows, tokens)
    return {"all": tokens, "last": min(1, tokens), "none": 0}[rows]


class Session(ABC):
    """One row: a prompt and a response that can grow and shrink. Positions count response tokens in the session's vocabulary."""

    tokenizer: Tokenizer
    path: str
    """Path of the node that opened it."""
    prompt_ids: tuple[int, ...]
    """The rendered prompt; repetition penalties and look-ups read it."""
    prefix_ids: tuple[int, ...]
    """The response the session was opened with (the prompt's ``prefix``)."""
    stop_ids: frozenset[int]
    """End-of-turn tokens."""
    stop_strings: tuple[str, ...]
    """Stop strings of the model."""
    room: int
    """Most response tokens that fit the context."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Response tokens so far."""

    @abstractmethod
    async def logits(self) -> Tensor:
        """The distribution of the next token: ``[vocabulary]``, float32, unnormalised, −inf beyond the tokenizer."""

    @abstractmethod
    async def extend(self, ids: Sequence[int], rows: Rows = "last") -> Tensor:
        """Adds tokens; returns ``[n, vocabulary]`` float32 rows, each the distribution *after* one of the last n tokens.

        With ``rows="none"`` nothing is computed until it is needed.

        Raises:
            ContextFull: the context is full.
            BudgetSpent: the pass would exceed a budget (caught where the budget was set).
        """

    @abstractmethod
    async def score(self, ids: Sequence[int]) -> Tensor:
        """Adds tokens; returns their log-probabilities (natural log, untempered), ``[len(ids)]`` float32."""

    async def hidden(self, ids: Sequence[int], rows: Rows = "last") -> Tensor:
        """Adds tokens; returns hidden states of the last n of them, ``[n, width]`` float32: after the last norm, what the model's
        head sees. Learned heads score with them; no logits are computed.

        Optional: models whose kind says ``has_hidden`` have it, and compositions, which are made of logits, do not.

        Raises:
            Unsupported: this session has none.
            ContextFull: the context is full.
            BudgetSpent: the pass would exceed a budget (caught where the budget was set).
        """
        raise Unsupported(f"{self.path}: gives no hidden states", hint="use a huggingface model here")

    def parts(self, length: int, token_id: int) -> dict[str, float]:
        """Log-probabilities (natural log) of a token after ``length`` response tokens under the models that this session is made
        of, by path, as far as their rows of the latest pass are at hand. A model with weights has no parts."""
        return {}

    @abstractmethod
    def rollback(self, length: int) -> None:
        """Drops response tokens beyond ``length`` (absolute; a length already reached changes nothing).

        Raises:
            ValueError: ``length`` is negative or beyond the present one.
        """

    @abstractmethod
    async def fork(self, n: int) -> list[Session]:
        """``n`` sessions equal to this one, which goes on unchanged."""

    @abstractmethod
    def close(self) -> None:
        """Gives the row back; a second call changes nothing."""


class KnownRows:
    """The rows of a session's latest pass, by the length at which each is the next token's distribution. For a composition also
    those of its parts, which are looked up and never changed."""

    def __init__(self) -> None:
        self._rows: Tensor | None = None
        self._first = 0

    def put(self, rows: Tensor, first: int) -> None:
        """Remembers rows; the first is the distribution at length ``first``."""
        self._rows, self._first = rows, first

    def at(self, length: int) -> Tensor | None:
        """The row at a length, if it is known."""
        if self._rows is None or not 0 <= length - self._first < len(self._rows):
            return None
        return self._rows[length - self._first]

    def cut(self, length: int) -> None:
        """Forgets rows beyond a length."""
        if self._rows is not None:
            keep = length - self._first + 1
            self._rows = self._rows[:keep] if keep > 0 else None

    def copy(self) -> KnownRows:
        """The same rows, for a session that goes its own way."""
        twin = KnownRows()
        twin._rows, twin._first = self._rows, self._first
        return twin


@dataclass(frozen=True)
class Draft:
    """Tokens proposed to a target.

    ``logits`` are the rows the tokens were drawn from (``[len(ids), vocabulary]``, untempered), or None for a point mass:
    tokens taken by look-up or argmax. ``confidence`` holds the proposer's estimate, from 0 to 1, that each token
    is right: its probability, or whatever serves a look-up.
    """

    ids: tuple[int, ...] = ()
    logits: Tensor | None = field(default=None, compare=False)
    confidence: tuple[float, ...] = ()


class DraftSession(ABC):
    """A drafter at work beside one target session, in the target's vocabulary."""

    path: str
    """Path of the drafter's node: the proposer of its tokens."""

    @abstractmethod
    async def propose(
        self,
        response: Sequence[int],
        limit: int,
        proceed: Callable[[float], bool],
        purpose: Purpose = "sample",
    ) -> Draft:
        """At most ``limit`` tokens to follow ``response`` (all response tokens that stand, the prefix included).

        Args:
            response: what has been accepted; tokens proposed earlier and not in it were rejected.
            limit: most tokens to propose, at least 1.
            proceed: asked after each token with its confidence whether another one is worth its cost;
                drafters that propose for free need not ask.
            purpose: what its draws are for. With ``"sample"`` they share the target's noise, so that they agree often; with any
                other purpose they are independent of it, as rejection sampling needs, and ``Draft.logits`` must be given unless
                the draft is a point mass.
        """

    def close(self) -> None:
        """Gives back what it holds; a second call changes nothing."""


@dataclass(frozen=True)
class Step:
    """One row's part of a ragged pass: feed ``ids`` to ``slot`` and return the last ``rows`` rows of logits."""

    slot: int
    ids: Sequence[int]
    rows: int
    score: bool = False
    """Instead of all rows: the log-probabilities of ``ids[1:]``, and the last row."""
    hidden: bool = False
    """Instead of logits: rows of hidden states (only where :attr:`Backend.gives_hidden`)."""
    prompt: Sequence[int] = ()
    """What the encoder reads before the decoder is fed (only where :attr:`Backend.start_ids`); the slot keeps what comes of it,
    whatever is truncated, and its copies share it. Given once, with the slot's first tokens."""


@dataclass(frozen=True)
class StepResult:
    """``rows``: ``[n, vocabulary]`` float32, or ``[n, width]`` hidden states; ``logprobs``: ``[len(ids) - 1]`` float32 for a
    scoring step."""

    rows: Tensor
    logprobs: Tensor | None = None


class CacheFull(Exception):
    """A backend has no room for another slot, or for the tokens of a pass; it is as it was before the call.

    The engine then makes room and asks again, and rows that do not fit wait for their turn.
    """


class Backend(ABC):
    """A loaded model with a cache of slots, one length per slot. Called from one thread only."""

    tokenizer: Tokenizer
    shape: ModelShape
    context: int
    """Most tokens a slot holds; an encoder reads at most as many."""
    start_ids: tuple[int, ...] = ()
    """In a model with an encoder, which reads the prompt (:attr:`Step.prompt`): what its decoder begins with. Slots then hold the
    decoder's tokens alone, these first. Empty where there is no encoder, and slots hold the prompt."""
    cache_tokens: int | None = None
    """Most tokens that all slots hold together; None where memory is the only limit."""
    stop_ids: frozenset[int]
    gives_hidden: bool = False
    """Whether steps may ask for hidden states."""

    @abstractmethod
    def new_slot(self) -> int:
        """An empty slot (or :class:`CacheFull`)."""

    @abstractmethod
    def forward(self, steps: Sequence[Step]) -> list[StepResult]:
        """One ragged pass over distinct slots (or :class:`CacheFull`)."""

    @abstractmethod
    def truncate(self, slot: int, length: int) -> None:
        """Drops what the slot holds beyond ``length`` tokens (prompt included)."""

    @abstractmethod
    def copy(self, slot: int, length: int) -> int:
        """A new slot holding the first ``length`` tokens of this one (or :class:`CacheFull`)."""

    @abstractmethod
    def free(self, slot: int) -> None:
        """Gives a slot back."""

    def pass_costs(self) -> PassCosts | None:
        """What passes cost, where that is known without timing them; None has them timed when somebody asks."""
        return None

    def module(self) -> nn.Module:
        """The model as a language model of transformers with its ordinary attention, for trainers and learned heads.

        ``module(input_ids).logits`` knows nothing of slots; a model with an encoder wants ``decoder_input_ids``, too. The weights
        are shared: whoever trains works on a copy.

        Raises:
            Unsupported: this backend has none (:attr:`LeafModel.has_module` says so before).
        """
        raise Unsupported(f"{type(self).__name__} gives no torch module", hint="use a huggingface model")

    def save_tokenizer(self, folder: Path) -> None:
        """Writes the tokenizer's files into a folder, for a model that shares the vocabulary.

        Raises:
            Unsupported: this backend cannot (none that has no module need be able to).
        """
        raise Unsupported(f"{type(self).__name__} cannot write its tokenizer", hint="use a huggingface model")

    def synchronize(self) -> None:
        """Waits until the device has finished, so that a pass can be timed; a no-op where passes block."""

    def close(self) -> None:
        """Frees the weights and the cache."""

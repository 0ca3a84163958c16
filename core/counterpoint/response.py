"""A response as it grows: text, stop conditions and events, the same for every generator that draws tokens."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from counterpoint.events import Alternative, Emitted
from counterpoint.prompt import Completion, FinishReason
from counterpoint.settings import Sampling
from counterpoint.spelling import token_texts
from counterpoint.tokenizer import IncrementalText

if TYPE_CHECKING:
    from counterpoint.running import Run
    from counterpoint.session import Session


@dataclass(frozen=True)
class _Token:
    id: int
    proposer: str
    decider: str
    logprob: float | None
    alternatives: tuple[tuple[int, float], ...]
    parts: dict[str, float]
    """Log-probabilities under the models that the decider is made of."""


class Response:
    """Collects a generator's tokens, emits their text as soon as it is final, and knows when to stop."""

    def __init__(self, run: Run, session: Session, sampling: Sampling) -> None:
        self._run = run
        self._session = session
        self._detailed = run.recipe.record == "full"
        self.tokenizer = session.tokenizer
        self._stop_ids = frozenset() if sampling.ignore_stop else session.stop_ids
        stops = () if sampling.ignore_stop else (*sampling.stop, *session.stop_strings)
        self._text = IncrementalText(session.tokenizer, stops)
        self._waiting: list[_Token] = []  # tokens whose text is not final yet
        self.limit = min(sampling.max_tokens, session.room - len(session.prefix_ids))
        """Most tokens this response may have."""
        self.ids: list[int] = []
        """Tokens so far, without the prefix."""
        self.history: list[int] = list(session.prefix_ids)
        """All response tokens, the prefix included: what a session holds."""
        self.finish_reason: FinishReason | None = "length" if self.limit <= 0 else None
        """Why it ended; None while it goes on."""
        run.begin(self)

    @property
    def room(self) -> int:
        """Tokens that may still come."""
        return self.limit - len(self.ids)

    def add(
        self,
        token_id: int,
        *,
        proposer: str,
        decider: str,
        logprob: float | None = None,
        alternatives: Sequence[tuple[int, float]] = (),
    ) -> bool:
        """Adds one token.

        Args:
            token_id: the token.
            proposer: path of the node that proposed it.
            decider: path of the node that let it stand.
            logprob: its log-probability under the decider.
            alternatives: the most probable tokens in its place.

        Returns:
            Whether the response goes on.
        """
        assert self.finish_reason is None, "a finished response takes no more tokens"
        self.ids.append(token_id)
        self.history.append(token_id)
        parts = self._session.parts(len(self.history) - 1, token_id) if self._detailed else {}
        self._waiting.append(_Token(token_id, proposer, decider, logprob, tuple(alternatives), parts))
        if token_id in self._stop_ids:
            self.finish_reason = "stop"
        elif text := self._text.push(token_id):
            self._emit(text)
        if self._text.stopped:
            self.finish_reason = "stop"
        elif self.finish_reason is None and len(self.ids) >= self.limit:
            self.finish_reason = "length"
        return self.finish_reason is None

    async def sample(self) -> Completion:
        """Draws one token after another from the session, from where the response stands, until it ends."""
        session, run = self._session, self._run
        row = await session.logits() if self.finish_reason is None else None
        while self.finish_reason is None:
            assert row is not None
            drawn = await run.draw(row, session, self.history)
            going_on = self.add(
                drawn.ids[0],
                proposer=session.path,
                decider=session.path,
                logprob=drawn.logprobs[0],
                alternatives=drawn.alternatives[0] if drawn.alternatives else (),
            )
            if going_on:
                row = (await session.extend(drawn.ids))[-1]
        return self.finish()

    def finish(self) -> Completion:
        """Emits what is left and returns the completion."""
        self.flush()
        if self._text.stopped:  # the end of a character held back may complete a stop string
            self.finish_reason = "stop"
        return self._run.completion(self.finish_reason or "length", self.tokenizer)

    def flush(self) -> None:
        """Emits what is held back; no token follows."""
        text = self._text.finish()
        if text or self._waiting:
            self._emit(text)

    def _emit(self, text: str) -> None:
        """Emits the waiting tokens; where they have several proposers, the text goes with the last, which completed it."""
        tokens, self._waiting = self._waiting, []
        groups = [list(group) for _, group in itertools.groupby(tokens, key=lambda token: (token.proposer, token.decider))]
        for group in groups[:-1]:
            self._run.emit(self._emitted("", group))
        self._run.emit(self._emitted(text, groups[-1] if groups else []))

    def _emitted(self, text: str, tokens: list[_Token]) -> Emitted:
        values = [round(token.logprob, 5) for token in tokens if token.logprob is not None]
        logprobs = {tokens[0].decider: tuple(values)} if tokens and len(values) == len(tokens) else {}
        shared = set.intersection(*(set(token.parts) for token in tokens)) if tokens else set()
        alternatives = [tuple(self._alternatives(token)) for token in tokens if token.alternatives]
        return Emitted(
            text=text,
            ids=tuple(token.id for token in tokens),
            proposer=tokens[0].proposer if tokens else "",
            decider=tokens[0].decider if tokens else "",
            logprobs={**logprobs, **{path: tuple(round(token.parts[path], 5) for token in tokens) for path in sorted(shared)}},
            alternatives=tuple(alternatives),
        )

    def _alternatives(self, token: _Token) -> Iterator[Alternative]:
        """The tokens that might have been in a token's place; where few are possible, no others."""
        for token_id, logprob in token.alternatives:
            if logprob > -math.inf:
                yield Alternative(id=token_id, text=self._token_text(token_id), logprob=round(logprob, 5))

    @cached_property
    def _token_text(self) -> Callable[[int], str]:
        return token_texts(self.tokenizer)

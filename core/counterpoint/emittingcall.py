"""Events of a call: what it emits is its answer, and its span is told of from its beginning to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from counterpoint.errors import RunError
from counterpoint.events import Emitted, EventBase, Forward, NodeFinished, NodeStarted
from counterpoint.ledger import Account, BudgetSpent
from counterpoint.modelcall import ModelCall
from counterpoint.node import Node
from counterpoint.prompt import Completion, FinishReason
from counterpoint.runstate import RunState
from counterpoint.settings import Sampling

if TYPE_CHECKING:
    from counterpoint.childstream import ChildStream
    from counterpoint.passrequest import PassShare
    from counterpoint.response import Response
    from counterpoint.session import DraftSession, Session
    from counterpoint.tokenizer import Tokenizer

T = TypeVar("T")


@dataclass
class _End:
    """How a span's work ends; empty where that is all there is to say."""

    reason: str = ""


class EmittingCall(ModelCall):
    """A call that tells what it does, and gathers the text that it emits."""

    def __init__(
        self,
        state: RunState,
        path: str,
        *,
        indices: tuple[int, ...] = (),
        parent: EmittingCall | None = None,
        sampling: Sampling | None = None,
        account: Account | None = None,
        relay: EmittingCall | ChildStream | None = None,
    ) -> None:
        valve = parent._valve if parent else None
        super().__init__(state, path, indices=indices, sampling=sampling, account=account, valve=valve)
        self._above = parent._span if parent else 0
        self._relay = relay
        self._span: int = state.new_span()
        self._sessions: list[Session | DraftSession] = []
        self._text: list[str] = []
        self._ids: list[int] = []
        self._logprobs: list[float] = []
        self._responses: list[Response] = []
        self._adopted = ""

    def emit(self, event: EventBase) -> None:
        """Adds an event to the trace; the engine stamps it."""
        if isinstance(event, Emitted):
            self._text.append(event.text)
            self._ids.extend(event.ids)
            self._logprobs.extend(event.logprobs.get(event.decider, ()))
            if self._relay is not None:
                self._relay.emit(event)
        self._state.emit(event, self._span, self._above, self.path)

    def completion(self, finish_reason: FinishReason, tokenizer: Tokenizer | None = None) -> Completion:
        """What has been emitted so far, as a completion."""
        if tokenizer is None and self._responses:
            tokenizer = self._responses[-1].tokenizer
        return Completion(
            text="".join(self._text),
            ids=tuple(self._ids),
            tokenizer=tokenizer.fingerprint if tokenizer else self._adopted,
            finish_reason=finish_reason,
        )

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Log-probabilities (natural) of the tokens emitted so far, under what decided each; none where they are not all known."""
        return tuple(self._logprobs) if len(self._logprobs) == len(self._ids) else ()

    def adopt(self, completion: Completion, proposer: str, logprobs: Sequence[float] = ()) -> Completion:
        """Emits a child's completion as this node's own.

        Args:
            completion: the child's.
            proposer: the path of the node that made it.
            logprobs: of its tokens, under what decided them (natural log); none where they are not known.
        """
        known = {self.path: tuple(logprobs)} if logprobs else {}
        adopted = Emitted(text=completion.text, ids=completion.ids, proposer=proposer, decider=self.path, logprobs=known)
        self.emit(adopted)
        self._adopted = completion.tokenizer
        return self.completion(completion.finish_reason)

    def begin(self, response: Response) -> None:
        """Registers a response, so that what it holds back comes out however the call ends (:class:`Response` does it)."""
        self._responses.append(response)

    async def _flushed(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call; if it is cut short, its responses give out what they hold back."""
        try:
            return await call()
        except BaseException:
            for response in self._responses:
                response.flush()
            raise

    def charge(self, path: str, share: PassShare) -> None:
        """Records a pass."""
        self._account.spend(share.flops)
        self.emit(Forward(node=path, **vars(share)))

    def _check(self, completion: Any, node: Node) -> None:
        """Refuses what is no completion of what has been emitted.

        Raises:
            RunError: so it is.
        """
        bug = f"this is a bug of the plugin that brings '{node.kind}'"
        if not isinstance(completion, Completion):
            raise RunError(f"{self.path}: returned {completion!r} instead of a completion", hint=bug)
        if completion.text != "".join(self._text):
            raise RunError(f"{self.path}: the completion is not the text it emitted", hint=f"{bug}: emit every piece of text")

    @contextmanager
    def _spanned(self, node: Node, role: str) -> Iterator[_End]:
        """What happens within is this span's work: it is told when it begins and how it ends, and what it opened is closed."""
        self.emit(NodeStarted(kind=node.kind, role=role))
        end = _End()
        try:
            yield end
        except BudgetSpent:
            end.reason = "budget"
            raise
        except asyncio.CancelledError:
            end.reason = "cancelled"
            raise
        except (SystemExit, KeyboardInterrupt) as error:  # a plugin's: it would end the thread of all runs
            end.reason = "failed"
            hint = f"this is a bug of the plugin that brings '{node.kind}'"
            raise RunError(f"{self.path}: {type(error).__name__}: {error}", hint=hint) from error
        except BaseException:
            end.reason = "failed"
            raise
        finally:
            self._close()
            self.emit(NodeFinished(finish_reason=end.reason, tokens=len(self._ids), generated=self._generated))

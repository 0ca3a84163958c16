"""What a run did and cost: the fold behind :func:`counterpoint.trace.summarize`, usable while events come in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from counterpoint.events import (
    Drafted,
    Emitted,
    EventBase,
    Failed,
    Forward,
    NodeFinished,
    NodeStarted,
    Progress,
    RunFinished,
    RunStarted,
    Verified,
)
from counterpoint.prompt import FinishReason

ROOT_SPAN = 1
"""Span of the recipe's output node: what it emits is the answer."""


@dataclass(frozen=True)
class NodeSummary:
    """What one node did and cost. Only leaf models have passes, tokens, FLOPs and seconds."""

    node: str
    kind: str = ""
    role: str = ""
    passes: int = 0
    """Forward passes this run took part in."""
    rows: int = 0
    """Rows of these passes that were this run's."""
    tokens: int = 0
    """New tokens fed, prompts included."""
    prefill_tokens: int = 0
    """How many of them were prompt."""
    context: int = 0
    """Positions attended to, summed over the tokens fed."""
    logits_rows: int = 0
    flops: float = 0.0
    """Floating-point operations as executed for this run."""
    prefill_flops: float = 0.0
    """How many of them processed prompts."""
    seconds: float = 0.0
    """Wall time of the passes; other runs may have shared them."""
    share: float = 0.0
    """This run's share of that time."""
    emitted: int = 0
    """Tokens of the answer that this node proposed."""
    drafted: int = 0
    """Tokens drafted, those not thought worth verifying included."""
    verified: int = 0
    """Drafted tokens that were verified."""
    accepted: int = 0
    """Drafted tokens that stood."""
    acceptance: float | None = None
    """Accepted of verified; None when nothing was."""


@dataclass(frozen=True)
class Summary:
    """What a run did and cost in all."""

    run_id: str = ""
    finish_reason: FinishReason | None = None
    """None for a run that was interrupted."""
    error: str = ""
    """What failed, when something did."""
    answer_tokens: int = 0
    generated_tokens: int = 0
    """Tokens generated at leaf models, drafts included, prompts not."""
    flops: float = 0.0
    prefill_flops: float = 0.0
    """How many of them processed prompts."""
    model_seconds: float = 0.0
    """Wall time of all passes, each counted once."""
    share: float = 0.0
    """This run's share of that time."""
    seconds: float = 0.0
    """From the first event to the last."""
    preparing_seconds: float = 0.0
    """How much of that went by downloading, converting and loading."""
    first_token_seconds: float | None = None
    """From the first event to the first text, preparing not counted."""
    tokens_per_second: float | None = None
    """Of the answer while decoding: after its first tokens, preparing not counted."""
    overall_tokens_per_second: float | None = None
    """Of the answer, prompt processing included, preparing not counted."""
    nodes: tuple[NodeSummary, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "nodes": [asdict(node) for node in self.nodes]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Summary:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**data, "nodes": tuple(NodeSummary(**node) for node in data.get("nodes", ()))})


@dataclass
class _Count:
    """A node's numbers while they grow."""

    now: NodeSummary
    passes: set[int] = field(default_factory=set)


class Tally:
    """The fold behind :func:`summarize`, for who wants a summary while events come in."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Count] = {}
        self._run_id = ""
        self._finish: FinishReason | None = None
        self._error = ""
        self._first_t: float | None = None
        self._last_t = 0.0
        self._passes: dict[tuple[int, float], None] = {}
        self._answer = 0
        self._emission: float | None = None  # when the answer's first text came
        self._at_emission = 0  # tokens that came with it
        self._preparing = Preparing()
        self._generated = 0

    def add(self, event: EventBase) -> None:
        """Takes the next event."""
        if self._first_t is None:
            self._first_t = event.t
        self._last_t = max(self._last_t, event.t)
        match event:
            case RunStarted():
                self._run_id = event.run_id
            case RunFinished():
                self._finish = event.completion.finish_reason
            case Failed():
                self._error = event.message
            case NodeStarted():
                self._change(event.node, kind=event.kind, role=event.role)
            case NodeFinished():
                self._generated += event.generated
            case Forward():
                self._forward(event)
            case Progress():
                self._preparing.add(event)
            case Drafted():
                self._change(event.proposer, drafted=self._of(event.proposer).now.drafted + len(event.ids) + event.discarded)
            case Verified():
                now = self._of(event.proposer).now
                self._change(event.proposer, verified=now.verified + event.proposed, accepted=now.accepted + event.accepted)
            case Emitted() if event.span == ROOT_SPAN:
                self._answered(event)

    def summary(self) -> Summary:
        """What is known so far."""
        start = self._first_t or 0.0
        seconds = self._last_t - start
        preparing = self._preparing.seconds(start, self._last_t)
        first_token = speed = overall = None
        if self._emission is not None:
            first_token = self._emission - start - self._preparing.seconds(start, self._emission)
            decoding = self._last_t - self._emission - self._preparing.seconds(self._emission, self._last_t)
            speed = _rate(self._answer - self._at_emission, decoding)
            overall = _rate(self._answer, seconds - preparing)
        nodes = tuple(
            replace(count.now, acceptance=count.now.accepted / count.now.verified if count.now.verified else None)
            for count in self._nodes.values()
        )
        return Summary(
            run_id=self._run_id,
            finish_reason=self._finish,
            error=self._error,
            answer_tokens=self._answer,
            generated_tokens=self._generated,
            flops=sum(node.flops for node in nodes),
            prefill_flops=sum(node.prefill_flops for node in nodes),
            model_seconds=sum(seconds for _, seconds in self._passes),
            share=sum(node.share for node in nodes),
            seconds=seconds,
            preparing_seconds=preparing,
            first_token_seconds=first_token,
            tokens_per_second=speed,
            overall_tokens_per_second=overall,
            nodes=nodes,
        )

    def _of(self, path: str) -> _Count:
        return self._nodes.setdefault(path, _Count(NodeSummary(path)))

    def _change(self, path: str, **changes: Any) -> None:
        count = self._of(path)
        count.now = replace(count.now, **changes)

    def _forward(self, event: Forward) -> None:
        # Nodes with equal settings share one loaded model and its passes: number and duration together tell them apart.
        self._passes[event.pass_id, event.seconds] = None
        count = self._of(event.node)
        now = count.now
        new = event.pass_id not in count.passes
        count.passes.add(event.pass_id)
        count.now = replace(
            now,
            passes=now.passes + (event.passes if new else 0),
            rows=now.rows + 1,
            tokens=now.tokens + event.tokens,
            prefill_tokens=now.prefill_tokens + (event.tokens if event.prefill else 0),
            context=now.context + event.context,
            logits_rows=now.logits_rows + event.logits_rows,
            flops=now.flops + event.flops,
            prefill_flops=now.prefill_flops + (event.flops if event.prefill else 0.0),
            seconds=now.seconds + (event.seconds if new else 0.0),
            share=now.share + event.share,
        )

    def _answered(self, event: Emitted) -> None:
        self._answer += len(event.ids)
        if self._emission is None:
            self._emission, self._at_emission = event.t, len(event.ids)
        if event.proposer:
            self._change(event.proposer, emitted=self._of(event.proposer).now.emitted + len(event.ids))


class Preparing:
    """When models were downloaded, converted and loaded, from progress events."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, bool], float] = {}
        self._closed: list[tuple[float, float]] = []

    def add(self, event: Progress) -> None:
        """Takes a progress event; work of the run itself (train, evaluate) does not count."""
        if event.phase in ("train", "evaluate"):
            return
        # Loading spans what it waits for: downloads and conversions, one item at a time, not all of them seen to the end.
        key = (event.node, event.phase == "load")
        started = self._open.setdefault(key, event.t)
        if event.total is not None and event.done >= event.total:
            self._closed.append((started, event.t))
            del self._open[key]

    def seconds(self, start: float, end: float) -> float:
        """How much of a stretch of time was spent preparing; what has not ended is taken to go on."""
        spans = sorted([*self._closed, *((began, end) for began in self._open.values())])
        total, at = 0.0, start
        for left, right in spans:
            left, right = max(left, at), min(right, end)
            if right > left:
                total, at = total + right - left, right
        return total


def _rate(tokens: int, seconds: float) -> float | None:
    return tokens / seconds if tokens > 0 and seconds > 0 else None

"""Folds over hand-made traces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from counterpoint.events import (
    Drafted,
    Emitted,
    Event,
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
from counterpoint.prompt import Completion, FinishReason, Prompt
from counterpoint.trace import Summary, Tally, segments, spans, summarize


def started() -> RunStarted:
    return RunStarted(run_id="r1", recipe={"name": "two"}, prompt=Prompt(text="hi"), seed=0)


def finished(reason: FinishReason = "stop", **stamp: Any) -> RunFinished:
    return RunFinished(completion=Completion(text="abc", ids=(1, 2, 3), finish_reason=reason), **stamp)


def forward(node: str, pass_id: int, tokens: int = 1, **more: Any) -> Forward:
    known: dict[str, Any] = {
        "pass_rows": 1,
        "context": 10 * tokens,
        "logits_rows": 1,
        "flops": 100.0 * tokens,
        "seconds": 0.5,
        "share": 0.25,
    }
    return Forward(node=node, pass_id=pass_id, tokens=tokens, **{"span": 1, "parent": 0, **known, **more})


def emitted(text: str, *ids: int, proposer: str, decider: str = "large", **more: Any) -> Emitted:
    return Emitted(text=text, ids=ids, proposer=proposer, decider=decider, **{"span": 1, "parent": 0, **more})


def stamped(*events: EventBase) -> list[Event]:
    """Numbers the events, a second apart unless a time is given."""
    return [e.model_copy(update={"seq": i, "t": e.t or float(i)}) for i, e in enumerate(events)]  # type: ignore[misc]


def speculative() -> list[Event]:
    here: dict[str, Any] = {"span": 1, "parent": 0, "node": "spec"}
    return stamped(
        started(),
        NodeStarted(kind="speculative", role="Generator", **here),
        NodeStarted(kind="model_drafter", role="Drafter", span=2, parent=1, node="small:model_drafter"),
        forward("large", 1, 20, prefill=True),
        forward("small", 1, 20, prefill=True, span=2, parent=1),
        Drafted(position=0, ids=(1, 2, 9), text="abx", proposer="small", **here),
        forward("large", 2, 4),
        Verified(position=0, proposed=3, accepted=2, proposer="small", **here),
        emitted("a", 1, proposer="small", logprobs={"large": (-0.1,)}),
        emitted("b", 2, proposer="small", logprobs={"large": (-0.2,)}),
        emitted("c", 3, proposer="large"),
        Drafted(position=3, ids=(4, 5), text="de", proposer="lookup", **here),
        forward("large", 3, 3),
        Verified(position=3, proposed=2, accepted=1, proposer="lookup", **here),
        emitted("d", 4, proposer="lookup"),
        emitted("e", 6, proposer="large"),
        NodeFinished(finish_reason="stop", tokens=5, generated=6, **here),
        finished(),
    )


def test_nodes_are_counted_apart() -> None:
    nodes = {node.node: node for node in summarize(speculative()).nodes}
    large, small, lookup = nodes["large"], nodes["small"], nodes["lookup"]
    assert (large.passes, large.rows, large.tokens, large.prefill_tokens) == (3, 3, 27, 20)
    assert (large.flops, large.seconds, large.share, large.context, large.logits_rows) == (2700.0, 1.5, 0.75, 270, 3)
    assert (large.emitted, small.emitted, lookup.emitted) == (2, 2, 1)
    assert (small.drafted, small.verified, small.accepted, small.acceptance) == (3, 3, 2, 2 / 3)
    assert (lookup.drafted, lookup.acceptance, lookup.passes) == (2, 0.5, 0)
    assert large.acceptance is None
    assert (nodes["spec"].kind, nodes["spec"].role) == ("speculative", "Generator")


def test_totals() -> None:
    summary = summarize(speculative())
    assert (summary.run_id, summary.finish_reason, summary.answer_tokens) == ("r1", "stop", 5)
    # three drafted by a model, two drawn by the target itself, one look-up that stood
    assert summary.generated_tokens == 6
    assert summary.flops == 2700 + 2000
    assert summary.seconds == 17
    assert summary.first_token_seconds == 8
    assert summary.tokens_per_second == pytest.approx(4 / 9)
    assert summary.overall_tokens_per_second == pytest.approx(5 / 17)


def test_two_rows_of_one_pass_have_one_wall_time() -> None:
    summary = summarize(stamped(started(), forward("m", 1), forward("m", 1), forward("m", 2)))
    assert summary.nodes[0].passes == 2
    assert summary.nodes[0].rows == 3
    assert summary.nodes[0].seconds == 1.0


def test_nodes_that_share_a_model_share_its_wall_time() -> None:
    summary = summarize(
        stamped(started(), forward("a", 7, seconds=0.5), forward("b", 7, seconds=0.5), forward("c", 7, seconds=0.4))
    )
    assert summary.model_seconds == pytest.approx(0.9)


def test_preparing_is_not_decoding() -> None:
    def progress(phase: str, done: float, t: float) -> Progress:
        return Progress(phase=phase, item="m", done=done, total=1, span=1, parent=0, node="m", t=t)

    events = stamped(
        started(),
        progress("download", 0, 1),
        progress("download", 1, 5),
        progress("load", 0, 4),
        progress("load", 1, 7),
        emitted("a", 1, proposer="m", t=8.0),
        progress("load", 0, 9),
        progress("load", 1, 10),
        emitted("b", 2, 3, proposer="m", t=11.0),
        finished(t=12.0),
    )
    summary = summarize(events)
    assert summary.preparing_seconds == 7
    assert summary.first_token_seconds == 2
    assert summary.tokens_per_second == pytest.approx(2 / 3)
    assert summary.overall_tokens_per_second == pytest.approx(3 / 5)


def test_loading_spans_downloads_that_change_their_name() -> None:
    def progress(phase: str, item: str, done: float, t: float) -> Progress:
        return Progress(phase=phase, item=item, done=done, total=10, node="m", t=t)

    events = stamped(
        started(),
        progress("load", "m", 0, 1),
        progress("download", "m (part 1 of 2)", 4, 2),
        progress("download", "m (part 2 of 2)", 10, 3),
        progress("convert", "m", 1, 4),
        progress("convert", "m", 10, 5),
        progress("load", "m", 10, 7),
        finished(t=9.0),
    )
    assert summarize(events).preparing_seconds == 6
    assert summarize(events[:5]).preparing_seconds == 3  # interrupted while it went on


def test_training_is_not_preparing() -> None:
    event = Progress(phase="train", item="head", done=0, total=1, t=1.0)
    assert summarize(stamped(started(), event, finished(t=9.0))).preparing_seconds == 0


def test_tokens_generated_are_summed_over_calls() -> None:
    """The engine counts them where they are drawn: what a call hands on from one below is counted there alone."""
    here: dict[str, Any] = {"span": 1, "parent": 0, "node": "best"}
    events = stamped(
        started(),
        NodeStarted(kind="best_of_n", role="Generator", **here),
        NodeFinished(finish_reason="stop", tokens=2, generated=2, span=2, parent=1, node="m:sample"),
        NodeFinished(finish_reason="stop", tokens=2, generated=2, span=3, parent=1, node="m:sample"),
        emitted("xy", 1, 2, proposer="m"),
        NodeFinished(finish_reason="stop", tokens=2, generated=0, **here),
        finished(),
    )
    summary = summarize(events)
    assert (summary.answer_tokens, summary.generated_tokens) == (2, 4)


def test_an_interrupted_run_has_no_finish_reason() -> None:
    summary = summarize(speculative()[:10])
    assert summary.finish_reason is None
    assert summary.answer_tokens == 2
    assert summarize([]) == Summary()


def test_a_failure_is_kept() -> None:
    events = stamped(started(), Failed(error="ModelError", message="no such model"), finished("failed"))
    assert (summarize(events).error, summarize(events).finish_reason) == ("no such model", "failed")


def test_a_tally_can_be_asked_at_any_time() -> None:
    tally, events = Tally(), speculative()
    for count, event in enumerate(events, 1):
        tally.add(event)
        assert tally.summary() == summarize(events[:count])


def test_a_summary_is_plain_data() -> None:
    summary = summarize(speculative())
    assert Summary.from_dict(json.loads(json.dumps(summary.as_dict()))) == summary


def test_spans_are_a_tree() -> None:
    root = spans(speculative())
    assert (root.id, root.kind, root.finished, root.finish_reason, root.end) == (0, "run", True, "stop", 17)
    (answer,) = root.children
    assert (answer.node, answer.role, answer.start, answer.end, answer.tokens) == ("spec", "Generator", 1, 16, 5)
    (drafter,) = answer.children
    assert (drafter.node, drafter.finished, drafter.end) == ("small:model_drafter", False, 4)
    assert json.dumps(root.as_dict())


def test_spans_of_nothing() -> None:
    assert spans([]).children == ()


def test_segments_join_what_one_node_proposed() -> None:
    found = segments(speculative())
    assert [(s.text, s.proposer, s.ids) for s in found] == [
        ("ab", "small", (1, 2)),
        ("c", "large", (3,)),
        ("d", "lookup", (4,)),
        ("e", "large", (6,)),
    ]
    assert found[0].logprobs == {"large": (-0.1, -0.2)}
    assert segments(speculative(), span=2) == []

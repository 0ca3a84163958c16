"""The calls of a run, and the tree of them as a timeline whose branches can be folded away."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from counterpoint.tally import ROOT_SPAN
from counterpoint_tui.state.calls import SpanState
from counterpoint_tui.state.data import RunState


def base_path(path: str) -> str:
    """The recipe's own node behind a path: of a language model that was wrapped to play another role (``small:sample``), the model."""
    return path.partition(":")[0]


def children(state: RunState, span: int) -> list[SpanState]:
    """The calls that a call has made, in the order in which they were first heard of.

    Calls of one that was never heard of itself count as the run's.
    """
    return [state.spans[number] for number in state.children.get(span, ())]


def below(state: RunState, span: int) -> Iterator[SpanState]:
    """A call and all calls below it."""
    seen, left = set[int](), [span]
    while left:
        number = left.pop()
        if number in seen or number not in state.spans:
            continue
        seen.add(number)
        yield state.spans[number]
        left.extend(state.children.get(number, ()))


def relays(inner: SpanState, outer: SpanState) -> bool:
    """Whether a call's text is handed on as its caller's own while it is written: the one emits right after the other."""
    if not inner.pieces or not outer.pieces:
        return False
    last = inner.pieces[-1].event
    before = len(outer.pieces) > 1 and abs(last - outer.pieces[-2].event) == 1  # the caller's next is there already
    return before or abs(last - outer.pieces[-1].event) == 1


def writer(state: RunState, span: int = ROOT_SPAN) -> SpanState | None:
    """The call that writes a call's text: itself, or the one below whose text it hands on; None where there is no such call."""
    found: SpanState | None = state.spans.get(span)
    seen = {span}
    while found is not None:
        inner = next((one for one in children(state, found.id) if one.id not in seen and relays(one, found)), None)
        if inner is None:
            return found
        seen.add(inner.id)
        found = inner
    return None


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A line of the timeline."""

    span: int
    depth: int
    node: str
    kind: str
    role: str
    start: float
    end: float
    """Of it and of all calls below it."""
    finished: bool
    finish_reason: str
    tokens: int
    """Of its completion, or as many as it has emitted so far."""
    flops: float
    """Of it and of all calls below it."""
    first: int
    """Place in the trace of its first event."""
    collapsible: bool
    collapsed: bool
    hidden: int
    """How many calls are folded away in it."""


def timeline(state: RunState, collapsed: Collection[int] = frozenset()) -> tuple[SpanRow, ...]:
    """The calls of a run, each above those that it made, in the order in which they began.

    Args:
        state: the run.
        collapsed: calls below which nothing is shown.
    """
    tree = _tree(state)
    ends: dict[int, tuple[float, float, int]] = {}
    order: list[tuple[int, int]] = []
    left = [(number, 0) for number in reversed(tree.get(0, []))]
    while left:
        number, depth = left.pop()
        order.append((number, depth))
        left.extend((child, depth + 1) for child in reversed(tree.get(number, [])))
    for number, _ in reversed(order):  # from the leaves up
        span, inner = state.spans[number], [ends[child] for child in tree.get(number, [])]
        end = max([span.end, *(one[0] for one in inner)])
        ends[number] = (end, span.flops + sum(one[1] for one in inner), sum(1 + one[2] for one in inner))
    rows: list[SpanRow] = []
    folded: int | None = None  # depth below which nothing is shown
    for number, depth in order:
        if folded is not None and depth > folded:
            continue
        folded = depth if number in collapsed and tree.get(number) else None
        rows.append(_row(state.spans[number], depth, ends[number], folded is not None))
    return tuple(rows)


def _row(span: SpanState, depth: int, whole: tuple[float, float, int], collapsed: bool) -> SpanRow:
    end, flops, inside = whole
    return SpanRow(
        span=span.id,
        depth=depth,
        node=span.node,
        kind=span.kind,
        role=span.role,
        start=span.start,
        end=end,
        finished=span.finished,
        finish_reason=span.finish_reason,
        tokens=span.tokens if span.finished else span.emitted,
        flops=flops,
        first=span.first,
        collapsible=inside > 0,
        collapsed=collapsed,
        hidden=inside if collapsed else 0,
    )


def _tree(state: RunState) -> dict[int, list[int]]:
    """Calls by caller; what is called by nobody that is known, or in a circle, is called by the run."""
    tree: dict[int, list[int]] = {}
    for number, span in state.spans.items():
        if number != 0:
            above = span.parent or 0
            tree.setdefault(above if above in state.spans and above != number else 0, []).append(number)
    reached, left = {0}, [0]
    while left:
        for child in tree.get(left.pop(), []):
            if child not in reached:
                reached.add(child)
                left.append(child)
    for number in sorted(set(state.spans) - reached):
        span = state.spans[number]
        tree[span.parent or 0].remove(number)
        tree.setdefault(0, []).append(number)
        _reach(number, tree, reached)
    return {above: sorted(numbers, key=lambda number: state.spans[number].first) for above, numbers in tree.items()}


def _reach(number: int, tree: dict[int, list[int]], reached: set[int]) -> None:
    left = [number]
    while left:
        at = left.pop()
        reached.add(at)
        left.extend(child for child in tree.get(at, []) if child not in reached)

"""A cascade as steps: each stage's answer, its score against the threshold, and whether it was passed on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from counterpoint.registry import InvalidNode, NodeKind, Registry
from counterpoint_tui.state.candidates import CandidateRow, candidate_table
from counterpoint_tui.state.data import RunState
from counterpoint_tui.state.graph import settings_at
from counterpoint_tui.state.spans import base_path

StageStatus = Literal["waiting", "writing", "judging", "accepted", "passed on", "failed", "not needed", "cancelled", "cut"]


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage."""

    number: int
    status: StageStatus
    generator: str
    """Path of its node."""
    score: float | None
    """What decides about it; None before, and NaN where its verifier abstains."""
    threshold: float | None
    """From which score it is accepted; None for the last stage, and where nothing tells."""
    candidate: CandidateRow | None
    """Its answer and costs; None before it begins."""


def in_stages(state: RunState, span: int, registry: Registry | None = None) -> bool:
    """Whether a call's candidates are stages, one after the other, and no samples alike.

    The plugins say so of their kinds (:attr:`counterpoint.verification.Accepting.in_stages`); of a kind that is not installed it
    is taken from the recipe, which then has a field ``stages``.
    """
    call = state.spans.get(span)
    if call is None:
        return False
    if registry is not None and (kind := _kind(call.kind, registry)) is not None:
        return bool(getattr(kind.node, "in_stages", False))
    return "stages" in settings_at(state.recipe, base_path(call.node))


def stage_steps(state: RunState, span: int, registry: Registry | None = None) -> tuple[StageRow, ...]:
    """The stages of a call, those that have not begun included; empty where there are none.

    Args:
        state: the run.
        span: the call.
        registry: plugins, which know thresholds that a recipe leaves at their defaults.
    """
    call = state.spans.get(span)
    if call is None:
        return ()
    path = base_path(call.node)
    settings = settings_at(state.recipe, path)
    rows = {row.number: row for row in candidate_table(state, span)}
    names = _stages(settings, path)
    count = max([len(names), *(number + 1 for number in rows)])
    contest = state.contests.get(span)
    chosen = contest.selected if contest else None
    over = call.finished or state.finished
    thresholds = _thresholds(settings, len(names), registry, state.recipe)
    steps = []
    for number in range(count):
        row = rows.get(number)
        later = any(other > number for other in rows)
        score = row.scores[-1].score if row and row.scores else None
        steps.append(
            StageRow(
                number=number,
                status=_status(row, chosen, score is not None, later, over),
                generator=row.generator if row and row.generator else names[number] if number < len(names) else "",
                score=score,
                threshold=thresholds[number] if number < len(thresholds) else None,
                candidate=row,
            )
        )
    return tuple(steps)


def _status(row: CandidateRow | None, chosen: int | None, scored: bool, later: bool, over: bool) -> StageStatus:
    if row is None:
        return "not needed" if over or chosen is not None else "waiting"
    if row.selected:
        return "accepted"
    if row.status == "failed":
        return "failed"
    if row.status == "writing":
        return "writing"
    if row.status in ("cancelled", "cut"):
        return "cancelled" if row.status == "cancelled" else "cut"
    if later or chosen is not None or over:
        return "passed on"
    return "passed on" if scored and math.isnan(row.scores[-1].score) else "judging"


def _stages(settings: Mapping[str, Any], path: str) -> list[str]:
    """Paths of the stages' nodes, as the recipe has them."""
    given = settings.get("stages")
    if not isinstance(given, Sequence) or isinstance(given, str):
        return []
    return [one if isinstance(one, str) else f"{path}.stages[{place}]" for place, one in enumerate(given)]


def _thresholds(
    settings: Mapping[str, Any], stages: int, registry: Registry | None, recipe: Mapping[str, Any]
) -> list[float | None]:
    """The thresholds of all stages but the last."""
    given = settings.get("thresholds")
    passed = max(0, stages - 1)
    if isinstance(given, (int, float)):
        return [float(given)] * passed
    if isinstance(given, Sequence) and not isinstance(given, str) and given:
        numbers = [float(one) if isinstance(one, (int, float)) else None for one in given]
        return [numbers[min(place, len(numbers) - 1)] for place in range(passed)]
    return [_by_verdict(settings, place, registry, recipe) for place in range(passed)]


def _by_verdict(settings: Mapping[str, Any], stage: int, registry: Registry | None, recipe: Mapping[str, Any]) -> float | None:
    """What a stage's node itself says of its threshold: one with verdicts has a middle."""
    if registry is None:
        return None
    try:
        node: Any = registry.build(settings)
        reference = node.verifier(stage)
        verifier = registry.build(settings_at(recipe, reference)) if isinstance(reference, str) else reference
        threshold = node.threshold(stage, verifier)
    except (InvalidNode, AttributeError):
        return None
    return float(threshold) if isinstance(threshold, (int, float)) else None


def _kind(name: str, registry: Registry) -> NodeKind | None:
    return next((entry for entry in registry.kinds() if entry.kind == name), None)

"""Switch criteria: pure functions of a draft's beginning, and what each of them counts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from counterpoint import RecipeError
from counterpoint.registry import InvalidNode, load_plugins
from counterpoint_plugins import weak_to_strong
from counterpoint_plugins.weak_to_strong.criteria import Entropy, LoopDiscounted, Never, TokenConfidence, WindowConfidence

CRITERIA: list[Any] = [
    WindowConfidence(),
    WindowConfidence(gamma=0.5, window=1),
    TokenConfidence(),
    LoopDiscounted(window=2, ngram=2),
    LoopDiscounted(window=3, ngram=3, weight=0.4),
    Entropy(),
    Never(),
]
drafts = st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 0) | st.just(-math.inf)), min_size=1, max_size=30)


def logs(*probabilities: float) -> list[float]:
    return [math.log(p) if p > 0 else -math.inf for p in probabilities]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.kind)
@given(draft=drafts, cuts=st.lists(st.integers(1, 7), max_size=10))
def test_scores_depend_on_the_beginning_only(criterion: Any, draft: list[tuple[int, float]], cuts: list[int]) -> None:
    """Not on what follows, nor on how the draft is cut into blocks; and they are numbers."""
    ids, logprobs = [token for token, _ in draft], [value for _, value in draft]
    rows = torch.randn(len(ids), 4, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    whole = criterion.scores(ids, logprobs, len(ids), rows)
    assert len(whole) == len(ids)
    assert all(math.isfinite(score) for score in whole)
    found: list[float] = []
    for cut in [*cuts, len(ids)]:
        new = min(cut, len(ids) - len(found))
        end = len(found) + new
        if new:
            found += criterion.scores(ids[:end], logprobs[:end], new, rows[end - new : end])
    assert found == whole


def test_the_window_of_the_paper() -> None:
    p = [0.9, 0.5, 0.8, 1.0, 0.0, 0.7, 0.7]
    found = WindowConfidence(window=3).scores(range(7), logs(*p), 7)
    expected = [0, 0, *(math.prod(p[i - 2 : i + 1]) ** (1 / 3) for i in range(2, 7))]
    assert found == pytest.approx(expected)
    assert WindowConfidence().threshold == 0.8
    assert WindowConfidence().window == 6
    assert TokenConfidence(gamma=0.3).scores(range(7), logs(*p), 4) == pytest.approx(p[3:])


def test_a_certain_draft_reaches_a_threshold_of_one() -> None:
    assert WindowConfidence(gamma=1, window=4).scores(range(4), [0.0] * 4, 1)[0] >= 1


def test_repetitions_are_discounted() -> None:
    """Tokens that complete an n-gram seen before, overlaps included; the first of a second round do not."""
    ids, p = [1, 2, 3, 1, 2, 3, 1, 9], [0.5] * 8
    window = LoopDiscounted(window=1, ngram=3)
    assert window.scores(ids, logs(*p), 8) == pytest.approx([0.5] * 5 + [0, 0, 0.5])
    half = LoopDiscounted(window=1, ngram=3, weight=0.5)
    assert half.scores(ids, logs(*p), 8) == pytest.approx([0.5] * 5 + [0.25, 0.25, 0.5])
    assert LoopDiscounted(window=1, ngram=2).scores([7, 7, 7, 7], logs(*p[:4]), 4) == pytest.approx([0.5, 0.5, 0, 0])
    off = LoopDiscounted(window=2, ngram=3, weight=1)
    assert off.scores(ids, logs(*p), 8) == WindowConfidence(window=2).scores(ids, logs(*p), 8)
    loop = [5, 6, 7, 8] * 6
    assert not any(score >= 0.8 for score in LoopDiscounted(window=4).scores(loop, [-0.01] * 24, 24)[7:])
    assert all(score >= 0.8 for score in WindowConfidence(window=4).scores(loop, [-0.01] * 24, 24)[7:])


def test_entropy_in_nats() -> None:
    rows = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]]).log()
    found = Entropy(bound=0.7).scores([0, 0, 0], [0.0] * 3, 3, rows)
    assert found == pytest.approx([-math.log(4), 0, -math.log(2)], abs=1e-6)
    assert [score >= Entropy(bound=0.7).threshold for score in found] == [False, True, True]
    assert Entropy(bound=0).scores([0], [0.0], 1, rows[1:2])[0] >= Entropy(bound=0).threshold


@pytest.mark.parametrize(("kind", "fields"), [
    (WindowConfidence, {"gamma": 0}), (WindowConfidence, {"gamma": 1.1}), (WindowConfidence, {"window": 0}),
    (LoopDiscounted, {"ngram": 1}), (LoopDiscounted, {"weight": 1.5}), (Entropy, {"bound": -0.1}), (TokenConfidence, {"gamma": -1}),
])  # fmt: skip
def test_bounds(kind: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**fields)


def test_written_inline_in_a_recipe() -> None:
    registry = load_plugins([weak_to_strong], entry_point_group=None)
    node: Any = registry.build(
        {"kind": "weak_to_strong", "draft": "a", "target": "b", "criterion": {"kind": "entropy", "bound": 1}}
    )
    assert node.criterion == Entropy(bound=1)
    assert registry.build(node.plain()) == node
    plain = registry.build({"kind": "weak_to_strong", "draft": "a", "target": "b"})
    assert plain.criterion == WindowConfidence()  # type: ignore[attr-defined]
    with pytest.raises((InvalidNode, RecipeError), match="gamma"):
        registry.build(
            {"kind": "weak_to_strong", "draft": "a", "target": "b", "criterion": {"kind": "token_confidence", "gamma": 2}}
        )

"""Costs of passes, and their calibration."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint import paths
from counterpoint.calibration import calibrate
from counterpoint.costs import PassCosts, nominal_costs, total_costs
from counterpoint.shape import ModelShape
from counterpoint.testing import FakeModel
from counterpoint.testing.fake import FakeBackend

CURVES = st.lists(st.floats(0.001, 10), min_size=2, max_size=5).map(
    lambda costs: PassCosts(tuple((4**index, sum(costs[: index + 1])) for index in range(len(costs))))
)


@given(CURVES, st.floats(0, 500))
def test_costs_pass_through_their_points_and_never_fall(costs: PassCosts, size: float) -> None:
    for tokens, cost in costs.points:
        assert costs.at(tokens) == pytest.approx(cost)
    assert costs.at(size + 1) >= costs.at(size) >= 0
    assert costs.one_more(size) == pytest.approx(costs.at(size + 1) - costs.at(size))


@given(CURVES, CURVES, st.integers(1, 300))
def test_a_composition_costs_what_its_parts_cost(one: PassCosts, other: PassCosts, size: int) -> None:
    assert total_costs([one, other], "seconds").at(size) == pytest.approx(one.at(size) + other.at(size), rel=1e-6)


def test_nothing_costs_nothing() -> None:
    assert total_costs([], "flops").at(5) == 0


def test_flops_as_executed() -> None:
    shape = ModelShape(parameters=1000, layers=3, heads=4, head_dim=5, hidden=20, vocabulary=50, kv_bytes=1)
    assert shape.flops(7, 100, 2) == 2 * 1000 * 7 + 4 * 3 * 4 * 5 * 100 + 2 * 20 * 50 * 2


def test_nominal_costs_grow_with_the_weights_and_hardly_with_the_first_tokens() -> None:
    small = ModelShape(parameters=1000, layers=3, heads=4, head_dim=5, hidden=20, vocabulary=50, kv_bytes=1)
    large = ModelShape(parameters=5000, layers=3, heads=4, head_dim=5, hidden=20, vocabulary=50, kv_bytes=1)
    assert nominal_costs(small).at(1) == 2000
    assert nominal_costs(large).at(1) == 6000
    assert nominal_costs(small).at(4) < 1.2 * nominal_costs(small).at(1)
    assert nominal_costs(small).at(64) > 2 * nominal_costs(small).at(1)


class Slow(FakeBackend):
    """Takes a time that depends on the tokens."""

    def forward(self, steps: Any) -> Any:
        time.sleep(0.0002 * (5 + sum(len(step.ids) for step in steps)))
        return super().forward(steps)


def test_calibration_is_measured_once_and_kept() -> None:
    backend = Slow(FakeModel())
    costs = calibrate(backend, "slow")
    assert costs.at(32) > costs.at(1) > 0
    assert backend.live_slots == 0
    passes = backend.passes
    assert calibrate(backend, "slow") == costs
    assert backend.passes == passes
    calibrate(backend, "another")
    assert backend.passes > passes
    assert len(json.loads((paths.home() / "calibration.json").read_text())) == 2


@pytest.mark.parametrize(
    "content",
    ["", "[]", "nonsense", "{}", "null", '{"%s": {}}', '{"%s": 3}', '{"%s": [[1, "x"]]}', '{"%s": [[1, 2.0]]}', '{"%s": []}'],
)
def test_a_damaged_calibration_is_measured_again(content: str) -> None:
    backend = FakeBackend(FakeModel())
    calibrate(backend, "slow")
    path = paths.home() / "calibration.json"
    name = next(iter(json.loads(path.read_text())))
    path.write_text(content.replace("%s", name))
    passes = backend.passes
    assert calibrate(backend, "slow").at(3) > 0
    assert backend.passes > passes


def test_a_home_that_cannot_be_written_to_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COUNTERPOINT_HOME", str(tmp_path / "file" / "home"))
    assert calibrate(FakeBackend(FakeModel()), "x").at(1) > 0


def test_calibration_leaves_no_slot_when_it_fails() -> None:
    class Failing(FakeBackend):
        def forward(self, steps: Any) -> Any:
            raise RuntimeError("no")

    backend = Failing(FakeModel())
    with pytest.raises(RuntimeError):
        calibrate(backend, "x")
    assert backend.live_slots == 0


def test_calibration_fits_a_short_context() -> None:
    class Short(FakeBackend):
        def forward(self, steps: Any) -> Any:
            results = super().forward(steps)
            assert all(len(self._slots[step.slot]) <= self.context for step in steps), "beyond the context"
            return results

    assert calibrate(Short(FakeModel(context=24)), "short").at(1) > 0


# --- following the machine -------------------------------------------------------------------------------------------------


def test_costs_follow_what_passes_take() -> None:
    costs = PassCosts(((1, 0.03), (16, 0.2), (32, 0.4)))
    for _ in range(40):
        costs = costs.observed(16, 0.35).observed(1, 0.03)
    assert costs.at(16) == pytest.approx(0.35, rel=0.02)
    assert costs.at(1) == pytest.approx(0.03, rel=0.02)
    for _ in range(40):
        costs = costs.observed(12, 0.1)
    assert costs.at(16) < 0.2, "the nearest size stands for those between"


def test_one_slow_pass_is_no_news() -> None:
    costs = PassCosts(((1, 0.03), (16, 0.2)))
    assert costs.observed(1, 60.0).at(1) < 0.04


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 100)), max_size=30))
def test_a_larger_pass_is_never_cheaper(passes: list[tuple[int, float]]) -> None:
    costs = PassCosts(((1, 0.03), (2, 0.05), (16, 0.2), (32, 0.4)))
    for tokens, seconds in passes:
        costs = costs.observed(tokens, seconds)
        values = [cost for _, cost in costs.points]
        assert values == sorted(values)
        assert all(value >= 0 for value in values)

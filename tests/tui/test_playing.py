"""Playing a trace at a speed."""

from __future__ import annotations

import pytest

from counterpoint_tui.playing import IDLE, SPEEDS, Player

TIMES = [0.0, 0.1, 0.2, 0.2, 60.0, 60.1]


def test_it_goes_as_fast_as_it_happened() -> None:
    player = Player()
    player.start()
    assert player.advance(TIMES, 0, 0.0) == 1  # the first event needs no waiting for
    assert player.advance(TIMES, 1, 0.05) == 1
    assert player.advance(TIMES, 1, 0.06) == 2
    assert player.advance(TIMES, 2, 0.1) == 4  # two events at one time come together
    assert player.playing


def test_nobody_waits_for_long_where_nothing_happens() -> None:
    player = Player(speed=1.0)
    player.start()
    assert player.advance(TIMES, 4, IDLE * 0.9) == 4
    assert player.advance(TIMES, 4, IDLE * 0.2) >= 5


def test_it_stops_at_the_end() -> None:
    player = Player(speed=32.0)
    player.start()
    assert player.advance(TIMES, 0, 10.0) == len(TIMES)
    assert not player.playing


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_speed_is_a_multiple(speed: float) -> None:
    player = Player(speed=speed)
    player.start()
    times = [number / 100 for number in range(10_000)]
    assert player.advance(times, 1, 1.0) == pytest.approx(1 + 100 * speed, abs=1)


def test_however_often_it_is_looked_at_it_comes_as_far() -> None:
    often, once = Player(), Player()
    often.start()
    once.start()
    times = [number * 0.0301 for number in range(1000)]
    place = 0
    for _ in range(100):
        place = often.advance(times, place, 0.0625)
    assert place == pytest.approx(once.advance(times, 0, 6.25), abs=1)


def test_times_that_go_back_take_none() -> None:
    player = Player()
    player.start()
    assert player.advance([5.0, 0.0, 5.0], 1, 0.0) == 2


def test_speeds_have_an_end() -> None:
    player = Player()
    for _ in SPEEDS:
        player.change(1)
    assert player.speed == SPEEDS[-1]
    for _ in SPEEDS:
        player.change(-1)
    assert player.speed == SPEEDS[0]

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint_tui.state.calls import Spans, SpanState
from counterpoint_tui.state.data import RunState
from counterpoint_tui.state.persistent import Log, changed


@settings(max_examples=60)
@given(data=st.data())
def test_every_state_of_a_log_stays_what_it_was(data: st.DataObject) -> None:
    """Whoever goes on from wherever: each state is the list it was made of."""
    states: list[tuple[Log[int], list[int]]] = [(Log(), [])]
    for item in range(data.draw(st.integers(0, 25))):
        log, content = states[data.draw(st.integers(0, len(states) - 1))]
        states.append((log.append(item), [*content, item]))
    for log, content in states:
        assert list(log) == content == log[:]
        assert len(log) == len(content)
        assert log == Log(content)
        assert [log[index] for index in range(-len(content), len(content))] == content * 2
        cut = data.draw(st.slices(len(content)))
        assert log[cut] == content[cut]
        with pytest.raises(IndexError):
            log[len(content)]


def test_logs_are_equal_when_they_hold_the_same() -> None:
    log = Log([1, 2]).append(3)
    assert log == Log([1, 2, 3]) != Log([1, 2])
    assert log != Log([1, 2, 4])
    assert log != [1, 2, 3]
    assert Log([1]).extend([2, 3]) == log
    assert not Log()
    assert 2 in log


@settings(max_examples=60)
@given(numbers=st.lists(st.integers(0, 12) | st.integers(250, 600) | st.sampled_from([-3, 10**12]), max_size=30))
def test_calls_are_a_map_whatever_their_numbers(numbers: list[int]) -> None:
    spans, expected = Spans(), dict[int, SpanState]()
    before = []
    for place, number in enumerate(numbers):
        before.append((spans, dict(expected)))
        expected[number] = SpanState(number, first=place)
        spans = spans.set(number, expected[number])
        assert spans[number].first == place
    before.append((spans, expected))
    for found, wanted in before:
        assert dict(found) == wanted
        assert len(found) == len(wanted)
        assert all(number in found for number in wanted)
        assert 13 not in found
        with pytest.raises(KeyError):
            found[13]


def test_a_changed_copy_leaves_the_original() -> None:
    state = RunState()
    other = changed(state, count=3)
    assert (state.count, other.count, other.spans is state.spans) == (0, 3, True)
    assert type(other) is RunState

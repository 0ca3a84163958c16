"""The line on which one goes through a trace."""

from __future__ import annotations

from typing import Any

from counterpoint.events import Event
from counterpoint_tui.state import TraceView
from counterpoint_tui.widgets.scrubber import SIGNS, Scrubber

Runs = dict[str, tuple[Event, ...]]


def places(host: Any) -> list[int]:
    return [message.place for message in host.heard]


async def test_marks_stand_where_they_are(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["best"])
    scrubber = Scrubber()
    async with host(scrubber, Scrubber.Moved).run_test(size=(len(trace) + 3, 10)) as pilot:
        scrubber.styles.height = 3
        scrubber.show(trace)
        scrubber.move(0, "at the start", "nothing yet")
        await pilot.pause()
        assert scrubber.size.width == len(trace) + 1  # a column for each place
        line = scrubber.render_line(0).text
        for mark in ("candidate", "rejection", "selection"):
            sign = SIGNS[mark][0]
            assert [column for column, one in enumerate(line) if one == sign] == list(trace.marks(mark))
        assert scrubber.render_line(1).text.strip() == "at the start  nothing yet"
        named = [" ".join(said) for mark, said in SIGNS.items() if trace.marks(mark)]
        assert scrubber.render_line(2).text.split() == " ".join(named).split()
        assert "★ chosen" in named
        scrubber.move(40, "later")
        assert scrubber.render_line(0).text[:40].count("━") > 20
        assert "━" not in scrubber.render_line(0).text[40:]


async def test_where_many_fall_on_one_place_the_most_notable_is_seen(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["stages"])
    scrubber = Scrubber()
    async with host(scrubber, Scrubber.Moved).run_test(size=(6, 10)) as pilot:
        scrubber.show(trace)
        await pilot.pause()
        rank = {mark: number for number, mark in enumerate(SIGNS)}
        for column, shown in enumerate(scrubber.signs()):
            there = [mark for mark in SIGNS if any(scrubber.column(place) == column for place in trace.marks(mark))]
            assert shown == max(there, key=rank.__getitem__, default=None)
        await pilot.resize_terminal(80, 10)
        await pilot.pause()
        assert len(scrubber.signs()) == scrubber.size.width


async def test_the_mouse_points_and_drags(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    scrubber = Scrubber()
    app = host(scrubber, Scrubber.Moved)
    async with app.run_test(size=(80, 10)) as pilot:
        scrubber.show(trace)
        await pilot.pause()
        left, right = scrubber.content_region.x, scrubber.content_region.right - 1
        top = scrubber.content_region.y
        await pilot.mouse_down(offset=(left, top))
        await pilot.hover(offset=(right, top))
        await pilot.hover(offset=(right, top + 5))  # not on the line any more, and held
        await pilot.mouse_up(offset=(right, top + 5))
        await pilot.hover(offset=(left, top))  # let go
        await pilot.pause()
        assert places(app)[0] == 0
        assert places(app)[-1] == len(trace)
        assert app.mouse_captured is None
        app.heard.clear()
        await pilot.click(offset=((left + right) // 2, top))
        await pilot.pause()
        (middle,) = places(app)
        assert abs(middle - len(trace) / 2) <= len(trace) / 60
        assert abs(scrubber.column(middle) - ((left + right) // 2 - left)) <= 1


async def test_the_wheel_goes_by_single_events(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    scrubber = Scrubber()
    app = host(scrubber, Scrubber.Moved)
    async with app.run_test(size=(80, 10)) as pilot:
        scrubber.show(trace)
        scrubber.move(7, "")
        await pilot._post_mouse_events([_wheel(down=True)], scrubber, offset=(3, 0))
        await pilot._post_mouse_events([_wheel(down=False)], scrubber, offset=(3, 0))
        await pilot.pause()
        assert places(app) == [8, 6]


def _wheel(*, down: bool) -> Any:
    from textual import events

    return events.MouseScrollDown if down else events.MouseScrollUp


async def test_before_a_trace_is_read_it_leads_nowhere(host: Any) -> None:
    scrubber = Scrubber()
    app = host(scrubber, Scrubber.Moved)
    async with app.run_test(size=(80, 10)) as pilot:
        scrubber.move(0, "reading")
        await pilot.click(Scrubber, offset=(30, 0))
        await pilot.pause()
        assert not app.heard
        assert "reading" in scrubber.render_line(1).text

"""The list of events, its filters and its search."""

from __future__ import annotations

from typing import Any

from textual.widgets import Button, Input, Select

from counterpoint.events import Event, Note
from counterpoint_tui.state import TraceView, below, search
from counterpoint_tui.widgets.events import EventList, EventsPane

Runs = dict[str, tuple[Event, ...]]


def types(pane: EventsPane, trace: TraceView) -> list[str]:
    return [trace.columns.types[index] for index in pane.events.indices]


async def test_filters(host: Any, fake_runs: Runs, until: Any) -> None:
    trace = TraceView.of(fake_runs["stages"])
    pane = EventsPane()
    async with host(pane, EventList.Opened).run_test(size=(100, 30)):
        pane.show(trace, {})
        await until(lambda: pane.events.count == len(trace))
        pane.query_one("#event-type", Select).value = "verified"
        await until(lambda: set(types(pane, trace)) == {"verified"})
        assert pane.events.count == trace.columns.types.count("verified")
        pane.query_one("#event-type", Select).value = "without passes"
        await until(lambda: "emitted" in types(pane, trace))
        assert "forward" not in types(pane, trace)
        pane.query_one("#event-node", Select).value = "small"
        await until(
            lambda: (
                pane.events.count and {trace.columns.nodes[one].partition(":")[0] for one in pane.events.indices} == {"small"}
            )
        )
        pane.clear()
        await until(lambda: pane.events.count == len(trace))
        assert not pane.searching


async def test_events_of_a_call_and_below_it(host: Any, fake_runs: Runs, until: Any) -> None:
    trace = TraceView.of(fake_runs["stages"])
    inner = next(span for span in trace.last.spans.values() if span.kind == "best_of_n").id
    pane = EventsPane()
    async with host(pane, EventList.Opened).run_test(size=(100, 30)) as pilot:
        pane.show(trace, {})
        pane.only(inner)
        calls = {span.id for span in below(trace.last, inner)}
        await until(lambda: {trace.columns.spans[one] for one in pane.events.indices} == calls)
        assert len(calls) > 3
        button = pane.query_one("#event-call", Button)
        assert button.display
        assert str(button.label) == f"in call {inner} ✕"
        await until(lambda: button.region.width > 8)
        await pilot.click("#event-call")
        await until(lambda: pane.events.count == len(trace))
        assert not button.display


async def test_searching_across_tokens(host: Any, fake_runs: Runs, until: Any) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    wanted = trace.last.spans[1].text[3:7]
    hits = search(trace, wanted)
    assert hits
    pane = EventsPane()
    app = host(pane, EventList.Opened)
    async with app.run_test(size=(100, 30)) as pilot:
        pane.show(trace, {})
        pane.query_one("#event-search", Input).focus()
        await pilot.press(*("space" if one == " " else one for one in wanted.replace("\n", "")), "enter")
        shown = pane.query_one("#event-search", Input).value
        await until(lambda: [*pane.events.indices] == [hit.event for hit in search(trace, shown)])
        line = pane.events.line(0, 90)
        assert shown in line.plain.replace("⏎", "\n")
        assert any("reverse" in str(span.style) for span in line.spans)
        await until(lambda: app.focused is pane.events)
        await pilot.press("enter")
        await pilot.pause()
        assert app.heard[0].hit == search(trace, shown)[0]
        assert app.heard[0].event == app.heard[0].hit.event
        pane.query_one("#event-search", Input).value = "nowhere to be found"
        await until(lambda: pane.events.count == 0)
        assert "is nowhere" in pane.events.render_line(0).text
        await pilot.press("enter", "down")  # on nothing
        assert len(app.heard) == 1


async def test_choosing_an_event_by_key_and_mouse(host: Any, fake_runs: Runs, until: Any) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    pane = EventsPane()
    app = host(pane, EventList.Opened)
    async with app.run_test(size=(100, 30)) as pilot:
        pane.show(trace, {})
        await until(lambda: pane.events.count == len(trace))
        pane.events.focus()
        await pilot.press("home", "down", "down", "enter")
        await pilot.click(EventList, offset=(20, 5))
        await pilot.pause()
        assert [message.event for message in app.heard] == [2, 5]
        assert [message.hit for message in app.heard] == [None, None]


async def test_the_cursor_goes_along_unless_somebody_looks_around(host: Any, fake_runs: Runs, until: Any) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    pane = EventsPane()
    async with host(pane, EventList.Opened).run_test(size=(100, 12)) as pilot:
        pane.show(trace, {})
        await until(lambda: pane.events.count == len(trace))
        pane.query_one("#event-search", Input).focus()
        await pilot.pause()
        pane.events.stand(60)
        assert pane.events.cursor == 60
        assert pane.events.line(60, 80).plain.startswith("▸")
        assert pane.events.scroll_offset.y > 0
        pane.events.focus()
        await pilot.pause()
        pane.events.stand(10)
        assert pane.events.cursor == 60
        pane.query_one("#event-type", Select).value = "verified"
        await until(lambda: set(types(pane, trace)) == {"verified"})
        assert pane.events.nearest(10_000) == pane.events.count - 1


async def test_of_many_events_only_those_in_sight_are_read(host: Any, until: Any) -> None:
    trace = TraceView.of(
        Note(seq=number, t=float(number), name="n", data={"text": f"\x1b[31m{number}"}) for number in range(3000)
    )
    read: list[int] = []
    row = trace.row
    trace.row = lambda index: read.append(index) or row(index)  # type: ignore[method-assign, func-returns-value]
    pane = EventsPane()
    async with host(pane, EventList.Opened).run_test(size=(100, 30)) as pilot:
        pane.show(trace, {})
        await until(lambda: pane.events.count == 3000)
        pane.events.focus()
        await pilot.press("end", "pageup")
        await pilot.pause()
        assert 0 < len(set(read)) < 200
        assert "\x1b" not in pane.events.render_line(0).text  # what is in it does not move the cursor

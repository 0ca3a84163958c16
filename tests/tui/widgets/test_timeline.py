"""The calls of a run as a tree with bars."""

from __future__ import annotations

from typing import Any

from counterpoint.events import Event
from counterpoint_tui.state import TraceView, below, legend, timeline
from counterpoint_tui.widgets.timeline import Timeline

Runs = dict[str, tuple[Event, ...]]


def shown(tree: Timeline) -> list[str]:
    return [tree.line(number, tree.size.width - 1).plain for number in range(tree.count)]


async def test_the_tree_and_its_bars(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["stages"])
    tree = Timeline()
    async with host(tree, Timeline.Opened).run_test(size=(100, 40)) as pilot:
        tree.show(trace.last, legend(trace.last.recipe, trace.last))
        tree.stand(trace.last.last_t, 1)
        await pilot.pause()
        lines, rows = shown(tree), timeline(trace.last)
        assert len(lines) == len(rows) > 8
        assert lines[0].startswith("▾ ")
        assert [len(line) - len(line.lstrip()) >= 2 * row.depth for line, row in zip(lines, rows, strict=True)] == [True] * len(
            rows
        )
        assert all(row.node[:6] in line for line, row in zip(lines, rows, strict=True))
        assert "16 tok" in lines[0] or f"{rows[0].tokens} tok" in lines[0]
        names = 44  # columns of names; bars stand behind
        first, last = lines[1][names:], lines[-1][names:]  # the first stage, and what the second one called
        assert first.index("━") < last.index("━")


async def test_what_is_to_come_is_drawn_otherwise(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["stages"])
    tree = Timeline()
    async with host(tree, Timeline.Opened).run_test(size=(100, 40)):
        tree.show(trace.last, {})
        start, end = tree.rows[0].start, tree.rows[0].end
        tree.stand((start + end) / 2, 1)
        bar = shown(tree)[0][44:]
        middle = bar.index("┿")
        assert set(bar[:middle]) == {"━"}
        assert set(bar[middle + 1 :]) == {"╌"}
        tree.stand(start, 1)
        assert "━" not in shown(tree)[0]


async def test_folding_by_key_and_mouse(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["stages"])
    tree = Timeline()
    app = host(tree, Timeline.Opened)
    async with app.run_test(size=(100, 40)) as pilot:
        tree.show(trace.last, {})
        whole = tree.count
        best = next(number for number, row in enumerate(tree.rows) if row.kind == "best_of_n")
        span = tree.rows[best].span
        inside = len(list(below(trace.last, span))) - 1
        assert inside > 3
        await pilot.click(Timeline, offset=(2 * tree.rows[best].depth + 1, best))
        await pilot.pause()
        assert tree.count == whole - inside
        assert shown(tree)[best].lstrip().startswith("▸")
        assert f"+{inside}" in shown(tree)[best]
        assert tree.span == span
        assert not app.heard
        tree.fold()
        assert tree.count == whole
        tree.cursor = whole - 1
        under = tree.span
        tree.fold_all()
        assert tree.count == 1 + len(trace.last.children[1])
        tree.fold_all()
        assert tree.count == whole
        tree.cursor = next(number for number, row in enumerate(tree.rows) if row.span == under)
        tree.fold(0)
        assert tree.count == 1


async def test_choosing_a_call(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["best"])
    tree = Timeline()
    app = host(tree, Timeline.Opened)
    async with app.run_test(size=(80, 20)) as pilot:
        tree.show(trace.last, {})
        tree.focus()
        await pilot.press("down", "down", "enter")
        await pilot.click(Timeline, offset=(30, 1))
        await pilot.pause()
        assert [message.row.span for message in app.heard] == [tree.rows[2].span, tree.rows[1].span]


async def test_a_run_without_calls(host: Any) -> None:
    tree = Timeline()
    app = host(tree, Timeline.Opened)
    async with app.run_test(size=(80, 20)) as pilot:
        tree.show(TraceView().last, {})
        tree.focus()
        await pilot.press("enter", "down", "end")
        tree.fold()
        assert not app.heard
        assert "no call has been recorded" in tree.render_line(0).text

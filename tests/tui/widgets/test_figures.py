"""Legend, nodes and budgets of a run."""

from __future__ import annotations

from typing import Any

from textual.widgets import Static

from counterpoint.events import Event
from counterpoint.registry import Registry
from counterpoint_tui.state import BudgetBar, TraceView, legend, node_rows
from counterpoint_tui.themes import LIGHT, node_mark
from counterpoint_tui.widgets.budget import BudgetBars
from counterpoint_tui.widgets.legend import LegendBar
from counterpoint_tui.widgets.nodes import NodeTable

Runs = dict[str, tuple[Event, ...]]


async def test_the_legend_names_who_speaks(host: Any, fake_runs: Runs, registry: Registry) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    entries = legend(trace.last.recipe, trace.last, registry)
    bar = LegendBar()
    app = host(bar, None)
    async with app.run_test() as pilot:
        bar.show(entries)
        assert str(bar.render()) == "A large  B small  C other"
        bar.show(entries, {"small", "large", "answer"})
        assert bar.display
        assert str(bar.render()) == "A large  B small"
        dark = bar.visual.spans
        app.theme = LIGHT
        await pilot.pause()
        assert str(bar.render()) == "A large  B small"
        assert bar.visual.spans != dark
        assert node_mark(1).text_style == "underline"  # also told apart without colour
        bar.show({})
        assert not bar.display


async def test_nodes_and_what_they_cost(host: Any, fake_runs: Runs, registry: Registry) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    entries = legend(trace.last.recipe, trace.last, registry)
    table = NodeTable()
    async with host(table, None).run_test(size=(80, 10)) as pilot:
        table.show(node_rows(trace.last), entries)
        await pilot.pause()
        lines = str(table.query_one(Static).render()).splitlines()
        assert lines[0].split() == ["node", "tokens/s", "accepted", "passes", "tokens", "FLOPs", "time"]
        figures = {row.path: row.figures for row in node_rows(trace.last)}
        assert [line.split()[:2] for line in lines[1:]] == [["A", "large"], ["B", "small"]]
        small = lines[2].split()
        assert small[3] == f"{figures['small'].acceptance:.0%}"
        assert small[4:6] == [str(figures["small"].passes), str(figures["small"].tokens)]
        assert max(map(len, lines)) <= 80
        # at work: marked
        table.show(node_rows(trace.at(len(trace) // 2)), entries)
        working = str(table.query_one(Static).render()).splitlines()[1:]
        assert all(line.startswith("▶ ") for line in working)
        assert len(working) == 3  # the output, too
        # where there is less room, columns are left out, and none is cut
        await pilot.resize_terminal(60, 10)
        await pilot.pause()
        lines = str(table.query_one(Static).render()).splitlines()
        assert lines[0].split() == ["node", "tokens/s", "accepted", "tokens", "FLOPs", "time"]
        assert max(map(len, lines)) <= 60


async def test_budgets_as_bars(host: Any) -> None:
    bars = BudgetBars()
    async with host(bars, None).run_test():
        assert not bars.display
        bars.show([BudgetBar("flops", 4e12, 1e12, False, False), BudgetBar("tokens", 500, 20, True, False)])
        lines = str(bars.render()).splitlines()
        assert bars.display
        assert lines[0] == "flops   █████░░░░░░░░░░░░░░░ 1 TFLOP of 4 TFLOP"
        assert lines[1] == "tokens  ░░░░░░░░░░░░░░░░░░░░ at least 20 of 500"
        bars.show([BudgetBar("seconds", 2.0, 1.9, False, True)])
        assert str(bars.render()) == "seconds ███████████████████░ 1.9 s of 2 s  the next pass would not fit"

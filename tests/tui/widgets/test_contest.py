"""Candidates in a table, stages as steps, a hand-over as a plot."""

from __future__ import annotations

from typing import Any

from textual.widgets import Static

from counterpoint.events import CandidateFinished, CandidateScored, Event
from counterpoint.registry import Registry
from counterpoint_tui.plotting import plot_text
from counterpoint_tui.state import TraceView, candidate_table, contests, legend, window_plot
from counterpoint_tui.state.data import Switch
from counterpoint_tui.state.windows import WindowPlot
from counterpoint_tui.widgets.contest import ContestView
from counterpoint_tui.widgets.rows import RowList

Runs = dict[str, tuple[Event, ...]]
STYLES = dict.fromkeys(("over", "under", "threshold", "switch"), "")


def rows(view: ContestView) -> list[str]:
    return [" ".join("  ".join(row.cells).split()) for row in view.query_one(RowList).rows]


async def test_candidates_grow_are_scored_and_one_is_chosen(host: Any, fake_runs: Runs, registry: Registry) -> None:
    trace = TraceView.of(fake_runs["best"])
    entries = legend(trace.last.recipe, trace.last, registry)
    first = next(place for place, event in enumerate(fake_runs["best"]) if isinstance(event, CandidateFinished))
    scored = next(place for place, event in enumerate(fake_runs["best"]) if isinstance(event, CandidateScored))
    view = ContestView()
    app = host(view, ContestView.Chosen)
    async with app.run_test(size=(90, 20)) as pilot:
        await pilot.pause()
        assert not view.show(trace.at(1), registry, entries)
        assert view.show(trace.at(first), registry, entries)
        assert view.title == "Candidates"
        growing = candidate_table(trace.at(first), 1)
        assert "writing" in {row.status for row in growing}
        assert [f"{row.tokens} " in line for row, line in zip(growing, rows(view)[1:], strict=True)] == [True] * 4
        assert "score" not in " ".join(rows(view))
        view.show(trace.at(scored + 1), registry, entries)
        score = fake_runs["best"][scored].score  # type: ignore[union-attr]
        assert f"{score:.4g}" in " ".join(rows(view))
        view.show(trace.last, registry, entries)
        chosen = next(row for row in candidate_table(trace.last, 1) if row.selected)
        line = rows(view)[1 + chosen.number]
        assert line.startswith(f"✓ {chosen.number} ")
        assert f"{entries[chosen.generator].letter} {chosen.generator}" in line
        assert "selected" in line
        assert chosen.reason in line
        assert rows(view)[0].split() == ["by", "tokens", "best.verifiers", "text"]
        view.query_one(RowList).focus()
        await pilot.press("home", "enter")
        await pilot.pause()
        assert [one.span for one in app.heard] == [candidate_table(trace.last, 1)[0].span]
        # of a long text that is being written, the end is shown
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        view.show(trace.at(first), registry, entries)
        assert any("…" in line for line in rows(view)[1:])


async def test_stages_are_steps(host: Any, fake_runs: Runs, registry: Registry) -> None:
    trace = TraceView.of(fake_runs["stages"])
    view = ContestView()
    async with host(view, None).run_test(size=(110, 20)) as pilot:
        await pilot.pause()
        view.show(trace.last, registry, {})
        assert view.title == "Candidates"  # of the first stage
        assert rows(view)[0].split()[:3] == ["stage", "tokens", "score"]
        assert rows(view)[1].startswith("↓ 1 best passed on")
        assert "< 100" in rows(view)[1]
        assert rows(view)[2].startswith("✓ 2 answer accepted")
        assert "text, for best" in " ".join(rows(view))
        view.show(trace.last, registry, {}, span=contests(trace.last)[0])
        assert view.title == "Stages"
        assert len(rows(view)) == 3


async def test_a_hand_over_is_a_plot(host: Any, fake_runs: Runs, registry: Registry) -> None:
    trace = TraceView.of(fake_runs["handed"])
    view = ContestView()
    async with host(view, None).run_test(size=(80, 12)) as pilot:
        await pilot.pause()
        assert view.show(trace.last, registry, {})
        await pilot.pause()
        assert view.title == "Hand-over"
        assert not view.query_one(RowList).display
        plot = window_plot(trace.last, registry=registry)
        assert plot is not None
        assert plot.switch is not None
        said = str(view.query_one(".plots", Static).render())
        assert f"▲ at token {plot.switch.position} small handed over to large" in said
        assert "0.12" in said
        assert view.query_one(".plots").region.height == len(said.splitlines()) <= 12


def test_a_plot_has_a_bar_for_each_window() -> None:
    points = ((0, 0.0), (1, 0.25), (2, 0.5), (3, 1.0))
    plot = WindowPlot(1, "w", points, 0.5, "window_confidence", Switch(9, 0.0, 1, 2, "small", "large", "sure"))
    lines = plot_text(plot, 30, 4, STYLES).plain.splitlines()
    assert lines == [
        "       1 │  ╎█",
        "     0.5 ┼╌╌╎█",
        "         │  ██",
        "       0 │▁███",
        "         └──▲─",
        "          0  3",
        "▲ at token 2 small handed over to large",
        "sure",
    ]


def test_plots_of_what_is_odd() -> None:
    nan, infinite = float("nan"), float("inf")
    empty = plot_text(WindowPlot(1, "w", (), None, "", None), 30, 3, STYLES).plain
    assert "scores of windows" in empty
    odd = ((0, nan), (1, infinite), (2, -infinite), (3, -2.0), (4, -1.0))
    lines = plot_text(WindowPlot(1, "w", odd, -1.5, "odd", None), 30, 4, STYLES).plain.splitlines()
    assert [line[10] for line in lines[:4]] == ["█"] * 4
    assert "the last, at token 4, is -1" in lines[-1]
    # more windows than columns: none that is over the threshold is lost
    many = tuple((number, 0.9 if number == 777 else 0.1) for number in range(1000))
    lines = plot_text(WindowPlot(1, "w", many, 0.5, "c", None), 40, 4, STYLES).plain.splitlines()
    assert "█" in lines[0]
    assert max(map(len, lines[:6])) <= 40

"""An answer as it grows, and as one goes back and forth in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from textual.geometry import Offset
from textual.selection import Selection

from counterpoint.events import Emitted, Event, NodeStarted, RunStarted
from counterpoint.printable import plain
from counterpoint.prompt import Prompt
from counterpoint_tui.state import RunState, TraceView, answer_text, fold, legend, pending, reduce, rejected
from counterpoint_tui.themes import node_mark
from counterpoint_tui.widgets.answer import AnswerView

Runs = dict[str, tuple[Event, ...]]
RECIPE = {
    "name": "made",
    "nodes": {"a": {"kind": "fake"}, "b": {"kind": "fake"}, "s": {"kind": "speculative", "target": "a", "draft": "b"}},
    "output": "s",
}


def made(texts: Iterable[str], proposers: str = "ab") -> RunState:
    """A run that has emitted these texts, a token each, in turn by these nodes."""
    events: list[Any] = [
        RunStarted(run_id="made", recipe=RECIPE, prompt=Prompt(text="x"), seed=0),
        NodeStarted(kind="speculative", role="Generator", span=1, parent=0, node="s"),
    ]
    for number, text in enumerate(texts):
        who = proposers[number % len(proposers)]
        events.append(Emitted(ids=(number,), text=text, proposer=who, decider="a", span=1, parent=0, node="s"))
    return fold(events)


def lines(view: AnswerView) -> list[str]:
    """What is in sight."""
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


def looks(view: AnswerView) -> list[tuple[str, str, bool, bool]]:
    """Every character in sight with its colour, and whether it is struck through, or reversed."""
    found = []
    for y in range(view.size.height):
        for text, style, _ in view.render_line(y):
            assert style is not None
            colour = style.color.get_truecolor().hex if style.color else ""
            found += [(one, colour, bool(style.strike), bool(style.reverse)) for one in text]
    return found


async def test_every_token_has_the_colour_of_who_proposed_it(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    entries = legend(trace.last.recipe, trace.last)
    view = AnswerView()
    seen = set()
    async with host(view, None).run_test(size=(30, 12)) as pilot:
        await pilot.pause()
        forth = list(range(len(trace) + 1))
        for place in [*forth, *forth[::-3], len(trace)]:
            state = trace.at(place)
            view.show(state, entries)
            overlay = pending(state) or rejected(state)
            behind = plain(overlay.text) if overlay else ""
            text = plain(answer_text(state))
            shown = [one for one in looks(view) if one[0] != " "]
            expected = [one for one in text + behind if one not in " \n"]
            assert [one[0] for one in shown] == expected
            pieces = state.spans[1].pieces if 1 in state.spans else ()
            colours = [
                node_mark(entries[piece.proposer].index).colour
                for piece in pieces
                for character in piece.text
                if character not in " \n"
            ]
            assert [one[1] for one in shown[: len(colours)]] == colours
            struck = {one[2] for one in shown[len(colours) :]}
            assert struck <= {rejected(state) is not None}
            seen |= {("rejected" if one else "pending") for one in struck}
        assert seen == {"rejected", "pending"}


async def test_a_chosen_answer_is_shown_as_it_was_written(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["best"])
    entries = legend(trace.last.recipe, trace.last)
    view = AnswerView()
    async with host(view, AnswerView.TokenChosen).run_test(size=(60, 6)) as pilot:
        await pilot.pause()
        view.show(trace.last, entries)
        assert len({one[1] for one in looks(view) if one[0] != " "}) == 1
        before = lines(view)
        view.show(trace.last, entries, adopted=True)
        assert lines(view) == before
        assert len({one[1] for one in looks(view) if one[0] != " "}) == 2
        assert view.proposers == {"large", "small"}
        width = len(before[0])
        numbers = [view.token_at(x, 0) for x in range(width)]
        assert numbers == sorted(numbers)
        assert set(numbers) == set(range(trace.last.answer_tokens)) - {None}


async def test_tokens_are_chosen_by_mouse_and_key_and_marked(host: Any) -> None:
    state = made(["Ünö", "日本", "\n", "", "end"])
    entries = legend(RECIPE, state)
    view = AnswerView()
    app = host(view, AnswerView.TokenChosen)
    async with app.run_test(size=(40, 8)) as pilot:
        view.show(state, entries)
        await pilot.pause()
        for x, y in ((1, 0), (4, 0), (6, 0), (2, 1), (30, 1), (0, 5)):
            await pilot.click(AnswerView, offset=(x + 1, y))
        assert [one.number for one in app.heard] == [0, 1, 1, 4]
        view.focus()
        await pilot.press("enter")
        view.show(state, entries, cursor=1)
        assert "".join(one[0] for one in looks(view) if one[3]) == "日本"
        await pilot.press("enter")
        assert [one.number for one in app.heard[4:]] == [4, 1]
        view.show(state, entries, cursor=2)
        assert "".join(one[0] for one in looks(view) if one[3]) == "⏎"
        view.show(state, entries, cursor=3)  # a token without text: where it would be
        assert "".join(one[0] for one in looks(view) if one[3]) == "e"
        view.show(state, entries, cursor=99)
        assert "".join(one[0] for one in looks(view) if one[3]) == "end"


async def test_it_follows_the_end_until_one_scrolls_up(host: Any) -> None:
    texts = [f"line {number}\n" for number in range(300)]
    entries = legend(RECIPE, made(texts))
    view = AnswerView()
    async with host(view, None).run_test(size=(40, 8)) as pilot:
        view.show(made(texts[:100]), entries)
        await pilot.pause()
        assert lines(view)[-2] == "line 99"
        view.show(made(texts[:101]), entries)
        assert lines(view)[-2] == "line 100"
        view.focus()
        await pilot.press("pageup")
        top = lines(view)[0]
        view.show(made(texts[:150]), entries)
        assert lines(view)[0] == top
        await pilot.press("end")
        view.show(made(texts[:200]), entries)
        assert lines(view)[-2] == "line 199"
        await pilot.resize_terminal(20, 10)
        await pilot.pause()
        assert lines(view)[-2] == "line 199"
        view.show(made(texts[:200]), entries, cursor=7)
        assert "line 7⏎" in lines(view)
        await pilot.press("end")  # for whoever moves the mark
        assert "line 7⏎" in lines(view)


@pytest.mark.parametrize("letters", [False, True])
async def test_what_models_say_moves_nothing(host: Any, letters: bool) -> None:
    state = made(["a\x1b[2J", "[bold]b[/]", "\tc\r\n", "d\x07"])
    view = AnswerView()
    async with host(view, None).run_test(size=(60, 5)) as pilot:
        view.set_letters(letters)
        view.show(state, legend(RECIPE, state))
        await pilot.pause()
        marks = ("‹A›", "‹B›") if letters else ("", "")
        assert lines(view)[0] == f"{marks[0]}a\N{REPLACEMENT CHARACTER}[2J{marks[1]}[bold]b[/]{marks[0]}    c"
        assert lines(view)[1] == f"{marks[1]}d\N{REPLACEMENT CHARACTER}"


async def test_letters_stand_before_stretches(host: Any) -> None:
    state = made(["one ", "two ", "three ", "four ", "five"], proposers="aab")
    entries = legend(RECIPE, state)
    view = AnswerView()
    async with host(view, None).run_test(size=(60, 5)) as pilot:
        await pilot.pause()
        for count in (1, 2, 4, 5):
            view.show(made(["one ", "two ", "three ", "four ", "five"][:count], proposers="aab"), entries)
        view.set_letters(True)
        assert lines(view)[0] == "‹A›one two ‹B›three ‹A›four five"
        view.show(state, entries, cursor=2)
        assert "".join(one[0] for one in looks(view) if one[3]) == "three "
        for count in (5, 3, 2, 4, 5):
            view.show(made(["one ", "two ", "three ", "four ", "five"][:count], proposers="aab"), entries)
        assert lines(view)[0] == "‹A›one two ‹B›three ‹A›four five"
        view.set_letters(False)
        assert lines(view)[0] == "one two three four five"


async def test_an_event_that_says_nothing_leaves_no_letter(host: Any) -> None:
    nothing = Emitted(ids=(), text="", proposer="b", decider="a", span=1, parent=0, node="s")
    said = made(["one "], proposers="a")
    state = reduce(said, nothing)
    view = AnswerView()
    view.show_letters = True
    async with host(view, None).run_test(size=(60, 5)) as pilot:
        await pilot.pause()
        view.show(state, legend(RECIPE, state), cursor=0)
        assert lines(view)[0] == "‹A›one"
        view.show(said, legend(RECIPE, state), cursor=0)
        view.show(state, legend(RECIPE, state), cursor=1)
        assert lines(view)[0] == "‹A›one"


async def test_what_is_selected_has_no_breaks_of_its_own(host: Any) -> None:
    state = made(["one two three four\n", "five"])
    view = AnswerView()
    async with host(view, None).run_test(size=(13, 8)) as pilot:
        view.show(state, legend(RECIPE, state))
        await pilot.pause()
        assert len(view._text.lines) == 3
        assert view.get_selection(Selection(None, None)) == ("one two three four\nfive", "\n")
        assert view.get_selection(Selection(Offset(4, 0), Offset(2, 2))) == ("two three four\nfi", "\n")


async def test_before_there_is_text(host: Any) -> None:
    view = AnswerView()
    view.empty = "waiting"
    async with host(view, None).run_test(size=(40, 8)) as pilot:
        await pilot.pause()
        assert lines(view)[0] == "waiting"
        await pilot.press("enter")
        view.show(made([]), {})
        assert lines(view)[0] == "waiting"
        view.show(made(["x"]), {})
        assert lines(view)[0] == "x"


async def test_lines_that_are_kept_look_as_if_drawn_anew(host: Any, fake_runs: Runs) -> None:
    trace = TraceView.of(fake_runs["drafted"])
    entries = legend(trace.last.recipe, trace.last)
    other = {path: replace(entry, index=entry.index + 1) for path, entry in entries.items()}
    view = AnswerView()

    def same() -> bool:
        before = looks(view)
        view._strips.clear()
        return looks(view) == before

    async with host(view, None).run_test(size=(6, 4)) as pilot:
        await pilot.pause()
        for place in range(0, len(trace), 7):
            view.show(trace.at(place), entries)
            assert same()
        view.show(trace.last, entries)
        await pilot.pause()
        assert view.max_scroll_y >= 2
        view.focus()
        for _ in range(3):
            await pilot.press("up")
            assert same()
        seen = looks(view)
        view.show(trace.last, other)
        assert same()
        assert looks(view) != seen
        for act in (lambda: view.set_letters(True), lambda: view.show(trace.at(len(trace) // 2), other), view._recolour):
            act()
            assert same()
        await pilot.resize_terminal(9, 5)
        await pilot.pause()
        assert same()


async def test_a_line_more_moves_nothing_else(host: Any) -> None:
    texts = [f"line {number}\n" for number in range(30)]
    entries = legend(RECIPE, made(texts))
    view = AnswerView()
    async with host(view, None).run_test(size=(40, 8)) as pilot:
        view.show(made(texts[:2]), entries)
        await pilot.pause()
        layouts = []
        pilot.app.screen.screen_layout_refresh_signal.subscribe(view, lambda _: layouts.append(view.virtual_size.height))
        for count in range(3, 30):
            view.show(made(texts[:count]), entries)
            await pilot.pause()
            assert view.virtual_size.height == count + 1
            assert lines(view)[min(count, 7) - 1] == f"line {count - 1}"
        assert view.max_scroll_y == 30 - view.size.height
    assert set(layouts) == {9}, "only where the scroll bar comes is there a layout"


async def test_neighbours_of_one_look_are_drawn_as_one(host: Any) -> None:
    entries = legend(RECIPE, made(["x"]))
    view = AnswerView()
    async with host(view, None).run_test(size=(40, 8)) as pilot:
        view.show(made([*"one token a letter", "\n", "end"], "a"), entries)
        await pilot.pause()
        assert [segment.text for segment in view.render_line(0) if segment.text.strip()] == ["one token a letter"]
        view.show(made([*"ab", "\n", "end"], "ab"), entries)
        await pilot.pause()
        assert [segment.text for segment in view.render_line(0) if segment.text.strip()] == ["a", "b"]

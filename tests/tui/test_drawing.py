"""Graphs in text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.graph import build_graph
from counterpoint.recipe import Recipe, parse_recipe, recipe_files
from counterpoint.registry import Registry
from counterpoint_tui import graphs
from counterpoint_tui.drawing import Arrow, Box, Drawing, draw

_UP, _DOWN, _LEFT, _RIGHT = (0, -1), (0, 1), (-1, 0), (1, 0)
_ARMS = {
    "│": {_UP, _DOWN},
    "─": {_LEFT, _RIGHT},
    "┌": {_DOWN, _RIGHT},
    "┐": {_DOWN, _LEFT},
    "└": {_UP, _RIGHT},
    "┘": {_UP, _LEFT},
    "├": {_UP, _DOWN, _RIGHT},
    "┤": {_UP, _DOWN, _LEFT},
    "┬": {_LEFT, _RIGHT, _DOWN},
    "┴": {_LEFT, _RIGHT, _UP},
    "┼": {_UP, _DOWN, _LEFT, _RIGHT},
}


def box(path: str, *more: str) -> Box:
    return Box(path, (path, *more))


def test_a_pair() -> None:
    arrows = [Arrow("spec", "target", "large"), Arrow("spec", "draft", "small")]
    drawing = draw([box("spec", "speculative"), box("large"), box("small")], arrows)
    assert (
        "\n".join(line.rstrip() for line in drawing.lines)
        == """\
   ╭─────────────╮
   │ spec        │
   │ speculative │
   ╰──────┬──────╯
     ┌────┴─────┐
     │target    │draft
     ▼          ▼
╭────────╮  ╭───────╮
│ large  │  │ small │
╰────────╯  ╰───────╯"""
    )
    small = drawing.places["small"]
    assert (small.y, small.height) == (7, 3)
    assert (small.x, 8) in small
    assert (small.x - 1, 8) not in small


def test_one_node_and_none() -> None:
    assert draw([box("m")], []).lines == ("╭───╮", "│ m │", "╰───╯")
    assert draw([], []) == Drawing((), {})


def test_a_long_arrow_goes_past_what_is_between() -> None:
    chain = [Arrow("a", "x", "b"), Arrow("b", "y", "c"), Arrow("a", "z", "c")]
    drawing = draw([box("a"), box("b"), box("c")], chain)
    assert reached(drawing, "a") == {"b", "c"}
    assert heads(drawing, "c") == 2


def test_every_shipped_recipe_can_be_drawn(registry: Registry) -> None:
    for name, text in recipe_files(registry).items():
        graph = build_graph(parse_recipe(text, name, registry=registry), registry)
        boxes, arrows = graphs.boxes(graph, {}), graphs.arrows(graph)
        check(draw(boxes, arrows), boxes, arrows)


def test_boxes_say_what_nodes_are(pair: Recipe, registry: Registry) -> None:
    graph = build_graph(pair, registry)
    assert graphs.paths(graph) == ["large", "small", "spec"]
    boxes = {one.path: one.lines for one in graphs.boxes(graph, {"large": "A"})}
    assert boxes["large"] == ("A large", "fake", "language model")
    assert boxes["small"] == ("small", "fake", "language model, as drafter")
    assert boxes["spec"] == ("spec", "speculative", "generator, the output")
    assert graphs.arrows(graph) == [Arrow("spec", "target", "large"), Arrow("spec", "draft[0]", "small")]


def heads(drawing: Drawing, path: str) -> int:
    place = drawing.places[path]
    return drawing.lines[place.y - 1][place.x : place.x + place.width].count("▼") if place.y else 0


def reached(drawing: Drawing, path: str) -> set[str]:
    """The boxes that the lines from a box lead to."""
    place = drawing.places[path]
    bottom = place.y + place.height - 1
    start = [(x, bottom) for x in range(place.x, place.x + place.width) if drawing.lines[bottom][x] == "┬"]
    seen, waiting, found = set(start), [(x, y + 1) for x, y in start], set()
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        x, y = at
        character = drawing.lines[y][x]
        if character == "▼":
            found |= {other for other, where in drawing.places.items() if (x, y + 1) in where}
        waiting += [(x + dx, y + dy) for dx, dy in _ARMS.get(character, ())]
    return found


def check(drawing: Drawing, boxes: list[Box], arrows: list[Arrow]) -> None:
    assert set(drawing.places) == {one.path for one in boxes}
    taken = set()
    for one in boxes:
        place = drawing.places[one.path]
        cells = {(x, y) for x in range(place.x, place.x + place.width) for y in range(place.y, place.y + place.height)}
        assert not cells & taken
        taken |= cells
        for number, line in enumerate(one.lines):
            shown = drawing.lines[place.y + 1 + number][place.x : place.x + place.width]
            assert shown == f"│ {line.ljust(place.width - 4)} │"
        assert heads(drawing, one.path) == len([arrow for arrow in arrows if arrow.target == one.path])
        assert reached(drawing, one.path) >= {arrow.target for arrow in arrows if arrow.owner == one.path}
    assert len({len(line) for line in drawing.lines}) <= 1


@st.composite
def dags(draw_: st.DrawFn) -> tuple[list[Box], list[Arrow]]:
    names = [f"n{index}" for index in range(draw_(st.integers(1, 7)))]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    chosen = draw_(st.lists(st.sampled_from(pairs), unique=True, max_size=10)) if pairs else []
    order = draw_(st.permutations(names))
    return [box(name, "x" * draw_(st.integers(0, 9))) for name in order], [Arrow(a, f"to_{b}", b) for a, b in chosen]


@settings(max_examples=60)
@given(graph=dags())
def test_arrows_lead_where_they_should(graph: tuple[list[Box], list[Arrow]]) -> None:
    check(draw(*graph), *graph)

"""A model graph drawn in text: boxes in layers, the output at the top, and an arrow to everything a node refers to.

Pure: :func:`draw` takes boxes and arrows and gives lines of characters, with who stands where. Layers are by longest path from the
top, long arrows pass between the boxes of layers in between, and the order within a layer follows the mean place of what a box
hangs from (the barycentre heuristic of Sugiyama, Tagawa and Toda 1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from counterpoint_tui.canvas import DOWN, LEFT, RIGHT, UP, Canvas

_GAP = 2
"""Columns between boxes."""


@dataclass(frozen=True)
class Box:
    """A node: its path, and the lines inside its box."""

    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Arrow:
    """A reference from one node to another, and the field that holds it."""

    owner: str
    label: str
    target: str


@dataclass(frozen=True)
class Place:
    """Where a box stands: its top left corner and its size, border included."""

    x: int
    y: int
    width: int
    height: int

    def __contains__(self, point: object) -> bool:
        if not isinstance(point, tuple):
            return False
        x, y = point
        return bool(self.x <= x < self.x + self.width and self.y <= y < self.y + self.height)


@dataclass(frozen=True)
class Drawing:
    """The lines of a drawing, all of one length, and the places of the boxes."""

    lines: tuple[str, ...]
    places: dict[str, Place]

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.lines[0]) if self.lines else 0


@dataclass(eq=False)  # the ways of an arrow through two layers may look alike
class _Item:
    """A box in a layer, or the way of a long arrow through it."""

    path: str
    lines: tuple[str, ...] = ()
    x: int = 0
    width: int = 1
    order: float = 0.0

    @property
    def is_box(self) -> bool:
        return bool(self.lines)

    @property
    def middle(self) -> int:
        return self.x + self.width // 2


@dataclass(eq=False)
class _Link:
    """An arrow's way from one layer to the next."""

    upper: _Item
    lower: _Item
    label: str
    """Written above its head; empty where it goes on through the next layer."""
    start: int = 0
    end: int = 0
    track: int = 0


def draw(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> Drawing:
    """Draws a graph without circles.

    Args:
        boxes: the nodes; those that nothing refers to stand at the top.
        arrows: the references, both ends of which are among the boxes.
    """
    layers, links = _layered(boxes, arrows)
    for layer in layers:
        _place(layer)
    _align(layers, links)
    canvas, places, y = Canvas(), dict[str, Place](), 0
    for number, layer in enumerate(layers):
        height = max(len(item.lines) for item in layer) + 2
        for item in layer:
            if item.is_box:
                places[item.path] = Place(item.x, y, item.width, len(item.lines) + 2)
        below = [link for link in links if link.upper in layer] if number + 1 < len(layers) else []
        _route(below)
        for item in layer:
            bottom = y + (len(item.lines) + 1 if item.is_box else 0)
            if any(link.upper is item for link in below):
                canvas.vertical(item.middle, bottom if not item.is_box else bottom + 1, y + height - 1)
            if item.is_box:
                _box(canvas, item, y, any(link.upper is item for link in below))
        y += height
        y = _wires(canvas, below, y)
    return Drawing(canvas.lines(), places)


def _layered(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> tuple[list[list[_Item]], list[_Link]]:
    """Boxes in layers, long arrows cut into one link for each layer that they cross, in an order with few crossings."""
    depth = {box.path: 0 for box in boxes}
    for _ in boxes:  # as often as the longest path may be long
        for arrow in arrows:
            depth[arrow.target] = max(depth[arrow.target], depth[arrow.owner] + 1)
    layers: list[list[_Item]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    items = {}
    for box in boxes:
        labels = sum(len(arrow.label) + _GAP for arrow in arrows if arrow.target == box.path)
        items[box.path] = _Item(box.path, box.lines, width=max(max(map(len, box.lines)) + 4, labels + _GAP))
    for path in _in_order_of_arrows(boxes, arrows):
        layers[depth[path]].append(items[path])
    links = []
    for arrow in arrows:
        upper = items[arrow.owner]
        for layer in range(depth[arrow.owner] + 1, depth[arrow.target]):
            way = _Item(f"{arrow.owner} {arrow.label}")
            layers[layer].append(way)
            links.append(_Link(upper, way, ""))
            upper = way
        links.append(_Link(upper, items[arrow.target], arrow.label))
    for sweep in range(4):
        _sort(layers, links, downwards=sweep % 2 == 0)
    return layers, links


def _in_order_of_arrows(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> list[str]:
    """Paths so that what a box refers to first comes first."""
    targets = {arrow.target for arrow in arrows}
    waiting = [box.path for box in boxes if box.path not in targets]
    found: dict[str, None] = {}
    while waiting:
        path = waiting.pop(0)
        if path not in found:
            found[path] = None
            waiting += [arrow.target for arrow in arrows if arrow.owner == path]
    return list(found)


def _sort(layers: list[list[_Item]], links: list[_Link], *, downwards: bool) -> None:
    for layer in layers:
        for place, item in enumerate(layer):
            item.order = place / max(1, len(layer) - 1) if len(layer) > 1 else 0.5
    for layer in layers if downwards else reversed(layers):
        for item in layer:
            others = [
                link.upper if downwards else link.lower for link in links if (link.lower if downwards else link.upper) is item
            ]
            if others:
                item.order = sum(other.order for other in others) / len(others)
        layer.sort(key=lambda item: item.order)
        for place, item in enumerate(layer):
            item.order = place / max(1, len(layer) - 1) if len(layer) > 1 else 0.5


def _place(layer: list[_Item]) -> None:
    x = 0
    for item in layer:
        item.x = x
        x += item.width + _GAP


def _align(layers: list[list[_Item]], links: list[_Link]) -> None:
    """Moves boxes above the middle of what they refer to, from the bottom up, and what hangs below under them, as room allows."""
    for layer in reversed(layers[:-1]):
        _pull(layer, {id(item): [link.lower.middle for link in links if link.upper is item] for item in layer})
    for layer in layers[1:]:
        _pull(layer, {id(item): [link.upper.middle for link in links if link.lower is item] for item in layer})
    left = min((item.x for layer in layers for item in layer), default=0)
    for layer in layers:
        for item in layer:
            item.x -= left


def _pull(layer: list[_Item], wanted: dict[int, list[int]]) -> None:
    """Moves a layer's items to the right towards the mean of the columns wanted, without changing their order."""
    free: int | None = None
    for item in reversed(layer):
        columns = wanted[id(item)]
        aim = round(sum(columns) / len(columns)) - item.width // 2 if columns else item.x
        limit = aim if free is None else min(aim, free - _GAP - item.width)
        item.x = max(item.x, limit)
        free = item.x


def _route(links: list[_Link]) -> None:
    """Gives each link a column at either end, and each upper item a track of its own for the way across."""
    starts = {link.upper.middle for link in links}
    taken: set[int] = set()
    by_target: dict[int, list[_Link]] = {}
    for link in links:
        link.start = link.upper.middle
        by_target.setdefault(id(link.lower), []).append(link)
    for group in by_target.values():
        group.sort(key=lambda link: link.start)
        used = 0
        spare = group[0].lower.width - sum(len(link.label) + _GAP for link in group)
        for place, link in enumerate(group):
            item = link.lower
            if not item.is_box:
                link.end = item.middle
            else:
                ideal = item.middle if len(group) == 1 else item.x + used + round(spare * (place + 1) / (len(group) + 1))
                used += len(link.label) + _GAP
                columns = sorted(range(item.x + 1, item.x + item.width - 1), key=lambda x, ideal=ideal: abs(x - ideal))  # type: ignore[misc]
                alone = len(group) == 1 and link.start in columns and sum(one.upper is link.upper for one in links) == 1
                free = [x for x in columns if x not in taken and x not in starts]
                link.end = link.start if alone else free[0] if free else columns[0]
            taken.add(link.end)
    tracks: list[list[tuple[int, int]]] = []
    for upper in sorted({id(link.upper): link.upper for link in links}.values(), key=lambda item: item.middle):
        mine = [link for link in links if link.upper is upper]
        columns = [upper.middle, *(link.end for link in mine)]
        low, high = min(columns), max(columns)
        track = next((i for i, used in enumerate(tracks) if all(high < a - 1 or low > b + 1 for a, b in used)), len(tracks))
        if track == len(tracks):
            tracks.append([])
        tracks[track].append((low, high))
        for link in mine:
            link.track = track


def _wires(canvas: Canvas, links: list[_Link], y: int) -> int:
    """Draws the links of a layer to the next from row ``y`` on, and returns the row where the next layer begins."""
    if not links:
        return y
    height = max(link.track for link in links) + 1
    labels = y + height
    for link in links:
        row = y + link.track
        canvas.vertical(link.start, y, row - 1)
        canvas.wire(link.start, row, UP)
        low, high = sorted((link.start, link.end))
        for x in range(low, high):
            canvas.wire(x, row, RIGHT)
            canvas.wire(x + 1, row, LEFT)
        canvas.wire(link.end, row, DOWN)
        canvas.vertical(link.end, row + 1, labels + (not link.label))
        if link.label:
            canvas.cells[link.end, labels + 1] = "▼"
    ends = sorted({link.end for link in links})
    for link in links:
        if link.label:
            right = next((end for end in ends if end > link.end), None)
            room = len(link.label) if right is None else right - link.end - 2
            text = link.label if len(link.label) <= room else link.label[: max(0, room - 1)] + "…" if room > 1 else ""
            canvas.text(link.end + 1, labels, text)
    return labels + 2


def _box(canvas: Canvas, item: _Item, y: int, has_links: bool) -> None:
    inner = item.width - 2
    canvas.text(item.x, y, "╭" + "─" * inner + "╮")
    for row, line in enumerate(item.lines, 1):
        canvas.text(item.x, y + row, f"│ {line.ljust(inner - 2)} │")
    bottom = y + len(item.lines) + 1
    canvas.text(item.x, bottom, "╰" + "─" * inner + "╯")
    if has_links:
        canvas.cells[item.middle, bottom] = "┬"

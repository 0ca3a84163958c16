"""A stored run as a picture: who proposed each token, and what each node cost."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from counterpoint.cli.console import PALETTE, colours
from counterpoint.cli.render import show_summary
from counterpoint.runstore import RunStore
from counterpoint.trace import Summary, segments

_WIDTH = 120
# rich's own frame, without the web font it fetches: a picture reaches for nothing
_FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; \
line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def picture(store: RunStore, run: str) -> str:
    """SVG text of a stored run.

    Raises:
        RunError: there is no such run.
    """
    found = store.resolve(run)
    events = list(store.replay(found))
    recipe = next((event.recipe for event in events if event.type == "run_started"), {})
    palette = colours(recipe)

    def colour(node: str) -> str:
        if not node or node == recipe.get("output"):
            return ""
        return palette.setdefault(node, PALETTE[len(palette) % len(PALETTE)])

    answer = Text()
    for segment in segments(events):
        answer.append(segment.text, colour(segment.proposer))
    legend = Text()
    for node in palette:
        legend.append("■ ", palette[node]).append(f"{node}  ", "dim")
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False, emoji=False)
    for event in events:
        if event.type == "run_started":
            for message in event.prompt.chat():
                console.print(Text(f"{message['role']}: ", "bold").append(message["content"].strip(), "not bold"))
    console.print()
    if palette:
        console.print(legend)
    console.print(answer, end="\n\n")
    show_summary(console, Summary.from_dict(store.result(found)["summary"]), colour)
    return console.export_svg(title=f"counterpoint run {recipe.get('name', '')}".strip(), code_format=_FORMAT, unique_id="run")

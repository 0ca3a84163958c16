"""What the commands write with: consoles, colours, and numbers for people."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style
from rich.table import Table

from counterpoint.errors import CounterpointError
from counterpoint.printable import plain, whole

if TYPE_CHECKING:
    import typer

    from counterpoint.registry import Registry

PALETTE = ("#d75f00", "#0087d7", "#00875f", "#af5fd7", "#d7005f", "#af8700", "#008787", "#875f5f")
"""Colours of nodes, in the order of the recipe: of middling lightness, so that they read on dark and on light."""

_WIDE = 200  # columns of a table nobody looks at on a screen


@dataclass
class Cli:
    """What every command gets: the plugins, and where to write."""

    registry: Registry
    debug: bool = False
    out: Console = field(default_factory=lambda: make_console(sys.stdout))
    err: Console = field(default_factory=lambda: make_console(sys.stderr))

    def warn(self, message: str) -> None:
        """One warning on stderr."""
        say(self.err, "warning", message)

    def json(self, data: Any, *, line: bool = False) -> None:
        """Data on stdout, on one line or for reading."""
        self.out.file.write(json.dumps(whole(data), ensure_ascii=False, indent=None if line else 2) + "\n")


def cli_of(context: typer.Context) -> Cli:
    """The state of the command line that a command runs in."""
    found = context.find_object(Cli)
    assert found is not None, "the application's callback sets it"
    return found


def make_console(file: IO[str]) -> Console:
    """A console that takes text as it is; tables that nobody looks at on a screen are not cut to its width."""
    return Console(file=file, highlight=False, emoji=False, width=None if file.isatty() else _WIDE)


def say(console: Console, label: str, text: str) -> None:
    """``label: text``, further lines indented."""
    colour = {"error": "red", "warning": "yellow"}.get(label, "cyan")
    console.print(f"[bold {colour}]{label}:[/]", end=" ", soft_wrap=True)
    console.print(plain(text).replace("\n", "\n  "), markup=False, soft_wrap=True)


def show_error(console: Console, error: BaseException, *, debug: bool = False) -> None:
    """What is wrong and what can be done; a traceback only when asked for."""
    if debug:
        traceback.print_exception(error, file=console.file)
    if isinstance(error, CounterpointError):
        say(console, "error", error.message)
        hint = error.hint
    else:
        say(console, "error", f"unexpected {type(error).__name__}: {error}")
        hint = "" if debug else "this is a bug of Counterpoint or of a plugin; --debug shows the traceback"
    if hint:
        say(console, "hint", hint)


def write(console: Console, text: str, colour: str | None = None) -> None:
    """Writes text as it is, at once; on a terminal in a colour, and without control characters."""
    if console.is_terminal:
        text = plain(text)
        if colour and console.color_system and not console.no_color:
            # a new style each time: a parsed one is shared, and remembers the codes of the first console it was drawn on
            text = Style(color=colour).render(text, color_system=_system(console))
    console.file.write(text)
    console.file.flush()


def _system(console: Console) -> ColorSystem:
    known = {"standard": ColorSystem.STANDARD, "256": ColorSystem.EIGHT_BIT, "truecolor": ColorSystem.TRUECOLOR}
    return known.get(console.color_system or "", ColorSystem.STANDARD)


def colours(recipe: Mapping[str, Any]) -> dict[str, str]:
    """A colour for every node of a recipe that may write; none where only one can."""
    nodes = [name for name in recipe.get("nodes", {}) if name != recipe.get("output")]
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(nodes)}


def table(*columns: str, right: str = "", title: str | None = None) -> Table:
    """A plain table; columns named in ``right`` (separated by commas) are numbers."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right.split(",") else "left", overflow="fold")
    return made


def bytes_text(amount: float) -> str:
    """``1.1 GB``, ``82 MB``."""
    return _scaled(amount, "B", ("", "k", "M", "G", "T"))


def flops_text(amount: float) -> str:
    """``3.2 TFLOP``."""
    return _scaled(amount, "FLOP", ("", "k", "M", "G", "T", "P", "E"))


def _scaled(amount: float, unit: str, prefixes: tuple[str, ...]) -> str:
    prefix = 0
    while amount >= 999.5 and prefix < len(prefixes) - 1:
        amount, prefix = amount / 1000, prefix + 1
    digits = f"{amount:.0f}" if amount >= 99.5 or prefix == 0 else f"{amount:.2g}" if amount < 9.95 else f"{amount:.0f}"
    return f"{digits} {prefixes[prefix]}{unit}"


def seconds_text(seconds: float | None) -> str:
    """``0.42 s``, ``12 s``, ``3 min 12 s``."""
    if seconds is None:
        return "–"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def rate_text(rate: float | None) -> str:
    """``12.3 tokens/s``."""
    return "–" if rate is None else f"{rate:.3g} tokens/s"

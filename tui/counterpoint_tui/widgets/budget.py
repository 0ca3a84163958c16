"""What has been spent of a run's budget."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import Static

from counterpoint.cli.console import flops_text, seconds_text
from counterpoint_tui.state import BudgetBar
from counterpoint_tui.texts import fitted

_WIDTH = 20


class BudgetBars(Static):
    """A bar for each limit; nothing where there is no budget."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self.display = False
        self._bars: Sequence[BudgetBar] = ()
        self._lines = 0

    def show(self, bars: Sequence[BudgetBar]) -> None:
        """Shows what has been spent."""
        if bars != self._bars:
            self._bars = bars
            self._paint()

    def on_mount(self) -> None:
        """Colours follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._paint())

    def _paint(self) -> None:
        self.display = bool(self._bars)
        theme = self.app.current_theme
        text = Text()
        for bar in self._bars:
            text.append("\n" if text else "")
            filled = int(bar.share * _WIDTH)
            style = theme.error if bar.stopped else theme.warning if bar.share >= 0.8 else theme.success
            text.append(fitted(f"{bar.unit} ", 8))
            text.append("█" * filled, style=style or "")
            text.append("░" * (_WIDTH - filled), style="dim")
            spent = f"{'at least ' if bar.at_least else ''}{amount(bar.unit, bar.spent)}"
            text.append(f" {spent} of {amount(bar.unit, bar.limit)}")
            if bar.stopped:
                text.append("  the next pass would not fit", style="bold")
        lines = len(self._bars)
        self.update(text, layout=lines != self._lines)
        self._lines = lines


def amount(unit: str, value: float) -> str:
    """An amount of a budget's unit in words."""
    if unit == "flops":
        return flops_text(value)
    return seconds_text(value) if unit == "seconds" else f"{value:,.0f}"

"""Draws a run from its events, live or replayed: the answer on stdout, everything else on stderr."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from counterpoint.cli.console import PALETTE, Cli, colours, flops_text, rate_text, say, seconds_text, table, write
from counterpoint.cli.progress import ProgressDisplay
from counterpoint.events import (
    BudgetSpent,
    CandidateScored,
    CandidateSelected,
    Emitted,
    Event,
    Failed,
    Progress,
    RunFinished,
    RunStarted,
)
from counterpoint.printable import plain
from counterpoint.trace import ROOT_SPAN, NodeSummary, Summary, Tally

_ENDS = {
    "stop": "ended by itself",
    "length": "reached its longest length",
    "budget": "ended by its budget",
    "cancelled": "cancelled",
    "failed": "failed",
    None: "interrupted",
}


class Renderer:
    """Draws one run.

    Args:
        cli: where to write.
        text: whether to write the answer.
        quiet: write nothing but the answer.
        live: whether this happens now; a replay shows no downloads.
        notice: what to say before a node's model is downloaded for the first time, from its settings.
    """

    def __init__(
        self,
        cli: Cli,
        *,
        text: bool = True,
        quiet: bool = False,
        live: bool = True,
        notice: Callable[[dict[str, Any]], str] = lambda _: "",
    ) -> None:
        self._out, self._err = cli.out, cli.err
        self._text = text
        self._quiet = quiet
        self._live = live
        self._notice = notice
        self._display = ProgressDisplay(cli.err, quiet=quiet)
        self._tally = Tally()
        self._recipe: dict[str, Any] = {}
        self._colours: dict[str, str] = {}
        self._told: set[str] = set()
        self._started = False  # whether any text has been written
        self._at_line_start = True
        self._budget: BudgetSpent | None = None

    def add(self, event: Event) -> None:
        """Takes the next event."""
        self._tally.add(event)
        match event:
            case RunStarted():
                self._recipe = event.recipe
                self._colours = colours(event.recipe)
            case Emitted() if event.span == ROOT_SPAN:
                self._write(event)
            case Progress():
                self._progress(event)
            case BudgetSpent():
                self._budget = event
            case CandidateScored():
                detail = plain(event.detail)
                self._remark(f"candidate {event.candidate}: {event.verifier} says {event.score:.4g} {detail}".rstrip())
            case CandidateSelected():
                self._remark(f"candidate {event.candidate} is the answer{': ' if event.reason else ''}{event.reason}")
            case Failed() | RunFinished():
                self._display.close()

    def finish(self, summary: Summary | None = None) -> Summary:
        """Ends the answer's last line and shows what the run cost.

        Args:
            summary: instead of what the events say, for recordings that keep less than it.
        """
        self._display.close()
        if self._started and not self._at_line_start:
            write(self._out, "\n")
        summary = summary or self._tally.summary()
        if not self._quiet:
            if self._err.is_terminal and self._started:
                self._err.print()
            show_summary(self._err, summary, self._colour)
            if self._budget is not None and summary.finish_reason == "budget":
                spent = self._budget
                text = f"{spent.spent:.4g} of {spent.limit:.4g} {spent.unit} spent, the next pass needed {spent.needed:.3g}"
                self._err.print(f"budget: {text}", markup=False, soft_wrap=True)
        return summary

    def close(self) -> None:
        """Gives the terminal back as it was; more events may still come."""
        self._display.close()

    def _write(self, event: Emitted) -> None:
        self._display.close()
        if not self._text or not event.text:
            return
        if not self._started and self._colours and self._out.is_terminal and not self._quiet:
            self._legend()
        self._started = True
        write(self._out, event.text, self._colour(event.proposer))
        self._at_line_start = event.text.endswith("\n")

    def _legend(self) -> None:
        line = Text()
        for node, colour in self._colours.items():
            line.append("■ ", colour).append(f"{node}  ", "dim")
        self._err.print(line, soft_wrap=True)

    def _colour(self, node: str) -> str | None:
        """The colour of a node; one written inline gets the next when it first speaks, a lone model none."""
        if not node or node == self._recipe.get("output"):
            return None
        return self._colours.setdefault(node, PALETTE[len(self._colours) % len(PALETTE)])

    def _progress(self, event: Progress) -> None:
        if not self._live and event.phase not in ("train", "evaluate"):
            return
        if event.phase == "download" and event.node not in self._told:
            self._told.add(event.node)
            if notice := self._notice(settings_of(self._recipe, event.node)):
                self._display.close()
                say(self._err, "licence", notice)
        self._display.add(event)

    def _remark(self, text: str) -> None:
        if not self._quiet:
            self._display.close()
            self._err.print(Text(text, "dim"), soft_wrap=True)


def settings_of(recipe: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What a recipe says of the node at a path, one written inline (``spec.draft[0]``) included; empty when nothing."""
    found: Any = recipe.get("nodes", {})
    if path not in found:
        for step in re.findall(r"[^.\[\]]+", path):
            if isinstance(found, Mapping):
                found = found.get(step)
            elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
    else:
        found = found[path]
    return dict(found) if isinstance(found, Mapping) else {}


def show_summary(console: Console, summary: Summary, colour: Callable[[str], str | None] = lambda _: None) -> None:
    """The table of nodes, and the totals under it; of a run in which nothing happened, only how it ended."""
    busy = any(_busy(node) for node in summary.nodes)
    if busy:
        console.print(_node_table(summary, colour))
    if busy or summary.finish_reason != "failed":
        console.print(" · ".join(_totals(summary)), markup=False, soft_wrap=True)
    end = _ENDS.get(summary.finish_reason, str(summary.finish_reason))
    console.print(f"{end} · run {summary.run_id}", markup=False, soft_wrap=True)


def _totals(summary: Summary) -> list[str]:
    tokens = f"{summary.answer_tokens} token{'' if summary.answer_tokens == 1 else 's'}"
    parts = [tokens if summary.tokens_per_second is None else f"{tokens} at {rate_text(summary.tokens_per_second)}"]
    if summary.first_token_seconds is not None:
        parts.append(f"the first after {seconds_text(summary.first_token_seconds)}")
    if summary.flops:
        parts.append(flops_text(summary.flops))
    whole = f"{seconds_text(summary.seconds)} in all"
    if summary.preparing_seconds >= 0.05:
        whole += f", {seconds_text(summary.preparing_seconds)} of it getting models ready"
    return [*parts, whole]


def _busy(node: NodeSummary) -> bool:
    return bool(node.rows or node.drafted or node.emitted)


def _node_table(summary: Summary, colour: Callable[[str], str | None]) -> Table:
    made = table(
        *("node", "passes", "tokens fed", "drafted", "accepted", "in the answer", "cost", "time"),
        right="passes,tokens fed,drafted,accepted,in the answer,cost,time",
    )
    for node in summary.nodes:
        if _busy(node):
            made.add_row(
                Text(node.node, colour(node.node) or ""),
                str(node.passes) if node.rows else "",
                str(node.tokens) if node.rows else "",
                str(node.drafted) if node.drafted else "",
                f"{node.acceptance:.0%}" if node.acceptance is not None else "",
                str(node.emitted) if node.emitted else "",
                flops_text(node.flops) if node.rows else "",
                seconds_text(node.seconds) if node.rows else "",
            )
    return made

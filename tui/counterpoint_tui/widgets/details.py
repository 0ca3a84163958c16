"""One token, and what led to it: who proposed and who decided, how probable it was to each, and what the run had cost by then."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from counterpoint.cli.console import flops_text, seconds_text
from counterpoint.printable import plain
from counterpoint_tui.state import EventRow, LegendEntry, SpanState, TokenDetails
from counterpoint_tui.state.rows import quoted
from counterpoint_tui.state.spans import base_path
from counterpoint_tui.state.text import Drafting
from counterpoint_tui.texts import fitted, shortened
from counterpoint_tui.themes import node_mark

_LABEL = 12
_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Shown:
    """What the details are of."""

    token: TokenDetails | None = None
    call: SpanState | None = None
    """The call whose text it is, where that is not the answer."""
    written_by: SpanState | None = None
    """The call that wrote the token, where it was adopted from there."""
    event: EventRow | None = None
    """What happened last."""


class DetailsView(VerticalScroll):
    """Details of a token and of the place where it came."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._shown = Shown()
        self._lines = -1
        self._legend: Mapping[str, LegendEntry] = {}

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(id="details-text")

    def show(self, shown: Shown, legend: Mapping[str, LegendEntry]) -> None:
        """Shows a token."""
        if (shown, legend) != (self._shown, self._legend):
            self._shown, self._legend = shown, legend
            self._paint()

    def on_mount(self) -> None:
        """Colours follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._paint())

    def on_resize(self, event: events.Resize) -> None:
        """Bars are as long as there is room."""
        self._lines = -1
        self._paint()

    def _paint(self) -> None:
        width = self.scrollable_content_region.width or 40
        text = details_text(self._shown, self._legend, width, dark=self.app.current_theme.dark)
        lines = text.plain.count("\n")
        self.query_one("#details-text", Static).update(
            text, layout=lines != self._lines
        )  # laid out anew only where it has to be
        self._lines = lines


def details_text(shown: Shown, legend: Mapping[str, LegendEntry], width: int, *, dark: bool = True) -> Text:
    """What there is to say of a token, in lines of at most so many columns where they can be cut."""
    writer = _Writer(legend, width, dark)
    if shown.call is not None:
        _call(writer, shown.call)
    if shown.token is not None:
        _token(writer, shown.token, shown.written_by)
    else:
        writer.line("token", "none yet at this place")
    if shown.event is not None:
        event = shown.event
        writer.line("last event", f"{event.index + 1}, {event.type}, {event.t:.3f} s, call {event.span}")
        writer.line("", event.text)
    else:
        writer.line("last event", "nothing has happened yet")
    return writer.text


def _call(writer: _Writer, call: SpanState) -> None:
    writer.line(f"call {call.id}", writer.node(call.node), f"  {' · '.join(filter(None, (call.kind, call.role)))}")
    ended = f", {call.finish_reason or 'done'}" if call.finished else ", not ended"
    writer.line("", f"{call.start:.2f} – {call.end:.2f} s, {call.tokens if call.finished else call.emitted} tokens{ended}")
    if call.flops:
        writer.line("", f"{flops_text(call.flops)} of its own in {seconds_text(call.share)} of passes")


def _token(writer: _Writer, details: TokenDetails, written_by: SpanState | None) -> None:
    token = details.token
    shared = f"  (with {token.shared - 1} more tokens)" if token.shared > 1 else ""
    writer.line(
        "token", f"{token.number + 1} of {details.of}  ", Text(plain(quoted(token.text)), "bold"), f"  id {token.id}{shared}"
    )
    if token.proposer:
        writer.line("proposed by", writer.node(token.proposer))
    if token.decider:
        writer.line("decided by", writer.node(token.decider))
    if written_by is not None:
        writer.line("written in", f"call {written_by.id}, event {token.event + 1}, {details.t:.3f} s")
    if token.drafting is not None:
        _drafting(writer, token.drafting)
    writer.bars("probability", ((writer.node(path), value) for path, value in token.probabilities.items()))
    if not token.probabilities:
        writer.line("probability", "not recorded")
    writer.bars(
        "instead",
        ((Text(plain(quoted(text))), math.exp(value)) for number, text, value in token.alternatives if number != token.id),
    )
    at_least = "at least " if details.at_least else ""
    spent = f"{at_least}{details.generated_tokens:,} tokens drawn, {flops_text(details.flops)}"
    writer.line("cost so far", f"{spent}, {seconds_text(details.seconds)} (models {seconds_text(details.model_seconds)})")


def _drafting(writer: _Writer, draft: Drafting) -> None:
    how = "it was drafted" if draft.stood else "instead of the draft's"
    sure = f", {percent(draft.confidence)} sure" if draft.confidence is not None else ""
    writer.line("draft", f"{how}: {draft.accepted} of {draft.proposed} stood{sure}")
    writer.line("", writer.node(draft.proposer), f"  {quoted(draft.text)}")


class _Writer:
    """Writes lines of a label and what it is of."""

    def __init__(self, legend: Mapping[str, LegendEntry], width: int, dark: bool) -> None:
        self.text = Text()
        self._legend, self._width, self._dark = legend, width, dark

    def line(self, label: str, *parts: str | Text) -> None:
        """A line, which is cut where it is too long."""
        made = Text(no_wrap=True)
        made.append(f"{label:{_LABEL}}", "dim")
        for part in parts:
            made.append_text(part if isinstance(part, Text) else Text(plain(part)))
        made.truncate(max(self._width, _LABEL + 8), overflow="ellipsis")
        if self.text:
            self.text.append("\n")
        self.text.append_text(made)

    def node(self, path: str) -> Text:
        """A node with its letter, in its colour."""
        entry = self._legend.get(path) or self._legend.get(base_path(path))
        if entry is None:
            return Text(plain(path))
        return Text(f"{entry.letter} {plain(path)}", node_mark(entry.index, dark=self._dark).style)

    def bars(self, label: str, values: Iterable[tuple[Text, float]]) -> None:
        """Probabilities, the greatest first, as bars with figures."""
        rows = sorted(values, key=lambda row: -row[1])
        names = min(24, max((name.cell_len for name, _ in rows), default=0))
        room = min(_BAR, self._width - _LABEL - names - 11)
        for number, (name, value) in enumerate(rows):
            shown = Text(shortened(name.plain, names), name.style)
            gap = " " * (names - cell_len(shown.plain) + 2)
            colour = str(name.style).partition(" ")[0] if str(name.style).startswith("#") else ""
            self.line("" if number else label, shown, gap, f"{percent(value):>7}  ", Text(bar(value, room), colour))


def percent(value: float) -> str:
    """A probability: ``71.2 %``, ``0.03 %``, ``<0.01 %``."""
    if value >= 0.0995:
        return f"{value:.1%}".replace("%", " %")
    return f"{value:.2%}".replace("%", " %") if value >= 0.0001 or value == 0 else "<0.01 %"


def bar(share: float, width: int) -> str:
    """A bar of a share of so many columns, to an eighth of one."""
    if width < 4:
        return ""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return fitted("█" * whole + (_EIGHTHS[rest] if rest else ""), width)

"""What there is to say of a stored run and of a place in it, in lines."""

from __future__ import annotations

from rich.text import Text

from counterpoint.printable import plain
from counterpoint_tui.playing import Player
from counterpoint_tui.runtext import asked
from counterpoint_tui.scrubbing import Position
from counterpoint_tui.state import TraceView
from counterpoint_tui.texts import one_line


def title_text(trace: TraceView, name: str) -> Text:
    """Recipe, how it ended, id and prompt; ``name`` for a run that does not say its id."""
    state = trace.last
    prompt = one_line(asked(state.prompt))
    title = Text(one_line(str(state.recipe.get("name") or "run")), "bold")
    title.append(f"  {trace.status}  {one_line(state.run_id or name)}", "not bold")
    title.append(f"  “{prompt}”" if prompt else "", "italic not bold")
    return title


def trouble_text(trace: TraceView, again: str) -> Text:
    """What is wrong with a trace, a line each; empty where nothing is.

    Args:
        trace: the trace.
        again: the key that reads it again, which helps where the run still goes on.
    """
    lines = []
    problems = trace.problems
    for number, problem in enumerate(problems, 1):
        hint = problem.hint
        if trace.status == "interrupted" and number == len(problems):
            hint = f"{again} looks again, in case it still goes on"
        lines.append(one_line(problem.message) + (f" ({one_line(hint)})" if hint else ""))
    return Text("\n".join(lines))


def call_text(position: Position) -> Text:
    """Whose text is read, where that is not the answer."""
    call = position.trace.last.spans.get(position.span)
    name = one_line(call.node) if call else ""
    return Text.assemble(f"the text of call {position.span}, ", (name, "bold"), " (escape: the answer)")


def place_text(position: Position, player: Player | None) -> tuple[str, str]:
    """A place, and what has happened there; before it the speed, where it is or was played."""
    number, event = position.token, position.event
    played = f"{'▶' if player.playing else '⏸'} ×{player.speed:g}  " if player else ""
    place = f"event {position.place:,} of {len(position.trace):,}  {position.time:.2f} s"
    token = f"token {0 if number is None else number + 1:,} of {position.tokens:,}"
    what = f"{event.type}: {plain(event.text)}" if event else "nothing has happened yet"
    return f"{played}{place}  {token}", what

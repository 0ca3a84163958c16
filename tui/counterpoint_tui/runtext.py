"""A run in words: how it stands, what goes on, what was asked, and what may be asked next. Pure: no Textual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from counterpoint.cli.console import bytes_text, flops_text, rate_text, seconds_text
from counterpoint.printable import plain
from counterpoint.prompt import Message, Prompt
from counterpoint_tui.live import LiveRun
from counterpoint_tui.state import ProgressRow, RunState, answer_text, problems, summary
from counterpoint_tui.texts import one_line

_BAR = 20
_LONG = 4_000
"""Characters of a message from which on its middle is left out."""
_ENDED = {
    "stop": ("■", "finished", "good"),
    "length": ("■", "reached max_tokens", "good"),
    "budget": ("■", "budget spent", "warning"),
    "cancelled": ("■", "cancelled", "warning"),
    "failed": ("✗", "failed", "error"),
}


def status_text(live: LiveRun, width: int, styles: Mapping[str, str]) -> Text:
    """How a run stands, in a line or two."""
    state = live.state
    sign, word, level = _standing(live)
    text = Text()
    text.append(f"{sign} {word}", style=f"bold {styles[level]}")
    if not state.recipe:
        return text
    made = summary(state)
    tokens = f"{state.answer_tokens:,} token{'' if state.answer_tokens == 1 else 's'}"
    facts = [tokens]
    if made.tokens_per_second is not None:
        facts.append(rate_text(made.tokens_per_second))
    if made.flops:
        facts.append(flops_text(made.flops))
    seconds = made.seconds if live.now is None else max(live.now, made.seconds)
    if seconds:
        facts.append(seconds_text(seconds))
    facts.append(f"seed {state.seed}")
    if live.ended is not None and live.ended.run_id:
        facts.append(f"stored as {live.ended.run_id}")
    elif live.failure is not None and state.run_id:
        facts.append(f"stored as {state.run_id}, up to here")
    line = text.cell_len
    for fact in facts:
        fits = line + 2 + cell_len(fact) <= width
        text.append(f"  {fact}" if fits else f"\n{fact}")
        line = cell_len(fact) + (line + 2 if fits else 0)
    return text


def _standing(live: LiveRun) -> tuple[str, str, str]:
    """A sign, a word, and the level whose style they have."""
    state = live.state
    if state.completion is not None:
        return _ENDED[state.completion.finish_reason]
    if live.failure is not None:
        return "✗", "interrupted" if state.recipe else "not run", "error"
    if live.cancelled:
        return "…", "is being cancelled", "warning"
    if not state.recipe:
        return "…", "starting the engine", "info"
    return ("…", "preparing", "info") if state.status == "preparing" else ("●", "running", "good")


def progress_text(rows: Sequence[ProgressRow], styles: Mapping[str, str]) -> Text:
    """What slow things go on, a line each."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for row in rows:
        text.append("\n" if text else "")
        if row.share is not None:
            filled = int(row.share * _BAR)
            text.append("█" * filled, style=styles["good"])
            text.append("░" * (_BAR - filled), style="dim")
            text.append(" ")
        text.append(f"{one_line(row.phase)} ", style="bold")
        text.append(one_line(row.item or row.node))
        if row.done or row.total:
            text.append(f"  {_amount(row)}")
    return text


def _amount(row: ProgressRow) -> str:
    if row.unit == "bytes":
        return bytes_text(row.done) + (f" of {bytes_text(row.total)}" if row.total else "")
    return f"{row.done:g}" + (f" of {row.total:g}" if row.total else "") + f" {one_line(row.unit)}".rstrip()


def warnings_of(live: LiveRun) -> list[str]:
    """What a reader should know of a run that did not fail for it."""
    said = [f"{one_line(one.node)}: {one_line(one.message)}" for one in problems(live.state) if not one.fatal]
    if live.ended is not None:
        said += [one_line(one) for one in (*live.ended.warnings, *live.ended.problems)]
    return list(dict.fromkeys(said))


# --- prompts ------------------------------------------------------------------------------------------------------------------


def prompt_of(live: LiveRun) -> Prompt | None:
    """What the run was asked; None where that is not known yet and the recipe says nothing."""
    return live.state.prompt or live.request.prompt or live.request.recipe.prompt


def asked(prompt: Prompt | None) -> str:
    """The text of a prompt, of a conversation the last message."""
    if prompt is None:
        return ""
    return prompt.text if prompt.text is not None else prompt.messages[-1].content


def asked_instead(prompt: Prompt | None, text: str) -> Prompt:
    """A prompt with another text, of a conversation another last message; what else belongs to it stays."""
    if prompt is None:
        return Prompt.of(text)
    if prompt.text is not None:
        return prompt.model_copy(update={"text": text})
    return prompt.model_copy(update={"messages": (*prompt.messages[:-1], Message(role="user", content=text))})


def can_chat(state: RunState) -> bool:
    """Whether a conversation can go on from a run."""
    return state.status not in ("waiting", "failed") and bool(answer_text(state).strip()) and takes_messages(state.recipe)


def takes_messages(recipe: Any) -> bool:
    """Whether a recipe, as plain data, can be asked a conversation: not where a model is given the prompt's text as it is."""
    if isinstance(recipe, Mapping):
        return recipe.get("prompt_format") != "raw" and all(takes_messages(value) for value in recipe.values())
    return not isinstance(recipe, (list, tuple)) or all(takes_messages(value) for value in recipe)


def chatted_on(state: RunState, prompt: Prompt | None, message: str) -> Prompt:
    """The conversation so far and another message."""
    before = [Message(role=one["role"], content=one["content"]) for one in prompt.chat()] if prompt is not None else []  # type: ignore[arg-type]
    answer = (prompt.prefix if prompt is not None else "") + answer_text(state)
    return Prompt(messages=(*before, Message(role="assistant", content=answer), Message(role="user", content=message)))


def conversation_text(prompt: Prompt | None) -> Text:
    """What was asked, message by message; very long ones without their middle."""
    text = Text()
    if prompt is None:
        return text
    chat = prompt.chat()
    for one in chat:
        text.append("\n\n" if text else "")
        if len(chat) > 1:
            text.append(f"{one['role']}: ", style="bold")
        text.append(plain(_without_middle(one["content"])))
    if prompt.prefix:
        text.append("\n\nthe answer begins with: ", style="bold")
        text.append(plain(_without_middle(prompt.prefix)))
    return text


def _without_middle(content: str) -> str:
    if len(content) <= _LONG:
        return content
    half = _LONG // 2
    return f"{content[:half]}\n… {len(content) - 2 * half:,} characters …\n{content[-half:]}"

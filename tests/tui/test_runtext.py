"""A run in words, and what it may be asked next."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint.events import Event
from counterpoint.prompt import Prompt
from counterpoint_tui.live import LiveRun
from counterpoint_tui.runtext import (
    asked,
    asked_instead,
    can_chat,
    chatted_on,
    conversation_text,
    progress_text,
    status_text,
    takes_messages,
)
from counterpoint_tui.state import ProgressRow, TraceView, answer_text, fold

Runs = dict[str, tuple[Event, ...]]
STYLES = dict.fromkeys(("error", "warning", "info", "good"), "")
CHAT = Prompt.of([{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}])


def told(events: Any, **known: Any) -> LiveRun:
    live = LiveRun(None, None)  # type: ignore[arg-type]
    live.trace = TraceView.of(events)
    for name, value in known.items():
        setattr(live, name, value)
    return live


def test_how_a_run_stands(fake_runs: Runs) -> None:
    events = fake_runs["drafted"]
    assert status_text(told(()), 80, STYLES).plain == "… starting the engine"
    assert status_text(told((), cancelled=True), 80, STYLES).plain == "… is being cancelled"
    assert status_text(told(events[:5]), 80, STYLES).plain.startswith("● running  0 tokens")
    whole = status_text(told(events, over=True), 300, STYLES).plain
    assert whole.startswith("■ reached max_tokens  20 tokens  ")
    assert whole.endswith("  seed 0")
    narrow = status_text(told(events, over=True), 30, STYLES).plain
    assert " ".join(narrow.split()) == " ".join(whole.split())
    assert max(map(len, narrow.splitlines())) <= 30
    gone = status_text(told(events[:9], over=True, failure=RuntimeError()), 300, STYLES).plain
    assert gone.startswith("✗ interrupted")
    assert gone.endswith(f"stored as {events[0].run_id}, up to here")  # type: ignore[union-attr]
    assert status_text(told(fake_runs["failed"]), 80, STYLES).plain.startswith("✗ failed  9 tokens")


def test_what_slow_things_go_on() -> None:
    rows = [
        ProgressRow("m", "download", "a\n[b]", 5e6, 1e7, "bytes", False),
        ProgressRow("m", "load", "", 0, None, "", False),
        ProgressRow("m", "train", "x", 3, None, "steps", False),
    ]
    assert progress_text(rows, STYLES).plain.splitlines() == [
        "██████████░░░░░░░░░░ download a [b]  5 MB of 10 MB",
        "load m",
        "train x  3 steps",
    ]


def test_prompts_and_conversations(fake_runs: Runs) -> None:
    state = fold(fake_runs["drafted"])
    assert asked(None) == ""
    assert asked(CHAT) == "why?"
    assert asked_instead(None, "x") == Prompt(text="x")
    kept = Prompt(text="a", prefix="So", fields={"tests": 1})
    assert asked_instead(kept, "b") == Prompt(text="b", prefix="So", fields={"tests": 1})
    assert [message.content for message in asked_instead(CHAT, "how?").messages] == ["be brief", "how?"]
    on = chatted_on(state, CHAT, "and?")
    assert [message.role for message in on.messages] == ["system", "user", "assistant", "user"]
    assert on.messages[2].content == answer_text(state)
    assert chatted_on(state, kept, "and?").messages[1].content == "So" + answer_text(state)
    assert conversation_text(on).plain.startswith("system: be brief\n\nuser: why?\n\nassistant: ")
    assert conversation_text(kept).plain == "a\n\nthe answer begins with: So"
    assert "\x1b" not in conversation_text(Prompt(text="a\x1b[2J")).plain
    assert conversation_text(None).plain == ""


@pytest.mark.parametrize(("change", "can"), [({}, True), ({"prompt_format": "raw"}, False), ({"prompt_format": "roles"}, True)])
def test_where_one_can_chat(fake_runs: Runs, change: dict[str, str], can: bool) -> None:
    model = {"kind": "fake", **change}
    assert takes_messages({"nodes": {"m": model}, "output": "m"}) is can
    assert takes_messages({"nodes": {"s": {"kind": "best_of_n", "generators": ["x", model]}}}) is can
    assert can_chat(fold(fake_runs["drafted"]))
    assert not can_chat(fold(fake_runs["failed"]))
    assert not can_chat(fold(fake_runs["drafted"][:5]))

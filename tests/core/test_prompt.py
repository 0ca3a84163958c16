"""Prompts: a string or messages, never both, never nothing."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from counterpoint import Completion, Message, Prompt


def test_what_a_prompt_may_be_made_of() -> None:
    assert Prompt.of("hi") == Prompt(text="hi") == Prompt.model_validate("hi")
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    made = Prompt.of(messages)
    assert made.messages == (Message(role="system", content="be brief"), Message(role="user", content="hi"))
    assert Prompt.of([Message(role="user", content="hi")]).chat() == [{"role": "user", "content": "hi"}]
    assert made.chat() == messages
    assert Prompt.of("hi").chat() == [{"role": "user", "content": "hi"}]
    assert Prompt.of({"text": "hi", "prefix": "yes", "fields": {"answer": "3"}}).prefix == "yes"
    given = Prompt(text="hi")
    assert Prompt.of(given) is given
    assert given.continued("so").prefix == "so"
    assert given.prefix == ""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "the prompt is empty"),
        (" \n\t", "the prompt is empty"),
        ([], "either text or messages"),
        ({}, "either text or messages"),
        ([{"role": "user", "content": " "}], "the prompt is empty"),
        ({"text": "a", "messages": [{"role": "user", "content": "b"}]}, "either text or messages"),
        ([{"role": "robot", "content": "b"}], "'system', 'user' or 'assistant'"),
        ([{"role": "user"}], "Field required"),
        ({"text": "a", "more": 1}, "Extra inputs"),
        (3, "valid dictionary"),
        (None, "valid dictionary"),
        (["hi"], "valid dictionary"),
        ({"text": "a", "fields": {"n": object()}}, "valid JSON value"),
    ],
)
def test_what_is_no_prompt_is_refused(value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Prompt.of(value)  # type: ignore[arg-type]


def test_data_is_frozen() -> None:
    for value in (Prompt(text="a"), Completion(text="a", finish_reason="stop"), Message(role="user", content="a")):
        with pytest.raises(ValidationError):
            value.text = "b"  # type: ignore[misc,union-attr]

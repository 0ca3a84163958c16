"""Prompts become tokens by each model's own format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import pytest

from counterpoint import ModelError, Prompt
from counterpoint.rendering import check_format, render
from counterpoint.testing import CharTokenizer

TEXT = "hello there"


class Letters(CharTokenizer):
    """Puts a mark around sequences when asked, and has the chat template it is given."""

    def __init__(self, template: str | None = None) -> None:
        super().__init__("abcdefghijklmnopqrstuvwxyz .,\n[]<>:=")
        self.template = template

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        return [*([99] if add_special else []), *super().encode(text)]

    def render_chat(self, messages: Sequence[Mapping[str, str]]) -> str | None:
        return jinja2.Template(self.template).render(messages=messages) if self.template is not None else None


CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]


def rendered(prompt: Any, prompt_format: str | None, template: str | None = None) -> tuple[str, bool]:
    """The rendered text, and whether special tokens were put around it."""
    tokenizer = Letters(template)
    ids, _ = render(Prompt.of(prompt), prompt_format, tokenizer, "m")
    special = ids[:1] == [99]
    return tokenizer.decode(ids[1:] if special else ids), special


def test_each_format() -> None:
    assert rendered(TEXT, None, CHAT) == ("<user>hello there<assistant>", False)
    assert rendered(TEXT, "chat", CHAT) == ("<user>hello there<assistant>", False)
    assert rendered(MESSAGES, "chat", CHAT) == ("<system>be brief<user>hi<assistant>", False)
    assert rendered(TEXT, None) == (TEXT, True)
    assert rendered(TEXT, "raw", CHAT) == (TEXT, True)
    assert rendered(TEXT, "roles") == ("\n\n[user]\nhello there\n\n[assistant]\n", True)
    assert rendered(MESSAGES, "roles") == ("\n\n[system]\nbe brief\n\n[user]\nhi\n\n[assistant]\n", True)
    assert rendered(TEXT, "q: {{ text }}\na:\n") == ("q: hello there\na:\n", True)
    assert rendered(MESSAGES, "{% for m in messages %}{{ m.content }}.{% endfor %}") == ("be brief.hi.", True)


def test_the_prefix_is_encoded_by_itself() -> None:
    tokenizer = Letters()
    ids, prefix = render(Prompt(text="hi", prefix=" yes"), "raw", tokenizer, "m")
    assert tokenizer.decode(ids[1:]) == "hi"
    assert tokenizer.decode(prefix) == " yes"
    assert 99 not in prefix
    assert render(Prompt(text="hi"), "raw", tokenizer, "m") == (ids, [])


@pytest.mark.parametrize(
    ("prompt", "prompt_format", "template", "message", "hint"),
    [
        (MESSAGES, None, None, "m: the model has no chat template", "raw, roles or Jinja text"),
        (TEXT, "chat", None, "m: the model has no chat template", "raw, roles or Jinja text"),
        (MESSAGES, "raw", CHAT, "m: prompt_format raw takes a plain string", "use chat, roles or Jinja text"),
        (TEXT, "chat", "{{ nothing.at.all }}", "m: the model's chat template refuses", "user and assistant in turn"),
        (TEXT, "{{ txt }}", None, "m: prompt_format cannot be rendered: 'txt' is undefined", "`messages` and `text`"),
        (TEXT, "{{ 1 / 0 }}", None, "m: prompt_format cannot be rendered", "`messages` and `text`"),
        (TEXT, "{{ text + 1 }}", None, "m: prompt_format cannot be rendered", "`messages` and `text`"),
        (TEXT, "{{ messages[9].content }}", None, "m: prompt_format cannot be rendered", "`messages` and `text`"),
        (TEXT, "{{ range(10 ** 9) }}", None, "m: prompt_format cannot be rendered", "`messages` and `text`"),
        (TEXT, "{{ text.__class__.__mro__ }}", None, "m: prompt_format cannot be rendered", "`messages` and `text`"),
    ],
)
def test_what_cannot_be_rendered_is_refused(
    prompt: Any, prompt_format: str | None, template: str | None, message: str, hint: str
) -> None:
    with pytest.raises(ModelError) as caught:
        rendered(prompt, prompt_format, template)
    assert caught.value.message.startswith(message)
    assert hint in caught.value.hint


def test_nothing_left_of_a_prompt_is_refused() -> None:
    with pytest.raises(ModelError, match="m: the rendered prompt is empty"):
        render(Prompt(text="hi"), "chat", Letters(""), "m")


def test_formats_are_checked_before() -> None:
    for good in (None, "chat", "raw", "roles", "{{ text }}"):
        assert check_format(good) is None
    assert "neither chat, raw, roles nor Jinja text" in (check_format("Chat") or "")
    assert "not valid Jinja" in (check_format("{{ text") or "")
    assert "not valid Jinja" in (check_format("{% for m in messages %}") or "")

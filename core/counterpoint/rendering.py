"""How a prompt becomes the tokens of one model."""

from __future__ import annotations

from functools import lru_cache

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from counterpoint.errors import ModelError
from counterpoint.prompt import Prompt
from counterpoint.tokenizer import Tokenizer

_ROLE_NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}
ROLE_STOPS = ("\n\n[User]", "\n\n[System]", "\n\n[Assistant]")
"""Where a model prompted in the ``roles`` format begins to speak for somebody else."""


def render(prompt: Prompt, prompt_format: str | None, tokenizer: Tokenizer, path: str) -> tuple[list[int], list[int]]:
    """Ids of the rendered prompt, and of its ``prefix`` (encoded by itself, so that the prompt's ids do not depend on it).

    Args:
        prompt: what to render.
        prompt_format: ``chat``, ``raw``, ``roles``, Jinja text over ``messages`` and ``text``; None is ``chat`` where the
            model has a template, and ``raw`` for a plain string where it has none.
        tokenizer: the model's.
        path: the node, for errors.

    Raises:
        ModelError: the format does not fit the prompt or the model, or nothing is left of the prompt.
    """
    text, add_special = _text(prompt, prompt_format, tokenizer, path)
    ids = tokenizer.encode(text, add_special=add_special)
    if not ids:
        raise ModelError(f"{path}: the rendered prompt is empty", hint="give a prompt, or another prompt_format")
    return ids, tokenizer.encode(prompt.prefix) if prompt.prefix else []


def _text(prompt: Prompt, prompt_format: str | None, tokenizer: Tokenizer, path: str) -> tuple[str, bool]:
    if prompt_format in (None, "chat"):
        try:
            rendered = tokenizer.render_chat(prompt.chat())
        except jinja2.TemplateError as error:
            raise ModelError(
                f"{path}: the model's chat template refuses these messages: {error}",
                hint="chat templates often want user and assistant in turn; or set prompt_format to raw, roles or Jinja text",
            ) from None
        if rendered is not None:
            return rendered, False
        if prompt_format == "chat" or prompt.text is None:
            raise ModelError(
                f"{path}: the model has no chat template, so it cannot render chat messages",
                hint="set prompt_format to raw, roles or Jinja text, or give the prompt as one string",
            )
    if prompt_format in (None, "raw"):
        if prompt.text is None:
            raise ModelError(
                f"{path}: prompt_format raw takes a plain string, not messages", hint="use chat, roles or Jinja text"
            )
        return prompt.text, True
    if prompt_format == "roles":
        # the base-model prompt of weak-to-strong decoding (arXiv 2506.07434)
        turns = [f"\n\n[{_ROLE_NAMES[message['role']]}]\n{message['content']}" for message in prompt.chat()]
        return "".join(turns) + "\n\n[Assistant]\n", True
    assert prompt_format is not None
    try:
        return jinja_template(prompt_format).render(messages=prompt.chat(), text=prompt.text or ""), True
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ModelError(f"{path}: prompt_format cannot be rendered: {error}", hint="it sees `messages` and `text`") from None


@lru_cache(maxsize=64)
def jinja_template(text: str) -> jinja2.Template:
    """A sandboxed template in which every name has to be known."""
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True).from_string(text)


def check_format(prompt_format: str | None) -> str | None:
    """What is wrong with a prompt format; None when nothing is."""
    if prompt_format in (None, "chat", "raw", "roles"):
        return None
    assert prompt_format is not None
    if "{" not in prompt_format:
        return f"'{prompt_format}' is neither chat, raw, roles nor Jinja text"
    try:
        jinja_template(prompt_format)
    except jinja2.TemplateError as error:
        return f"not valid Jinja: {error}"
    return None

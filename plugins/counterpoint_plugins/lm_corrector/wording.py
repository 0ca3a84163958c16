"""Words: how candidates' generators are asked, and how a source and its candidates are laid before whoever writes the answer."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

from counterpoint.plugin import Message, Prompt, RunError, jinja_template

CORRECTOR = "source: {{ source }}{% if candidates %} <sep> candidates: {{ candidates | join(' <sep> ') }}{% endif %}\ntarget:\n"
"""The paper's input, and a line after which a causal model knows that its output begins."""

FUSION = """\
Below are a request and {{ candidates | length }} candidate answer{{ 's' if candidates | length > 1 }} to it. Some may be wrong. \
Combine what is best in them into one answer to the request, better than any of them.

Request:
{{ source }}
{% for candidate in candidates %}
Candidate {{ loop.index }}:
{{ candidate }}
{% endfor %}
Reply with the answer only, without a word about the candidates."""

_SOURCE = "7309184256"
_CANDIDATES = ("8120394756", "5647382910")
_BROKEN = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What a template may raise."""


def checked(template: str, *, candidates: bool) -> str:
    """A template that can be filled and says the source.

    Args:
        template: Jinja text over `source`.
        candidates: whether it also sees `candidates`.

    Raises:
        ValueError: it is no such text.
    """
    sees = "source and candidates" if candidates else "source"
    try:
        filled = jinja_template(template).render(source=_SOURCE, **({"candidates": _CANDIDATES} if candidates else {}))
    except jinja2.UndefinedError as error:
        raise ValueError(f"names what it does not see: {error.message}; it sees {sees}") from None
    except _BROKEN as error:
        raise ValueError(f"no valid Jinja: {error}") from None
    if _SOURCE not in filled:
        raise ValueError("leaves the source out: say {{ source }}")
    return template


def shows_candidates(template: str) -> bool:
    """Whether something of the candidates is in what a template makes."""
    filled = jinja_template(template).render(source=_SOURCE, candidates=_CANDIDATES)
    return any(candidate in filled for candidate in _CANDIDATES)


def lay_out(template: str, source: str, candidates: Sequence[str], path: str) -> str:
    """The text for whoever writes: a template filled with a source and candidates, white space around these left out.

    Raises:
        RunError: it cannot be filled.
    """
    return _filled(template, path, "template", source=source, candidates=[candidate.strip() for candidate in candidates])


def source_of(prompt: Prompt, path: str) -> str:
    """What is to be answered or corrected: the prompt's text, or the last message of the user.

    Raises:
        RunError: there is no such message.
    """
    if prompt.text is not None:
        return prompt.text
    return prompt.messages[_last_of_user(prompt, path)].content


def asked(ask: str, prompt: Prompt, path: str) -> Prompt:
    """The prompt for candidates: worded by ``ask``, in messages the last one of the user; the others stay.

    Raises:
        RunError: there is no such message, or ``ask`` cannot be filled.
    """
    worded = _filled(ask, path, "ask", source=source_of(prompt, path))
    if prompt.text is not None:
        return prompt.model_copy(update={"text": worded})
    messages = list(prompt.messages)
    messages[_last_of_user(prompt, path)] = Message(role="user", content=worded)
    return prompt.model_copy(update={"messages": tuple(messages)})


def _last_of_user(prompt: Prompt, path: str) -> int:
    for index in reversed(range(len(prompt.messages))):
        if prompt.messages[index].role == "user":
            return index
    raise RunError(f"{path}: the prompt has no message of the user", hint="its last one is the source")


def _filled(template: str, path: str, field: str, **values: object) -> str:
    try:
        return jinja_template(template).render(values)
    except _BROKEN as error:
        raise RunError(f"{path}: {field} cannot be filled: {error}", hint=f"it sees {', '.join(values)}") from None

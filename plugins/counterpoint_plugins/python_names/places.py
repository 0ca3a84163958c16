"""Where in a text Python code is, and where in it an attribute is written."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from counterpoint.plugin import Prompt

_FENCE = re.compile(r"^[ \t]*```([^\n`]*)(\n|\Z)", re.MULTILINE)
_PYTHON = {"python", "python3", "py", "py3"}
# Strings and comments, begun at any place outside others; the groups `closed` and `shut` are the ends of strings.
_QUIET = re.compile(
    r"#[^\n]*"
    r"|(?P<long>\"\"\"|''')(?:\\.|(?!(?P=long)).)*(?:(?P<closed>(?P=long))|\Z)"
    r"|(?P<short>[\"'])(?:\\.|(?!(?P=short))[^\\\n])*(?:(?P<shut>(?P=short))|(?=\n)|\\?\Z)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"\.(\w*)\Z")
_WORD = re.compile(r"\w+\Z")
_OWN = re.compile(r"(?<![\w.])(?:self|cls)\Z")


@dataclass(frozen=True)
class Place:
    """A place in code at which an attribute is written, or may be."""

    code: str
    """The code up to the expression's end, without the dot."""
    partial: str | None
    """What is written of the attribute after its dot; None while there is no dot."""


def code_in(text: str, *, whole: bool) -> str | None:
    """The Python code that a text is in the middle of: all of it, or what is in an open ```python block; None for none."""
    if whole:
        return text
    code: int | None = None
    inside = False
    for fence in _FENCE.finditer(text):
        if inside:
            inside, code = False, None
        else:
            inside = True
            if fence[2] and fence[1].strip().lower() in _PYTHON:
                code = fence.end()
    return None if code is None else text[code:]


def code_before(prompt: Prompt, *, whole: bool) -> str:
    """The code of a prompt: its ```python blocks, or else, where answers are code and nothing else, its text."""
    texts = [prompt.text] if prompt.text is not None else [message.content for message in prompt.messages or ()]
    blocks = [block for text in texts for block in _blocks(text)]
    if blocks:
        return "".join(f"{block}\n" for block in blocks)
    return texts[-1] if whole and texts else ""


def _blocks(text: str) -> list[str]:
    """The ```python blocks of a text."""
    found, begin = list[str](), None
    inside = False
    for fence in _FENCE.finditer(text):
        if inside:
            if begin is not None:
                found.append(text[begin : fence.start()])
            inside, begin = False, None
        else:
            inside = True
            begin = fence.end() if fence[1].strip().lower() in _PYTHON else None
    return found


def place_of(code: str) -> Place | None:
    """Where an attribute is being written at the end of code, or could begin; None anywhere else.

    Not in strings and comments, after numbers and keywords, nor after `self` and `cls`: while a class is being written, it is
    open what it will have.
    """
    found = _ATTRIBUTE.search(code)
    expression = code[: found.start()] if found else code
    if not _ends_expression(expression) or _is_quiet(expression):
        return None
    return Place(expression, found[1] if found else None)


def _ends_expression(code: str) -> bool:
    if code.endswith((")", "]", "}", '"', "'")):
        return True
    word = _WORD.search(code)
    if word is None or word[0][0].isdigit() or not word[0].isidentifier():
        return False
    if keyword.iskeyword(word[0]) and word[0] not in ("None", "True", "False"):
        return False
    return _OWN.search(code) is None


def _is_quiet(code: str) -> bool:
    """Whether code ends inside a string or a comment."""
    last = None
    for found in _QUIET.finditer(code):
        last = found
    return last is not None and last.end() == len(code) and not (last["closed"] or last["shut"])

"""Which program an answer means.

Nothing here parses code: Python's parser can be brought down by what it reads, and this is our process. What can be told only by
parsing (where a program ends and an explanation begins) the sandbox finds out.
"""

from __future__ import annotations

import io
import re
import textwrap
from typing import NamedTuple

_FENCE = re.compile(r"(`{3,})[^`]*\Z|~{3,}")
_SPECIAL = re.compile(r"(?:<\|[^<>|\s]{1,40}\|>|</s>|<end_of_turn>)\Z")
_NAMES = r"[\w.]+(?:[ \t]+as[ \t]+\w+)?"
_BRACKETED = r"\([^()]{1,400}\)"
_IMPORT = re.compile(
    rf"^(?:import[ \t]+{_NAMES}(?:[ \t]*,[ \t]*{_NAMES})*"
    rf"|from[ \t]+(?!__future__)[\w.]+[ \t]+import[ \t]*(?:{_BRACKETED}|\*|{_NAMES}(?:[ \t]*,[ \t]*{_NAMES})*))"
    r"(?=[ \t]*(?:#[^\n]*)?$)",
    re.MULTILINE,
)
_FUTURE = re.compile(rf"^from __future__ import[ \t]*(?:{_BRACKETED}[^\n]*|(?:\\\n|[^\n\\(]){{0,400}})$", re.MULTILINE)
_BEGINS = re.compile(
    r"(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(|class[ \t]+\w+[ \t]*[(:]|@\w|import[ \t]+[\w.]+[ \t]*(?:as\b|,|#|$)|from[ \t]+\S+[ \t]+import\b"
)
"""A line as programs have it at column 0, and as prose hardly begins."""
_SETS = re.compile(r"#|[A-Za-z_]\w*[ \t]*(?::[^=\n]*)?=[^=]")
_NOTHING = {"", "pass", "...", "raise NotImplementedError", "raise NotImplementedError()"}


class _Block(NamedTuple):
    """A fenced block."""

    code: str
    closed: bool


def program(answer: str, prompt: str, entry_point: str) -> str:
    """The program that an answer means.

    Of the fenced blocks that define the entry point it is the last: drafts come before what they lead to. Left out, unless there is
    no other, are blocks that repeat the prompt or have no body, and one that is never closed, for it was cut short. Without such a
    block an answer is all code, but for prose in front. A program that defines the entry point gets what the prompt has before it
    (imports, helpers), for models leave that out, and what earlier blocks import. One that does not is taken for the rest of the
    prompt's function.
    """
    answer = _cleaned(answer)
    before, blocks = _split(answer)
    chosen = _last(blocks, prompt, entry_point)
    if chosen is not None:
        code = blocks[chosen].code
        return _joined(_imports(blocks[:chosen], code) + preamble(prompt, entry_point), code)
    if _defines(answer, entry_point):
        return _joined(preamble(prompt, entry_point), _without_prose(answer))
    if blocks and not before.lstrip("\n")[:1].isspace():  # else a function's body, and then a fence that ends it
        before = max((block.code for block in blocks), key=len)
    return prompt.rstrip("\n") + "\n" + _as_body(before) if _defines(prompt, entry_point) else before


def preamble(prompt: str, entry_point: str) -> str:
    """What a prompt has before the function that is asked for, and before its decorators."""
    found = list(_definition(entry_point).finditer(prompt))
    if not found:
        return ""
    # The last, for an earlier one stands in a docstring.
    lines = prompt[: found[-1].start()].splitlines(keepends=True)
    end = len(lines)
    while True:
        start = end - 1
        while start >= 0 and lines[start][0] in ")]} \t" and lines[start].strip():  # a decorator over several lines
            start -= 1
        if start < 0 or not lines[start].startswith("@"):
            return "".join(lines[:end])
        end = start


def asserts(answer: str, entry_point: str) -> list[str]:
    """The lines at the left margin that assert something about a call of the entry point, each once: those of the fenced blocks,
    or of the whole answer where there are none. Whether they are Python shows in the sandbox."""
    cleaned = _cleaned(answer)
    before, blocks = _split(cleaned)
    called = re.compile(rf"assert\b.*(?<![\w.]){re.escape(entry_point)}[ \t]*\(")
    lines = "\n".join(block.code for block in blocks) if blocks else before
    return list(dict.fromkeys(line.rstrip() for line in lines.split("\n") if called.match(line)))


# --- taking an answer apart ------------------------------------------------------------------------------------------------


def _cleaned(answer: str) -> str:
    """Without thoughts, without what encodings and chat templates add, with newlines alone ending lines."""
    text = answer.rpartition("</think>")[2].removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for _ in range(8):
        bare = text.rstrip()
        special = _SPECIAL.search(bare, max(0, len(bare) - 50))
        if special is None:
            break
        text = bare[: special.start()]
    return text


def _split(answer: str) -> tuple[str, list[_Block]]:
    """What stands before the first fence, and the fenced blocks; the last may lack its closing fence."""
    before: list[str] = []
    blocks: list[_Block] = []
    lines, fence, indent = before, "", 0
    begun = inside_code = False
    for line in io.StringIO(answer):
        text = line.strip()
        column = len(line) - len(line.lstrip())
        if fence:
            if len(text) >= len(fence) and text == fence[0] * len(text) and column < indent + 4:
                blocks.append(_block(lines, indent, closed=True))
                fence, lines = "", []
            else:
                lines.append(line)
            continue
        opened = _FENCE.match(text)
        # What is indented further is in a docstring, or else in a list.
        if opened and (column < 4 or not inside_code):
            begun = True
            fence, indent = opened[1] or opened[0], column
            lines = []
        else:
            # An answer that begins with an indented line goes on with the prompt's function.
            inside_code = inside_code or bool(_BEGINS.match(line)) or bool(text and not begun and column)
            begun = begun or bool(text)
            lines.append(line)
    if fence:
        blocks.append(_block(lines, indent, closed=False))
    return "".join(before), blocks


def _block(lines: list[str], indent: int, *, closed: bool) -> _Block:
    code = "".join(lines)
    return _Block(textwrap.dedent(code) if indent else code, closed)  # indented: in a list, say


def _without_prose(answer: str) -> str:
    """Code from where it begins."""
    lines = list(io.StringIO(answer))
    written = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    if _BEGINS.match(written) or _SETS.match(written) or written.startswith(('"', "'")):
        return answer
    begins = [index for pattern in (_BEGINS, _SETS) for index, line in enumerate(lines) if pattern.match(line)]
    begin = begins[0] if begins else 0
    while begin and (not lines[begin - 1].strip() or _SETS.match(lines[begin - 1])):
        begin -= 1
    return "".join(lines[begin:]).lstrip("\n")


# --- choosing ---------------------------------------------------------------------------------------------------------------


def _last(blocks: list[_Block], prompt: str, entry_point: str) -> int | None:
    """The index of the block that is meant, of those that define the entry point."""
    found = [index for index, block in enumerate(blocks) if _definition(entry_point).search(block.code)]
    found = found or [index for index, block in enumerate(blocks) if _defines(block.code, entry_point)]
    asked = {_bare(prompt), _bare(prompt.removeprefix(preamble(prompt, entry_point)))}
    found = [index for index in found if not _is_stub(blocks[index].code, asked)] or found
    found = [index for index in found if blocks[index].closed] or found
    return found[-1] if found else None


def _is_stub(code: str, asked: set[str]) -> bool:
    bare = _bare(code)
    return bare in asked or bare.endswith(":")


def _bare(code: str) -> str:
    """Code without a last ``pass`` and the like."""
    lines = code.split("\n")
    while lines and (lines[-1].strip() in _NOTHING or lines[-1].lstrip().startswith("#")):
        lines.pop()
    return "\n".join(lines).strip()


def _definition(entry_point: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(entry_point)}[ \t]*\(", re.MULTILINE)


def _defines(code: str, entry_point: str) -> bool:
    name = re.escape(entry_point)
    bound = rf"^(?:class[ \t]+{name}\b|{name}[ \t]*(?::[^=\n]*)?=(?!=))"
    return bool(_definition(entry_point).search(code) or re.search(bound, code, re.MULTILINE))


# --- putting a program together ---------------------------------------------------------------------------------------------


def _imports(blocks: list[_Block], code: str) -> str:
    """What blocks import and the code does not; a discarded draft may import what there is not."""
    found = dict.fromkeys(match[0] for block in blocks for match in _IMPORT.finditer(block.code))
    own = {match[0] for match in _IMPORT.finditer(code)}
    return "".join(f"try:\n    {line}\nexcept ImportError:\n    pass\n" for line in found if line not in own)


def _as_body(code: str) -> str:
    """Lines of a function's body, indented as such; models drop the first line's indentation, or everyone's."""
    first, *others = list(io.StringIO(code.lstrip("\n"))) or [""]
    if not first.strip() or first[:1].isspace():
        return code
    written = [line for line in others if line.strip()]
    nested = first.rstrip().endswith(":") and written[:1] != [] and not written[0].startswith("     ")
    if nested or any(not line[:1].isspace() for line in written):
        return "".join(f"    {line}" for line in [first, *others])
    return "".join([f"    {first}", *others])


def _joined(before: str, code: str) -> str:
    """A program and what it needs before it; ``from __future__`` has to stay in front."""
    if not before.strip():
        return code
    whole = before.rstrip() + "\n\n" + code
    futures = [f"{match[0]}\n" for match in _FUTURE.finditer(whole)]
    return "".join(futures) + (_FUTURE.sub("", whole) if futures else whole)

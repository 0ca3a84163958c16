"""Text in lines of a given width, for texts that grow at their end: what is added, or cut off, costs what it changes. Pure: no Textual."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from rich.cells import cell_len

_CHUNK = re.compile(r" +|[^ ]+")


class Wrapped:
    """A text in lines of at most ``width`` columns, broken between words where that can be done.

    The lines, joined, are the text: a line break is the last character of its line, and the spaces at which a line was broken hang
    over its end (at most another ``width`` of them).
    """

    def __init__(self, width: int, text: str = "") -> None:
        self.width = max(1, width)
        self.lines: list[str] = [""]
        self.starts: list[int] = [0]
        """Place in the text of each line's first character."""
        self.append(text)

    def __len__(self) -> int:
        """Characters of the text."""
        return self.starts[-1] + len(self.lines[-1])

    def append(self, text: str) -> int:
        """Adds text at the end; returns the first line that may be another one now."""
        changed = len(self.lines) - 1
        if text:
            start = self.starts.pop()
            for line in wrap(self.lines.pop() + text, self.width):
                self.lines.append(line)
                self.starts.append(start)
                start += len(line)
        return changed

    def cut(self, length: int) -> int:
        """Leaves the first ``length`` characters; returns the first line that may be another one now."""
        last = max(0, bisect_right(self.starts, length) - 1)
        # what is left of the line's first word may fit into the line before
        first = last - 1 if last and not self.lines[last - 1].endswith("\n") else last
        rest = "".join(self.lines[first:last]) + self.lines[last][: length - self.starts[last]]
        del self.lines[first + 1 :], self.starts[first + 1 :]
        self.lines[first] = ""
        return self.append(rest)

    def with_tail(self, tail: str) -> list[str]:
        """The last line as it is with more text behind it, and the lines that follow."""
        return list(wrap(self.lines[-1] + tail, self.width))

    def line_at(self, place: int) -> int:
        """The line with the character at a place of the text."""
        return max(0, bisect_right(self.starts, place) - 1)


def wrap(text: str, width: int) -> Iterator[str]:
    """The lines of a text; after a final line break, an empty one."""
    paragraphs = text.split("\n")
    for place, paragraph in enumerate(paragraphs):
        *lines, last = _broken(paragraph, width)
        yield from lines
        yield last + "\n" if place < len(paragraphs) - 1 else last


def _broken(text: str, width: int) -> Iterator[str]:
    """The lines of a text without line breaks."""
    if len(text) <= width and cell_len(text) <= width:
        yield text
        return
    line, used = "", 0
    for chunk in _CHUNK.findall(text):
        size = cell_len(chunk)
        most = 2 * width if chunk[0] == " " else width
        if used + size > most and line:
            yield line
            line, used = "", 0
        while used + size > most:
            head = _head(chunk, width)
            yield head
            chunk = chunk[len(head) :]
            size = cell_len(chunk)
        line += chunk
        used += size
    yield line


def _head(text: str, width: int) -> str:
    """As much of the beginning as fits, at least one character."""
    if text[:width].isascii():
        return text[:width]
    end = 1
    while end < len(text) and cell_len(text[: end + 1]) <= width:
        end += 1
    return text[:end]

"""Text fit for a screen: no control characters, short enough for its place, and times in words."""

from __future__ import annotations

import time

from rich.cells import cell_len, set_cell_size

from counterpoint.printable import plain


def one_line(text: str) -> str:
    """Text on one line, without control characters."""
    return plain(" ".join(text.split()))


def fitted(text: str, width: int) -> str:
    """Text of exactly so many columns: filled up with spaces, or cut with ``…``."""
    if cell_len(text) <= width:
        return text + " " * (width - cell_len(text))
    return set_cell_size(text, width - 1) + "…" if width > 0 else ""


def shortened(text: str, width: int) -> str:
    """Text of at most so many columns, cut with ``…``."""
    return text if cell_len(text) <= width else fitted(text, width)


def ago(then: float, now: float | None = None) -> str:
    """When something was: ``just now``, ``5 min ago``, ``yesterday 14:03``, ``2026-03-01``."""
    now = time.time() if now is None else now
    seconds = now - then
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    local, today = time.localtime(then), time.localtime(now)
    if local[:3] == today[:3]:
        return time.strftime("today %H:%M", local)
    if time.localtime(then + 86400)[:3] == today[:3]:
        return time.strftime("yesterday %H:%M", local)
    return time.strftime("%Y-%m-%d", local)

"""What models and files say, made fit for a terminal and for a page: it must not move a cursor, recolour a screen, or break HTML."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_NOT_ON_A_TERMINAL = {code: _REPLACEMENT for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"} | {13: None}
_NOT_IN_HTML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def plain(text: str) -> str:
    """Text without control characters but for line breaks and tabs."""
    return text.translate(_NOT_ON_A_TERMINAL)


@cache
def page_template(folder: Path, name: str) -> jinja2.Template:
    """The template of a page, which escapes whatever it is given and leaves out what HTML cannot hold."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_in_html,
    )
    return environment.get_template(name)


def _in_html(value: Any) -> Any:
    return _NOT_IN_HTML.sub(_REPLACEMENT, value) if type(value) is str else value

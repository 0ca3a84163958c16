"""What models and files say, made fit for a terminal, a page and a file: it must not move a cursor, recolour a screen, break HTML,
or be text that no file can hold."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError

if TYPE_CHECKING:
    import jinja2
    from pydantic import BaseModel

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_NOT_ON_A_TERMINAL = {
    code: _REPLACEMENT for code in (*range(32), *range(127, 160), *range(0xD800, 0xE000)) if chr(code) not in "\n\t"
} | {13: None}
_HALF_A_PAIR = re.compile(r"[\ud800-\udfff]")
_NOT_IN_HTML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def plain(text: str) -> str:
    """Text without control characters but for line breaks and tabs, and without halves of surrogate pairs."""
    return text.translate(_NOT_ON_A_TERMINAL)


def whole(data: Any) -> Any:
    """Plain data whose texts are Unicode: halves of surrogate pairs, which JSON can spell and no file can hold, are replaced."""
    if isinstance(data, str):
        return _HALF_A_PAIR.sub(_REPLACEMENT, data)
    if isinstance(data, dict):
        return {whole(key): whole(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [*map(whole, data)] if isinstance(data, list) else (*map(whole, data),)
    return data


def as_json(model: BaseModel) -> str:
    """A model as JSON that a file can hold, without what has its default value."""
    try:
        return model.model_dump_json(exclude_defaults=True)
    except PydanticSerializationError:  # a plugin, or an answer that it quotes, may say anything
        return type(model).model_validate(whole(model.model_dump())).model_dump_json(exclude_defaults=True)


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

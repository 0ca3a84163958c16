"""Where a model comes from, as written in recipes and commands."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from counterpoint.errors import ModelNotFound
from counterpoint.store.catalogue import Catalogue, builtin_catalogue

Scheme = Literal["hf", "path", "pypi", "artifact"]

FORMS: Final = (
    "pypi:NAME or NAME (a catalogue model), hf:ORG/NAME or hf:ORG/NAME@REVISION (safetensors), "
    "path:FOLDER or path:FILE.gguf, artifact:NAME (what a trainer made)"
)

_HF: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
_REVISION: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
_ARTIFACT: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source: ``scheme``, what follows it, and for ``hf`` the revision if one was given.

    ``str(source)`` is its canonical text; parsing that gives an equal source.
    """

    scheme: Scheme
    location: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.scheme}:{self.location}" + (f"@{self.revision}" if self.revision else "")

    @property
    def file(self) -> Path:
        """The folder or file of a ``path`` source, absolute (relative ones start at the working directory)."""
        return Path(self.location).expanduser().absolute()


def parse_source(text: str, *, catalogue: Catalogue | None = None) -> Source:
    """Read a source: one of the four forms, or the bare name of a catalogue model.

    Raises:
        ModelNotFound: the text is none of these; the message lists the valid forms and the nearest catalogue names.
    """
    names = (catalogue or builtin_catalogue()).models
    text = text.strip()
    if text in names:
        return Source("pypi", text)
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in get_args(Scheme):
        raise _unknown(f"no model called {text!r}", text.rpartition(":")[2], list(names))
    if scheme == "pypi":
        if rest not in names:
            raise _unknown(f"no model called {rest!r} in the catalogue", rest, list(names))
        return Source("pypi", rest)
    if scheme == "path":
        if not rest:
            raise _unknown("'path:' names no folder or file", "", [])
        return Source("path", rest)
    if scheme == "artifact":
        if not _ARTIFACT.match(rest):
            raise _unknown(f"{rest!r} cannot be an artifact's name (letters, digits, '.', '_', '-')", "", [])
        return Source("artifact", rest)
    name, at, revision = rest.partition("@")
    if not _HF.match(name) or (at and (not _REVISION.match(revision) or ".." in revision)):
        message = f"{text!r} is not of the form hf:ORG/NAME or hf:ORG/NAME@REVISION"
        raise _unknown(message, name.rpartition("/")[2], list(names))
    return Source("hf", name, revision or None)


def same_source(one: str | None, other: str | None) -> bool:
    """Whether two texts, or none, name the same model."""
    try:
        found = [parse_source(text) if text is not None else None for text in (one, other)]
    except ModelNotFound:
        return one == other
    return len({source.file if source is not None and source.scheme == "path" else source for source in found}) == 1


def _unknown(message: str, name: str, names: list[str]) -> ModelNotFound:
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return ModelNotFound(message, hint=f"{guess}valid forms: {FORMS}; `counterpoint models list` shows the catalogue")

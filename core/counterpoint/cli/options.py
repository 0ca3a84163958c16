"""Reads what the options of several commands say: settings, prompts, sampling."""

from __future__ import annotations

import json
import select
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import ValidationError

from counterpoint.prompt import Prompt
from counterpoint.registry import describe_validation
from counterpoint.settings import Sampling

_PATIENCE = 1.0  # seconds without input on a pipe before saying what is being waited for


def settings(given: Sequence[str]) -> list[tuple[str, Any]]:
    """``node.field=value`` settings; values are YAML (``3``, ``true``, ``[a, b]``)."""
    found = []
    for item in given:
        key, value = _pair(item, "--set", "NODE.FIELD=VALUE")
        try:
            found.append((key, yaml.safe_load(value)))
        except yaml.YAMLError:
            raise typer.BadParameter(f"--set {item}: the value is not YAML; quote it: '{key}=\"…\"'") from None
    return found


def fields(given: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` or ``NAME=@FILE`` fields of a prompt."""
    found = {}
    for item in given:
        name, value = _pair(item, "--field", "NAME=VALUE or NAME=@FILE")
        found[name] = read(Path(value[1:]), f"--field {name}") if value.startswith("@") else value
    return found


def prompt(
    positional: str | None,
    text: str | None,
    file: Path | None,
    messages: Path | None,
    *,
    prefix: str = "",
    extra: dict[str, str] | None = None,
    own: Prompt | None = None,
    say: Callable[[str], None] = lambda _: None,
    stdin: bool = True,
) -> Prompt | None:
    """The prompt that the options give: one of an argument, ``--prompt``, a file, messages, or standard input.

    Args:
        positional: the argument; ``-`` is standard input.
        text: ``--prompt``.
        file: ``--prompt-file``.
        messages: ``--messages``.
        prefix: ``--prefix``, over the prompt's own.
        extra: ``--field``, over the prompt's own.
        own: the recipe's prompt, when nothing gives one.
        say: tells a person at the terminal what is being waited for.
        stdin: whether what is piped in is a prompt.
    """
    given = {"PROMPT": positional, "--prompt": text, "--prompt-file": file, "--messages": messages}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise typer.BadParameter(f"{' and '.join(named)} both give a prompt: use one of them")
    data: dict[str, Any] | None = None
    try:
        if positional == "-" or text == "-" or (file is not None and str(file) == "-"):
            data = {"text": _stdin(say)}
        elif positional is not None or text is not None:
            data = {"text": positional if positional is not None else text}
        elif file is not None:
            data = {"text": read(file, "--prompt-file")}
        elif messages is not None:
            data = _messages(messages)
        elif stdin and _piped() and (piped := _stdin(say)).strip():
            data = {"text": piped}
        elif own is not None:
            data = own.model_dump()
        if data is None:
            return None
        if prefix:
            data["prefix"] = prefix
        if extra:
            data["fields"] = {**data.get("fields", {}), **extra}
        return Prompt.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, path)) or 'prompt'}: {message}" for path, message in describe_validation(error)
        )
        raise typer.BadParameter(problems) from None


def sampling(**given: Any) -> Sampling | None:
    """Sampling settings from options; None when none is given."""
    chosen = {name: value for name, value in given.items() if value is not None}
    if not chosen:
        return None
    try:
        return Sampling.model_validate(chosen)
    except ValidationError as error:
        problems = "; ".join(
            f"{'--' + '.'.join(map(str, path)).replace('_', '-') + ': ' if path else ''}{message}"
            for path, message in describe_validation(error)
        )
        raise typer.BadParameter(problems) from None


def _pair(item: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals or not name.strip():
        raise typer.BadParameter(f"{option} {item}: it has the form {form}")
    return name.strip(), value


def read(path: Path, option: str) -> str:
    """The text of a file that an option names."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise typer.BadParameter(f"{option}: cannot read {path}: {reason}") from None


def _messages(path: Path) -> dict[str, Any]:
    text = read(path, "--messages")
    try:
        data = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--messages: {path} is not JSON: {error}") from None
    if isinstance(data, list):
        return {"messages": data}
    if isinstance(data, dict) and "messages" in data:
        return data
    raise typer.BadParameter(f'--messages: {path} is no list of {{"role": …, "content": …}}')


def _piped() -> bool:
    """Whether standard input is a pipe or a file that something may come from (a terminal or /dev/null is not)."""
    try:
        mode = stat.S_IFMT(_stdin_mode())
    except (OSError, ValueError, AttributeError):
        return False
    return mode in (stat.S_IFIFO, stat.S_IFREG)


def _stdin_mode() -> int:
    import os

    return os.fstat(sys.stdin.fileno()).st_mode


def _stdin(say: Callable[[str], None]) -> str:
    try:
        if not sys.stdin.isatty() and not select.select([sys.stdin], [], [], _PATIENCE)[0]:
            say("waiting for a prompt on standard input (redirect it from /dev/null to use the recipe's own)")
        elif sys.stdin.isatty():
            say("type the prompt, then Ctrl-D")
    except (OSError, ValueError):  # no real file, or a system that cannot tell
        pass
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise typer.BadParameter("standard input is not UTF-8 text") from None

"""The command line in this process, with fake models, and terminals that are not there."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from counterpoint.cli import main
from counterpoint.cli.console import Cli
from counterpoint.registry import Registry, load_plugins

RECIPE = """\
description: A fake pair.
nodes:
  large: {kind: fake, seed: 1, cost: 10, end_bias: -50}
  small: {kind: fake, seed: 1, blur: 2}
  spec: {kind: speculative, target: large, draft: [small], adaptive: false, max_draft: 3}
output: spec
sampling: {max_tokens: 24}
prompt: hello there
"""


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


Invoke = Callable[..., Outcome]


@pytest.fixture(scope="session")
def registry() -> Registry:
    from counterpoint.testing import fake

    return load_plugins([fake])


@pytest.fixture
def invoke(registry: Registry, capsys: pytest.CaptureFixture[str]) -> Invoke:
    def call(*arguments: object, plugins: Registry | None = None) -> Outcome:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments], registry=plugins or registry)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "pair.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Gives standard input, as a pipe that ends."""
    opened = []

    def give(content: bytes) -> None:
        reader, writer = os.pipe()
        os.write(writer, content)
        os.close(writer)
        opened.append(os.fdopen(reader, encoding="utf-8"))
        monkeypatch.setattr("sys.stdin", opened[-1])

    yield give
    for file in opened:
        file.close()


class Screen(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def _console(terminal: bool) -> Console:
    file = Screen() if terminal else io.StringIO()
    return Console(file=file, highlight=False, force_terminal=terminal, color_system="256" if terminal else None, width=120)


@pytest.fixture
def paper(registry: Registry) -> Cli:
    """A command line whose output is piped."""
    return Cli(registry, out=_console(False), err=_console(False))


@pytest.fixture
def screen(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A command line on a terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Cli(registry, out=_console(True), err=_console(True))


@pytest.fixture
def written() -> Callable[[Console], str]:
    """What has been written to a console."""

    def read(console: Console) -> str:
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    return read

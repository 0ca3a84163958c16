"""The documentation is true: its code runs, its recipes resolve, its commands exist, its links lead somewhere.

Python blocks of a page share one module, and its functions called `test_…` are called. Quick tests run them on fakes that have
the names of the shipped recipes. A block marked `python slow` needs real models: slow tests run its page whole, on them. They
run the page on the Python API, too.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import counterpoint as cp
import counterpoint.plugin
from counterpoint.graph import build_graph
from counterpoint.testing import fake

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^( *)```([^\n`]*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        language, *marks = match[2].split() or [""]
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(page, line, language, tuple(marks), textwrap.dedent(match[3])))
    return found


def name(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
WITH_CODE = sorted({block.page for block in BLOCKS if block.language == "python"})
SLOW = sorted({block.page for block in BLOCKS if "slow" in block.marks} | {ROOT / "docs" / "python-api.md"})
RECIPES = [
    block
    for block in BLOCKS
    if block.language == "yaml" and re.search(r"^nodes:.*^output:", block.text, re.DOTALL | re.MULTILINE)
]


# --- code -----------------------------------------------------------------------------------------------------------------


def execute(page: Path, *, slow: bool) -> types.ModuleType:
    """Runs a page's blocks in one module, with the page's own line numbers in tracebacks."""
    module = types.ModuleType(f"docs_{page.stem.replace('-', '_')}")
    sys.modules[module.__name__] = module
    try:
        for block in blocks_of(page):
            if block.language != "python" or ("slow" in block.marks and not slow):
                continue
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)
            exec(code, module.__dict__)
        for key, value in list(vars(module).items()):
            if key.startswith("test_") and callable(value):
                value()
    finally:
        del sys.modules[module.__name__]
    return module


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
@pytest.mark.usefixtures("fakes")
def test_the_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    execute(page, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=name)
def test_the_code_runs_on_real_models(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    execute(page, slow=True)


def test_json_is_json() -> None:
    for block in BLOCKS:
        if block.language == "json":
            json.loads(block.text)


# --- recipes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", RECIPES, ids=name)
def test_a_recipe_resolves(block: Block) -> None:
    registry = cp.load_plugins([fake])
    recipe = cp.load_recipe(yaml.safe_load(block.text), registry=registry)
    assert not build_graph(recipe, registry).unused


# --- commands -------------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, str]]:
    """Where a command line of Counterpoint is shown, and the line."""
    for block in BLOCKS:
        if block.language in {"sh", "bash", "shell", "console"}:
            for line in block.text.replace("\\\n", " ").splitlines():
                for part in re.split(r"\s(?:\||&&|>|2>|;)\s", line.removeprefix("$ ")):
                    if part.startswith("counterpoint"):
                        yield str(block), part
    for page in PAGES:
        for match in re.finditer(r"`(counterpoint [a-z][^`\n]*)`", page.read_text(encoding="utf-8")):
            yield name(page), match[1]


@cache
def command_line() -> Any:
    from typer.main import get_command

    from counterpoint.cli.app import build_app

    return get_command(build_app(cp.load_plugins([fake])))


@pytest.mark.parametrize(("place", "line"), sorted(set(commands())))
def test_a_command_exists_and_takes_these_arguments(place: str, line: str) -> None:
    command, context, arguments = command_line(), None, shlex.split(line, comments=True)[1:]
    try:
        while True:
            context = command.make_context(command.name, list(arguments), parent=context)
            if not hasattr(command, "resolve_command"):
                return
            _, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
    except Exception as error:  # noqa: BLE001 - typer may bring a click of its own, whose classes these are
        if type(error).__name__ == "Exit":
            return  # --help and --version
        problem = error.format_message() if hasattr(error, "format_message") else repr(error)
        pytest.fail(f"{place}: `{line}`: {problem}")


# --- tables of fields -----------------------------------------------------------------------------------------------------

TABLES = [
    (page, match[1], match[2])
    for page in PAGES
    for match in re.finditer(r"^<!-- fields: (\S+) -->\n+((?:\|.*\n)+)", page.read_text(encoding="utf-8"), re.MULTILINE)
]


def model_of(reference: str) -> type[BaseModel]:
    """A node kind's class, or that of ``module:Class``."""
    if ":" not in reference:
        return cp.load_plugins([fake]).kind(reference).node
    module, _, attribute = reference.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert issubclass(found, BaseModel)
    return found


def expected_rows(model: type[BaseModel]) -> dict[str, str]:
    rows = {}
    for key, field in model.model_fields.items():
        if key == "kind":
            continue
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            shown = "required"
        elif default is None:
            shown = "—"
        elif isinstance(default, BaseModel):
            shown = "`{}`"
        elif isinstance(default, str):
            shown = f"`{default}`" if default and default.isprintable() else f"`{json.dumps(default)}`"
        else:
            shown = f"`{json.dumps(default)}`"
        rows[key] = shown
    return rows


@pytest.mark.parametrize(("page", "reference", "table"), TABLES, ids=[f"{name(page)}:{what}" for page, what, _ in TABLES])
def test_a_table_of_fields_is_complete(page: Path, reference: str, table: str) -> None:
    lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
    shown = {cells[0].strip("`"): cells[1] for cells in lines[2:]}
    expected = expected_rows(model_of(reference))
    written = "\n".join(f"| `{key}` | {value} | … |" for key, value in expected.items())
    assert shown == expected, f"{name(page)}: the table of {reference} should have these rows:\n{written}"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/nodes/*.md")), ids=name)
def test_a_page_of_a_node_lists_its_fields(page: Path) -> None:
    assert (page, page.stem) in [(where, reference) for where, reference, _ in TABLES]


@pytest.mark.parametrize(
    "kind", [entry.kind for entry in cp.load_plugins().kinds() if entry.plugin.startswith("counterpoint:")]
)
def test_a_built_in_node_has_a_page(kind: str) -> None:
    page = ROOT / "docs" / "nodes" / f"{kind}.md"
    assert page.is_file(), f"write {name(page)}; its table of fields follows a line `<!-- fields: {kind} -->`"


# --- names and links ------------------------------------------------------------------------------------------------------


def test_every_name_of_the_door_for_applications_is_explained() -> None:
    text = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    missing = [item for item in cp.__all__ if not re.search(rf"`(cp\.)?{item}\b", text)]
    assert not missing


def test_every_name_of_the_door_for_plugins_is_listed() -> None:
    text = (ROOT / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(\w+)`", text.split("## Everything in")[1]))
    assert set(counterpoint.plugin.__all__) <= listed


def test_the_door_for_applications_is_never_shut() -> None:
    """No submodule's name takes the place of a function."""
    for module in ("api", "engine", "running", "streaming"):
        importlib.import_module(f"counterpoint.{module}")
    assert not [item for item in cp.__all__ if isinstance(getattr(cp, item), types.ModuleType)]


def test_the_modules_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+\.py)`", text))
    assert named
    assert not [module for module in named if not (ROOT / "core" / "counterpoint" / module).is_file()]


def slug(heading: str) -> str:
    """The anchor of a heading, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {slug(match[1]) for match in re.finditer(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_every_page_can_be_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {((ROOT / "docs") / target.split("#")[0]).resolve() for target in re.findall(r"\]\(([^)\s]+)\)", index)}
    lost = [page for page in ROOT.glob("docs/**/*.md") if page.resolve() not in linked and page.name != "README.md"]
    assert not lost

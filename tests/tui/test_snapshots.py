"""Every screen as a picture, from recorded runs: compared with those in `snapshots`, which a person has looked at.

pytest tests/tui/test_snapshots.py                     # a screen that looks otherwise fails; the new picture lies beside the old one
pytest tests/tui/test_snapshots.py --update-snapshots  # the new ones are right
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import re
import sys
from collections.abc import Iterator
from html import unescape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from counterpoint.registry import Registry, load_plugins

HERE = Path(__file__).parent
SNAPSHOTS = HERE / "snapshots"
PINNED = re.search(r"(?m)^textual==(.+)$", (HERE.parents[1] / "constraints.txt").read_text(encoding="utf-8"))


def _scenes() -> Any:
    """The scenes, which a script of the documentation has as well."""
    spec = importlib.util.spec_from_file_location("recorded_scenes", HERE / "recorded" / "scenes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclasses
    spec.loader.exec_module(module)
    return module


scenes = _scenes()
assert PINNED is not None, "constraints.txt says with which Textual the pictures were drawn"
pytestmark = pytest.mark.skipif(
    version("textual") != PINNED.group(1), reason="drawn with another version of Textual than the pictures"
)


@pytest.fixture(scope="module")
def installed() -> Registry:
    return load_plugins()


@pytest.fixture(autouse=True)
def _set(tmp_path: Path) -> Iterator[None]:
    with scenes.setting(tmp_path):
        yield


@pytest.mark.parametrize("name", scenes.SCENES)
async def test_screens_look_as_they_did(name: str, installed: Registry, request: pytest.FixtureRequest) -> None:
    update = request.config.getoption("--update-snapshots")
    variants = scenes.SCENES[name].variants
    size, theme = variants[0]
    differ = []
    async with scenes.playing(name, installed, scenes.SIZES[size], theme) as pilot:
        for size, theme in variants:
            await pilot.resize_terminal(*scenes.SIZES[size])
            pilot.app.theme = scenes.THEMES[theme]
            differ += await compared(pilot, SNAPSHOTS / f"{name}-{size}-{theme}.svg", update)
    assert not differ, "\n".join(["look at the new pictures; `--update-snapshots` if they are right", *differ])


async def compared(pilot: Any, file: Path, update: bool) -> list[str]:
    """What is other than in the picture in a file; empty when nothing is."""
    known = _read(file)
    new = file.with_suffix(".new.svg")
    drawn = await scenes.picture(pilot)
    if drawn != known and not update:  # a slow machine may not have come to the end of it
        with contextlib.suppress(TimeoutError):
            await scenes.until(lambda: scenes.normal(pilot.app.export_screenshot(simplify=True)) == known, 3)
        drawn = await scenes.picture(pilot)
    if drawn == known or update:
        _write(new, None)
        _write(file, drawn)
        return []
    _write(new, drawn)
    return [f"{file.name}: see {new}", *_differences(known, drawn)]


def _differences(known: str, drawn: str) -> list[str]:
    """The first lines of text that differ; none where only colours do."""
    before, now = ([unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)] for svg in (known, drawn))
    lines = [line for line in difflib.unified_diff(before, now, lineterm="", n=0) if not line.startswith(("---", "+++", "@@"))]
    return lines[:20] or ["(the texts are the same: colours or styles differ)"]


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _write(file: Path, text: str | None) -> None:
    if text is None:
        file.unlink(missing_ok=True)
    elif text != _read(file):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")


def test_there_is_no_picture_of_nothing() -> None:
    expected = {f"{name}-{size}-{theme}.svg" for name, one in scenes.SCENES.items() for size, theme in one.variants}
    assert {file.name for file in SNAPSHOTS.glob("*.svg") if not file.name.endswith(".new.svg")} == expected

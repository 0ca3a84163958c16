"""Makes the pictures of the terminal application in `docs/images/tui`, from the recorded runs; no model is loaded.

python docs/screenshots.py [NAME …]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from counterpoint.registry import Registry, load_plugins

ROOT = Path(__file__).parents[1]
PICTURES = Path(__file__).parent / "images" / "tui"
SIZE, TALL = (158, 36), (158, 50)
WANTED = {
    "home": "home",
    "recipe": "recipe",
    "run": "run-drafting",
    "hand-over": "run-handover",
    "candidates": "run-candidates",
    "inspect": "stored-rejection",
    "timeline": "stored-timeline",
    "compare": "compare-evaluations",
}
"""Scenes of `tests/tui/recorded/scenes.py` by the name of the picture."""


def scenes() -> Any:
    """The module of the scenes, which the snapshot tests have as well."""
    spec = importlib.util.spec_from_file_location("recorded_scenes", ROOT / "tests" / "tui" / "recorded" / "scenes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def drawn(played: Any, scene: str, registry: Registry, size: tuple[int, int]) -> str:
    """A scene as SVG."""
    async with played.playing(scene, registry, size) as pilot:
        return str(await played.picture(pilot))


def main() -> None:
    """Makes those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"By default all: {', '.join(WANTED)}.")
    names = parser.parse_args().names or list(WANTED)
    if unknown := set(names) - set(WANTED):
        parser.error(f"no such picture: {', '.join(sorted(unknown))}")
    played, registry = scenes(), load_plugins()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, played.setting(Path(folder)):
        for name in names:
            size = TALL if name == "recipe" else SIZE  # it has most on it
            (PICTURES / f"{name}.svg").write_text(asyncio.run(drawn(played, WANTED[name], registry, size)), encoding="utf-8")


if __name__ == "__main__":
    main()

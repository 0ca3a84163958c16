"""Real runs of the shipped recipes, recorded (see recorded/README.md), shown with no model loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from counterpoint.events import dump_event
from counterpoint.recipe import load_recipe
from counterpoint.registry import Registry, load_plugins
from counterpoint.runstore import RunStore
from counterpoint.trace import summarize
from counterpoint_tui.library import does, recipes
from counterpoint_tui.state import (
    RunState,
    TraceView,
    answer_stretches,
    answer_text,
    fold,
    graph_view,
    node_rows,
    summary,
    timeline,
)

RECORDED = Path(__file__).parent / "recorded" / "runs"
NAMES = sorted(folder.parent.name for folder in RECORDED.glob("*/events.jsonl"))


@pytest.fixture(scope="session")
def installed() -> Registry:
    return load_plugins()


def test_every_shipped_recipe_that_answers_is_recorded(installed: Registry) -> None:
    shipped = [entry.name for entry in recipes(installed) if entry.origin == "shipped" and entry.does == "answers"]
    missing = sorted(set(shipped) - set(NAMES))
    assert not missing, f"record them: .venv/bin/python tests/tui/recorded/make.py {' '.join(missing)}"
    assert not set(NAMES) - set(shipped), "these are recorded, and there is no such recipe any more"


@pytest.mark.parametrize("name", NAMES)
def test_recorded_settings_are_still_valid_ones(name: str, installed: Registry) -> None:
    recipe = load_recipe(str(RECORDED / name / "recipe.yaml"), registry=installed)
    assert does(recipe) == "answers"
    assert set(load_recipe(name, registry=installed).nodes) == set(recipe.nodes), "record it anew"


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_small_and_tells_nothing_of_the_machine(name: str) -> None:
    files = list((RECORDED / name).iterdir())
    assert {file.name for file in files} == {"recipe.yaml", "events.jsonl", "result.json"}
    assert sum(file.stat().st_size for file in files) <= 100_000
    for file in files:
        assert not re.search(r"/(?:home|root|tmp|work|Users|mnt|usr|var)/", file.read_text(encoding="utf-8"))


def shown(state: RunState) -> tuple[object, ...]:
    """What a screen shows of a state (a verifier that abstains scores NaN, so that states themselves are not equal)."""
    return summary(state), timeline(state), answer_stretches(state), node_rows(state), state.status


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_opens_and_folds(name: str, installed: Registry) -> None:
    store = RunStore(RECORDED)
    events = list(store.replay(name))
    trace = TraceView.open(RECORDED / name)
    assert (trace.status, trace.problems) == ("finished", ())
    state = trace.last
    assert state.run_id == name
    assert state.completion is not None
    assert answer_text(state) == state.completion.text == "".join(e.text for e in events if e.type == "emitted" and e.span == 1)
    assert summary(state) == summarize(events)
    for place in (len(trace) // 2, len(trace)):  # on the way as at the end
        assert shown(trace.at(place)) == shown(fold(events[:place]))
    assert [dump_event(trace.event(index)) for index in range(len(trace))] == [dump_event(event) for event in events]
    # what every screen asks for
    spoken = {node.path for node in graph_view(state.recipe, installed).nodes}
    assert {piece.proposer for piece in state.spans[1].pieces} - {""} <= spoken
    assert {row.span for row in timeline(state)} == set(range(1, len(state.spans)))


OPEN_ALL = """
import asyncio, sys
from pathlib import Path
from textual.screen import Screen
from counterpoint.registry import load_plugins
from counterpoint_tui.app import CounterpointApp
from counterpoint_tui.screens.stored import StoredScreen
from counterpoint_tui.state import answer_text
from counterpoint_tui.widgets.answer import AnswerView

def shown(app):
    screen = app.screen
    if not isinstance(screen, StoredScreen) or screen.position is None or screen._drawing:
        return None
    return screen.position.trace.last.run_id, "".join(screen.query_one(AnswerView)._text.lines), answer_text(screen.position.state)

async def main(folder, names):
    app = CounterpointApp(load_plugins())
    app.get_default_screen = Screen
    async with app.run_test() as pilot:
        for name in names:
            app.open_stored(str(folder / name))
            while (found := shown(app)) is None or found[0] != name or found[1] != found[2]:
                await pilot.pause()
            assert found[1]
            app.pop_screen()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def test_the_inspect_screen_opens_all_of_them_with_no_model_loaded() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, str(RECORDED), *NAMES],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert (ran.returncode, ran.stderr) == (0, "")

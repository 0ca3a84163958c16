"""Downloads, by a real worker; what is here is there at once, what cannot be had says why."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from textual.widgets import ProgressBar, Static

from counterpoint_tui.screens.dialogs import ErrorDialog, Question
from counterpoint_tui.screens.pulling import PullDialog
from counterpoint_tui.worker.client import WorkerClient
from counterpoint_tui.worker.protocol import PullProgress


async def test_models_are_pulled_one_after_the_other(make_app: Any, until: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    (model / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    app = make_app()
    async with app.run_test() as pilot:
        got = app.run_worker(app.pull([f"path:{model}", f"path:{model}"]))
        await until(lambda: got.is_finished)
        assert got.result is True
        got = app.run_worker(app.pull([f"path:{model}", "no-such-model"], size=3_000_000))
        await until(lambda: isinstance(app.screen, Question) and app.screen.query("Button:focus"))
        assert "3 MB have to be downloaded" in "".join(str(one.render()) for one in app.screen.query(Static))
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, ErrorDialog) and app.screen.query("Button:focus"))
        await pilot.press("escape")
        await until(lambda: got.is_finished)
        assert got.result is False
        assert not app.client.busy


class Endless(WorkerClient):
    """A worker whose downloads come to no end."""

    stopped = False

    async def pull(self, source: str, report: Any = None) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise


async def test_progress_is_shown_and_can_be_stopped(make_app: Any, until: Any) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        client = Endless()
        dialog = PullDialog(client, ["some-model"])
        closed: list[object] = []
        app.push_screen(dialog, closed.append)
        await until(lambda: dialog.query(ProgressBar))
        dialog._report(PullProgress(phase="download", item="model.gguf", done=400_000_000, total=1_100_000_000, unit="bytes"))
        assert dialog.query_one(ProgressBar).percentage == 400 / 1100
        assert str(dialog.query_one("#how-far", Static).render()) == "downloading model.gguf  400 MB of 1.1 GB"
        dialog._report(PullProgress(phase="waiting", item="model.gguf", done=0, total=None, unit="seconds"))
        assert str(dialog.query_one("#how-far", Static).render()) == "waiting for model.gguf"
        await pilot.press("escape")
        await until(lambda: closed)
        assert closed == [None]
        assert client.stopped

"""The box that shows how far a download is."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, ProgressBar, Static

from counterpoint.cli.console import bytes_text
from counterpoint.cli.driving import licence_notice
from counterpoint.cli.progress import describe
from counterpoint.errors import CounterpointError
from counterpoint_tui.screens.base import Dialog
from counterpoint_tui.worker.client import WorkerClient
from counterpoint_tui.worker.protocol import PullProgress


class PullDialog(Dialog[CounterpointError | bool]):
    """Downloads models one after the other; the result is True, an error, or None when it was stopped."""

    TITLE = "Downloading"
    HELP_TEXT = (
        "Models come from the package registry or a hub, and are checked. What has come stays when a download is stopped."
    )

    def __init__(self, client: WorkerClient, sources: Sequence[str]) -> None:
        super().__init__()
        self._client, self._sources = client, sources
        self._ended = False

    def parts(self) -> ComposeResult:
        yield Static(id="what")
        yield ProgressBar(id="bar", show_eta=False)
        yield Static(id="how-far")
        yield Static(id="licence")
        with Horizontal(classes="buttons"):
            yield Button("Stop", id="stop")

    def on_mount(self) -> None:
        """Begins."""
        self._pull()

    @work
    async def _pull(self) -> None:
        try:
            for number, source in enumerate(self._sources, 1):
                count = f" ({number} of {len(self._sources)})" if len(self._sources) > 1 else ""
                self.query_one("#what", Static).update(f"{source}{count}")
                self.query_one("#licence", Static).update(licence_notice({"source": source}))
                await self._client.pull(source, self._report)
        except CounterpointError as error:
            self._end(error)
        else:
            self._end(True)

    def _end(self, result: CounterpointError | bool | None) -> None:
        """Closes it, once: what is stopped may come to its end in the same moment."""
        if not self._ended:
            self._ended = True
            self.dismiss(result)

    def _report(self, progress: PullProgress) -> None:
        total = progress.total
        self.query_one(ProgressBar).update(total=total or None, progress=progress.done)
        amounts = ""
        if progress.unit == "bytes":
            amounts = f"  {bytes_text(progress.done)}" + (f" of {bytes_text(total)}" if total else "")
        self.query_one("#how-far", Static).update(f"{describe(progress)}{amounts}")

    @on(Button.Pressed, "#stop")
    def action_close(self) -> None:
        """Stops; what has come stays."""
        self._end(None)  # which ends what this screen has begun

"""How a run gets to disk: the files of a stored run, written while it happens."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import yaml

from counterpoint.events import Emitted, Event, Failed, Forward, NodeFinished, RunFinished, RunStarted, dump_event
from counterpoint.printable import whole
from counterpoint.prompt import Prompt
from counterpoint.trace import Tally, summarize

EVENTS: Final = "events.jsonl"
RESULT: Final = "result.json"
RECIPE: Final = "recipe.yaml"
_HEAD: Final = 80


class Recorder:
    """Writes one run; a disk that fails ends the recording, not the run.

    Args:
        root: the folder of all runs.
        problems: where to say why the recording ended early.
        first: the run's first event; it is written with :meth:`write` like the others.
    """

    def __init__(self, root: Path, problems: list[str], first: Event) -> None:
        self._root = root
        self._problems = problems
        self._tally = Tally()
        self._file: TextIO | None = None
        self._merged: dict[tuple[str, bool], Forward] | None = None
        self._landmarks: list[Event] = []
        self._lines = 0
        self._started = time.time()
        try:
            self._open(first)
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def _open(self, first: Event) -> None:
        if not isinstance(first, RunStarted):
            return self._give_up(f"its first event is {first.type}, not run_started")
        folder = self._folder = self._root / first.run_id
        if folder.parent != self._root or folder.exists():
            return self._give_up(f"run {first.run_id} is stored already")
        if first.recipe.get("record") == "summary":
            self._merged = {}
        # Made under another name, so that a run is there with its recipe or not at all.
        partial = folder.with_name(f".{first.run_id}.{os.getpid()}")
        partial.mkdir(parents=True)
        recipe = yaml.safe_dump(first.recipe, sort_keys=False, allow_unicode=True, width=120)
        (partial / RECIPE).write_text(recipe, encoding="utf-8")
        (partial / EVENTS).touch()
        partial.rename(folder)
        self._file = (folder / EVENTS).open("a", encoding="utf-8")
        return None

    def write(self, event: Event) -> None:
        if self._file is None:
            return
        self._tally.add(event)
        if isinstance(event, (RunStarted, RunFinished, Failed)):
            self._landmarks.append(event)
        try:
            for line in [event] if self._merged is None else self._summarized(event, self._merged):
                self._put(line)
            self._file.flush()
            if isinstance(event, RunFinished):
                self._finish()
        except OSError as error:
            self._give_up(error.strerror or str(error))
        except ValueError as error:  # text that is not Unicode
            self._give_up(str(error))

    def _put(self, event: Event) -> None:
        assert self._file is not None
        line = dump_event(event if self._merged is None else event.model_copy(update={"seq": self._lines}))
        if isinstance(event, RunStarted):  # said even where it is the default, which is another one in later versions
            line = json.dumps({**json.loads(line), "schema_version": event.schema_version}, ensure_ascii=False)
        self._file.write(line + "\n")
        self._lines += 1

    def _summarized(self, event: Event, merged: dict[tuple[str, bool], Forward]) -> list[Event]:
        """What is stored of an event when a summary is enough."""
        if isinstance(event, Forward):
            key = (event.node, event.prefill)
            merged[key] = merge_passes(merged[key], event) if key in merged else event
            return []
        if isinstance(event, Emitted):
            return [event.model_copy(update={"logprobs": {}, "alternatives": ()})]
        if isinstance(event, (NodeFinished, RunFinished)):
            passes = [merged_pass.model_copy(update={"t": event.t}) for merged_pass in merged.values()]
            found: list[Event] = [*passes, event]
            merged.clear()
            return found
        return [event]

    def _finish(self) -> None:
        data = result_of(self._folder.name, self._landmarks, started=self._started, tally=self._tally)
        partial = self._folder / f".{RESULT}.{os.getpid()}"
        partial.write_text(json.dumps(whole(data), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        partial.replace(self._folder / RESULT)

    def _give_up(self, reason: str) -> None:
        self._problems.append(f"the run is not recorded any further: {reason} ({self._root})")
        self.close()

    def close(self) -> None:
        if (file := self._file) is None:
            return
        with contextlib.suppress(OSError, ValueError):  # what a full disk did not take at the last flush
            for event in (self._merged or {}).values():
                self._put(event)
        self._file = None
        with contextlib.suppress(OSError):
            file.close()


def merge_passes(left: Forward, right: Forward) -> Forward:
    """Two passes of a node as one event (a pass of several rows has one wall time)."""
    same = left.pass_id == right.pass_id
    return right.model_copy(
        update={
            "passes": left.passes + (0 if same else right.passes),
            "pass_rows": max(left.pass_rows, right.pass_rows),
            "tokens": left.tokens + right.tokens,
            "context": left.context + right.context,
            "logits_rows": left.logits_rows + right.logits_rows,
            "flops": left.flops + right.flops,
            "seconds": left.seconds + (0.0 if same else right.seconds),
            "share": left.share + right.share,
        }
    )


def result_of(run: str, events: Sequence[Event], *, started: float, tally: Tally | None = None) -> dict[str, Any]:
    """The content of ``result.json``; with a tally, the first and the last events are enough."""
    start = next((event for event in events if isinstance(event, RunStarted)), None)
    end = next((event for event in events if isinstance(event, RunFinished)), None)
    failed = next((event for event in events if isinstance(event, Failed)), None)
    summary = tally.summary() if tally else summarize(events)
    reason = end.completion.finish_reason if end else "interrupted"
    return {
        "run_id": run,
        "recipe": str(start.recipe.get("name", "")) if start else "",
        "prompt": _head(start.prompt) if start else "",
        "started": started,
        "status": reason if reason in ("failed", "cancelled", "interrupted") else "finished",
        "tokens": summary.answer_tokens,
        "seconds": round(summary.seconds, 6),
        "error": {"error": failed.error, "message": failed.message, "hint": failed.hint} if failed else None,
        "completion": end.completion.model_dump(mode="json") if end else None,
        "summary": summary.as_dict(),
    }


def _head(prompt: Prompt) -> str:
    text = prompt.text if prompt.text is not None else prompt.messages[-1].content
    line = " ".join(text.split())
    return line if len(line) <= _HEAD else line[: _HEAD - 1] + "…"

"""A trace of 100,000 events, looked around in: opening it, the state at any place, search, lists, and what it takes of memory.

    python benchmarks/traces.py [--events 100000]      # half a minute

A cascade over best-of-n over speculative decoding really runs on the fake model, some thousands of events; its events are then
repeated, with calls, passes, candidates and times numbered on, until there are enough. Every figure is of a process of its own that has
imported what it needs: seconds to open (read, fold, checkpoints), milliseconds of ``at(k)`` at random places, of the places beside one,
of what a screen asks for at every step, and the process's memory before and after.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SEED = 7
OPENINGS, PLACES = 5, 500


def recipe() -> dict[str, Any]:
    """Drafts, candidates, verdicts, relayed text and nested calls: a bit of all that a trace may hold."""
    nodes = {
        "large": {"kind": "fake", "context": 100_000},
        "small": {"kind": "fake", "blur": 0.7, "context": 100_000},
        "fast": {"kind": "speculative", "target": "large", "draft": "small", "adaptive": False, "max_draft": 4},
        "best": {
            "kind": "best_of_n",
            "generators": ["fast", "small"],
            "n": 2,
            "select": "vote",
            "sampling": {"max_tokens": 200},
        },
        "answer": {"kind": "cascade", "stages": ["best", "fast"], "thresholds": 1.0},
    }
    sampling = {"temperature": 0.8, "max_tokens": 800, "ignore_stop": True}
    return {"name": "long", "nodes": nodes, "output": "answer", "sampling": sampling}


def real() -> list[Any]:
    """The events of one run."""
    from counterpoint.testing import make_engine

    with make_engine() as engine:
        return list(engine.run(recipe(), "hello there").trace)


def repeated(events: Sequence[Any], wanted: int) -> list[Any]:
    """The events of a run that does the same again and again, in the same call of the output node: ``wanted`` at the least."""
    head, body, tail = events[:2], events[2:-2], events[-2:]
    spans = max(event.span for event in body)
    passes = max(event.pass_id for event in body if event.type == "forward")
    rounds = sum(event.type == "candidate_finished" and event.span == 1 for event in body)
    seconds = body[-1].t - head[-1].t
    copies = -(-(wanted - len(head) - len(tail)) // len(body))
    made = list(head)
    for copy in range(copies):
        for event in body:
            changes: dict[str, Any] = {"t": round(event.t + copy * seconds, 6)}
            if event.span > 1:
                changes["span"] = event.span + copy * spans
            if event.parent is not None and event.parent > 1:
                changes["parent"] = event.parent + copy * spans
            if event.type == "forward":
                changes["pass_id"] = event.pass_id + copy * passes
            if event.type.startswith("candidate_") and (event.span == 1 or event.parent == 1):
                changes["candidate"] = event.candidate + copy * rounds
            made.append(event.model_copy(update=changes))
    finished, end = tail
    whole = end.completion.model_copy(update={"text": end.completion.text * copies, "ids": end.completion.ids * copies})
    late = copies * seconds
    made.append(finished.model_copy(update={"t": finished.t + late, "tokens": finished.tokens * copies}))
    made.append(end.model_copy(update={"t": end.t + late, "completion": whole}))
    return [event.model_copy(update={"seq": seq}) for seq, event in enumerate(made)]


def write(folder: Path, wanted: int) -> None:
    """A stored run of so many events."""
    from counterpoint.events import dump_event
    from counterpoint.recording import EVENTS

    folder.mkdir()
    text = "".join(dump_event(event) + "\n" for event in repeated(real(), wanted))
    (folder / EVENTS).write_text(text, encoding="utf-8")


def times(work: Callable[[Any], object], arguments: Sequence[Any]) -> dict[str, float]:
    """Milliseconds of calls: median, 95th percentile, most."""
    taken = []
    for argument in arguments:
        began = time.perf_counter()
        work(argument)
        taken.append(1000 * (time.perf_counter() - began))
    taken.sort()
    middle, late = statistics.median(taken), taken[int(0.95 * (len(taken) - 1))]
    return {"median": round(middle, 3), "p95": round(late, 3), "most": round(taken[-1], 3)}


def measure(folder: Path) -> dict[str, Any]:
    """All figures of a stored run, in this process."""
    import psutil

    from counterpoint.registry import load_plugins
    from counterpoint.testing import fake
    from counterpoint_tui.state import (
        Filter,
        TraceView,
        answer_stretches,
        answer_text,
        candidate_table,
        filtered,
        graph_view,
        node_rows,
        pending,
        rejected,
        search,
        summary,
        timeline,
    )

    registry, process = load_plugins([fake]), psutil.Process()
    before = process.memory_info().rss
    began, worked = time.perf_counter(), time.process_time()
    trace = TraceView.open(folder)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    after = process.memory_info().rss
    last = trace.last
    assert last.completion is not None
    assert answer_text(last) == last.completion.text
    draw = random.Random(SEED)
    places = [draw.randint(0, len(trace)) for _ in range(PLACES)]
    around = [place for start in places[:20] for place in (*range(start, start - 20, -1), *range(start, start + 20))]
    began = time.perf_counter()
    lazy = TraceView.open(folder, lazily=True)
    lazily = time.perf_counter() - began
    del lazy

    def frame(place: int) -> None:
        """What a screen asks for when one steps to a place."""
        state = trace.at(place)
        shown = len(state.spans[1].pieces) if 1 in state.spans else 0
        answer_stretches(state, after=max(0, shown - 500))
        pending(state), rejected(state), summary(state), node_rows(state)

    return {
        "events": len(trace),
        "mebibytes": round(sum(len(trace.line(index)) + 1 for index in range(len(trace))) / 2**20, 1),
        "calls": len(last.spans),
        "answer_tokens": last.answer_tokens,
        "open_seconds": round(seconds, 3),
        "open_cpu_seconds": round(cpu, 3),
        "open_lazily_seconds": round(lazily, 3),
        "memory_mebibytes": round((after - before) / 2**20, 1),
        "at_random_ms": times(trace.at, places),
        "at_neighbour_ms": times(trace.at, around),
        "frame_ms": times(frame, around),
        "jump_ms": times(lambda place: trace.next("rejection", place), places),
        "row_ms": times(lambda place: trace.row(min(place, len(trace) - 1)), places),
        "filter_ms": times(lambda kind: filtered(trace, Filter(types=[kind], nodes=["small"])), ["forward"] * 20),
        "search_ms": times(lambda text: search(trace, text), ["rq", "hello", "nothing like it"] * 3),
        "whole_answer_ms": times(lambda _: answer_stretches(last), range(10)),
        "timeline_ms": times(lambda _: timeline(last), range(10)),
        "candidates_ms": times(lambda _: candidate_table(last, 1), range(10)),
        "graph_ms": times(lambda _: graph_view(last.recipe, registry), range(10)),
    }


def main() -> None:
    """Makes the trace, and measures it in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return
    from common import Results

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "20260101-000000-000000"
        write(folder, options.events)
        command = [sys.executable, __file__, "--measure", str(folder)]
        rounds = [
            json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout) for _ in range(OPENINGS)
        ]
    opened = sorted(one["open_seconds"] for one in rounds)
    # the figures of the process that opened it in the median time
    middle = next(one for one in rounds if one["open_seconds"] == opened[len(opened) // 2])
    Results("traces").summarize({**middle, "open_seconds": {"median": opened[len(opened) // 2], "all": opened}})


if __name__ == "__main__":
    main()
